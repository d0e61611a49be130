// What a load's record carries: the key it was sent to, its value, padding, and a checksum over all
// of it, so that a reader tells a wrong byte from a value of somewhere else.
//
// Pure; any thread.
//
//   std::string text = EncodePayload(key, 17, 100);
//   std::optional<Value> value = DecodePayload(text);   // 17
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "tests/checker/history.h"

namespace millrace::checker {

std::string EncodePayload(Key key, Value value, size_t padding_bytes);

// Empty if these are not the bytes of any payload.
std::optional<Value> DecodePayload(std::string_view text);

}  // namespace millrace::checker

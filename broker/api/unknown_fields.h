// Requests that change something must be understood whole: a client that asks for more than this
// broker knows is told so, instead of getting less than it asked for. (Requests that only read
// ignore what is not known.)
//
// Pure; any thread.
//
//   RETURN_IF_ERROR(CheckUnderstood(request));
#pragma once

#include <google/protobuf/message.h>

#include "proto/base/status.h"

namespace millrace::broker {

// UNIMPLEMENTED, naming message and field, if the message or one within it has an unknown field.
Status CheckUnderstood(const google::protobuf::Message& message);

// The error itself, for parsers by hand: `number` in the message of that name.
Status UnknownField(const std::string& message, uint32_t number);

}  // namespace millrace::broker

// How many of a thing one message may name. Asked of the bytes before they are parsed: two bytes on
// the wire may become a hundred in memory, so a message within its size limit can still ask for
// hundreds of times its size.
//
// Pure; any thread.
//
//   RETURN_IF_ERROR(CheckCount(message, {.number = 2, .name = "add"}));
#pragma once

#include <string_view>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

namespace millrace::broker {

// Batches, partitions or topics in one message: as many as a topic may have partitions, so that a
// client may name them all at once.
inline constexpr size_t kNamedPerMessageMax = 10'000;

// Of what one page of an answer lists: half of the 4 MiB that a gRPC client takes, as what the
// answer says beside it comes on top.
inline constexpr size_t kPageBytesMax = 2 << 20;

// Of the client_id in a stream's first message.
inline constexpr size_t kClientIdBytesMax = 249;

// A length-delimited repeated field of the message itself.
struct RepeatedField {
  int number;
  std::string_view name;
};

// INVALID_ARGUMENT naming the field if it is there more than kNamedPerMessageMax times. Bytes that
// are no protobuf message pass as far as they can be read: the parser says what is wrong.
Status CheckCount(const Bytes& message, const RepeatedField& field);
// The same about a count that is known.
Status CheckCount(size_t count, std::string_view field_name);

}  // namespace millrace::broker

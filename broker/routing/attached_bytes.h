// A small message and, behind it, bytes that are not copied into it: how what brokers pass on to
// each other lies on the wire. A varint of the message's size, the message, and the bytes.
//
// Pure; any thread.
//
//   transport.SendPeer(leader, lane, kind, AttachBytes(request, {batch}));
//   ASSIGN_OR_RETURN(Bytes batch, DetachBytes(body, &request));
#pragma once

#include <vector>

#include <google/protobuf/message_lite.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

namespace millrace::broker {

// One piece with the message, then those of `bytes`.
std::vector<Bytes> AttachBytes(const google::protobuf::MessageLite& message,
                               std::vector<Bytes> bytes = {});

// The same with nothing behind it, and its maps in order: equal messages are the same bytes, which
// a run that is played again rests on.
std::vector<Bytes> InOrder(const google::protobuf::MessageLite& message);

// What is behind the message, sharing `whole`. INTERNAL, naming the message, if it cannot be
// read.
Result<Bytes> DetachBytes(const Bytes& whole, google::protobuf::MessageLite* message);

// The message with nothing of interest behind it, or why there is none.
template <typename Message>
Result<Message> MessageIn(const Result<Bytes>& whole) {
  if (!whole.ok()) return whole.status();
  Message message;
  RETURN_IF_ERROR(DetachBytes(*whole, &message).status());
  return message;
}

}  // namespace millrace::broker

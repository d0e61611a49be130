// Raft messages to and from the peers' wire. Small ones are protobufs; entries travel as their
// frames, byte for byte (raft/codec), and stay slices of the one buffer they were received into.
//
// Pure; any thread. Decoding checks everything: both checksums of each entry, and that the entries
// are those that the message says. What is wrong is DATA_LOSS.
//
//   EncodeGroupMessage(route, message, batch.add_messages());
//   ASSIGN_OR_RETURN(core::AppendRequest append, DecodeGroupAppend(header, body));
#pragma once

#include <string_view>
#include <vector>

#include "millrace/internal/v1/peer.pb.h"
#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/core/configuration.h"
#include "raft/core/message.h"
#include "raft/ports/transport.h"

namespace millrace::raft::net {

namespace wire = ::millrace::internal::v1;

// Pre: `message` is no AppendRequest.
void EncodeGroupMessage(const RaftRoute& route, const core::Message& message,
                        wire::GroupMessage* out);
Result<core::Message> DecodeGroupMessage(const wire::GroupMessage& in);

// The header; `body` receives the entries' frames.
wire::GroupAppend EncodeGroupAppend(const RaftRoute& route, const core::AppendRequest& append,
                                    std::vector<Bytes>* body);
Result<core::AppendRequest> DecodeGroupAppend(const wire::GroupAppend& in, const Bytes& body);

}  // namespace millrace::raft::net

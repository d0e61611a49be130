// Who may talk to whom: the Hello that opens a lane, and its verdict. Each side checks the other's.
//
// Pure; any thread.
//
//   Status verdict = CheckHello(options, hello);
#pragma once

#include <cstdint>
#include <string_view>

#include "millrace/internal/v1/peer.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/net/options.h"
#include "raft/ports/transport.h"

namespace millrace::raft::net {

namespace wire = ::millrace::internal::v1;

wire::Lane ToWire(Lane lane);
// INVALID_ARGUMENT if it is none that this version knows.
Result<Lane> FromWire(wire::Lane lane);

wire::Hello MakeHello(const PeerTransportOptions& options, BrokerId receiver, Lane lane,
                      uint64_t session);

// Pre: the Hello passed CheckHello with these options.
PeerIdentity IdentityOf(const PeerTransportOptions& options, const wire::Hello& hello);

// Whether `hello` is of a broker that this one may talk to: a common format, the cluster's feature
// level, same cluster name and UUID (an uninitialised side agrees with any), a configured peer, and
// meant for this broker. Else
// FAILED_PRECONDITION or CLUSTER_MISMATCH naming both sides and what differs.
Status CheckHello(const PeerTransportOptions& options, const wire::Hello& hello);

// Marks a refusal with what the other side is told of it. Whoever reaches the port is told, so it
// says which rule was broken, and names nothing of this broker or its cluster.
Status Telling(Status refusal, std::string_view told);
// The refusal on the wire. What is not marked is told as no more than a refusal.
wire::Refusal MakeRefusal(const Status& why);

}  // namespace millrace::raft::net

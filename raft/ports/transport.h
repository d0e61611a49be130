// What the host needs from the network: to send messages to a peer broker on one of three lanes, to
// hear of peers that come and go, and to ask a peer one thing (a forwarded request). raft/net
// implements it over Network's byte streams.
//
// One Transport per broker; everything on the shard's thread. Delivery is at most once and in order
// per lane; what is lost is lost silently, as Raft expects.
//
//   transport.SendRaft({.group = group, .from = number, .to = voter}, std::move(append_request));
//   transport.SendPeer(peer, Lane::kControl, PeerKind::kLeaderReport, {bytes});
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/core/message.h"

namespace millrace::raft {

// Separate connections, so that a megabyte of entries never stands before a heartbeat.
enum class Lane : uint8_t {
  kControl = 0,  // votes, heartbeats, append replies, reports, what is asked of the controller
  kAppend = 1,   // entries of live replication; what is asked of the coordinator
  kBulk = 2,     // entries read back from segments; records on their way to or from another broker
};
inline constexpr int kLaneCount = 3;

// What travels between brokers beside Raft messages; opaque to raft/net, which skips kinds that
// this version does not know. Numbers are on the wire. Taken already: 9 a replica's report, 10 a
// group's hint.
enum class PeerKind : uint8_t {
  kBootstrap = 1,       // controllers agreeing on their first configuration
  kLeaderReport = 2,    // who leads which partitions
  kForwardRequest = 3,  // a client's request, one hop to the leader
  kForwardReply = 4,
  // What a replica that restores itself asks another one of, and the answers
  // (raft/host/restorer.h).
  kRangeRequest = 5,
  kRangeReply = 6,
  kStateRequest = 7,
  kStatePiece = 8,
};

// Who a handshake proved the other side to be.
struct PeerIdentity {
  BrokerIncarnation who;
  BootEpoch boot_epoch;
  uint64_t cluster_uuid = 0;  // 0: not initialised yet
  uint32_t format = 1;        // spoken with it
  uint32_t level_max = 1;     // of entries that it understands
  std::string software_version;
  std::string internal_address;
};

// From which replica of a group to which a message goes.
struct RaftRoute {
  RaftGroupId group;
  ReplicaNumber from;  // of the sender's broker
  Voter to;
};

class TransportHandler {
 public:
  virtual ~TransportHandler() = default;
  // A message for the group's replica here, if it has the number `to`.
  virtual void OnRaftMessage(const Voter& from, RaftGroupId group, ReplicaNumber to,
                             core::Message message) = 0;
  // `body` is valid as long as it is held.
  virtual void OnPeerMessage(const BrokerIncarnation& from, PeerKind kind, Bytes body) = 0;
  // All lanes stand. Called again after each OnPeerDisconnected.
  virtual void OnPeerConnected(const PeerIdentity& peer) = 0;
  // A lane broke or fell silent; messages in flight may be lost.
  virtual void OnPeerDisconnected(BrokerId peer, const Status& why) = 0;
  // A handshake that was refused, here or there (another cluster, format or id); worth an
  // operator's eye.
  virtual void OnPeerRefused(const Status& why) = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  // Chooses the lane by the message's kind; `bulk` for entries that were read back from segments.
  virtual void SendRaft(const RaftRoute& route, core::Message message, bool bulk = false) = 0;
  virtual void SendPeer(BrokerId to, Lane lane, PeerKind kind, std::vector<Bytes> body) = 0;
  virtual bool IsConnected(BrokerId peer) const = 0;
  // Whether the peer is connected and said last that its disk is too full to take records.
  virtual bool IsDiskFull(BrokerId peer) const = 0;
  // What the wall clocks of the peers that are connected show by now, milliseconds since 1970, as
  // far as they told it.
  virtual std::vector<int64_t> PeerWallClocksMs() const = 0;
};

}  // namespace millrace::raft

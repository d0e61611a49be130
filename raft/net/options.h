// What a PeerTransport is told and what it counts.
//
// Values.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "proto/base/ids.h"
#include "proto/frame/frame.h"
#include "raft/ports/transport.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/network.h"

namespace millrace::raft::net {

// The format of the Hello itself and of a frame's prefix.
inline constexpr uint32_t kHelloFormatVersion = 1;

// What a side can speak, both ends included.
struct VersionRange {
  uint32_t min = 1;
  uint32_t max = 1;
};

// How a broker is, as Pings and Pongs tell it.
struct PeerCondition {
  int64_t wall_clock_ms = 0;
  Duration oldest_write_age{0};  // of those that are not durable; 0: there is none
  bool is_disk_full = false;
  bool operator==(const PeerCondition&) const = default;
};

struct PeerTransportOptions {
  PeerIdentity self;
  // The cluster's UUID as known now: 0 until the bootstrap ends. Empty: that of `self`.
  std::function<uint64_t()> cluster_uuid;
  std::string cluster_name;
  // Where this broker listens for its peers.
  Endpoint listen;
  // How this broker is, but for the clock. Empty: nothing is told.
  std::function<PeerCondition()> condition;
  // Who the others are; a broker that is not here is refused.
  std::map<BrokerId, Endpoint> peers;

  Duration connect_timeout = std::chrono::milliseconds(1000);
  // From a connection to the end of its handshake, all lanes.
  Duration handshake_timeout = std::chrono::milliseconds(2000);
  // Between attempts: doubled from the first to the last, the upper half of it drawn. A broker that
  // comes back is not told of to those who dial it, so the last is what it may wait for them.
  Duration backoff_min = std::chrono::milliseconds(20);
  Duration backoff_max = std::chrono::milliseconds(80);
  // A peer that was silent this long is asked, and one that was silent for the timeout is given up.
  Duration keepalive_interval = std::chrono::milliseconds(150);
  Duration keepalive_timeout = std::chrono::milliseconds(600);
  // Peers that say other things all the time are pinged as often as this, to be told how they are.
  Duration condition_interval = std::chrono::seconds(5);
  // Queued on one lane beyond which messages are dropped.
  size_t pending_bytes_max = size_t{64} << 20;
  // Between attempts at a peer that was refused, or refuses: what is wrong stays so until somebody
  // mends it.
  Duration refused_backoff_min = std::chrono::seconds(1);
  Duration refused_backoff_max = std::chrono::seconds(10);
  // Strangers that have not shown who they are; past it one makes room for the next, of the address
  // that has most of them (PeerTransport). Four peers with three lanes each have room for a second
  // attempt, and no flood of them takes the file descriptors that segments need.
  size_t incoming_max = 32;
  // Sent in handshakes; formats and levels are others than these in tests alone.
  VersionRange formats;
  VersionRange levels{.min = 1, .max = kFeatureLevel};
  // The cluster's feature level; 0 or empty: not known yet.
  std::function<uint32_t()> cluster_level;
  std::string software_version;
  std::string internal_address;
};

struct PeerTransportStats {
  uint64_t frames_sent = 0;
  uint64_t frames_received = 0;
  // Raft messages in control frames, to be held against the frames: what merging saves.
  uint64_t control_messages_sent = 0;
  uint64_t control_frames_sent = 0;
  // To a peer that is not connected or has another incarnation, or past pending_bytes_max.
  uint64_t messages_dropped = 0;
  // Connections closed for what came over them.
  uint64_t frames_rejected = 0;
  uint64_t handshakes_refused = 0;
  uint64_t handshakes_timed_out = 0;
  // Skipped, since this version does not know their kind.
  uint64_t unknown_skipped = 0;
  // Closed before their time was over, to make room for another one.
  uint64_t strangers_dropped = 0;
  // Lines in the log about what strangers and peers did wrong.
  uint64_t complaint_lines = 0;
};

}  // namespace millrace::raft::net

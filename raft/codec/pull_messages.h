// What a replica that restores itself asks another one, and what that answers, as bytes of a peer
// message (proto/millrace/internal/v1/peer.proto).
//
// Pure; any thread. Bytes from the wire are never trusted: what cannot be read is DATA_LOSS.
#pragma once

#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/core/configuration.h"
#include "raft/core/entry.h"
#include "raft/core/log.h"

namespace millrace::raft {

struct PullRoute {
  RaftGroupId group;
  ReplicaNumber source;
  ReplicaNumber puller;
  uint64_t request_id = 0;
};

struct RangeRequest {
  PullRoute route;
  LogIndex first;  // 0: where the log begins, no entries
  uint64_t bytes_max = 0;
};

struct RangeReply {
  PullRoute route;
  core::LogPoint begin;
  LogIndex commit;
  std::vector<core::Entry> entries;  // committed; none if they lie before the begin
  bool is_damaged = false;           // the source has them no more than the puller
  core::CompactionPoint compacted;   // what the source is like
};

struct StateRequest {
  PullRoute route;
};

struct StatePiece {
  PullRoute route;
  core::LogPoint at;
  core::Configuration configuration;  // in force there
  LogIndex configuration_index;       // 0: before all that the source knows of
  uint64_t size = 0;                  // of the whole state
  uint64_t position = 0;
  Bytes piece;
};

Bytes Encode(const RangeRequest& request);
Bytes Encode(const RangeReply& reply);
Bytes Encode(const StateRequest& request);
Bytes Encode(const StatePiece& piece);

Result<RangeRequest> DecodeRangeRequest(const Bytes& bytes);
// Entries that follow one another, of the group.
Result<RangeReply> DecodeRangeReply(const Bytes& bytes);
Result<StateRequest> DecodeStateRequest(const Bytes& bytes);
Result<StatePiece> DecodeStatePiece(const Bytes& bytes);

}  // namespace millrace::raft

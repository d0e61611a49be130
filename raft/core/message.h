// What replicas of a group say to each other, one struct a message, so that no field means two
// things. The codec to bytes is raft/net's.
//
// Every message carries the sender's term. The sender itself is passed beside the message: broker
// and incarnation are what the connection's handshake proved, the replica's number is what it says.
#pragma once

#include <optional>
#include <variant>
#include <vector>

#include "proto/base/ids.h"
#include "raft/core/entry.h"

namespace millrace::raft::core {

// Pre-vote (thesis §9.6) when `is_pre_vote`: `term` is then the term the candidate *would* take.
struct VoteRequest {
  Term term;
  bool is_pre_vote = false;
  Term last_log_term;
  LogIndex last_log_index;
  // A transfer told the candidate to start: voters skip leader stickiness (thesis §4.2.3).
  bool is_transfer = false;
};

struct VoteReply {
  Term term;
  bool is_pre_vote = false;
  bool granted = false;
};

// Entries (prev_index, prev_index + entries.size()]; none of them is a probe.
struct AppendRequest {
  Term term;
  LogIndex prev_index;
  Term prev_term;
  LogIndex commit_index;
  std::vector<Entry> entries;
  // The hosts' word between each other: records before it are not asked for any more, as a command
  // says that the leader has applied.
  Offset log_start;
};

struct AppendReply {
  Term term;
  bool success = false;
  // On success: the follower's log is durable and equal to the leader's up to here.
  // On refusal: prev_index of the request that is refused.
  LogIndex index;
  // On refusal: where the logs may still agree: the follower's last index, or the last index of a
  // term not above the leader's prev_term (Raft §5.3's optimisation), with that entry's term.
  LogIndex hint_index;
  Term hint_term;
  // The hosts' word: the newest pass of compaction that the follower's log has had.
  uint32_t pass = 0;
};

// Merged per broker pair by the host. `commit_index` = min(match, commit), safe to take as it is.
struct Heartbeat {
  Term term;
  LogIndex commit_index;
  // Numbers the leader's heartbeats within its term, from 1. The reply repeats it: it tells which
  // reads the answer confirms (thesis §6.4), and whether anybody was there when entries were sent.
  uint64_t round = 0;
};

struct HeartbeatReply {
  Term term;
  uint64_t round = 0;  // 0: answers no heartbeat, but tells a deposed leader of a newer term
};

// The leader's log begins later than the follower's ends, which is to be restored from another
// replica. Said again as long as that is so.
struct Behind {
  Term term;
  LogIndex begin;  // the last entry that the leader does not have any more, or not as it was
};

using Message = std::variant<VoteRequest, VoteReply, AppendRequest, AppendReply, Heartbeat,
                             HeartbeatReply, Behind>;

struct OutgoingMessage {
  Voter to;
  Message message;
};

// The sender's term, whichever kind it is.
Term TermOf(const Message& message);

}  // namespace millrace::raft::core

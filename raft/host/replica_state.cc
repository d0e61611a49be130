// What a host tells of a replica to people who look after it.
#include "raft/ports/replica_state.h"

#include "raft/host/host.h"

namespace millrace::raft {
namespace {

ReplicaRole RoleOf(const Replica& replica, bool is_restoring) {
  if (is_restoring) return ReplicaRole::kRestoring;
  if (!replica.health().ok()) return ReplicaRole::kSilent;
  if (!replica.has_joined()) return ReplicaRole::kJoining;
  switch (replica.core().role()) {
    case core::Role::kLeader:
      return ReplicaRole::kLeader;
    case core::Role::kPreCandidate:
    case core::Role::kCandidate:
      return ReplicaRole::kCandidate;
    case core::Role::kFollower:
      break;
  }
  return ReplicaRole::kFollower;
}

void AddLog(const Replica& replica, ReplicaState* state) {
  if (!replica.has_joined()) return;
  state->term = replica.core().term();
  state->leader = replica.core().leader().broker;
  // What is not applied here is not counted either.
  if (replica.apply_fault().ok()) state->log_end = replica.next_offset();
  state->last = replica.core().log().last_index();
}

void AddSegments(const LogStore& store, RaftGroupId group, ReplicaState* state) {
  for (const SealedSegment& segment : store.sealed_segments(group)) {
    ++state->sealed_segments;
    state->sealed_bytes += segment.bytes;
  }
  state->active_bytes = store.active_segment_bytes(group);
}

}  // namespace

std::optional<ReplicaState> Host::StateOf(RaftGroupId group) const {
  const Replica* replica = replicas_.Find(group);
  if (replica == nullptr) return std::nullopt;
  ReplicaState state{.restore = restorer_.ProgressOf(group)};
  state.role = RoleOf(*replica, state.restore.has_value());
  state.log_start = replica->machine().log_start();
  state.high_watermark = replica->machine().next_offset();
  state.applied = replica->applied();
  state.fault = replica->health().ok() ? replica->apply_fault() : replica->health();
  state.stall = replica->stall();
  const auto damaged = environment_.log_store.damaged_range(group);
  if (state.fault.ok() && damaged.has_value()) {
    state.fault =
        damaged->why.With(repairer_.IsLost(group) ? "no replica has what is damaged"
                                                  : "being repaired from another replica");
  }
  AddLog(*replica, &state);
  AddSegments(environment_.log_store, group, &state);
  return state;
}

}  // namespace millrace::raft

// From what is committed to what the journal may forget: entries that the journal has are moved
// into segments, segments are synced and rolled, and the journal is told how far they hold the log.
#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "raft/runtime/run_on.h"
#include "storage/logstore/log_store.h"

namespace millrace::storage {

using raft::core::Entry;

namespace {

// Of the journal: above it what nobody can commit just now goes into segments, too.
constexpr double kFillingPressure = 0.5;

}  // namespace

void JournalLogStore::Commit(RaftGroupId id, LogIndex index) {
  Group* group = Find(id);
  CHECK(group != nullptr) << id;
  if (group->is_faulty) return;
  group->progress.Commit(index);
  OnCommitGrew(id, *group);
}

void JournalLogStore::OnCommitGrew(RaftGroupId id, Group& group) {
  // They are in the journal or in what is made anew, from where the rewriter takes them.
  if (!group.stall.ok()) {
    group.progress.GiveCommitted();
    return;
  }
  if (group.progress.committed() <= group.readable_end) return;
  group.is_recent = true;
  group.is_quiet = false;
  if (group.roll.has_value()) {
    BeginRoll(id, group);
  } else if (group.progress.committed_bytes() >= options_.write_bytes && !group.is_writing) {
    WriteCommitted(id, group);
  }
  ScheduleWrites();
  ScheduleIdleSync();
}

bool JournalLogStore::WantsWrite(const Group& group) {
  if (group.is_writing || group.is_faulty || !group.stall.ok() || group.cuts > 0) return false;
  const LogProgress& progress = group.progress;
  return progress.committed() > group.readable_end || progress.synced() > group.log.segments_end();
}

void JournalLogStore::ScheduleWrites() {
  if (write_timer_ != TimerId()) return;
  write_timer_ = environment_.shard.RunAfter(options_.write_delay, lifetime_.Guard([this] {
    write_timer_ = TimerId();
    for (auto& [id, group] : groups_) {
      if (WantsWrite(group)) WriteCommitted(id, group);
    }
  }));
}

void JournalLogStore::WriteCommitted(RaftGroupId id, Group& group) {
  if (group.cuts > 0) return;
  const LogIndex limit = group.roll.has_value() ? group.roll->index : LogIndex(UINT64_MAX);
  std::vector<Entry> entries = group.progress.GiveCommitted(limit);
  group.active.Add(entries);
  group.is_writing = true;
  // The segments keep this until they have written: it must not keep them.
  const std::weak_ptr<GroupSegments> from = group.segments;
  auto committed =
      RunOn(environment_.shard, lifetime_.Guard([this, id, from](const Result<SegmentsEnd>& end) {
        OnCommitted(id, from.lock(), end);
      }));
  OnSegments([segments = group.segments, entries = std::move(entries),
              index = std::min(group.progress.committed(), limit),
              committed = std::move(committed)]() mutable {
    // Its error is the next one's too.
    if (!entries.empty()) segments->Append(std::move(entries), [](const Status&) {});
    segments->Commit(index, std::move(committed));
  });
}

// Null if the group is gone, or its segments failed before: then this outcome says nothing new.
JournalLogStore::Group* JournalLogStore::FindWriting(RaftGroupId id, const Segments& segments) {
  Group* group = Find(id);
  if (group == nullptr || group->segments != segments) return nullptr;
  return group->stall.ok() && !group->is_faulty ? group : nullptr;
}

void JournalLogStore::OnCommitted(RaftGroupId id, const Segments& segments,
                                  const Result<SegmentsEnd>& end) {
  Group* group = FindWriting(id, segments);
  if (group == nullptr) return;
  if (!end.ok()) return OnSegmentError(id, end.status());
  group->is_writing = false;
  const LogProgress& progress = group->progress;
  const LogIndex index = end->end.index;
  if (index > group->readable_end) {
    group->readable_end = index;
    if (segment_listener_) segment_listener_(id, index);
  }
  // Large writes were synced by themselves.
  if (index > group->log.end.index && index <= progress.synced()) {
    MoveLog(id, *group, *end, [] {});
  } else if (progress.synced() > group->log.segments_end()) {
    std::vector<journal::GroupRecord> records;
    NameWritten(id, *group, progress.synced(), &records);
    Submit(std::move(records), [] {});
  }
  if (progress.committed_bytes() >= options_.write_bytes) {
    WriteCommitted(id, *group);
  } else if (WantsWrite(*group)) {
    ScheduleWrites();
  }
}

void JournalLogStore::SetRollLimits(RaftGroupId id, const raft::RollLimits& limits) {
  if (Group* group = Find(id)) group->limits = limits;
}

bool JournalLogStore::WantsRoll(RaftGroupId id, MonotonicTime now) {
  auto found = groups_.find(id);
  if (found == groups_.end() || !found->second.stall.ok()) return false;
  Group& group = found->second;
  // A footer stands behind what is committed.
  if (group.progress.given() > group.progress.told() || group.cuts > 0) return false;
  if (group.roll.has_value()) return false;
  const bool is_old = IsTooOld(group, now);
  MILLRACE_SOMETIMES_IF("a segment was old enough to be ended", is_old);
  return is_old || HoldsDropUp(group) || IsActiveDamaged(group) || LacksState(group) ||
         HoldsCompactionUp(group) || IsRollDue(id, group);
}

// By the log's own times, and by how long this process has seen nothing newer in this segment: a
// wall clock that was ahead rolls once, though times stand still until it is reached.
bool JournalLogStore::IsTooOld(Group& group, MonotonicTime now) {
  const ActiveSegment& active = group.active;
  if (group.is_encoding || !active.first_append_ms.has_value()) return false;
  if (active.last_append_ms != group.seen_append_ms) {
    group.seen_append_ms = active.last_append_ms;
    group.seen_at = now;
  }
  const auto span = std::chrono::milliseconds(active.last_append_ms - *active.first_append_ms);
  return span + (now - group.seen_at) >= group.limits.age;
}

bool JournalLogStore::IsRollDue(RaftGroupId id, const Group& group) const {
  // How large the last state is decides when the next one is due.
  if (group.is_encoding) return false;
  // A state may be larger than a segment.
  const uint64_t bytes = group.active.bytes + group.progress.committed_bytes();
  return bytes >= std::max(SegmentBytes(id, group), kLogPerState * group.state_bytes);
}

uint64_t JournalLogStore::SegmentBytes(RaftGroupId id, const Group& group) const {
  uint64_t size = group.limits.bytes;
  if (id == kControllerGroup) size = options_.controller_segment_size_bytes;
  if (size == 0) size = options_.segment_size_bytes;
  return std::min(size, group.limits.bytes_max);
}

void JournalLogStore::Roll(RaftGroupId id, LogIndex index,
                           std::optional<raft::StateEncoder> encode) {
  Group* group = Find(id);
  CHECK(group != nullptr) << id;
  if (group->is_faulty || !group->stall.ok()) return;
  CHECK_EQ(index, group->progress.told()) << id;
  group->roll = {.index = index, .encode = std::move(encode)};
  group->is_rolling = true;
  BeginRoll(id, *group);
}

void JournalLogStore::BeginRoll(RaftGroupId id, Group& found) {
  Group* group = &found;
  if (group->progress.committed() < group->roll->index || group->cuts > 0) return;
  WriteCommitted(id, *group);
  std::optional<raft::StateEncoder> encode = std::move(group->roll->encode);
  group->roll.reset();
  group->active = {};
  group->seen_append_ms.reset();
  group->is_encoding = encode.has_value();
  OnSegments([segments = group->segments, encode = std::move(encode),
              encoded = WhenEncoded(id, group->segments),
              synced = WhenSynced(id, group->segments, true)]() mutable {
    std::optional<Bytes> state;
    if (encode.has_value()) {
      state = (*encode)();
      encoded(state->size());
    }
    segments->Seal(std::move(state), std::move(synced));
  });
}

MoveFunction<void(uint64_t)> JournalLogStore::WhenEncoded(RaftGroupId id,
                                                          const Segments& segments) {
  // As in WriteCommitted: what segments keep must not keep them.
  const std::weak_ptr<GroupSegments> from = segments;
  return RunOn(environment_.shard, lifetime_.Guard([this, id, from](uint64_t bytes) {
    Group* encoded = Find(id);
    if (encoded == nullptr || encoded->segments != from.lock()) return;
    encoded->is_encoding = false;
    encoded->state_bytes = bytes;
  }));
}

bool JournalLogStore::IsCheckpointDue(const Group& group, uint64_t unread_bytes) {
  const bool is_busy = group.is_syncing || group.is_encoding || group.roll.has_value() ||
                       group.cuts > 0 || !group.stall.ok() || group.is_faulty;
  // The state is as new as what was told, and only what is here can be synced.
  const bool is_here = group.progress.committed() == group.progress.told();
  return !is_busy && is_here &&
         UnreadBytes(group) >= std::max(unread_bytes, kLogPerState * group.state_bytes);
}

bool JournalLogStore::WantsCheckpoint(RaftGroupId id) const {
  const auto found = groups_.find(id);
  if (found == groups_.end()) return false;
  const Group& group = found->second;
  const uint64_t share = std::clamp(options_.start_bytes / groups_.size(),
                                    options_.checkpoint_bytes_min, options_.checkpoint_bytes_max);
  return IsCheckpointDue(group, group.is_quiet ? options_.quiet_checkpoint_bytes : share);
}

bool JournalLogStore::WantsLastCheckpoint(RaftGroupId id) const {
  const auto found = groups_.find(id);
  return found != groups_.end() && IsCheckpointDue(found->second, options_.quiet_checkpoint_bytes);
}

// Where it is not synced, a restart may find that the journal's end lies before it.
void JournalLogStore::Checkpoint(RaftGroupId id, LogIndex index, raft::StateEncoder encode) {
  Group* group = Find(id);
  CHECK(group != nullptr) << id;
  CHECK_EQ(index, group->progress.committed()) << id;
  if (!MILLRACE_MUTANT(kCheckpointStateAhead)) WriteCommitted(id, *group);
  group->active.checkpointed = group->active.bytes;
  group->is_syncing = true;
  group->is_encoding = true;
  OnSegments([segments = group->segments, encode = std::move(encode),
              encoded = WhenEncoded(id, group->segments),
              synced = WhenSynced(id, group->segments, false)]() mutable {
    Bytes state = encode();
    encoded(state.size());
    segments->Checkpoint(std::move(state), std::move(synced));
  });
}

MoveFunction<void(Result<SegmentsEnd>)> JournalLogStore::WhenSynced(RaftGroupId id,
                                                                    const Segments& segments,
                                                                    bool is_roll) {
  // As in WriteCommitted: what segments keep must not keep them.
  const std::weak_ptr<GroupSegments> from = segments;
  return RunOn(environment_.shard,
               lifetime_.Guard([this, id, from, is_roll](const Result<SegmentsEnd>& end) {
                 OnSynced(id, from.lock(), end, is_roll);
               }));
}

void JournalLogStore::SyncGroup(RaftGroupId id, Group& group) {
  if (group.is_syncing || group.is_faulty || !group.stall.ok()) return;
  group.is_syncing = true;
  if (group.progress.committed_bytes() > 0) WriteCommitted(id, group);
  OnSegments([segments = group.segments, synced = WhenSynced(id, group.segments, false)]() mutable {
    segments->Sync(std::move(synced));
  });
}

// Of what is written and not committed this tells nothing: that may have been cut since.
void JournalLogStore::OnSynced(RaftGroupId id, const Segments& segments,
                               const Result<SegmentsEnd>& end, bool is_roll) {
  Group* group = FindWriting(id, segments);
  if (group == nullptr) return;
  if (!is_roll) group->is_syncing = false;
  if (!end.ok()) return OnSegmentError(id, end.status());
  group->progress.OnSynced(end->end.index);
  const bool has_grown = end->end.index > group->log.end.index;
  if (!is_roll) {
    if (has_grown) MoveLog(id, *group, *end, [] {});
    return;
  }
  const std::weak_ptr<GroupSegments> from = segments;
  Task durable = lifetime_.Guard([this, id, from, number = group->number, sealed = *end->sealed,
                                  generation = group->log.generation] {
    Group* rolled = FindReplica({id, number});
    if (rolled == nullptr || rolled->log.generation != generation) return;
    rolled->is_rolling = false;
    // They were made anew meanwhile, the last one without its ending: what was found there counts.
    if (rolled->segments != from.lock()) return;
    const bool was_damaged = IsActiveDamaged(*rolled);
    rolled->sealed.push_back(sealed);
    if (was_damaged) TellDamage(id, *rolled);
    DropSegments(id, *rolled);
  });
  if (has_grown) return MoveLog(id, *group, *end, std::move(durable));
  // The journal was told of this end before, which need not be durable yet.
  Submit({{.replica = {id, group->number}, .body = journal::LogMoved{.log = group->log}}},
         std::move(durable));
}

void JournalLogStore::MoveLog(RaftGroupId id, Group& group, const SegmentsEnd& end, Task durable) {
  CHECK_GT(end.end.index, group.log.end.index) << id;
  CHECK_GE(end.configuration_index, group.log.configuration_index) << id;
  group.log.end = end.end;
  group.log.SetWritten(group.progress.synced());
  group.log.configuration_index = end.configuration_index;
  group.log.configuration = end.configuration;
  group.progress.SetJournalled(std::max(group.progress.journalled(), group.log.segments_end()));
  Submit({{.replica = {id, group.number}, .body = journal::LogMoved{.log = group.log}}},
         std::move(durable));
}

void JournalLogStore::ScheduleIdleSync() {
  if (idle_timer_ != TimerId()) return;
  idle_timer_ = environment_.shard.RunAfter(options_.idle_sync_delay, lifetime_.Guard([this] {
    idle_timer_ = TimerId();
    SyncIdleGroups();
  }));
}

bool JournalLogStore::IsJournalFilling() const { return client_.pressure() > kFillingPressure; }

// Syncs the groups that nothing was written to since the last round; the others wait for the next.
void JournalLogStore::SyncIdleGroups() {
  bool is_any_left = false;
  for (auto& [id, group] : groups_) {
    const bool wants_sync = group.progress.committed() > group.log.end.index;
    const bool wants_room = IsJournalFilling() && group.progress.last() > group.progress.given();
    const bool wants_quiet =
        !group.is_quiet && UnreadBytes(group) >= options_.quiet_checkpoint_bytes;
    if (group.is_faulty || (!wants_sync && !wants_room && !wants_quiet)) continue;
    is_any_left = true;
    if (std::exchange(group.is_recent, false)) continue;
    group.is_quiet = true;
    if (wants_sync) SyncGroup(id, group);
    if (wants_room) Relieve(id, group);
  }
  if (is_any_left) ScheduleIdleSync();
}

void JournalLogStore::OnPinned(const std::vector<RaftGroupId>& groups) {
  MILLRACE_SOMETIMES("the journal waited for segments");
  for (const RaftGroupId id : groups) {
    Group* group = Find(id);
    if (group == nullptr) continue;
    if (group->progress.committed() > group->log.end.index) SyncGroup(id, *group);
    Relieve(id, *group);
  }
}

}  // namespace millrace::storage

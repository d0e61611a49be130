// A LogStore in memory, and a Transport that only remembers: what tests of a host, and of the state
// machines on one, stand on. What is written is durable at once; Recovered() is what a restart
// would find.
//
// One thread, the executor's. The store outlives the hosts that use it, one after the other.
//
//   MemoryLogStore store(process.executor());
//   Host host(options, {process.executor(), process.clock(), transport, store}, random);
//   host.AddReplica(store.Recovered(group), machine);
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "proto/frame/frame.h"
#include "raft/ports/log_store.h"
#include "raft/ports/transport.h"
#include "raft/runtime/executor.h"

namespace millrace::raft {

class MemoryTransport final : public Transport {
 public:
  // What was sent, oldest first.
  std::vector<core::Message> sent;
  std::vector<std::tuple<BrokerId, PeerKind, Bytes>> peers;

  void SendRaft(const RaftRoute&, core::Message message, bool) override {
    sent.push_back(std::move(message));
  }
  void SendPeer(BrokerId to, Lane, PeerKind kind, std::vector<Bytes> body) override {
    std::string whole;
    for (const Bytes& piece : body) whole += piece.view();
    peers.emplace_back(to, kind, Bytes::Own(std::move(whole)));
  }
  bool IsConnected(BrokerId peer) const override { return connected.contains(peer); }
  std::set<BrokerId> connected;
  bool IsDiskFull(BrokerId peer) const override { return full.contains(peer); }
  std::set<BrokerId> full;
  std::vector<int64_t> PeerWallClocksMs() const override { return {}; }
};

class MemoryLogStore final : public LogStore {
 public:
  struct Group {
    ReplicaRecord record;
    core::HardState hard_state;
    std::vector<core::Entry> entries;  // from index 1 on
    LogIndex committed;                // up to here they are in segments
    uint64_t since_roll = 0;
    uint64_t rolls = 0;
    LogIndex checkpoint;
    std::optional<Snapshot> snapshot;
    Offset log_start;                  // as told
    std::deque<SealedSegment> sealed;  // the test's
    uint64_t active_bytes = 0;         // the test's
    bool wants_entry = false;          // the test's
  };

  explicit MemoryLogStore(Executor& executor) : executor_(&executor) {}

  // Entries after which a group wants to roll.
  uint64_t roll_every = UINT64_MAX;
  // ... and after which it wants a checkpoint, where it does not want to roll.
  uint64_t checkpoint_every = UINT64_MAX;
  // How long a write takes.
  Duration write_time{0};
  std::map<RaftGroupId, Group> groups;
  std::set<ReplicaId> removed;
  std::map<RaftGroupId, DamagedRange> damaged;         // the test's
  std::map<RaftGroupId, DamagedRange> damaged_behind;  // another one, behind that
  MoveFunction<void(RaftGroupId)> damage_listener;
  std::vector<core::Entry> intact;  // what can be read of those, all the same
  Status read_error;                // of any read of those
  bool holds_reads = false;         // ... which wait for the test
  std::vector<EntriesDone> held_reads;
  Status finish_error;                  // of the end of a repair
  core::CompactionPoint repaired_with;  // as told
  size_t restores_begun = 0;
  size_t restores_ended = 0;  // by EndRestore
  std::set<ReplicaId> given_up;
  LogIndex floor;
  double pressure = 0;

  RecoveredReplica Recovered(RaftGroupId id) const {
    const Group& group = groups.at(id);
    core::Log::Prefix prefix;
    std::vector<core::TermStart> terms;
    for (uint64_t i = 0; i < group.committed.value(); ++i) {
      const core::Entry& entry = group.entries[i];
      prefix = {.index = entry.index, .term = entry.term, .chain = entry.chain};
      if (terms.empty() || terms.back().term != entry.term) {
        terms.push_back({.term = entry.term, .first_index = entry.index});
      }
    }
    RecoveredReplica replica{
        .record = group.record, .initial = {}, .snapshot = group.snapshot, .health = {}};
    replica.initial.hard_state = group.hard_state;
    replica.initial.commit_index = group.committed;
    replica.initial.configuration = group.record.configuration;
    replica.initial.log =
        core::Log(core::LogPoint(), prefix, std::move(terms),
                  {group.entries.begin() + static_cast<ptrdiff_t>(group.committed.value()),
                   group.entries.end()});
    return replica;
  }

  // As where a group's segments can be read at last, which could not be at start.
  void Recover(RaftGroupId id) { recovered_listener_(Recovered(id)); }

  void Write(std::vector<ReplicaWrite> writes) override {
    std::vector<DurableWrite> told;
    for (const ReplicaWrite& write : writes) {
      told.push_back({write.replica, write.write.durable_point, write.submitted_at});
    }
    for (ReplicaWrite& write : writes) {
      const auto found = groups.find(write.replica.group);
      if (found == groups.end() || found->second.record.number != write.replica.number) continue;
      Group& group = found->second;
      if (write.write.hard_state.has_value()) group.hard_state = *write.write.hard_state;
      if (write.write.truncate_from.has_value()) {
        group.entries.resize(write.write.truncate_from->value() - 1);
      }
      for (core::Entry& entry : write.write.entries) group.entries.push_back(std::move(entry));
    }
    executor_->RunAfter(write_time, [this, told = std::move(told)] { durable_listener_(told); });
  }
  void SetDurableListener(MoveFunction<void(const std::vector<DurableWrite>&)> listener) override {
    durable_listener_ = std::move(listener);
  }
  void CreateReplica(const ReplicaRecord& record, Task durable) override {
    CHECK(MayCreate({record.group, record.number}) && !groups.contains(record.group))
        << record.group;
    floor = std::max(floor, record.controller_index);
    groups[record.group].record = record;
    executor_->Post(std::move(durable));
  }
  void RemoveReplica(RaftGroupId id, LogIndex controller_index, Task durable) override {
    removed.insert({id, groups.at(id).record.number});
    CHECK(groups.erase(id) == 1) << id;
    floor = std::max(floor, controller_index);
    executor_->Post(std::move(durable));
  }
  bool MayCreate(const ReplicaId& id) const override { return !removed.contains(id); }
  LogIndex controller_floor() const override { return floor; }
  void Commit(RaftGroupId id, LogIndex index) override {
    Group& group = groups.at(id);
    CHECK_GT(index, group.committed);
    CHECK_LE(index.value(), group.entries.size()) << "told before it was given";
    group.since_roll += index.value() - group.committed.value();
    group.committed = index;
  }
  bool WantsRoll(RaftGroupId id, MonotonicTime) override {
    return groups.at(id).since_roll >= roll_every;
  }
  void SetRollLimits(RaftGroupId id, const RollLimits& given) override { limits[id] = given; }
  std::map<RaftGroupId, RollLimits> limits;
  void Roll(RaftGroupId id, LogIndex index, std::optional<StateEncoder> state) override {
    Group& group = groups.at(id);
    CHECK_EQ(index, group.committed);
    group.since_roll = 0;
    ++group.rolls;
    if (!state.has_value()) return;
    group.snapshot = Snapshot{.index = index, .state = (*state)()};
  }
  bool wants_last_checkpoints = false;
  bool WantsLastCheckpoint(RaftGroupId) const override { return wants_last_checkpoints; }
  bool WantsCheckpoint(RaftGroupId id) const override {
    const Group& group = groups.at(id);
    return group.committed.value() - group.checkpoint.value() >= checkpoint_every;
  }
  void Checkpoint(RaftGroupId id, LogIndex index, StateEncoder state) override {
    Group& group = groups.at(id);
    CHECK_EQ(index, group.committed);
    group.checkpoint = index;
    group.snapshot = Snapshot{.index = index, .state = state()};
  }
  void Read(RaftGroupId id, LogIndex first, uint64_t bytes_max, EntriesDone done) override {
    const Group& group = groups.at(id);
    std::vector<core::Entry> read;
    if (damaged.contains(id)) return done(DataLoss("it is damaged"));
    uint64_t bytes = 0;
    for (LogIndex at = first; at <= EndOfRead(group, first); ++at) {
      const core::Entry& entry = group.entries[at.value() - 1];
      bytes += entry.size_bytes();
      if (!read.empty() && bytes > bytes_max) break;
      read.push_back(entry);
    }
    executor_->Post(
        [done = std::move(done), read = std::move(read)]() mutable { done(std::move(read)); });
  }
  std::map<RaftGroupId, core::CompactionPoint> compaction;  // the test's
  core::CompactionPoint compacted(RaftGroupId id) const override {
    const auto found = compaction.find(id);
    return found == compaction.end() ? core::CompactionPoint() : found->second;
  }
  std::map<RaftGroupId, LogIndex> rewritable;  // the test's
  LogIndex rewritable_end(RaftGroupId id) const override {
    const auto found = rewritable.find(id);
    return found == rewritable.end() ? LogIndex() : found->second;
  }
  void WantSealed(RaftGroupId, Offset) override {}
  Status rewrite_error;  // the test's: of what is begun
  size_t rewrites = 0;   // that were finished; the entries stay as they are
  void BeginRewrite(const ReplicaId&, LogIndex, StatusDone done) override {
    Answer(rewrite_error, std::move(done));
  }
  std::vector<core::Entry> rewritten;  // by all of them
  void AppendRewritten(const ReplicaId&, std::vector<core::Entry> entries,
                       StatusDone done) override {
    rewritten.insert(rewritten.end(), entries.begin(), entries.end());
    Answer(Status::Ok(), std::move(done));
  }
  void FinishRewrite(const ReplicaId&, uint32_t, StatusDone done) override {
    ++rewrites;
    Answer(Status::Ok(), std::move(done));
  }
  void EndRewrite(const ReplicaId&) override {}
  uint64_t repairs_begun(RaftGroupId) const override { return 0; }
  void FinishPass(const ReplicaId& id, uint32_t pass, StatusDone done) override {
    compaction[id.group].pass = pass;
    Answer(Status::Ok(), std::move(done));
  }
  void Salvage(RaftGroupId id, LogIndex first, uint64_t bytes_max, EntriesDone done) override {
    if (!damaged.contains(id)) return Read(id, first, bytes_max, std::move(done));
    if (holds_reads) return held_reads.push_back(std::move(done));
    if (!read_error.ok()) return done(read_error);
    std::vector<core::Entry> found;
    for (const core::Entry& entry : intact) {
      if (entry.index == first + found.size()) found.push_back(entry);
    }
    if (found.empty()) return done(DataLoss("it is damaged"));
    done(std::move(found));
  }
  void ReadFromOffset(RaftGroupId, Offset offset, uint64_t, EntriesDone done) override {
    ++reads_from_offset;
    if (from_offset.empty()) return done(Unimplemented("no offsets here"));
    std::vector<core::Entry> found;
    for (const core::Entry& entry : from_offset) {
      const FrameHeader header = entry.frame.header();
      const bool is_wanted = header.base_offset + header.offset_span > offset;
      if (is_wanted && found.size() < entries_per_read) found.push_back(entry);
    }
    done(std::move(found));
  }
  std::vector<core::Entry> from_offset;  // the test's: what reads by offset find
  size_t entries_per_read = SIZE_MAX;    // at most
  size_t reads_from_offset = 0;
  void FindTimestamp(RaftGroupId id, int64_t timestamp_ms, Offset from, LogIndex before,
                     IndexDone done) override {
    LogIndex found;
    for (const core::Entry& entry : EntriesFrom(id, from)) {
      const bool is_first = found == LogIndex() && entry.index < before;
      if (is_first && HasRecordSince(entry.frame.header(), timestamp_ms)) found = entry.index;
    }
    executor_->Post([done = std::move(done), found]() mutable { done(found); });
  }
  void FindNewestTime(RaftGroupId id, Offset from, TimeDone done) override {
    int64_t newest_ms = 0;
    for (const core::Entry& entry : EntriesFrom(id, from)) {
      newest_ms = std::max(newest_ms, entry.frame.header().max_timestamp_ms);
    }
    executor_->Post([done = std::move(done), newest_ms]() mutable { done(newest_ms); });
  }
  // Of the entry itself, and a second around it.
  void FindAppendTime(RaftGroupId id, Offset offset, AppendTimeDone done) override {
    const std::vector<core::Entry> entries = EntriesFrom(id, offset);
    Result<AppendTime> found = OutOfRange("it is not here");
    if (!entries.empty()) {
      const int64_t at_ms = entries.front().frame.header().append_time_ms;
      found = AppendTime{.min_ms = at_ms - 1000, .max_ms = at_ms + 1000};
    }
    executor_->Post([done = std::move(done), found]() mutable { done(found); });
  }
  size_t void_ranges_asked = 0;
  Status void_ranges_error;  // the test's
  void FindVoidRanges(RaftGroupId id, Offset first, Offset end, VoidRangesDone done) override {
    ++void_ranges_asked;
    const Group& group = groups.at(id);
    std::vector<VoidRange> ranges;
    for (const core::Entry& entry : group.entries) {
      const auto range = VoidRangeOf(entry.frame.header());
      const bool is_meant = range.has_value() && range->Overlaps(first, end);
      if (is_meant && entry.index <= group.committed) ranges.push_back(*range);
    }
    executor_->Post(
        [done = std::move(done), ranges = std::move(ranges), error = void_ranges_error]() mutable {
          if (!error.ok()) return done(error);
          done(std::move(ranges));
        });
  }
  void SetLogStart(RaftGroupId id, Offset start) override { groups.at(id).log_start = start; }
  const std::deque<SealedSegment>& sealed_segments(RaftGroupId id) const override {
    static const std::deque<SealedSegment> kNone;
    const auto found = groups.find(id);
    return found == groups.end() ? kNone : found->second.sealed;
  }
  uint64_t active_segment_bytes(RaftGroupId id) const override {
    const auto found = groups.find(id);
    return found == groups.end() ? 0 : found->second.active_bytes;
  }
  bool WantsEntry(RaftGroupId id) const override { return groups.at(id).wants_entry; }
  std::optional<core::LogPoint> readable_begin(RaftGroupId group) const override {
    return groups.contains(group) ? std::optional(core::LogPoint{}) : std::nullopt;
  }
  bool HasDamage(RaftGroupId group) const override {
    return damaged.contains(group) || damaged_behind.contains(group);
  }
  std::optional<DamagedRange> damaged_range_from(RaftGroupId group, LogIndex from) const override {
    for (const auto* ranges : {&damaged, &damaged_behind}) {
      const auto found = ranges->find(group);
      if (found != ranges->end() && found->second.begin.index >= from) return found->second;
    }
    return std::nullopt;
  }
  void BeginRepair(const ReplicaId& replica, const DamagedRange& range, StatusDone done) override {
    BeginRestore(replica, range.begin, std::move(done));
  }
  void FinishRepair(const ReplicaId& replica, const core::CompactionPoint& told,
                    StatusDone done) override {
    if (!finish_error.ok()) return done(finish_error);
    repaired_with = told;
    for (auto* ranges : {&damaged, &damaged_behind}) {
      std::erase_if(*ranges, [&](const auto& range) {
        return range.first == replica.group && range.second.begin == restored.begin;
      });
    }
    done(restore_error);
  }
  void GiveUpRepair(const ReplicaId& replica) override { given_up.insert(replica); }
  void SetDamageListener(MoveFunction<void(RaftGroupId)> listener) override {
    damage_listener = std::move(listener);
  }
  void BeginRestore(const ReplicaId&, const core::LogPoint& begin, StatusDone done) override {
    restored = {.begin = begin};
    ++restores_begun;
    done(restore_error);
  }
  void AppendRestored(const ReplicaId&, std::vector<core::Entry> entries,
                      StatusDone done) override {
    for (core::Entry& entry : entries) restored.entries.push_back(std::move(entry));
    done(restore_error);
  }
  void SealRestored(const ReplicaId&, RestoredState state, StatusDone done) override {
    restored.state = std::string(state.state.view());
    restored.configuration = std::move(state.configuration);
    done(restore_error);
  }
  void AdoptRestored(const ReplicaId&, MoveFunction<void(core::InitialState)> done) override {
    const core::Entry& last = restored.entries.back();
    core::InitialState initial;
    initial.log = core::Log(
        restored.begin, {.index = last.index, .term = last.term, .chain = last.chain},
        {{.term = restored.entries.front().term, .first_index = restored.begin.index + 1}}, {});
    initial.commit_index = last.index;
    initial.configuration = restored.configuration;
    done(std::move(initial));
  }
  void EndRestore(const ReplicaId&) override { ++restores_ended; }
  // What was restored last, of entries of one term; and what the store says to it.
  struct RestoredLog {
    core::LogPoint begin;
    std::vector<core::Entry> entries;
    std::string state;
    core::Configuration configuration;
  };
  RestoredLog restored;
  Status restore_error;
  void SetBeginListener(MoveFunction<void(RaftGroupId, const core::LogPoint&)> listener) override {
    begin_listener_ = std::move(listener);
  }
  // As where what lies before `begin` is not kept any more.
  void MoveBegin(RaftGroupId id, const core::LogPoint& begin) { begin_listener_(id, begin); }
  LogIndex readable_end(RaftGroupId id) const override { return groups.at(id).committed; }
  void SetSegmentListener(MoveFunction<void(RaftGroupId, LogIndex)>) override {}
  void SetSegmentsStateListener(MoveFunction<void(RaftGroupId, Status)> listener) override {
    segments_state_listener_ = std::move(listener);
  }
  // As where it changes whether segments can be written.
  void TellSegmentsState(RaftGroupId id, Status state) {
    segments_state_listener_(id, std::move(state));
  }
  void SetRecoveredListener(MoveFunction<void(RecoveredReplica)> listener) override {
    recovered_listener_ = std::move(listener);
  }
  double journal_pressure() const override { return pressure; }
  Status admission() const override { return admits; }
  Status admits;

 private:
  void Answer(const Status& status, StatusDone done) {
    executor_->Post([status, done = std::move(done)]() mutable { done(status); });
  }
  // Those in segments that reach beyond it.
  std::vector<core::Entry> EntriesFrom(RaftGroupId id, Offset from) const {
    std::vector<core::Entry> found;
    const auto group = groups.find(id);
    if (group == groups.end()) return found;
    for (const core::Entry& entry : group->second.entries) {
      const FrameHeader& header = entry.frame.header();
      const bool reaches = header.base_offset + header.offset_span > from;
      if (entry.index <= group->second.committed && reaches) found.push_back(entry);
    }
    return found;
  }
  // A read ends with its file.
  static LogIndex EndOfRead(const Group& group, LogIndex first) {
    for (const SealedSegment& segment : group.sealed) {
      if (segment.end.index >= first) return std::min(segment.end.index, group.committed);
    }
    return group.committed;
  }

  Executor* executor_;
  MoveFunction<void(const std::vector<DurableWrite>&)> durable_listener_;
  MoveFunction<void(RaftGroupId, Status)> segments_state_listener_;
  MoveFunction<void(RecoveredReplica)> recovered_listener_;
  MoveFunction<void(RaftGroupId, const core::LogPoint&)> begin_listener_;
};

}  // namespace millrace::raft

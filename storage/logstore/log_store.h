// Raft's LogStore from the shared journal and the groups' segments. Small writes go to the journal,
// and their entries into segments once they are committed; large ones go into segments at once
// (docs/adr/0010-write-once.md). Reads come from segments.
//
// An error of a group's segments that is not proven damage stalls the group: what was not synced of
// it is still in the journal, and is written again when that can be (Rewriter).
//
// On the shard's thread. The journal and the segments live on executors of their own; everything
// between is posted, work for segments a batch at a time.
//
//   JournalLogStore::Open(options, environment,
//                         [](Result<JournalLogStore::Opened> opened) { ... });
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "raft/ports/log_store.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "storage/file/file_system.h"
#include "storage/journal/journal.h"
#include "storage/logstore/log_progress.h"
#include "storage/segment/group_segments.h"

namespace millrace::storage {

struct LogStoreOptions {
  journal::Options journal;
  uint64_t segment_size_bytes = 64 << 20;
  uint64_t controller_segment_size_bytes = 64 << 20;
  // A write of so many bytes of entries goes straight into its group's segment. A write may be what
  // came while the one before was under way.
  uint64_t large_write_bytes = 64 << 10;
  // While so many are under way others go into the journal: each has a sync of its own, and the
  // journal's ones share one.
  uint32_t large_writes_max = 16;
  // Committed entries wait at most this long for others before they go into segments, and the
  // journal is told after this time of what large writes put there.
  Duration write_delay = std::chrono::milliseconds(10);
  uint64_t write_bytes = 1 << 20;  // ... or until so much waits
  // A group that was written to and then fell silent is synced after this long, so that its entries
  // need no memory and no journal.
  Duration idle_sync_delay = std::chrono::seconds(1);
  // A segment of fewer bytes is not worth ending another one to be rid of it.
  uint64_t drop_bytes_min = 64 << 10;
  // What a start may have to read of all the segments that are written on, about: a checkpoint
  // is made of one that has its share of that since the last, and of one that is not written to any
  // more once it has quiet_checkpoint_bytes.
  uint64_t start_bytes = 512 << 20;
  uint64_t checkpoint_bytes_min = 1 << 20;  // of a share
  uint64_t checkpoint_bytes_max = 16 << 20;
  uint64_t quiet_checkpoint_bytes = 64 << 10;
  // Sealed segments are read through once an interval to find damage, no faster than that; 0:
  // never.
  uint64_t scrub_bytes_per_second = 16 << 20;
  Duration scrub_interval = std::chrono::hours(24);
  // Below so many free bytes produce is refused.
  uint64_t free_bytes_min = 64 << 20;
  Duration free_bytes_interval = std::chrono::milliseconds(500);
};

class JournalLogStore final : public raft::LogStore {
 public:
  struct Environment {
    Executor& shard;
    Executor& journal_executor;
    FileSystem& journal_files;  // bound to journal_executor
    Executor& segment_executor;
    FileSystem& segment_files;  // bound to segment_executor
    // Ends the process; any of the three threads.
    std::function<void(const Status&)> fail_stop;
  };
  struct Opened {
    std::unique_ptr<JournalLogStore> store;
    std::vector<raft::RecoveredReplica> replicas;
  };

  // Recovers everything; `done` on the shard. What was accepted is durable again by then.
  static void Open(const LogStoreOptions& options, const Environment& environment,
                   MoveFunction<void(Result<Opened>)> done);
  ~JournalLogStore() override;

  // Syncs what is committed, so that the next start reads as little as it can, waits for what
  // segments were asked for, writes what the journal was given and a marker, and calls `done` on
  // the shard. Nothing may follow, and what is not durable by then is not told.
  void Stop(Task done);

  void Write(std::vector<raft::ReplicaWrite> writes) override;
  void SetDurableListener(
      MoveFunction<void(const std::vector<raft::DurableWrite>&)> listener) override {
    durable_listener_ = std::move(listener);
  }
  void CreateReplica(const raft::ReplicaRecord& record, Task durable) override;
  void RemoveReplica(RaftGroupId group, LogIndex controller_index, Task durable) override;
  bool MayCreate(const raft::ReplicaId& replica) const override;
  LogIndex controller_floor() const override { return controller_floor_; }
  void Commit(RaftGroupId group, LogIndex index) override;
  void SetRollLimits(RaftGroupId group, const raft::RollLimits& limits) override;
  bool WantsRoll(RaftGroupId group, MonotonicTime now) override;
  void Roll(RaftGroupId group, LogIndex index, std::optional<raft::StateEncoder> state) override;
  bool WantsCheckpoint(RaftGroupId group) const override;
  bool WantsLastCheckpoint(RaftGroupId group) const override;
  void Checkpoint(RaftGroupId group, LogIndex index, raft::StateEncoder state) override;
  void Read(RaftGroupId group, LogIndex first, uint64_t bytes_max, raft::EntriesDone done) override;
  void Salvage(RaftGroupId group, LogIndex first, uint64_t bytes_max,
               raft::EntriesDone done) override;
  void ReadFromOffset(RaftGroupId group, Offset offset, uint64_t bytes_max,
                      raft::EntriesDone done) override;
  void FindTimestamp(RaftGroupId group, int64_t timestamp_ms, Offset from, LogIndex before,
                     raft::IndexDone done) override;
  void FindNewestTime(RaftGroupId group, Offset from, raft::TimeDone done) override;
  void FindAppendTime(RaftGroupId group, Offset offset, raft::AppendTimeDone done) override;
  void FindVoidRanges(RaftGroupId group, Offset first, Offset end,
                      raft::VoidRangesDone done) override;
  void SetLogStart(RaftGroupId group, Offset start) override;
  bool WantsEntry(RaftGroupId group) const override;
  const std::deque<raft::SealedSegment>& sealed_segments(RaftGroupId group) const override;
  uint64_t active_segment_bytes(RaftGroupId group) const override;
  void BeginRestore(const raft::ReplicaId& replica, const raft::core::LogPoint& begin,
                    StatusDone done) override;
  void AppendRestored(const raft::ReplicaId& replica, std::vector<raft::core::Entry> entries,
                      StatusDone done) override;
  void SealRestored(const raft::ReplicaId& replica, raft::RestoredState state,
                    StatusDone done) override;
  void AdoptRestored(const raft::ReplicaId& replica,
                     MoveFunction<void(raft::core::InitialState)> done) override;
  void EndRestore(const raft::ReplicaId& replica) override;
  bool HasDamage(RaftGroupId group) const override;
  std::optional<raft::DamagedRange> damaged_range_from(RaftGroupId group,
                                                       LogIndex from) const override;
  void BeginRepair(const raft::ReplicaId& replica, const raft::DamagedRange& range,
                   StatusDone done) override;
  void FinishRepair(const raft::ReplicaId& replica, const raft::core::CompactionPoint& given,
                    StatusDone done) override;
  void GiveUpRepair(const raft::ReplicaId& replica) override;
  raft::core::CompactionPoint compacted(RaftGroupId group) const override;
  LogIndex rewritable_end(RaftGroupId group) const override;
  void WantSealed(RaftGroupId group, Offset offset) override;
  void BeginRewrite(const raft::ReplicaId& replica, LogIndex begin, StatusDone done) override;
  void AppendRewritten(const raft::ReplicaId& replica, std::vector<raft::core::Entry> entries,
                       StatusDone done) override;
  void FinishRewrite(const raft::ReplicaId& replica, uint32_t settled, StatusDone done) override;
  void EndRewrite(const raft::ReplicaId& replica) override;
  uint64_t repairs_begun(RaftGroupId group) const override;
  void FinishPass(const raft::ReplicaId& replica, uint32_t pass, StatusDone done) override;
  void SetDamageListener(MoveFunction<void(RaftGroupId)> listener) override {
    damage_listener_ = std::move(listener);
  }
  void SetBeginListener(
      MoveFunction<void(RaftGroupId, const raft::core::LogPoint&)> listener) override {
    begin_listener_ = std::move(listener);
  }
  LogIndex readable_end(RaftGroupId group) const override;
  std::optional<LogPoint> readable_begin(RaftGroupId group) const override;
  void SetSegmentListener(MoveFunction<void(RaftGroupId, LogIndex)> listener) override {
    segment_listener_ = std::move(listener);
  }
  void SetSegmentsStateListener(MoveFunction<void(RaftGroupId, Status)> listener) override {
    segments_state_listener_ = std::move(listener);
  }
  void SetRecoveredListener(MoveFunction<void(raft::RecoveredReplica)> listener) override {
    recovered_listener_ = std::move(listener);
  }
  double journal_pressure() const override { return client_.pressure(); }
  Status admission() const override;

  // Groups whose segments wait to be written again; and how often one began to, since the start.
  uint64_t stalled_groups() const;
  uint64_t stalls() const { return stalls_; }

 private:
  class Opener;
  class Rewriter;
  class Scrubber;
  class Rereader;
  // A state is written again once the log grew by so many times its size, so that states take at
  // most a quarter of what the log does; a start applies the log behind the last one.
  static constexpr uint64_t kLogPerState = 4;
  // Writes on their way straight into the segment.
  struct LargeWrite {
    std::vector<raft::ReplicaWrite> writes;
    std::vector<raft::core::Entry> taken_along;  // entries before theirs, which the journal has
  };
  // Writes that the journal is given together.
  struct JournalBatch {
    struct Part {
      raft::DurableWrite write;
      TruncationEpoch epoch;
      LogIndex last;  // of its entries; 0: none
      bool has_cut = false;
      std::optional<LogIndex> cut_from;  // from where `segments` are to be cut
      std::weak_ptr<GroupSegments> segments;
    };
    std::vector<journal::GroupRecord> records;
    std::vector<Part> parts;
  };
  // A log that is being built beside a group's, or a segment of that log.
  struct Restore {
    std::shared_ptr<GroupSegments> segments;
    uint32_t generation = 0;  // of its folder
    bool is_repair = false;   // of the segment that begins there
    LogPoint begin;
    LogPoint end;
    std::vector<raft::core::TermStart> term_starts;
    std::deque<raft::SealedSegment> sealed;
    uint64_t active_bytes = 0;
    uint64_t cached_bytes = 0;          // appended since the last write-back
    std::optional<SegmentsEnd> at_end;  // once it is sealed there
    uint64_t state_bytes = 0;
    uint32_t pass = 0;                                     // of compaction, that all of it has had
    MoveFunction<void(raft::core::InitialState)> adopted;  // set once it is to take the place
  };
  // What the shard knows of one group's segments.
  struct Group {
    ReplicaNumber number;
    // As it was journalled last.
    journal::LogRecord log;
    LogPoint durable_begin;  // what lies before it may be removed; log.begin, once that is durable
    Offset log_start;        // records before it are not asked for any more
    std::deque<raft::SealedSegment> sealed;  // from log.begin on
    // Used on the segment executor alone. While stalled, those that failed: reads try them.
    std::shared_ptr<GroupSegments> segments;
    LogProgress progress;
    // Asked for, and to be begun once all up to there is durable.
    struct Roll {
      LogIndex index;
      std::optional<raft::StateEncoder> encode;
    };
    std::optional<Roll> roll;
    ActiveSegment active;  // given to segments since the last roll
    raft::RollLimits limits;
    // When the newest append time of that was first seen, by this process's clock.
    std::optional<int64_t> seen_append_ms;  // none: nothing of the active segment was seen
    MonotonicTime seen_at{};
    uint64_t state_bytes = 0;  // of the state that was encoded last
    bool is_encoding = false;  // a state on the segments' thread, whose size is not known yet
    LogIndex readable_end;
    // Writes that wait for the one before, in their order.
    std::deque<raft::ReplicaWrite> waiting;
    std::shared_ptr<LargeWrite> large;  // under way; shared with its completion
    uint32_t journalling = 0;        // writes that the journal was given and that are not durable
    uint32_t cuts = 0;               // of these, truncations that segments must wait for
    TruncationEpoch epoch;           // of the newest truncation that began
    TruncationEpoch expected_epoch;  // of the newest one, which may wait
    // The journal knows, durably, that what it cut is off the segments. Else recovery takes nothing
    // from there that it does not name.
    bool is_cut_told = true;
    // Its segments could not be read when the store was opened: what the journal has of it.
    std::unique_ptr<journal::GroupState> unopened;
    Status stall;            // not ok: its segments failed, and are to be written again
    bool is_recent = false;  // written to since the last round of idle syncs
    bool is_quiet = false;   // not written to in all the time between two of them
    bool is_writing = false;
    bool is_rolling = false;  // the journal does not know yet, durably, that it is done
    bool is_syncing = false;
    bool is_faulty = false;            // its segments are damaged: nothing more is written
    std::shared_ptr<Restore> restore;  // shared with what was asked for it
    std::shared_ptr<Restore> rewrite;  // of a segment that is compacted; shared likewise
    uint64_t repairs = 0;              // begun
    uint32_t settled = 0;              // as in CompactionPoint; asked with each answer to an append
    Offset wanted_sealed;              // records below it are to be in sealed segments
    uint32_t newest_generation = 0;    // of a folder that a restore had
    bool may_have_leftovers = false;   // folders of earlier lives are being removed
    // Segments that are not what was synced, by their first index, and why.
    std::map<LogIndex, Status> damaged;
  };

  JournalLogStore(const LogStoreOptions& options, const Environment& environment,
                  journal::JournalClient client);

  // Calls `done` on the shard once all that segments were asked for is done.
  void WaitForSegments(Task done);
  void StopJournal(Task done);
  void Submit(std::vector<journal::GroupRecord> records, Task durable);
  Group* Find(RaftGroupId group);
  using Segments = std::shared_ptr<GroupSegments>;

  // writes.cc: a write's way.
  Group* FindReplica(const raft::ReplicaId& replica);
  // Begins what waits and may begin; what is for the journal goes to `batch`.
  void BeginWaiting(RaftGroupId id, Group& group, JournalBatch* batch);
  bool MayWriteLarge(const Group& group) const;
  bool IsLarge(RaftGroupId id, const Group& group, size_t writes) const;
  // Puts what only the journal has into the segment, committed or not, so that the journal can let
  // go of it.
  void Relieve(RaftGroupId id, Group& group);
  void BeginLarge(RaftGroupId id, Group& group, size_t writes);
  void OnLargeWritten(RaftGroupId id, const std::shared_ptr<LargeWrite>& large,
                      const Status& status);
  // Ends it; null if there is none.
  std::shared_ptr<LargeWrite> EndLarge(Group& group);
  void GiveUpLarge(Group& group);
  // Those that the journal was not given; they are to be told all the same.
  std::vector<raft::DurableWrite> DropWrites(Group& group);
  void TakeIntoJournal(Group& group, raft::ReplicaWrite write, JournalBatch* batch);
  // Tells the journal that the segments are synced up to `index`, committed or not.
  void NameWritten(RaftGroupId id, Group& group, LogIndex index,
                   std::vector<journal::GroupRecord>* records);
  void SubmitBatch(JournalBatch batch);
  void OnJournalled(const std::vector<JournalBatch::Part>& parts);
  void CutSegments(RaftGroupId id, Group& group, const JournalBatch::Part& part);
  // Syncs what is cut, and tells the journal.
  void SyncCut(RaftGroupId id, Group& group);
  void TellCut(RaftGroupId id, Group& group);
  void TellDurable(const std::vector<raft::DurableWrite>& writes);

  // moves.cc: from what is committed to what the journal may forget.
  void ScheduleWrites();
  // Some of what is committed became durable here, or the other way round.
  void OnCommitGrew(RaftGroupId id, Group& group);
  // Whether there is something to be told to the segments, or to the journal of them.
  static bool WantsWrite(const Group& group);
  void WriteCommitted(RaftGroupId id, Group& group);
  // Outcomes of `segments`, which may have been replaced meanwhile.
  Group* FindWriting(RaftGroupId id, const Segments& segments);
  void OnCommitted(RaftGroupId id, const Segments& segments, const Result<SegmentsEnd>& end);
  void SyncGroup(RaftGroupId id, Group& group);
  bool IsRollDue(RaftGroupId id, const Group& group) const;
  static bool IsTooOld(Group& group, MonotonicTime now);
  // Whether records that are not asked for any more cannot go before the active segment is ended.
  bool HoldsDropUp(const Group& group) const;
  // Whether its log may be repaired from another replica.
  static bool HasOthers(const Group& group) { return group.log.configuration.Members().size() > 1; }
  static bool HasEntries(const Group& group) {
    return group.active.first_append_ms.has_value() || group.progress.committed_bytes() > 0;
  }
  // Whether so many bytes are worth ending a segment to be rid of them.
  bool IsWorthDropping(const Group& group, uint64_t bytes) const;
  bool IsLastSealedUnwanted(const Group& group) const;
  void BeginRoll(RaftGroupId id, Group& group);
  // Of the segment that is written on: what a start would have to read of it.
  static uint64_t UnreadBytes(const Group& group) {
    return group.active.bytes - group.active.checkpointed;
  }
  // Whether that can be saved just now, and is worth it at so many of them: the state is written,
  // too.
  static bool IsCheckpointDue(const Group& group, uint64_t unread_bytes);
  // Takes note of the size of a state that was encoded for these segments.
  MoveFunction<void(uint64_t)> WhenEncoded(RaftGroupId id, const Segments& segments);
  MoveFunction<void(Result<SegmentsEnd>)> WhenSynced(RaftGroupId id, const Segments& segments,
                                                     bool is_roll);
  void OnSynced(RaftGroupId id, const Segments& segments, const Result<SegmentsEnd>& end,
                bool is_roll);
  // restore.cc: another log in place of a group's.
  std::shared_ptr<Restore> MakeBeside(RaftGroupId id, Group& group, const LogPoint& begin);
  void BeginBeside(const Restore& beside, MoveFunction<void(Result<RecoveredSegments>)> begun);
  // Takes note of what is appended; whether it is worth writing back.
  static bool Count(const std::vector<raft::core::Entry>& entries, Restore* beside);
  // On the segment executor.
  static void AppendBeside(GroupSegments& segments, std::vector<raft::core::Entry> entries,
                           bool wants_write_back, MoveFunction<void(Result<SegmentsEnd>)> appended);
  void RemoveBeside(RaftGroupId id, const Restore& beside);
  void TryAdopt(RaftGroupId id, Group& group);
  void OnAdopted(const raft::ReplicaId& replica, const std::shared_ptr<Restore>& restore,
                 const Segments& former);
  // Calls `done` with an outcome on the shard, if the restore is still the group's.
  template <typename Outcome>
  MoveFunction<void(Outcome)> WhenRestoring(const raft::ReplicaId& replica,
                                            MoveFunction<void(Group&, Outcome)> done);
  uint64_t SegmentBytes(RaftGroupId id, const Group& group) const;

  // repair.cc: a damaged segment.
  // Of a folder that may have become the group's; whatever is read of them tells of damage.
  Segments MakeSegments(const SegmentFolder& folder, raft::core::Configuration configuration = {});
  void OnDamage(const SegmentFolder& folder, LogIndex first, const Status& why);
  // What was made anew goes into the place of the damaged file.
  void ReplaceDamaged(const raft::ReplicaId& replica, uint32_t settled, StatusDone done);
  // Damage that can be repaired, as of now, is told.
  void TellDamage(RaftGroupId id, const Group& group);
  // Of a group that cannot take part before it is repaired: what was found is read from meanwhile.
  static void TakeDamaged(RaftGroupId id, RecoveredSegments recovered, Group* group);
  // It can be replaced once it is ended.
  static bool IsActiveDamaged(const Group& group);
  // The only state that a restart could begin with was lost with the segment that had it.
  static bool LacksState(const Group& group);
  static LogIndex ActiveBegin(const Group& group) {
    return group.sealed.empty() ? group.log.begin.index : group.sealed.back().end.index;
  }

  // What all sealed segments say, once they are known.
  static void NoteSettled(Group* group);
  // Another file is in the place of a sealed one.
  static void TakeReplaced(const raft::SealedSegment& sealed, Group* group);

  // compaction.cc: segments in which something goes.
  // Whether a segment may be replaced by one that was made of what can be read of it.
  bool MayRewrite(RaftGroupId id, const Group& group) const;
  static bool HoldsCompactionUp(const Group& group);
  // Calls `done` on the shard, with ABORTED if it is not the group's rewrite any more.
  StatusDone WhenRewriting(const raft::ReplicaId& replica, StatusDone done);

  // drops.cc: what nobody asks for any more.
  static bool MayDrop(const Group& group);
  void DropSegments(RaftGroupId id, Group& group);
  void JournalBegin(RaftGroupId id, ReplicaNumber number, const LogPoint& begin);
  void OnBeginDurable(RaftGroupId id, Group& group, const LogPoint& begin);
  // The files of one group at a time, one after the other: each may keep a sync waiting.
  void RemoveDropped(RaftGroupId id);
  void RemoveNext();
  void ScheduleIdleSync();
  bool IsJournalFilling() const;
  void SyncIdleGroups();
  void OnPinned(const std::vector<RaftGroupId>& groups);
  void WatchDisk();
  void OnFreeBytes(const Result<uint64_t>& free);
  void SetDiskFull(bool is_full, const std::string& fact);
  void OnSegmentError(RaftGroupId id, const Status& status);
  static void ForgetWork(Group& group);
  // Those that were found on disk.
  static void TakeSealed(std::vector<raft::SealedSegment> sealed, Group* group);
  void Stall(RaftGroupId id, const Status& status);
  void Resume(RaftGroupId id, Segments segments, const SegmentsEnd& synced,
              RecoveredSegments recovered);
  // The segments of a group that could not be read before.
  void Adopt(RaftGroupId id, Segments segments, RecoveredSegments recovered);
  void SegmentFault(RaftGroupId id, const Status& status);
  // Journals that its segments are damaged for good.
  void MarkFaulty(RaftGroupId id, const Status& why);
  // What a start can have repaired and this life cannot: silent until then.
  void SilenceUntilStart(RaftGroupId id, const Status& why);
  // The journal keeps files for these, but not for ever.
  void GiveUpSilenced();
  // Journals that the segments are synced, and all is committed, up to `end`.
  void MoveLog(RaftGroupId id, Group& group, const SegmentsEnd& end, Task durable);
  static SegmentFolder FolderOf(RaftGroupId id, const Group& group) {
    return {.group = id, .number = group.number, .generation = group.log.generation};
  }
  // Gives `done` the outcome of a read of `segments` on the shard.
  template <typename Outcome>
  MoveFunction<void(Result<Outcome>)> WhenRead(RaftGroupId id, const Segments& segments,
                                               MoveFunction<void(Result<Outcome>)> done);
  Status ReadError(RaftGroupId id, const Segments& segments, const Status& why);
  // Runs `work` on the segment executor.
  template <typename Work>
  void OnSegments(Work work) {
    environment_.segment_executor.Post(std::move(work));
  }

  const LogStoreOptions options_;
  Environment environment_;
  std::unique_ptr<journal::Journal> journal_;  // destroyed on the journal's executor
  journal::JournalClient client_;
  std::map<RaftGroupId, Group> groups_;
  std::map<RaftGroupId, ReplicaNumber> removed_;
  std::map<RaftGroupId, Status> until_start_;  // silent groups, and why
  LogIndex controller_floor_;
  std::set<RaftGroupId> nameless_;  // known to have existed, their records lost to damage
  bool may_lack_groups_ = false;    // damage may have taken groups without a trace
  MoveFunction<void(const std::vector<raft::DurableWrite>&)> durable_listener_;
  MoveFunction<void(RaftGroupId, LogIndex)> segment_listener_;
  MoveFunction<void(RaftGroupId, const LogPoint&)> begin_listener_;
  MoveFunction<void(RaftGroupId, Status)> segments_state_listener_;
  MoveFunction<void(raft::RecoveredReplica)> recovered_listener_;
  MoveFunction<void(RaftGroupId)> damage_listener_;
  std::unique_ptr<Rewriter> rewriter_;
  std::unique_ptr<Scrubber> scrubber_;
  std::unique_ptr<Rereader> rereader_;
  uint64_t stalls_ = 0;
  uint32_t large_writes_ = 0;         // under way
  std::deque<RaftGroupId> removals_;  // of files, the first of them under way
  TimerId write_timer_;
  TimerId idle_timer_;
  TimerId disk_timer_;
  bool is_disk_full_ = false;
  uint32_t unknown_looks_ = 0;  // in a row, that did not tell how much room there is
  Status journal_full_;         // why the journal has no next file
  bool is_stopped_ = false;
  Lifetime lifetime_;  // on the shard
};

}  // namespace millrace::storage

// What the host needs from storage: to make writes durable in order, to move what is committed into
// segments, and to read entries back. storage/logstore implements it from the shared journal and
// the segments; one LogStore serves all groups of a shard.
//
// Everything is called, and completes, on the shard's thread. An error of the journal never reaches
// a caller: it ends the process through the FailStop that storage was given (design D4).
//
//   store.SetDurableListener([..](const std::vector<DurableWrite>& writes) { ... });
//   store.Write({write_of_a, write_of_b});
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "proto/frame/void_range.h"
#include "raft/core/raft.h"
#include "raft/ports/snapshot.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/task.h"

namespace millrace::raft {

// Whose log the group's is. Numbers are on disk.
enum class ReplicaKind : uint8_t {
  kController = 1,
  kPartition = 2,
  kCoordinator = 3,  // groups and transactions (broker/coordinator)
};

// What makes a replica exist on this broker (design D3: only the controller's log creates a
// replica). Kept in the journal from before the replica speaks until its tombstone.
struct ReplicaRecord {
  RaftGroupId group;
  ReplicaNumber number;  // of this replica; a later one of the group here has a higher one
  ReplicaKind kind = ReplicaKind::kPartition;
  // Not born with its group: it knows no configuration until it was restored from another replica,
  // and is silent until then.
  bool is_added = false;
  TopicPartition partition;  // topic 0 for the controller's own group
  // The leader epoch that people are told is this plus the term; 0: not known, or the controller's.
  uint32_t leader_epoch_base = 0;
  // The controller's image that made it had applied its log up to here. One that has not says
  // nothing of the replica. 0 for the controller's own.
  LogIndex controller_index;
  // The offset of the partition's first record.
  Offset first_offset;
  // The first one, the same on every replica that was born with the group. Of use until the first
  // segment is synced; what is in force later is the log's to say (RecoveredReplica::initial).
  core::Configuration configuration;
  bool operator==(const ReplicaRecord&) const = default;
};

// A replica's name that no other replica has, of whatever time.
struct ReplicaId {
  RaftGroupId group;
  ReplicaNumber number;
  auto operator<=>(const ReplicaId&) const = default;
};

// What one replica asks for in one turn.
struct ReplicaWrite {
  ReplicaId replica;
  core::StorageWrite write;
  MonotonicTime submitted_at{};  // told again with its completion
};

struct DurableWrite {
  ReplicaId replica;
  core::DurablePoint point;  // the write's
  MonotonicTime submitted_at{};
};

// A replica as it was found on disk.
struct RecoveredReplica {
  ReplicaRecord record;
  // What the core starts from. commit_index is the synced segment end at least.
  core::InitialState initial;
  // From the newest segment that was sealed with one; entries after it are applied again. None: all
  // entries are, from the log's first on.
  std::optional<Snapshot> snapshot;
  // Entries up to here cannot be applied any more, as compaction rewrote some of them.
  LogIndex rewritten_end;
  // Not ok: the replica is in doubt or damaged (DATA_LOSS; the message names file and place), or
  // cannot be read just now (any other code). It must stay silent: neither vote, nor campaign, nor
  // serve; the rest of the broker goes on.
  Status health;
};

// When a replica's segment is ended.
struct RollLimits {
  uint64_t bytes = 0;               // once it has so many; 0: as the store does by itself
  uint64_t bytes_max = UINT64_MAX;  // ... but so many at most
  Duration age = Duration::max();   // once its first entry is so old
  bool operator==(const RollLimits&) const = default;
};

// A segment that was ended, durably.
struct SealedSegment {
  core::LogPoint end;  // after its last entry
  Offset base_offset;  // of its first record
  uint64_t bytes = 0;  // of its entries
  // Of its last entry, as the leader stamped it; none before has a later one.
  int64_t last_append_ms = 0;
  bool has_state = false;     // the state machine's, at its end
  bool is_rewritten = false;  // compaction left something else than was appended
  uint32_t settled = 0;       // as in core::CompactionPoint

  bool has_records() const { return base_offset < end.next_offset; }
};

// The state machine's state after a log's last entry.
struct RestoredState {
  Bytes state;
  core::Configuration configuration;  // in force there
  LogIndex configuration_index;       // of the entry that says so; 0: it was before all of them
  core::CompactionPoint compacted;
};

// A stretch of a log that was synced and cannot be read back any more.
struct DamagedRange {
  core::LogPoint begin;               // before its first entry
  core::LogPoint end;                 // after its last
  core::Configuration configuration;  // whose members may have it: the newest that was committed
  Status why;
};

using StatusDone = MoveFunction<void(Status)>;
using EntriesDone = MoveFunction<void(Result<std::vector<core::Entry>>)>;
using TimeDone = MoveFunction<void(Result<int64_t>)>;
using IndexDone = MoveFunction<void(Result<LogIndex>)>;

// Between which times an entry was appended, as leaders stamped it; milliseconds since 1970.
struct AppendTime {
  int64_t min_ms = 0;
  int64_t max_ms = 0;
  bool operator==(const AppendTime&) const = default;
};
using AppendTimeDone = MoveFunction<void(Result<AppendTime>)>;

using VoidRangesDone = MoveFunction<void(Result<std::vector<VoidRange>>)>;

class LogStore {
 public:
  virtual ~LogStore() = default;

  // Makes the writes durable; a replica's ones in their order. Entries that a truncation replaces
  // come with it. What belongs to a replica that is gone by then is dropped.
  virtual void Write(std::vector<ReplicaWrite> writes) = 0;
  // Called with writes that became durable, and with those that were dropped; each is told once, a
  // replica's in the order of Write.
  virtual void SetDurableListener(
      MoveFunction<void(const std::vector<DurableWrite>&)> listener) = 0;

  // Journals that the replica exists; `durable` once that is synced. Pre: the group is unknown
  // here.
  virtual void CreateReplica(const ReplicaRecord& record, Task durable) = 0;
  // Journals a tombstone, then removes the replica's segments. Its number never comes back.
  // `controller_index`: as of the image that no longer has it.
  virtual void RemoveReplica(RaftGroupId group, LogIndex controller_index, Task durable) = 0;
  // Whether this replica may be made here. Not if it was removed, or one of a higher number was:
  // the controller's log, applied again after a restart, must not make it anew. And not if it
  // existed and damage took its record: it has made promises that nobody here remembers, so it
  // stays silent (design D4).
  virtual bool MayCreate(const ReplicaId& replica) const = 0;
  // The newest index of the controller's log that made or removed a replica here. An image that
  // has not applied as much neither makes nor removes: it may be older than what is here.
  virtual LogIndex controller_floor() const = 0;

  // The entries up to `index` are committed, and go into segments in the background if they are not
  // there. Pre: they were given to Write, and none of them is ever truncated; it grows. The store
  // keeps what segments do not have.
  virtual void Commit(RaftGroupId group, LogIndex index) = 0;
  // The state machine's state after `index`, the last one that Commit told, if there is one.
  // Offered when WantsRoll(group); the segment is sealed there with this state, which is encoded on
  // the segments' thread. To be asked now and then where nothing is written, too.
  virtual bool WantsRoll(RaftGroupId group, MonotonicTime now) = 0;
  virtual void Roll(RaftGroupId group, LogIndex index, std::optional<StateEncoder> state) = 0;
  // The state machine's state after `index`, likewise, offered when WantsCheckpoint(group): a later
  // start begins with it, if it can, instead of reading the segment that is written on.
  virtual bool WantsCheckpoint(RaftGroupId group) const = 0;
  // Whether one is worth it if nothing follows: the host stops.
  virtual bool WantsLastCheckpoint(RaftGroupId group) const = 0;
  virtual void Checkpoint(RaftGroupId group, LogIndex index, StateEncoder state) = 0;
  // From now on; none at first. No effect where the group is unknown.
  virtual void SetRollLimits(RaftGroupId group, const RollLimits& limits) = 0;

  // Records before `start` are not asked for any more. Whole segments of them go, oldest first,
  // once a later one holds a state, so that a restart needs nothing of them; where that takes
  // ending the one that is written on, WantsRoll says so. It grows.
  virtual void SetLogStart(RaftGroupId group, Offset start) = 0;
  // Oldest first; what is written on is not among them. None of a group that is unknown.
  virtual const std::deque<SealedSegment>& sealed_segments(RaftGroupId group) const = 0;
  // Of the entries in the segment that is written on; 0 of a group that is unknown.
  virtual uint64_t active_segment_bytes(RaftGroupId group) const = 0;
  // Whether the newest of them holds nothing but such records and could go, if only an entry
  // followed that another one can be ended with.
  virtual bool WantsEntry(RaftGroupId group) const = 0;
  // Another log in place of a replica's, from another replica: it is built beside the one that is
  // here, which goes on meanwhile, and takes its place at once. Each `done` comes on the shard,
  // unless the replica is gone or EndRestore was called; an error is one of the environment.
  //
  // Begins it anew: the log begins at `begin`, and has nothing.
  virtual void BeginRestore(const ReplicaId& replica, const core::LogPoint& begin,
                            StatusDone done) = 0;
  // Entries that are committed and follow on. Pre: what was asked for before is done.
  virtual void AppendRestored(const ReplicaId& replica, std::vector<core::Entry> entries,
                              StatusDone done) = 0;
  // The state after the last of them, of which there is one at least; durable once `done` is ok.
  virtual void SealRestored(const ReplicaId& replica, RestoredState state, StatusDone done) = 0;
  // It takes the place of the log that is here, with all that was written to that: nothing of it is
  // told any more. Pre: SealRestored; no Write comes until `done`, and all before have the
  // replica's newest hard state, which is kept. What a core begins with, but for that.
  virtual void AdoptRestored(const ReplicaId& replica,
                             MoveFunction<void(core::InitialState)> done) = 0;
  // Gives it up. Not after AdoptRestored.
  virtual void EndRestore(const ReplicaId& replica) = 0;

  // A stretch of a group's log is damaged (DamageListener): it is made anew beside it, from what is
  // intact here and from other replicas, with AppendRestored, and takes its place. EndRestore gives
  // it up. The log goes on meanwhile, in everything but reads of that stretch; one that was found
  // damaged at the start is told by the recovered listener once all of it is repaired.
  //
  // Whether there is any, be it one that cannot be replaced yet.
  virtual bool HasDamage(RaftGroupId group) const = 0;
  // The oldest one that begins at `from` or behind it; nullopt if there is none that could be
  // replaced now.
  virtual std::optional<DamagedRange> damaged_range_from(RaftGroupId group,
                                                         LogIndex from) const = 0;
  // The oldest of all.
  std::optional<DamagedRange> damaged_range(RaftGroupId group) const {
    return damaged_range_from(group, LogIndex());
  }
  // Pre: `range` is damaged_range(group), or was.
  virtual void BeginRepair(const ReplicaId& replica, const DamagedRange& range,
                           StatusDone done) = 0;
  // Pre: all of the range's entries were appended. Ok: they can be read, durably. `given`: how
  // those that other replicas gave are compacted. The log has had no pass that these have not.
  virtual void FinishRepair(const ReplicaId& replica, const core::CompactionPoint& given,
                            StatusDone done) = 0;
  // No member has the oldest range. A log that was found damaged at the start is silent from now
  // on, for good, and nothing is kept for it; of another one that range alone is not read.
  virtual void GiveUpRepair(const ReplicaId& replica) = 0;
  // Compaction. A sealed segment in which something goes is made anew beside it, and takes its
  // place: the same entries, rewritten (IsRewritten), of the same ends. One segment of a group at a
  // time. Each `done` comes on the shard, unless the replica is gone; ABORTED: that segment is not
  // there any more as it was, or something else replaces it. Any other error is one of the
  // environment.
  //
  // How far the group's log is compacted.
  virtual core::CompactionPoint compacted(RaftGroupId group) const = 0;
  // Where rewriting may go up to: what lies behind would be applied by a start.
  virtual LogIndex rewritable_end(RaftGroupId group) const = 0;
  // The segment that is written on is to be ended if it has records below `offset`.
  virtual void WantSealed(RaftGroupId group, Offset offset) = 0;
  // Of the one behind `begin`. Pre: it ends at or below rewritable_end.
  virtual void BeginRewrite(const ReplicaId& replica, LogIndex begin, StatusDone done) = 0;
  // Entries that follow on. Pre: what was asked for before is done.
  virtual void AppendRewritten(const ReplicaId& replica, std::vector<core::Entry> entries,
                               StatusDone done) = 0;
  // Pre: all of the segment's entries were appended. Ok: they are read from now on. `settled`: as
  // in core::CompactionPoint, of this pass.
  virtual void FinishRewrite(const ReplicaId& replica, uint32_t settled, StatusDone done) = 0;
  // Gives it up.
  virtual void EndRewrite(const ReplicaId& replica) = 0;
  // So often a repair was begun: what had been looked at before may be another replica's by then.
  virtual uint64_t repairs_begun(RaftGroupId group) const = 0;
  // All segments have had the pass. `done` once that is durable. Pre: it is not below the last one.
  virtual void FinishPass(const ReplicaId& replica, uint32_t pass, StatusDone done) = 0;

  // Called when a read met damage that could be repaired; often of the same.
  virtual void SetDamageListener(MoveFunction<void(RaftGroupId)> listener) = 0;

  // Called with where a group's log begins from now on, durably, before what lies below goes.
  virtual void SetBeginListener(
      MoveFunction<void(RaftGroupId, const core::LogPoint&)> listener) = 0;

  // Entries from `first` on within `bytes_max` (the first always passes) that lie in segments.
  // OUT_OF_RANGE if `first` is not readable from segments; DATA_LOSS if damaged; UNAVAILABLE if it
  // cannot be read just now, though it is there.
  virtual void Read(RaftGroupId group, LogIndex first, uint64_t bytes_max, EntriesDone done) = 0;
  // The same, for repairs alone: an entry that is intact is found behind damaged ones, too. What
  // comes may not be the log's, as a producer may have made it up: whoever takes it proves it by
  // the chain.
  virtual void Salvage(RaftGroupId group, LogIndex first, uint64_t bytes_max, EntriesDone done) = 0;
  // As Read, beginning with the entry that holds record `offset`, and of entries that take offsets
  // alone. Record batches count as bytes, nothing else does: a stretch without any is looked
  // through, up to a few times `bytes_max`, and if what comes has no batch still, it tells by its
  // end how far that was. OUT_OF_RANGE, too, if the record lies before all that is kept.
  virtual void ReadFromOffset(RaftGroupId group, Offset offset, uint64_t bytes_max,
                              EntriesDone done) = 0;
  // The newest time of the records from `from` on that lie in segments, milliseconds since 1970; 0
  // if there are none.
  virtual void FindNewestTime(RaftGroupId group, Offset from, TimeDone done) = 0;
  // The first entry below `before` that lies in segments, reaches beyond record `from`, and has a
  // record that is not older than `timestamp_ms` (HasRecordSince); 0 if none. Reads one stretch
  // between index points, not the log; but of the segment that holds `from` what follows that.
  virtual void FindTimestamp(RaftGroupId group, int64_t timestamp_ms, Offset from, LogIndex before,
                             IndexDone done) = 0;
  // When the entry that holds record `offset` was appended, as closely as the index points around
  // it tell: no file is read. OUT_OF_RANGE if segments do not have it.
  virtual void FindAppendTime(RaftGroupId group, Offset offset, AppendTimeDone done) = 0;
  // What is void of [first, end), as markers say that can be read from segments; no disk is read.
  virtual void FindVoidRanges(RaftGroupId group, Offset first, Offset end, VoidRangesDone done) = 0;
  // Behind which entries can be read back with Read; nullopt if nothing is known of them.
  virtual std::optional<core::LogPoint> readable_begin(RaftGroupId group) const = 0;
  // Entries up to here can be read back with Read; grows. 0 if none.
  virtual LogIndex readable_end(RaftGroupId group) const = 0;

  // Called when readable_end of a group grew, so that the in-memory tail may shrink.
  virtual void SetSegmentListener(MoveFunction<void(RaftGroupId, LogIndex)> listener) = 0;

  // Called when it changes whether a group's segments can be written. DATA_LOSS: never again, what
  // was synced is damaged, and the replica must stop (design D4). Another error: not just now; what
  // is committed stays in the journal alone, so that the replica should take on little. Ok: all
  // that is committed is synced, and writing goes on.
  virtual void SetSegmentsStateListener(MoveFunction<void(RaftGroupId, Status)> listener) = 0;

  // Called with a replica that could not be read when the store was opened, once it can be.
  virtual void SetRecoveredListener(MoveFunction<void(RecoveredReplica)> listener) = 0;

  // Journal bytes that cannot be recycled yet as a share of their cap, 0 to 1; above 1 the broker
  // must refuse appends. Refusing keeps hard states and no-ops writable (the reserve).
  virtual double journal_pressure() const = 0;
  // Not ok: produce must be refused, and why (design D4: an admission state): the disk is nearly
  // full, or the journal cannot be made longer. RESOURCE_EXHAUSTED.
  virtual Status admission() const = 0;
};

}  // namespace millrace::raft

// One replica of one partition: takes batches as leader, answers producers once their batch is
// committed, and reads what is committed from the tail or from segments. Its log is the Raft
// group's log.
//
//   Produce -> check sequence -> frame -> Group::Propose ... committed ... Apply -> answer
//
// A StateMachine of its Raft group; owned by ReplicaSet, on the shard's thread. No gRPC, no log
// lines; the clock only stamps append times.
//
//   partition.Produce(std::move(batch), [](Result<ProduceOutcome> outcome) { ... });
//   partition.Read({.offset = o, .bytes_max = n}, [](Result<ReadOutcome> read) { ... });
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "broker/controller/image.h"
#include "broker/controller/leader_epoch.h"
#include "broker/controller/transaction_end.h"
#include "broker/controller/transaction_name.h"
#include "broker/controller/transaction_registrar.h"
#include "broker/partition/batch_worker.h"
#include "broker/partition/compaction/compaction_settings.h"
#include "broker/partition/compaction/schedule.h"
#include "broker/partition/held_batches.h"
#include "broker/partition/producer_memory.h"
#include "broker/partition/producer_table.h"
#include "broker/partition/retention.h"
#include "broker/partition/sent_batch.h"
#include "broker/partition/time_index.h"
#include "broker/partition/turns.h"
#include "broker/partition/void_ranges.h"
#include "millrace/internal/v1/transaction_marker.pb.h"
#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "proto/frame/frame.h"
#include "proto/record/record_batch.h"
#include "raft/ports/group.h"
#include "raft/ports/log_store.h"
#include "raft/ports/state_machine.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"

namespace millrace::internal::v1 {
class Compact;
class PartitionCommand;
}  // namespace millrace::internal::v1

namespace millrace::broker {

// What a batch is refused with whose record at `place` has no key, in a topic that is compacted;
// and the metadata that has the place.
inline constexpr char kRecordWithoutKey[] = "record_without_key";
Status RecordWithoutKey(uint32_t place);
// What is refused that is to be stored at an offset below 0.
Status NegativeExpectedEnd();

// The first record that is not older than a time.
struct FoundTime {
  Offset offset;
  int64_t timestamp_ms = 0;  // its own, or its batch's append time
  LeaderEpoch leader_epoch;  // of the leader that appended it
};

// What a reader sees of transactions.
enum class Isolation : uint8_t {
  // What is committed: nothing void, and nothing from the last stable offset on.
  kCommitted,
  kUncommitted,  // all up to the high watermark
};

struct PartitionOffsets {
  Offset log_start;
  Offset high_watermark;
  // The first record whose transaction is open, else the high watermark.
  Offset last_stable;
  LeaderEpoch leader_epoch;
  // Where a reader of the time that was asked for begins; the high watermark if no record is as
  // new.
  std::optional<Offset> timestamp_offset;
  // The record there, if there is one.
  std::optional<FoundTime> found;

  // What a reader reads up to.
  Offset end_of(Isolation isolation) const {
    return isolation == Isolation::kCommitted ? last_stable : high_watermark;
  }
};

// Committed batches in order; each entry's frame holds one (proto/frame).
struct ReadOutcome {
  PartitionOffsets offsets;
  std::vector<raft::core::Entry> entries;
  // Past the last record read and what holds none there, or none for this reader: also where there
  // are no entries it may be past the offset asked for. That itself at the end alone.
  Offset next_offset;
  uint32_t leader_epoch_base = 0;  // of the entries' terms
};

// What to tell beside where the log starts and ends; at most one.
struct OffsetsQuery {
  // The first record that is not older, by its timestamp, or its batch's append time if it has
  // none; milliseconds since 1970.
  std::optional<int64_t> timestamp_ms;
  // The first of those with the newest time.
  bool is_newest = false;
  bool operator==(const OffsetsQuery&) const = default;
};

struct ReadRequest {
  Offset offset;
  // Bytes of frames; the first batch always passes.
  uint64_t bytes_max = 0;
  Isolation isolation = Isolation::kUncommitted;
};

using ReadDone = MoveFunction<void(Result<ReadOutcome>)>;
using OffsetsDone = MoveFunction<void(Result<PartitionOffsets>)>;

class Partition final : public raft::StateMachine {
 public:
  struct Environment {
    raft::LogStore& store;
    const Clock& clock;
    BatchWorker& batches;  // this and the following outlive the partition
    // For lookups by time, each of which holds an entry, as stored and unpacked.
    Turns& lookups;
    const Image& image;
    ProducerMemory& producers;
    TransactionRegistrar& registrar;
  };
  // Bytes of one batch, as it is sent, unless the topic says otherwise.
  static constexpr uint32_t kBatchBytesMaxDefault = 1'048'588;
  // Bytes of a batch's records before compression. Readers that take no compression get them in
  // pieces, but a record in one.
  static constexpr uint32_t kInflatedBytesMax = kServedWholeBytesMax;

  // What the topic's settings say to a partition.
  struct Settings {
    uint32_t batch_bytes_max = kBatchBytesMaxDefault;
    bool is_protected = false;  // no records are deleted
    RetentionLimits retention;  // none where nothing expires
    CompactionSettings compaction;
    bool operator==(const Settings&) const = default;
  };

  Partition(RaftGroupId group, TopicPartition name, const Environment& environment);

  RaftGroupId group() const { return group_; }
  const TopicPartition& name() const { return name_; }
  // Until it is known, clients are not served: an epoch told without it would be a wrong one.
  void set_leader_epoch_base(uint32_t base) { leader_epoch_base_ = base; }
  void set_settings(const Settings& settings) { settings_ = settings; }

  // Appends the batch. `done` once it is committed and applied, or with the error:
  // INVALID_ARGUMENT naming the field or the record, UNAVAILABLE (NOT_LEADER: the batch's fate may
  // be unknown; NOT_INITIALIZED: nothing is stored), RESOURCE_EXHAUSTED, OUT_OF_RANGE (sequence
  // gap), ABORTED (fenced, or its transaction has ended), FAILED_PRECONDITION (OFFSET_MOVED with
  // end_offset: the log does not end where it was to, and what it ends with is committed).
  void Produce(SentBatch batch, ProduceDone done);
  // Writes the transaction's marker, whether it has batches here or not, unless it has ended.
  // `done` with ok once an entry that ended it is applied; UNAVAILABLE if leadership is lost.
  void EndTransaction(const TransactionEnd& end, raft::StatusDone done);

  // Batches from the one that holds `offset` on; none from the end on that the isolation has.
  // OUT_OF_RANGE with log_start_offset and end_offset before the log's start and above the high
  // watermark, after a read barrier; UNAVAILABLE if not leading.
  void Read(const ReadRequest& request, ReadDone done);
  // The same of what this replica has applied, whether it leads or not, from its segments where
  // these have it: for whoever compares replicas, as it may be behind. OUT_OF_RANGE as above,
  // without a barrier; UNAVAILABLE, or the replica's fault, while it takes no part.
  void ReadHere(const ReadRequest& request, ReadDone done);
  // The offsets at this moment, after a read barrier. RESOURCE_EXHAUSTED with RetryInfo if too many
  // ask for times.
  void Offsets(const OffsetsQuery& query, OffsetsDone done);
  // When the entry that holds the record at `offset` was appended, between two times: the same one
  // where it is in memory. No disk is read, and nothing confirmed. OUT_OF_RANGE if there is no such
  // record; UNAVAILABLE if not leading.
  void FindAppendTime(Offset offset, raft::AppendTimeDone done);
  // The log starts at `before` at least from now on; `done` with its offsets once that is committed
  // and applied. OUT_OF_RANGE past the high watermark; FAILED_PRECONDITION if the topic is
  // protected or the cluster's level too low; UNAVAILABLE if not leading.
  void DeleteRecords(Offset before, OffsetsDone done);
  // Lets go what the topic's retention does not keep, and what is superseded where it is compacted.
  // To be called each second; `wall_ms`: none while this broker's wall clock is in doubt.
  void Tend(std::optional<int64_t> wall_ms);
  // What was decided of compaction, as far as it is applied; and by which entry, or 0 if that lies
  // before the state that this replica began with.
  const CompactionState& compaction() const { return compaction_; }
  LogIndex compaction_decided_by() const { return compaction_decided_by_; }
  // The newest pass that this replica has done.
  uint32_t passes_done() const { return environment_.store.compacted(group_).pass; }
  // This replica has done a pass.
  void OnPassDone() { raft_->TellPass(); }

  // Where a reader waits.
  struct WaitPlace {
    Offset offset;
    Isolation isolation = Isolation::kUncommitted;
  };
  // Calls `wake` once, when the end of that isolation passes the offset, or leadership is lost.
  // Pre: place.offset >= end_of(place.isolation). The waiter's id, never 0.
  uint64_t Wait(const WaitPlace& place, Task wake);
  void CancelWait(uint64_t waiter) { waiters_.erase(waiter); }

  // Told of every change, after the partition itself.
  void SetLeadershipListener(MoveFunction<void(const raft::Leadership&)> listener) {
    listener_ = std::move(listener);
  }
  const raft::Leadership& leadership() const { return leadership_; }
  // That of the leadership; none while its base is not known.
  std::optional<LeaderEpoch> leader_epoch() const {
    if (leader_epoch_base_ == 0) return std::nullopt;
    return known_leader_epoch();
  }
  Offset high_watermark() const { return next_offset_; }
  // The first offset of the oldest transaction that is open, else the high watermark.
  Offset last_stable() const;
  Offset end_of(Isolation isolation) const {
    return isolation == Isolation::kCommitted ? last_stable() : high_watermark();
  }

  void Attach(raft::Group& group) override { raft_ = &group; }
  Status Restore(Bytes state) override;
  Status Apply(const raft::core::Entry& entry) override;
  raft::StateEncoder TakeSnapshot() const override;
  Offset next_offset() const override { return next_offset_; }
  Offset log_start() const override { return log_start_; }
  int64_t last_append_time_ms() const override { return last_append_time_ms_; }
  void OnLeadership(const raft::Leadership& leadership) override;

 private:
  struct Pending {
    LogIndex index;
    ProduceOutcome outcome;
    std::vector<ProduceDone> waiting;
  };
  struct Waiter {
    WaitPlace place;
    Task wake;
  };
  struct Ending {
    LogIndex index;
    raft::StatusDone done;
  };
  struct Deletion {
    Offset before;
    OffsetsDone done;
  };

  // NOT_INITIALIZED while the leader epochs' base is not known.
  Status CheckKnowsEpochs() const;
  // Pre: it is known.
  LeaderEpoch known_leader_epoch() const;
  void CheckOffThread(const SentBatch& batch, const RecordBatchView& view, ProduceDone done);
  // Pre: the batch's bytes are all right.
  void TakeChecked(const RecordBatchView& view, const SentBatch& batch, ProduceDone done);
  void Append(const RecordBatchView& view, const Bytes& batch, int64_t now_ms, ProduceDone done);
  Status CheckGiven(ProducerId producer, uint32_t epoch) const;
  Status CheckKeys(const RecordBatchView& view) const;
  // Whether a batch with this check may be appended; if not, `done` was answered or kept.
  bool Admit(const SequenceCheck& check, ProduceDone* done);
  void RefuseOnceConfirmed(const Status& error, ProduceDone done);
  bool HasMoved(const SentBatch& batch) const;
  // Pre: HasMoved.
  void RefuseMoved(Offset expected, ProduceDone done);
  // Pre: it has joined, as who leads has.
  raft::TailView Tail() const;
  ReadOutcome EmptyOutcome(const ReadRequest& request) const;
  ReadOutcome TailOutcome(const ReadRequest& request) const;
  LogIndex FindInTail(Offset offset) const;
  bool TailHolds(Offset offset) const;
  bool SegmentsHold(Offset offset) const;
  void RefuseOutOfRange(Offset offset, ReadDone done);
  void ReadSegments(const ReadRequest& request, ReadDone done);
  PartitionOffsets offsets_now() const;
  static Status OffsetOutOfRange(Offset offset, const PartitionOffsets& offsets);

  // transactions.cc
  // Whether this cluster has transactions, if it is a number of one.
  Status CheckMayBegin(uint64_t number, ProducerId producer) const;
  // Whether a batch of this transaction may be appended now; if not, it was answered, or is held.
  bool AdmitTransaction(const RecordBatchView& view, const SentBatch& batch, ProduceDone* done);
  void Hold(const RecordBatchView& view, const SentBatch& batch, ProduceDone done);
  void HoldToRegister(const RecordBatchView& view, const SentBatch& batch, ProduceDone done);
  void Register(const TransactionName& name);
  void OnRegistered(const HeldBatches::Registration& asked, const Status& registered);
  bool IsBehind(const TransactionName& name) const;
  void ReleaseUnlessBehind(ProducerId producer);
  void ReleaseHeld(ProducerId producer);
  void RefuseExpired();
  static void FailHeld(std::vector<HeldBatch> held, const Status& why);
  Result<LogIndex> ProposeMarker(const TransactionEnd& end);
  void ApplyMarker(const FrameHeader& header);
  void OnMarkerApplied(const FrameHeader& header);
  void FailEndings(const Status& why);
  void LeaveOutVoid(const ReadRequest& request, ReadOutcome outcome, ReadDone done);

  // log_start.cc
  void ProposeDeletions();
  Status ProposeStart(Offset start);
  Result<LogIndex> ProposeCommand(const internal::v1::PartitionCommand& command);
  void TendStart(std::optional<int64_t> wall_ms);
  void TendCompaction(std::optional<int64_t> wall_ms);
  Status ApplyCompact(const FrameHeader& header, const internal::v1::Compact& compact);
  bool WantsStartAgain() const;
  Status ApplyCommand(const raft::core::Entry& entry);
  void OnCommandApplied(LogIndex index);
  void FailDeletions(const Status& why);

  // time_lookup.cc. A search for the first record from `from` on that is not older.
  struct TimeSearch {
    int64_t timestamp_ms = 0;
    Offset from;
    PartitionOffsets offsets;  // as they were when it began
  };
  void AwaitTurn(const OffsetsQuery& query, const PartitionOffsets& offsets, OffsetsDone done);
  void FindNewest(int64_t in_vain_ms, OffsetsDone done);
  void FindTimestamp(const TimeSearch& search, OffsetsDone done);
  void OnEntryFound(const TimeSearch& search, const std::optional<raft::core::Entry>& entry,
                    OffsetsDone done);
  void FindBehind(Offset end, TimeSearch search, OffsetsDone done);
  std::optional<raft::core::Entry> FindInTail(const TimeSearch& search, LogIndex tail_begin) const;
  void NoteTime(LogIndex index, const FrameHeader& header);
  void WakeWaiters(bool all);

  const RaftGroupId group_;
  const TopicPartition name_;
  Environment environment_;
  raft::Group* raft_ = nullptr;     // null before Attach
  uint32_t leader_epoch_base_ = 0;  // 0: not known
  Settings settings_;
  ProducerTable producers_;
  TimeIndex times_;
  Offset next_offset_;
  Offset log_start_;
  int64_t last_append_time_ms_ = 0;
  raft::Leadership leadership_;
  Offset led_from_;  // where this broker's latest time as leader began
  MoveFunction<void(const raft::Leadership&)> listener_;
  std::deque<Pending> pending_;
  std::deque<Ending> endings_;  // markers in flight, by index
  HeldBatches held_;
  // What the batches that are released just now have registered.
  std::optional<TransactionName> granted_;
  VoidRanges void_ranges_;
  std::vector<Deletion> deletions_;
  CompactionState compaction_;
  LogIndex compaction_decided_by_;
  std::optional<LogIndex> pass_in_flight_;   // likewise
  std::optional<LogIndex> start_in_flight_;  // of the command that is proposed and not applied
  // When the start is told once more if all records are gone by then; none: not at all.
  std::optional<MonotonicTime> start_again_at_;
  uint64_t batches_in_check_ = 0;  // at environment_.batches, not appended yet
  std::map<uint64_t, Waiter> waiters_;
  uint64_t next_waiter_ = 1;
  Lifetime lifetime_;
};

}  // namespace millrace::broker

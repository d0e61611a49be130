#include "broker/partition/partition.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"
#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "proto/frame/frame.h"
#include "proto/record/record_batch.h"

namespace millrace::broker {
namespace {

using raft::core::Entry;

// The versions of PartitionState: before feature level 2, with a log start, compacted, and with
// transactions.
constexpr uint32_t kFirstStateVersion = 1;
constexpr uint32_t kStateVersionWithStart = 2;
constexpr uint32_t kStateVersionCompacted = 3;
constexpr uint32_t kStateVersion = 4;

uint16_t FlagsOf(const RecordBatchView& batch) {
  uint16_t flags = batch.transaction_number == 0 ? 0 : kFrameTransactional;
  if (batch.is_packed) flags |= kFramePacked;
  if (batch.is_packed && IsCompressed(batch.compression)) flags |= kFrameCompressed;
  return flags;
}

// Keeps `entry` if it is a record batch, within the request's bytes and the reader's end. What else
// takes offsets, as what compaction left nothing of, is passed over.
void Collect(const Entry& entry, const ReadRequest& request, uint64_t* bytes, bool* is_full,
             ReadOutcome* outcome) {
  const FrameHeader header = entry.frame.header();
  const Offset reader_end = outcome->offsets.end_of(request.isolation);
  if (header.base_offset >= reader_end) {
    *is_full = true;
    return;
  }
  if (header.type != FrameType::kRecordBatch) {
    const Offset end = std::min(header.base_offset + header.offset_span, reader_end);
    outcome->next_offset = std::max(outcome->next_offset, end);
    return;
  }
  if (!outcome->entries.empty() && *bytes + entry.size_bytes() > request.bytes_max) {
    *is_full = true;
    return;
  }
  *bytes += entry.size_bytes();
  outcome->entries.push_back(entry);
  outcome->next_offset = header.base_offset + header.offset_span;
}

CompactionState CompactionOf(const internal::v1::PartitionState& saved) {
  const internal::v1::SavedCompaction& in = saved.compaction();
  return {.pass = in.pass(),
          .clean_to = Offset(in.clean_to()),
          .clean_from = Offset(in.clean_from()),
          .settled = in.settled_pass(),
          .tombstones_below = Offset(in.tombstones_below()),
          .older_than_ms = in.older_than_ms()};
}

void SetCompaction(const CompactionState& state, internal::v1::PartitionState* saved) {
  saved->set_version(kStateVersionCompacted);
  internal::v1::SavedCompaction& out = *saved->mutable_compaction();
  out.set_pass(state.pass);
  out.set_clean_to(state.clean_to.value());
  out.set_clean_from(state.clean_from.value());
  out.set_settled_pass(state.settled);
  out.set_tombstones_below(state.tombstones_below.value());
  out.set_older_than_ms(state.older_than_ms);
}

}  // namespace

Partition::Partition(RaftGroupId group, TopicPartition name, const Environment& environment)
    : group_(group), name_(name), environment_(environment), producers_(environment.producers) {}

Status Partition::OffsetOutOfRange(Offset offset, const PartitionOffsets& offsets) {
  return OutOfRange("offset " + std::to_string(offset.value()) + " is outside " +
                        std::to_string(offsets.log_start.value()) + " to " +
                        std::to_string(offsets.high_watermark.value()),
                    Reason::kOffsetOutOfRange)
      .AddMetadata("log_start_offset", std::to_string(offsets.log_start.value()))
      .AddMetadata("end_offset", std::to_string(offsets.high_watermark.value()));
}

// Frames the batch, proposes it, and keeps `done` for its commit.
void Partition::Append(const RecordBatchView& view, const Bytes& batch, int64_t now_ms,
                       ProduceDone done) {
  const uint32_t crc = Crc32c(batch.view());
  FrameHeader draft{.type = FrameType::kRecordBatch,
                    .feature_level = MILLRACE_MUTANT(kNextLevelTooSoon)
                                         ? KnownFeatureLevel()
                                         : environment_.image.entry_level(),
                    .flags = FlagsOf(view),
                    .payload_size = static_cast<uint32_t>(batch.size()),
                    .base_offset = raft_->next_offset(),
                    .offset_span = view.record_count,
                    .record_count = view.record_count,
                    .append_time_ms = std::max(now_ms, raft_->last_append_time_ms()),
                    .max_timestamp_ms = view.max_timestamp_ms,
                    .producer_id = view.producer_id,
                    .producer_epoch = view.producer_epoch,
                    .first_sequence = view.first_sequence,
                    .payload_crc = crc,
                    .stored_crc = crc,
                    .transaction_number = view.transaction_number};
  if (view.has_untimed_records) {
    draft.max_timestamp_ms = std::max(draft.max_timestamp_ms, draft.append_time_ms);
  }
  Buffer frame = AllocateFrame(batch.size());
  std::memcpy(FramePayload(frame), batch.data(), batch.size());
  const Result<LogIndex> index =
      raft_->Propose(raft::ProposalClass::kBulk, draft, std::move(frame));
  if (!index.ok()) {
    done(index.status());
    return;
  }
  if (view.producer_id != ProducerId()) {
    producers_.AddInFlight({view.producer_id, view.producer_epoch, view.transaction_number},
                           {.first_sequence = draft.first_sequence,
                            .record_count = draft.record_count,
                            .base_offset = draft.base_offset,
                            .append_time_ms = draft.append_time_ms},
                           *index);
  }
  Pending& pending = pending_.emplace_back();
  pending.index = *index;
  pending.outcome = {.base_offset = draft.base_offset,
                     .append_time_ms = draft.append_time_ms,
                     .is_duplicate = false,
                     .leader_epoch = known_leader_epoch()};
  pending.waiting.push_back(std::move(done));
}

bool Partition::Admit(const SequenceCheck& check, ProduceDone* done) {
  switch (check.verdict) {
    case SequenceCheck::kNew:
      return true;
    case SequenceCheck::kRefused:
      RefuseOnceConfirmed(check.error, std::move(*done));
      return false;
    case SequenceCheck::kOldDuplicate:
    case SequenceCheck::kDuplicate: {
      const bool is_known = check.verdict == SequenceCheck::kDuplicate;
      MILLRACE_SOMETIMES("a duplicate was answered");
      MILLRACE_SOMETIMES_IF("a duplicate was answered after a leader change",
                            is_known && check.original.base_offset < led_from_);
      (*done)(ProduceOutcome{.base_offset = is_known ? check.original.base_offset : Offset(-1),
                             .append_time_ms = check.original.append_time_ms,
                             .is_duplicate = true,
                             .leader_epoch = known_leader_epoch()});
      return false;
    }
    case SequenceCheck::kInFlight:
      MILLRACE_SOMETIMES("a duplicate waited for its original");
      for (Pending& pending : pending_) {
        if (pending.index == check.original_index) pending.waiting.push_back(std::move(*done));
      }
      return false;
  }
  return false;
}

// A producer takes a refusal for the last word. One who no longer leads, and does not know it yet,
// may lack what the producer was acknowledged elsewhere, and must not speak it.
void Partition::RefuseOnceConfirmed(const Status& error, ProduceDone done) {
  raft_->ReadBarrier([this, error, term = leadership_.term, life = lifetime_.watch(),
                      done = std::move(done)](Status status) mutable {
    if (!life) status = NotFound("the partition was deleted", Reason::kTopicDeleted);
    if (status.ok() && leadership_.term != term) status = raft_->NotLeader();
    MILLRACE_SOMETIMES_IF("a refusal was withheld by who no longer led", !status.ok());
    done(status.ok() ? error : status);
  });
}

PartitionOffsets Partition::offsets_now() const {
  return {.log_start = log_start(),
          .high_watermark = high_watermark(),
          .last_stable = last_stable(),
          .leader_epoch = known_leader_epoch()};
}

Status Partition::CheckKnowsEpochs() const {
  if (leader_epoch_base_ != 0) return Status::Ok();
  MILLRACE_SOMETIMES("a replica did not know its leader epochs yet");
  return Unavailable("this broker is starting and does not know the partition's leader epochs yet",
                     Reason::kNotInitialized);
}

LeaderEpoch Partition::known_leader_epoch() const {
  CHECK_NE(leader_epoch_base_, 0U) << "group=" << group_;
  return LeaderEpochOf(leader_epoch_base_, leadership_.term);
}

void Partition::Offsets(const OffsetsQuery& query, OffsetsDone done) {
  if (Status knows = CheckKnowsEpochs(); !knows.ok()) return done(std::move(knows));
  raft_->ReadBarrier(
      [this, query, life = lifetime_.watch(), done = std::move(done)](Status status) mutable {
        if (!life) status = NotFound("the partition was deleted", Reason::kTopicDeleted);
        if (!status.ok()) {
          done(std::move(status));
        } else if (query.timestamp_ms.has_value() || query.is_newest) {
          AwaitTurn(query, offsets_now(), std::move(done));
        } else {
          done(offsets_now());
        }
      });
}

void Partition::Read(const ReadRequest& request, ReadDone done) {
  const bool is_gone = request.offset < log_start() && !MILLRACE_MUTANT(kReadSkipsDropped);
  if (!leadership_.is_ready) {
    done(raft_->NotLeader());
  } else if (Status knows = CheckKnowsEpochs(); !knows.ok()) {
    done(std::move(knows));
  } else if (is_gone || request.offset > high_watermark()) {
    RefuseOutOfRange(request.offset, std::move(done));
  } else if (request.offset >= end_of(request.isolation)) {
    done(EmptyOutcome(request));
  } else if (TailHolds(request.offset)) {
    LeaveOutVoid(request, TailOutcome(request), std::move(done));
  } else {
    ReadSegments(request, std::move(done));
  }
}

void Partition::ReadHere(const ReadRequest& request, ReadDone done) {
  if (!raft_->tail().has_value()) {
    done(raft_->health().ok() ? raft_->NotLeader() : raft_->health());
  } else if (Status knows = CheckKnowsEpochs(); !knows.ok()) {
    done(std::move(knows));
  } else if (request.offset < log_start() || request.offset > high_watermark()) {
    done(OffsetOutOfRange(request.offset, offsets_now()));
  } else if (request.offset >= end_of(request.isolation)) {
    done(EmptyOutcome(request));
  } else if (SegmentsHold(request.offset)) {
    ReadSegments(request, std::move(done));
  } else {
    LeaveOutVoid(request, TailOutcome(request), std::move(done));
  }
}

ReadOutcome Partition::EmptyOutcome(const ReadRequest& request) const {
  return {.offsets = offsets_now(),
          .entries = {},
          .next_offset = request.offset,
          .leader_epoch_base = leader_epoch_base_};
}

void Partition::RefuseOutOfRange(Offset offset, ReadDone done) {
  Offsets({}, [offset, done = std::move(done)](Result<PartitionOffsets> offsets) mutable {
    if (!offsets.ok()) {
      done(offsets.status());
    } else if (offset >= offsets->log_start && offset <= offsets->high_watermark) {
      // Committed while the barrier ran; the reader finds it on its next try.
      done(ReadOutcome{.offsets = *offsets, .entries = {}, .next_offset = offset});
    } else {
      done(OffsetOutOfRange(offset, *offsets));
    }
  });
}

raft::TailView Partition::Tail() const {
  const std::optional<raft::TailView> tail = raft_->tail();
  CHECK(tail.has_value()) << "group=" << group_;
  return *tail;
}

bool Partition::TailHolds(Offset offset) const {
  const raft::TailView tail = Tail();
  return tail.Holds(tail.first()) && tail.At(tail.first()).frame.header().base_offset <= offset;
}

// Of what both have, segments hold what is on the disk, and what compaction left of it.
bool Partition::SegmentsHold(Offset offset) const {
  const raft::TailView tail = Tail();
  const LogIndex end = environment_.store.readable_end(group_);
  if (!tail.Holds(end)) return !TailHolds(offset);
  const FrameHeader& last = tail.At(end).frame.header();
  return offset < last.base_offset + last.offset_span;
}

// The last applied entry of the tail that begins at or before `offset` and holds records.
LogIndex Partition::FindInTail(Offset offset) const {
  const raft::TailView tail = Tail();
  LogIndex low = tail.first();
  LogIndex high = tail.applied();
  while (low < high) {
    const LogIndex middle = low + (high - low + 1) / 2;
    if (tail.At(middle).frame.header().base_offset <= offset) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

ReadOutcome Partition::TailOutcome(const ReadRequest& request) const {
  const raft::TailView tail = Tail();
  ReadOutcome outcome = EmptyOutcome(request);
  uint64_t bytes = 0;
  bool is_full = false;
  MILLRACE_SOMETIMES("a read was served from the tail");
  for (LogIndex at = FindInTail(request.offset); at <= tail.applied() && !is_full; ++at) {
    Collect(tail.At(at), request, &bytes, &is_full, &outcome);
  }
  return outcome;
}

void Partition::ReadSegments(const ReadRequest& request, ReadDone done) {
  MILLRACE_SOMETIMES("a read was served from segments");
  environment_.store.ReadFromOffset(
      group_, request.offset, request.bytes_max,
      [this, request, life = lifetime_.watch(),
       done = std::move(done)](Result<std::vector<Entry>> entries) mutable {
        if (!life) {
          done(NotFound("the partition was deleted", Reason::kTopicDeleted));
          return;
        }
        if (request.offset < log_start_ && !MILLRACE_MUTANT(kReadSkipsDropped)) {
          MILLRACE_SOMETIMES("the log start moved under a read");
          return RefuseOutOfRange(request.offset, std::move(done));
        }
        if (!entries.ok()) {
          const bool is_gone = entries.status().code() == Code::kOutOfRange;
          done(is_gone ? entries.status() : raft_->ReportUnreadable(entries.status()));
          return;
        }
        ReadOutcome outcome = EmptyOutcome(request);
        uint64_t bytes = 0;
        bool is_full = false;
        for (const Entry& entry : *entries) {
          if (!is_full) Collect(entry, request, &bytes, &is_full, &outcome);
        }
        LeaveOutVoid(request, std::move(outcome), std::move(done));
      });
}

uint64_t Partition::Wait(const WaitPlace& place, Task wake) {
  CHECK_GE(place.offset, end_of(place.isolation));
  waiters_.emplace(next_waiter_, Waiter{.place = place, .wake = std::move(wake)});
  return next_waiter_++;
}

void Partition::WakeWaiters(bool all) {
  std::vector<Task> woken;
  for (auto at = waiters_.begin(); at != waiters_.end();) {
    const WaitPlace& place = at->second.place;
    if (all || place.offset < end_of(place.isolation)) {
      woken.push_back(std::move(at->second.wake));
      at = waiters_.erase(at);
    } else {
      ++at;
    }
  }
  for (Task& wake : woken) wake();
}

Status Partition::Restore(Bytes state) {
  internal::v1::PartitionState saved;
  if (!saved.ParseFromArray(state.data(), static_cast<int>(state.size()))) {
    return DataLoss("the partition's state in its segment cannot be read");
  }
  if (saved.version() == 0) return DataLoss("the partition's state has no version");
  if (saved.version() > kStateVersion) {
    return Unimplemented("the partition's state is of version " + std::to_string(saved.version()) +
                         ", and this build knows " + std::to_string(kStateVersion));
  }
  times_ = TimeIndex();
  next_offset_ = Offset(saved.next_offset());
  log_start_ = Offset(saved.log_start_offset());
  void_ranges_.Clear(next_offset_);
  last_append_time_ms_ = saved.last_append_time_ms();
  compaction_ = CompactionOf(saved);
  MILLRACE_SOMETIMES("a partition was restored from a segment's footer");
  if (MILLRACE_MUTANT(kProducersLostAtRestore)) return {};
  return producers_.LoadFrom(saved);
}

raft::StateEncoder Partition::TakeSnapshot() const {
  return [producers = producers_.Freeze(), next_offset = next_offset_, log_start = log_start_,
          compaction = compaction_, last_append_time_ms = last_append_time_ms_] {
    internal::v1::PartitionState saved;
    // A build that does not know of log starts could not go on from it.
    saved.set_version(log_start == Offset() ? kFirstStateVersion : kStateVersionWithStart);
    if (compaction.pass > 0) SetCompaction(compaction, &saved);
    saved.set_next_offset(next_offset.value());
    saved.set_log_start_offset(log_start.value());
    saved.set_last_append_time_ms(last_append_time_ms);
    producers.SaveTo(&saved);
    if (saved.producers().transactions_size() > 0) saved.set_version(kStateVersion);
    return Bytes::Own(saved.SerializeAsString());
  };
}

Status Partition::Apply(const Entry& entry) {
  const FrameHeader header = entry.frame.header();
  // Design D6: offsets follow on, asserted wherever an entry passes.
  CHECK_EQ(header.base_offset, next_offset_) << "group=" << group_ << " index=" << entry.index;
  CHECK_GE(header.append_time_ms, last_append_time_ms_) << "group=" << group_;
  if (header.type == FrameType::kPartitionCommand) RETURN_IF_ERROR(ApplyCommand(entry));
  if (header.type == FrameType::kTransactionMarker) ApplyMarker(header);
  last_append_time_ms_ = header.append_time_ms;
  if (header.type == FrameType::kRecordBatch) {
    next_offset_ += header.offset_span;
    NoteTime(entry.index, header);
    if (header.producer_id != ProducerId()) {
      producers_.Apply({header.producer_id, header.producer_epoch, header.transaction_number},
                       {.first_sequence = header.first_sequence,
                        .record_count = header.record_count,
                        .base_offset = header.base_offset,
                        .append_time_ms = header.append_time_ms},
                       entry.index);
    }
  }
  while (!pending_.empty() && pending_.front().index <= entry.index) {
    CHECK_EQ(pending_.front().index, entry.index) << "group=" << group_;
    CHECK_EQ(leadership_.term, entry.term) << "group=" << group_ << " index=" << entry.index;
    Pending committed = std::move(pending_.front());
    pending_.pop_front();
    for (ProduceDone& done : committed.waiting) {
      done(committed.outcome);
      committed.outcome.is_duplicate = true;
    }
  }
  if (header.type == FrameType::kPartitionCommand) OnCommandApplied(entry.index);
  if (header.type == FrameType::kTransactionMarker) OnMarkerApplied(header);
  if (header.offset_span > 0 && !waiters_.empty()) WakeWaiters(/*all=*/false);
  return {};
}

void Partition::OnLeadership(const raft::Leadership& leadership) {
  const bool was_leading = leadership_.is_leader && leadership_.term == leadership.term;
  if (leadership.is_ready && !(was_leading && leadership_.is_ready)) led_from_ = next_offset_;
  leadership_ = leadership;
  if (leadership.is_ready && MILLRACE_MUTANT(kSequencesLostOnLeaderChange)) producers_.Clear();
  if (listener_) listener_(leadership);
  if (leadership.is_leader && was_leading) return;
  producers_.DropInFlight();
  std::deque<Pending> lost = std::exchange(pending_, {});
  MILLRACE_SOMETIMES_IF("a leader fell with proposals in flight", !lost.empty());
  const Status why = raft_->NotLeader();
  for (Pending& pending : lost) {
    for (ProduceDone& done : pending.waiting) done(why);
  }
  pass_in_flight_.reset();
  FailDeletions(why);
  FailEndings(why);
  FailHeld(held_.TakeAll(), why);
  WakeWaiters(/*all=*/true);
}

}  // namespace millrace::broker

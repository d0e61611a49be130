// The offset at which a time is first reached: which entry holds it, from the tail's index or the
// segments', and which of its records.

#include <optional>
#include <utility>

#include <glog/logging.h>

#include "broker/partition/partition.h"
#include "proto/frame/frame.h"

namespace millrace::broker {
namespace {

using raft::core::Entry;

constexpr int64_t kRetryAfterMs = 100;
// Bytes for LogStore::Read, which lets the first entry pass whatever its size.
constexpr uint64_t kOneEntry = 1;

bool HoldsCompressed(const Entry& entry) {
  return (entry.frame.header().flags & kFrameCompressed) != 0;
}

// The first record of the entry that is not older than `timestamp_ms`.
Result<FoundTime> FirstRecordSince(const Entry& entry, int64_t timestamp_ms,
                                   uint32_t leader_epoch_base) {
  const FrameHeader header = entry.frame.header();
  const Bytes payload = entry.frame.payload();
  ASSIGN_OR_RETURN(const OpenedBatch batch, OpenRecordBatch(payload.view()));
  RecordIterator records(batch.view);
  RecordView record;
  while (records.Next(&record)) {
    const bool has_timestamp = record.timestamp_ms != 0;
    const int64_t time_ms = has_timestamp ? record.timestamp_ms : header.append_time_ms;
    if (time_ms < timestamp_ms) continue;
    return FoundTime{.offset = header.base_offset + record.place,
                     .timestamp_ms = time_ms,
                     .leader_epoch = LeaderEpochOf(leader_epoch_base, header.term)};
  }
  RETURN_IF_ERROR(records.status());
  return DataLoss("entry " + std::to_string(entry.index.value()) +
                  " has no record of the time that its frame names");
}

}  // namespace

void Partition::AwaitTurn(int64_t timestamp_ms, const PartitionOffsets& offsets, OffsetsDone done) {
  if (!environment_.lookups.MayWait()) {
    return done(
        ResourceExhausted("too many lookups by time wait for their turn", Reason::kThrottled)
            .RetryAfterMs(kRetryAfterMs));
  }
  environment_.lookups.Take([this, life = lifetime_.watch(), timestamp_ms, offsets,
                             done = std::move(done)](Turns::Turn turn) mutable {
    if (!life) return done(NotFound("the partition was deleted", Reason::kTopicDeleted));
    // It fell silent while this waited.
    if (!raft_->tail().has_value()) return done(raft_->NotLeader());
    FindTimestamp(timestamp_ms, offsets,
                  [offsets, turn = std::move(turn),
                   done = std::move(done)](Result<PartitionOffsets> found) mutable {
                    // What came while this waited for its turn is after the answer's end.
                    if (found.ok() && *found->timestamp_offset >= offsets.high_watermark) {
                      found->timestamp_offset = offsets.high_watermark;
                      found->found.reset();
                    }
                    done(std::move(found));
                    turn.End();
                  });
  });
}

// The first entry with a record of that time is in segments if any there has one, since they are
// older; else in the tail. The tail is looked at first all the same: it may shrink while segments
// are read, and what leaves it is in them. Where the tail is the whole log there is nothing to
// read. The record within the entry is found at once, or on the batches' thread if it takes
// decompressing.
void Partition::FindTimestamp(int64_t timestamp_ms, const PartitionOffsets& offsets,
                              OffsetsDone done) {
  const raft::TailView tail = Tail();
  const LogIndex tail_begin = tail.first();
  auto answer = [this, life = lifetime_.watch(), timestamp_ms, offsets,
                 done = std::move(done)](const Result<std::optional<Entry>>& entry) mutable {
    if (!life) return done(NotFound("the partition was deleted", Reason::kTopicDeleted));
    if (!entry.ok()) return done(entry.status());
    PartitionOffsets answered = offsets;
    answered.timestamp_offset = offsets.high_watermark;
    if (!entry->has_value()) return done(answered);
    auto answer_with = [answered, done = std::move(done)](const Result<FoundTime>& found) mutable {
      if (!found.ok()) return done(found.status());
      answered.timestamp_offset = found->offset;
      answered.found = *found;
      done(answered);
    };
    if (!HoldsCompressed(**entry)) {
      return answer_with(FirstRecordSince(**entry, timestamp_ms, leader_epoch_base_));
    }
    environment_.batches.Run<Result<FoundTime>>(
        {.kind = BatchWorker::Kind::kFetched},
        [entry = **entry, timestamp_ms, base = leader_epoch_base_] {
          return FirstRecordSince(entry, timestamp_ms, base);
        },
        std::move(answer_with));
  };
  std::optional<Entry> in_tail = FindInTail(timestamp_ms, tail_begin);
  if (tail.is_whole_log()) return answer(std::move(in_tail));
  environment_.store.FindTimestamp(
      group_, timestamp_ms, tail_begin,
      [this, life = lifetime_.watch(), in_tail = std::move(in_tail),
       answer = std::move(answer)](Result<LogIndex> index) mutable {
        if (!life) return answer(NotFound("the partition was deleted", Reason::kTopicDeleted));
        if (!index.ok()) return answer(index.status());
        if (*index == LogIndex()) return answer(std::move(in_tail));
        environment_.store.Read(
            group_, *index, kOneEntry,
            [answer = std::move(answer)](Result<std::vector<Entry>> entries) mutable {
              if (!entries.ok()) return answer(entries.status());
              answer(std::optional<Entry>(std::move(entries->front())));
            });
      });
}

// Nothing also if an entry before the tail may reach the time first.
std::optional<Entry> Partition::FindInTail(int64_t timestamp_ms, LogIndex tail_begin) const {
  const std::optional<TimeIndex::Stretch> stretch = times_.Find(timestamp_ms);
  if (!stretch.has_value()) return std::nullopt;
  const raft::TailView tail = Tail();
  for (LogIndex at = std::max(stretch->after + 1, tail_begin); at <= stretch->last; ++at) {
    if (HasRecordSince(tail.At(at).frame.header(), timestamp_ms)) return tail.At(at);
  }
  return std::nullopt;
}

void Partition::NoteTime(LogIndex index, const FrameHeader& header) {
  times_.Add(index, header.max_timestamp_ms);
  // Not while the log is applied again at start.
  if (raft_ == nullptr || !raft_->tail().has_value()) return;
  times_.DropBefore(raft_->tail()->first());
}

}  // namespace millrace::broker

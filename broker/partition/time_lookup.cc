// The offset at which a time is first reached: which entry holds it, from the tail's index or the
// segments', and which of its records; and when a record was appended.

#include <optional>
#include <utility>

#include <glog/logging.h>

#include "broker/partition/partition.h"
#include "proto/base/coverage.h"
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

// The first record of the entry from `from` on that is not older than `timestamp_ms`. None: those
// lie before `from`.
Result<std::optional<FoundTime>> FirstRecordSince(const Entry& entry, int64_t timestamp_ms,
                                                  Offset from, uint32_t leader_epoch_base) {
  const FrameHeader header = entry.frame.header();
  const Bytes payload = entry.frame.payload();
  ASSIGN_OR_RETURN(const OpenedBatch batch, OpenRecordBatch(payload.view()));
  RecordIterator records(batch.view);
  RecordView record;
  bool is_before = false;
  while (records.Next(&record)) {
    const int64_t time_ms = record.time_ms(header.append_time_ms);
    if (time_ms < timestamp_ms) continue;
    const Offset offset = header.base_offset + record.place;
    is_before = offset < from;
    if (is_before) continue;
    return std::optional(FoundTime{.offset = offset,
                                   .timestamp_ms = time_ms,
                                   .leader_epoch = LeaderEpochOf(leader_epoch_base, header.term)});
  }
  RETURN_IF_ERROR(records.status());
  if (is_before) return std::optional<FoundTime>();
  return DataLoss("entry " + std::to_string(entry.index.value()) +
                  " has no record of the time that its frame names");
}

}  // namespace

void Partition::AwaitTurn(const OffsetsQuery& query, const PartitionOffsets& offsets,
                          OffsetsDone done) {
  if (!environment_.lookups.MayWait()) {
    return done(
        ResourceExhausted("too many lookups by time wait for their turn", Reason::kThrottled)
            .RetryAfterMs(kRetryAfterMs));
  }
  environment_.lookups.Take([this, life = lifetime_.watch(), query, offsets,
                             done = std::move(done)](Turns::Turn turn) mutable {
    if (!life) return done(NotFound("the partition was deleted", Reason::kTopicDeleted));
    // It fell silent while this waited.
    if (!raft_->tail().has_value()) return done(raft_->NotLeader());
    auto answer = [this, life = lifetime_.watch(), turn = std::move(turn),
                   done = std::move(done)](Result<PartitionOffsets> found) mutable {
      if (life && found.status().code() == Code::kDataLoss) {
        found = raft_->ReportUnreadable(found.status());
      }
      // What came while this waited for its turn is after the answer's end.
      if (found.ok() && *found->timestamp_offset >= found->high_watermark) {
        found->timestamp_offset = found->high_watermark;
        found->found.reset();
      }
      done(std::move(found));
      turn.End();
    };
    if (query.is_newest) return FindNewest(0, std::move(answer));
    FindTimestamp(
        {.timestamp_ms = *query.timestamp_ms, .from = offsets.log_start, .offsets = offsets},
        std::move(answer));
  });
}

void Partition::FindAppendTime(Offset offset, raft::AppendTimeDone done) {
  if (!leadership_.is_ready) return done(raft_->NotLeader());
  if (offset < log_start() || offset >= high_watermark()) {
    return done(OutOfRange("there is no record at offset " + std::to_string(offset.value()),
                           Reason::kOffsetOutOfRange));
  }
  if (!TailHolds(offset)) {
    return environment_.store.FindAppendTime(group_, offset, std::move(done));
  }
  const int64_t time_ms = Tail().At(FindInTail(offset)).frame.header().append_time_ms;
  done(raft::AppendTime{.min_ms = time_ms, .max_ms = time_ms});
}

// The newest time of all, then the first record that has it. Segments tell the one of what they
// hold; the few entries that they do not hold yet are looked at. A record that came meanwhile may
// be the one, so that where the log ends is told as it is once the time is known. Where no record
// has that time any more, as compaction or retention took it, the newest of the others is looked
// for; but not the time that was in vain before.
void Partition::FindNewest(int64_t in_vain_ms, OffsetsDone done) {
  const raft::TailView tail = Tail();
  int64_t newest_ms = 0;
  const LogIndex in_segments = environment_.store.readable_end(group_);
  for (LogIndex at = std::max(tail.first(), in_segments + 1); at <= tail.applied(); ++at) {
    const FrameHeader& header = tail.At(at).frame.header();
    if (header.base_offset + header.offset_span <= log_start()) continue;
    newest_ms = std::max(newest_ms, header.max_timestamp_ms);
  }
  environment_.store.FindNewestTime(
      group_, log_start(),
      [this, life = lifetime_.watch(), newest_ms, in_vain_ms,
       done = std::move(done)](Result<int64_t> in_segments_ms) mutable {
        if (!life) return done(NotFound("the partition was deleted", Reason::kTopicDeleted));
        if (!in_segments_ms.ok()) return done(in_segments_ms.status());
        // It fell silent meanwhile.
        if (!raft_->tail().has_value()) return done(raft_->NotLeader());
        newest_ms = std::max(newest_ms, *in_segments_ms);
        FindTimestamp({.timestamp_ms = newest_ms, .from = log_start(), .offsets = offsets_now()},
                      [this, life, newest_ms, in_vain_ms,
                       done = std::move(done)](Result<PartitionOffsets> found) mutable {
                        const bool is_gone = life && found.ok() && !found->found.has_value();
                        if (!is_gone || newest_ms == in_vain_ms) return done(std::move(found));
                        if (!raft_->tail().has_value()) return done(raft_->NotLeader());
                        MILLRACE_SOMETIMES("the newest record went while it was looked up");
                        FindNewest(newest_ms, std::move(done));
                      });
      });
}

// The first entry with a record of that time is in segments if any there has one, since they are
// older; else in the tail. The tail is looked at first all the same: it may shrink while segments
// are read, and what leaves it is in them. Where the tail is the whole log there is nothing to
// read.
void Partition::FindTimestamp(const TimeSearch& search, OffsetsDone done) {
  const raft::TailView tail = Tail();
  const LogIndex tail_begin = tail.first();
  std::optional<Entry> in_tail = FindInTail(search, tail_begin);
  if (tail.is_whole_log()) return OnEntryFound(search, in_tail, std::move(done));
  environment_.store.FindTimestamp(
      group_, search.timestamp_ms, search.from, tail_begin,
      [this, life = lifetime_.watch(), search, in_tail = std::move(in_tail),
       done = std::move(done)](Result<LogIndex> index) mutable {
        if (!life) return done(NotFound("the partition was deleted", Reason::kTopicDeleted));
        if (!index.ok()) return done(index.status());
        if (*index == LogIndex()) return OnEntryFound(search, in_tail, std::move(done));
        environment_.store.Read(
            group_, *index, kOneEntry,
            [this, life, search,
             done = std::move(done)](Result<std::vector<Entry>> entries) mutable {
              if (!life) return done(NotFound("the partition was deleted", Reason::kTopicDeleted));
              if (!entries.ok()) return done(entries.status());
              OnEntryFound(search, std::move(entries->front()), std::move(done));
            });
      });
}

// The record within the entry is found at once, or on the batches' thread if it takes
// decompressing. An entry that begins before the first record that is meant may hold none.
void Partition::OnEntryFound(const TimeSearch& search, const std::optional<Entry>& entry,
                             OffsetsDone done) {
  PartitionOffsets answer = search.offsets;
  answer.timestamp_offset = answer.high_watermark;
  if (!entry.has_value()) return done(answer);
  using Found = Result<std::optional<FoundTime>>;
  const FrameHeader header = entry->frame.header();
  const Offset end = header.base_offset + header.offset_span;
  // Compaction took its records of that time since it was found.
  if (!HasRecordSince(header, search.timestamp_ms)) return FindBehind(end, search, std::move(done));
  auto take = [this, life = lifetime_.watch(), search, answer, end,
               done = std::move(done)](const Found& found) mutable {
    if (!life) return done(NotFound("the partition was deleted", Reason::kTopicDeleted));
    if (!found.ok()) return done(found.status());
    if (!found->has_value()) return FindBehind(end, search, std::move(done));
    answer.timestamp_offset = (*found)->offset;
    answer.found = **found;
    done(answer);
  };
  if (!HoldsCompressed(*entry)) {
    return take(FirstRecordSince(*entry, search.timestamp_ms, search.from, leader_epoch_base_));
  }
  environment_.batches.Run<Found>(
      {.kind = BatchWorker::Kind::kFetched},
      [entry = *entry, search, base = leader_epoch_base_] {
        return FirstRecordSince(entry, search.timestamp_ms, search.from, base);
      },
      std::move(take));
}

void Partition::FindBehind(Offset end, TimeSearch search, OffsetsDone done) {
  // It fell silent meanwhile.
  if (!raft_->tail().has_value()) return done(raft_->NotLeader());
  search.from = end;
  FindTimestamp(search, std::move(done));
}

// Nothing also if an entry before the tail may reach the time first.
std::optional<Entry> Partition::FindInTail(const TimeSearch& search, LogIndex tail_begin) const {
  const std::optional<TimeIndex::Stretch> stretch = times_.Find(search.timestamp_ms);
  if (!stretch.has_value()) return std::nullopt;
  const raft::TailView tail = Tail();
  // Beyond the stretch where it is reached by records that are not meant.
  for (LogIndex at = std::max(stretch->after + 1, tail_begin); at <= tail.applied(); ++at) {
    const FrameHeader& header = tail.At(at).frame.header();
    const bool is_meant = header.base_offset + header.offset_span > search.from;
    if (is_meant && HasRecordSince(header, search.timestamp_ms)) return tail.At(at);
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

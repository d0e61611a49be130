#include "broker/partition/compaction/segment_compaction.h"

#include <utility>

#include "broker/partition/compaction/batch_compaction.h"
#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "raft/core/gap_entry.h"

namespace millrace::broker {

using raft::core::Entry;
using raft::core::EntryType;

namespace {

// Whether something else than records has nothing to say any more, once a state has it. A
// configuration stays: it is looked for by its index.
bool IsSpent(const Entry& entry) {
  if (entry.type == EntryType::kNoOp || entry.type == EntryType::kGap) return true;
  return entry.type == EntryType::kCommand &&
         entry.frame.header().type == FrameType::kPartitionCommand;
}

}  // namespace

Result<std::vector<Entry>> SegmentCompaction::Take(std::vector<Entry> entries,
                                                   const VoidFilter& filter) {
  std::vector<Entry> left;
  for (Entry& entry : entries) {
    const FrameHeader header = entry.frame.header();
    if (IsSpent(entry)) {
      LeaveNothing(header, &left);
    } else if (filter.IsVoid(header)) {
      MILLRACE_SOMETIMES("compaction let go what an aborted transaction had written");
      has_changed_ = true;
      LeaveNothing(header, &left);
    } else if (entry.type == EntryType::kCommand && header.type == FrameType::kRecordBatch) {
      RETURN_IF_ERROR(TakeBatch(std::move(entry), &left));
    } else {
      Leave(std::move(entry), &left);
    }
  }
  return left;
}

Status SegmentCompaction::TakeBatch(Entry entry, std::vector<Entry>* left) {
  const FrameHeader header = entry.frame.header();
  const bool is_old = header.append_time_ms < bounds_.older_than_ms;
  ASSIGN_OR_RETURN(
      CompactedBatch batch,
      CompactBatch(entry.frame, bounds_.home, [this, is_old](const KeyedRecord& record) {
        const std::optional<Offset> newest = keys_->NewestOf(record.key);
        if (newest.has_value() && *newest > record.offset) return false;
        return !(record.is_tombstone && is_old && record.offset < bounds_.tombstones_below);
      }));
  has_changed_ = has_changed_ || batch.outcome != CompactedBatch::Outcome::kUnchanged;
  if (batch.outcome == CompactedBatch::Outcome::kEmpty) {
    LeaveNothing(header, left);
    return {};
  }
  if (batch.outcome == CompactedBatch::Outcome::kRewritten) entry.frame = std::move(batch.frame);
  Leave(std::move(entry), left);
  return {};
}

void SegmentCompaction::Leave(Entry entry, std::vector<Entry>* left) {
  if (std::optional<Entry> gap = TakeGap()) left->push_back(std::move(*gap));
  left->push_back(std::move(entry));
}

void SegmentCompaction::LeaveNothing(const FrameHeader& header, std::vector<Entry>* left) {
  const bool goes_on = gap_.has_value() && gap_->term == header.term &&
                       gap_->offset_span <= UINT32_MAX - header.offset_span;
  if (!goes_on) {
    if (std::optional<Entry> gap = TakeGap()) left->push_back(std::move(*gap));
    gap_ = GapEnds{.group = header.group,
                   .term = header.term,
                   .first = header.index,
                   .last = header.index,
                   .base_offset = header.base_offset};
  }
  gap_->last = LastIndexOf(header);
  if (!MILLRACE_MUTANT(kGapForgetsSpan)) gap_->offset_span += header.offset_span;
  gap_->append_time_ms = header.append_time_ms;
  gap_->chain = header.chain;
}

std::optional<Entry> SegmentCompaction::TakeGap() {
  if (!gap_.has_value()) return std::nullopt;
  return raft::core::GapEntry(*std::exchange(gap_, std::nullopt));
}

}  // namespace millrace::broker

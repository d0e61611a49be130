// Batches for readers that do not take them as they are.

#include "broker/service/fetch/batch_rewrite.h"

#include <cstring>
#include <string>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "broker/service/fetch/fetch_wire.h"
#include "millrace/v1/consumer_service.pb.h"
#include "proto/base/checksum.h"
#include "proto/record/record_batch_builder.h"

namespace millrace::broker {
namespace {

constexpr TopicPartition kHome{TopicId(7), PartitionId(3)};
constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kNoLimit = 64 * kMiB;

uint16_t FlagsOf(BatchCompression compression) {
  return IsCompressed(compression) ? kFramePacked | kFrameCompressed : kFramePacked;
}

// An entry whose batch holds records of these sizes, beginning at `base`.
raft::core::Entry EntryOf(int64_t base, const std::vector<size_t>& sizes,
                          BatchCompression compression = BatchCompression::kZstd) {
  RecordBatchBuilder builder({.records_bytes_max = 8 * kMiB});
  int64_t number = base;
  for (const size_t size : sizes) {
    std::string value = std::to_string(number++) + " ";
    value.resize(size, 'x');
    CHECK(builder.TryAppend({.value = value}));
  }
  const Bytes batch = std::move(builder).Finish({.producer_id = ProducerId(5),
                                                 .first_sequence = static_cast<uint32_t>(base),
                                                 .destination = kHome,
                                                 .compression = compression});
  Buffer buffer = AllocateFrame(batch.size());
  std::memcpy(FramePayload(buffer), batch.data(), batch.size());
  const uint32_t crc = Crc32c(batch.view());
  const auto count = static_cast<uint32_t>(sizes.size());
  raft::core::Entry entry{.term = Term(9), .index = LogIndex(3)};
  entry.frame = SealFrame({.type = FrameType::kRecordBatch,
                           .flags = FlagsOf(compression),
                           .payload_size = static_cast<uint32_t>(batch.size()),
                           .term = Term(9),
                           .index = LogIndex(3),
                           .base_offset = Offset(base),
                           .offset_span = count,
                           .record_count = count,
                           .append_time_ms = 1234,
                           .payload_crc = crc,
                           .stored_crc = crc},
                          std::move(buffer));
  return entry;
}

std::vector<Bytes> PiecesOf(const RewrittenBatches& rewritten) {
  const std::vector<FetchedBatch>& batches = rewritten.batches;
  return EncodeBatches(batches, batches.front().header.base_offset, 0);
}

std::vector<v1::FetchedBatch> BatchesOf(const RewrittenBatches& rewritten) {
  std::string joined;
  for (const Bytes& piece : PiecesOf(rewritten)) joined.append(piece.view());
  v1::FetchedPartition partition;
  CHECK(partition.ParseFromString(joined));
  return {partition.batches().begin(), partition.batches().end()};
}

RewrittenBatches Rewrite(const std::vector<raft::core::Entry>& entries, int64_t offset,
                         uint64_t bytes_max) {
  const Result<RewrittenBatches> rewritten = RewriteBatches(
      entries,
      {.offset = Offset(offset), .accepted = AcceptedForms::TypedOnly(), .bytes_max = bytes_max});
  CHECK(rewritten.ok()) << rewritten.status();
  return *rewritten;
}

// Each a batch of its own that follows the one before, with the numbers of its own records.
void ExpectInOrder(const std::vector<v1::FetchedBatch>& batches, int64_t begin, int64_t end) {
  int64_t offset = begin;
  for (const v1::FetchedBatch& fetched : batches) {
    EXPECT_LT(fetched.ByteSizeLong(), kMiB);
    EXPECT_EQ(fetched.base_offset(), offset);
    EXPECT_EQ(fetched.skipped_before(), 0u);
    EXPECT_EQ(fetched.leader_epoch(), 9u);
    EXPECT_EQ(fetched.append_time_ms(), 1234);
    EXPECT_EQ(fetched.batch_checksum(), Crc32c(fetched.batch().SerializeAsString()));
    EXPECT_EQ(fetched.batch().first_sequence(), offset);
    for (const v1::Record& record : fetched.batch().records()) {
      EXPECT_EQ(record.value().substr(0, record.value().find(' ')), std::to_string(offset++));
    }
    EXPECT_EQ(fetched.record_count(), fetched.batch().records_size());
    EXPECT_EQ(fetched.end_offset(), offset);
  }
  EXPECT_EQ(offset, end);
}

TEST(BatchRewrite, WhatInflatesTo4MiB_IsCutIntoPiecesBelow1MiB) {
  const std::vector<raft::core::Entry> entries = {EntryOf(40, std::vector<size_t>(1000, 4000)),
                                                  EntryOf(1040, std::vector<size_t>(10, 10))};
  const RewrittenBatches rewritten = Rewrite(entries, 40, kNoLimit);
  const std::vector<v1::FetchedBatch> batches = BatchesOf(rewritten);
  EXPECT_EQ(batches.size(), 5u);
  ExpectInOrder(batches, 40, 1050);
  EXPECT_EQ(rewritten.next_offset, Offset(1050));
}

TEST(BatchRewrite, AReaderOf1MiBAtATime_GetsNeverMore_AndGetsThrough) {
  const std::vector<raft::core::Entry> entries = {
      EntryOf(0, std::vector<size_t>(1000, 4000)),
      EntryOf(1000, {100, 600'000, 600'000, 300'000, 100, 1'000'000, 40'000})};
  Offset at(0);
  int answers = 0;
  while (at < Offset(1007)) {
    const bool is_in_second = at >= Offset(1000);
    const RewrittenBatches rewritten =
        Rewrite({entries.begin() + (is_in_second ? 1 : 0), entries.end()}, at.value(), kMiB);
    EXPECT_LE(TotalSize(PiecesOf(rewritten)), kMiB);
    ExpectInOrder(BatchesOf(rewritten), at.value(), rewritten.next_offset.value());
    ASSERT_GT(rewritten.next_offset, at);
    at = rewritten.next_offset;
    ASSERT_LE(++answers, 12);
  }
  EXPECT_EQ(at, Offset(1007));
}

TEST(BatchRewrite, ARecordLargerThanAPiece_IsOneAlone_AndPassesWhateverTheLimit) {
  const std::vector<raft::core::Entry> entries = {EntryOf(0, {10, 3'000'000, 10})};
  const RewrittenBatches rewritten = Rewrite(entries, 1, 1);
  EXPECT_EQ(rewritten.next_offset, Offset(2));
  const std::vector<v1::FetchedBatch> batches = BatchesOf(rewritten);
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].base_offset(), 1);
  EXPECT_EQ(batches[0].batch().records_size(), 1);
}

// As compaction leaves it of a batch of many small records: packed, and too large for a message.
TEST(BatchRewrite, WhatNoMessageTakes_IsCutIntoPieces_AlsoForWhoTakesEveryForm) {
  const std::vector<raft::core::Entry> entries = {
      EntryOf(0, std::vector<size_t>(1200, 4000), BatchCompression::kNone)};
  AcceptedForms all = AcceptedForms::TypedOnly();
  for (const BatchCompression compression : kBatchCompressions) all.Add(compression);
  EXPECT_TRUE(
      all.TakesAllOf({EntryOf(0, std::vector<size_t>(1000, 4000), BatchCompression::kNone)}));
  EXPECT_FALSE(all.TakesAllOf(entries));
  const Result<RewrittenBatches> rewritten =
      RewriteBatches(entries, {.offset = Offset(0), .accepted = all, .bytes_max = kNoLimit});
  ASSERT_TRUE(rewritten.ok()) << rewritten.status();
  EXPECT_TRUE(rewritten->is_whole);
  ExpectInOrder(BatchesOf(*rewritten), 0, 1200);
  const Result<RewrittenBatches> some =
      RewriteBatches(entries, {.offset = Offset(0), .accepted = all, .bytes_max = kMiB});
  EXPECT_FALSE(some->is_whole);
  EXPECT_LT(some->next_offset, Offset(1200));
}

}  // namespace
}  // namespace millrace::broker

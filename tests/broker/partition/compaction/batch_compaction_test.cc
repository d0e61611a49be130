// A batch without some of its records: what is left is what was there, at the offsets that it had.

#include "broker/partition/compaction/batch_compaction.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/base/checksum.h"
#include "proto/record/record_batch.h"
#include "proto/record/record_batch_builder.h"
#include "raft/runtime/random.h"
#include "tests/broker/partition/stored_batch.h"
#include "tests/support/seeds/seeds.h"

namespace millrace::broker {
namespace {

using Outcome = CompactedBatch::Outcome;
using Records = std::map<Offset, Record>;

Record RecordOf(const RecordView& view) {
  Record record{.key = {}, .value = {}, .headers = {}, .timestamp_ms = view.timestamp_ms};
  if (view.key) record.key = *view.key;
  if (view.value) record.value = *view.value;
  HeaderIterator headers(view);
  HeaderView header;
  while (headers.Next(&header)) {
    record.headers.emplace_back(header.key, header.value);
  }
  return record;
}

Records ReadBack(const Frame& frame) {
  const Bytes payload = frame.payload();
  const Result<OpenedBatch> opened = OpenRecordBatch(payload.view());
  CHECK(opened.ok()) << opened.status();
  RecordIterator iterator(opened->view);
  RecordView view;
  Records records;
  while (iterator.Next(&view)) records[kBase + view.place] = RecordOf(view);
  CHECK(iterator.status().ok()) << iterator.status();
  return records;
}

Records AtTheirOffsets(const std::vector<Record>& records) {
  Records placed;
  for (const Record& record : records) placed[kBase + placed.size()] = record;
  return placed;
}

CompactedBatch Without(const Frame& frame, const std::set<Offset>& gone) {
  Result<CompactedBatch> batch = CompactBatch(
      frame, kHome, [&gone](const KeyedRecord& record) { return !gone.contains(record.offset); });
  CHECK(batch.ok()) << batch.status();
  return std::move(*batch);
}

std::vector<Record> ThreeRecords() {
  return {{.key = "AA", .value = "one", .headers = {{"h", "x"}}, .timestamp_ms = 4'000},
          {.key = "B6", .value = std::nullopt, .headers = {}, .timestamp_ms = 9'000},
          {.key = "AA", .value = "", .headers = {}, .timestamp_ms = 3'000}};
}

TEST(VisitKeys, TellsKeysWithOffsets_AndWhichAreTombstones) {
  std::vector<Record> records = ThreeRecords();
  records.insert(records.begin() + 1, Record{.key = {}, .value = "no key"});
  std::vector<std::tuple<Offset, std::string, bool>> seen;
  const Result<bool> to_the_end =
      VisitKeys(Stored(records, {}), [&seen](const KeyedRecord& record) {
        seen.emplace_back(record.offset, record.key, record.is_tombstone);
        return true;
      });
  EXPECT_TRUE(to_the_end.ok() && *to_the_end);
  EXPECT_THAT(
      seen, testing::ElementsAre(std::tuple(kBase, "AA", false), std::tuple(kBase + 2, "B6", true),
                                 std::tuple(kBase + 3, "AA", false)))
      << "an empty value is a value";
}

TEST(VisitKeys, EndsWhereItIsTold) {
  int seen = 0;
  const Result<bool> to_the_end =
      VisitKeys(Stored(ThreeRecords(), {}), [&seen](const KeyedRecord&) { return ++seen < 2; });
  EXPECT_TRUE(to_the_end.ok() && !*to_the_end);
  EXPECT_EQ(seen, 2);
}

TEST(CompactBatch, LeavesTheFrameAlone_WhereNothingGoes_AndSaysWhereNothingIsLeft) {
  const Frame frame = Stored(ThreeRecords(), {});
  EXPECT_EQ(Without(frame, {}).outcome, Outcome::kUnchanged);
  const CompactedBatch none = Without(frame, {kBase, kBase + 1, kBase + 2});
  EXPECT_EQ(none.outcome, Outcome::kEmpty);
  EXPECT_TRUE(none.frame.empty());
}

TEST(CompactBatch, KeepsWhatHasNoKey_WithoutAsking) {
  const Frame frame = Stored({{.key = {}, .value = "stays"}, {.key = "", .value = "goes"}}, {});
  const Result<CompactedBatch> batch =
      CompactBatch(frame, kHome, [](const KeyedRecord&) { return false; });
  ASSERT_TRUE(batch.ok()) << batch.status();
  ASSERT_EQ(batch->outcome, Outcome::kRewritten);
  EXPECT_EQ(ReadBack(batch->frame), (Records{{kBase, {.key = {}, .value = "stays"}}}));
}

TEST(CompactBatch, TellsTheNewestTimeOfWhatIsLeft_WhichIsTheAppendTimeWhereThereIsNone) {
  std::vector<Record> records = ThreeRecords();
  const Frame frame = Stored(records, {});
  EXPECT_EQ(frame.header().max_timestamp_ms, 9'000);
  EXPECT_EQ(Without(frame, {kBase + 1}).frame.header().max_timestamp_ms, 4'000);
  EXPECT_EQ(Without(frame, {kBase, kBase + 1}).frame.header().max_timestamp_ms, 3'000);
  records[2].timestamp_ms = 0;
  const Frame untimed = Stored(records, {});
  EXPECT_EQ(Without(untimed, {kBase + 1}).frame.header().max_timestamp_ms, kAppendTimeMs);
  EXPECT_EQ(Without(untimed, {kBase + 2}).frame.header().max_timestamp_ms, 9'000);
}

// A producer may write it, and a field that comes twice makes a record unreadable.
TEST(CompactBatch, OfARecordWithADeltaOfZero_WritesThatFieldOnce) {
  const std::string payload(
      "\x72\x03\x0a\x01"
      "a"
      "\x72\x05\x0a\x01"
      "b"
      "\x28\x00",
      12);
  const std::vector<Record> records{{.key = "a", .value = {}}, {.key = "b", .value = {}}};
  const CompactedBatch batch = Without(FrameOf(payload, records, 0), {kBase});
  EXPECT_EQ(ReadBack(batch.frame), (Records{{kBase + 1, records[1]}}));
}

// Of many small records nearly all stay, and each now says its offset.
TEST(CompactBatch, WhoseRecordsGetLargerThanAnyThatAreTakenIn_IsPackedWithoutCompression) {
  std::vector<Record> records;
  for (uint32_t i = 0; i < 460'000; ++i) {
    const std::string key{static_cast<char>(i), static_cast<char>(i >> 8),
                          static_cast<char>(i >> 16)};
    records.push_back({.key = key, .value = {}});
  }
  for (const Form& form :
       {Form{.compression = BatchCompression::kZstd}, Form{.encoding = BatchEncoding::kTyped}}) {
    const Frame frame = Stored(records, form);
    EXPECT_EQ((frame.header().flags & kFramePacked) != 0, form.encoding == BatchEncoding::kPacked);
    const CompactedBatch batch = Without(frame, {kBase});
    ASSERT_EQ(batch.outcome, Outcome::kRewritten);
    EXPECT_EQ(batch.frame.header().flags, kFrameCompacted | kFramePacked);
    EXPECT_GT(batch.frame.header().payload_size, kUncompressedBytesMax);
    Records expected = AtTheirOffsets(records);
    expected.erase(kBase);
    EXPECT_TRUE(ReadBack(batch.frame) == expected);
  }
}

TEST(CompactBatch, OfWhatIsNoBatch_IsDamage_AndNamesTheEntry) {
  const Frame good = Stored(ThreeRecords(), {});
  const std::string cut(good.payload().view().substr(0, good.payload().size() - 1));
  for (const std::string& payload : {cut, std::string("\x72\x02\x0a\x05", 4), std::string()}) {
    const Frame frame = FrameOf(payload, ThreeRecords(), kFramePacked);
    const auto all = [](const KeyedRecord&) { return true; };
    for (const Status& status :
         {CompactBatch(frame, kHome, all).status(), VisitKeys(frame, all).status()}) {
      EXPECT_EQ(status.code(), Code::kDataLoss);
      EXPECT_THAT(status.message(), testing::HasSubstr("entry 44 of group 9"));
    }
  }
}

TEST(CompactBatch, OfARecordBehindTheBatchsSpan_IsDamage) {
  const Frame three = Stored(ThreeRecords(), {});
  const Frame frame = FrameOf(three.payload().view(), {{.key = "one"}}, kFramePacked);
  const auto all = [](const KeyedRecord&) { return true; };
  EXPECT_EQ(CompactBatch(frame, kHome, all).status().code(), Code::kDataLoss);
}

std::string AnyText(Random* random) { return std::string(random->Below(40), 'x'); }

Record AnyRecord(Random* random) {
  Record record;
  if (!random->OneIn(8)) record.key = random->OneIn(8) ? "" : std::to_string(random->Below(9));
  if (!random->OneIn(4)) record.value = AnyText(random);
  while (random->OneIn(4)) {
    record.headers.emplace_back("h",
                                random->OneIn(3) ? std::optional<std::string>() : AnyText(random));
  }
  if (!random->OneIn(5)) record.timestamp_ms = static_cast<int64_t>(random->Between(1, 10'000));
  return record;
}

int64_t NewestTimeOf(const Records& records) {
  int64_t newest_ms = 0;
  for (const auto& [offset, record] : records) {
    newest_ms = std::max(newest_ms, record.timestamp_ms == 0 ? kAppendTimeMs : record.timestamp_ms);
  }
  return newest_ms;
}

// What is wrong with `after`, made of `before`, of which `left` stays; "" if nothing is.
std::string Wrong(const Frame& before, const Frame& after, const Records& left) {
  const Result<FrameHeader> parsed = ParseFrame(after.view());
  if (!parsed.ok()) return std::string(parsed.status().message());
  FrameHeader expected = before.header();
  expected.flags |= kFrameCompacted;
  if (!IsUnderstood(*parsed) || parsed->flags != expected.flags) return "wrong flags";
  if (FrameChain(3, *parsed) != FrameChain(3, expected)) return "another identity";
  if (parsed->chain != expected.chain) return "another chain";
  if (parsed->record_count != left.size()) return "wrong count in the frame";
  if (parsed->max_timestamp_ms != NewestTimeOf(left)) return "wrong newest time in the frame";
  if (ReadBack(after) != left) return "other records";
  const Bytes payload = after.payload();
  const Result<RecordBatchView> batch = ParseRecordBatchHeader(payload.view());
  if (!batch.ok()) return std::string(batch.status().message());
  if (batch->record_count != left.size()) return "wrong count in the batch";
  int64_t largest_ms = 0;
  for (const auto& [offset, record] : left) largest_ms = std::max(largest_ms, record.timestamp_ms);
  if (batch->max_timestamp_ms != largest_ms) return "wrong largest time in the batch";
  if (batch->first_sequence != 9 || batch->producer_id != ProducerId(5)) return "another producer";
  const bool has_checksum = batch->is_packed;
  if (has_checksum && batch->checksum != PackedChecksum(batch->records, kHome)) {
    return "wrong checksum of packed";
  }
  return "";
}

std::string PlayPasses(uint64_t seed) {
  Random random(seed);
  std::vector<Record> produced;
  do {
    produced.push_back(AnyRecord(&random));
  } while (!random.OneIn(20));
  const Form form{.encoding = random.OneIn(4) ? BatchEncoding::kTyped : BatchEncoding::kPacked,
                  .compression = kBatchCompressions[random.Below(std::size(kBatchCompressions))]};
  Records left = AtTheirOffsets(produced);
  Frame frame = Stored(produced, form);
  for (uint64_t pass = random.Between(1, 4); pass > 0; --pass) {
    std::set<Offset> gone;
    const uint64_t one_in = random.Between(1, 6);
    for (const auto& [offset, record] : left) {
      if (record.key.has_value() && random.OneIn(one_in)) gone.insert(offset);
    }
    for (const Offset offset : gone) left.erase(offset);
    const CompactedBatch batch = Without(frame, gone);
    if ((batch.outcome == Outcome::kEmpty) != left.empty()) return "wrong about having nothing";
    if (left.empty()) return "";
    if ((batch.outcome == Outcome::kUnchanged) != gone.empty()) return "wrong about a change";
    if (gone.empty()) continue;
    if (const std::string wrong = Wrong(frame, batch.frame, left); !wrong.empty()) return wrong;
    frame = batch.frame;
  }
  return "";
}

TEST(CompactBatchProperty, WhatIsLeft_IsWhatWasThere_AtItsOffset) {
  sim::ExpectHolds({.count = 2'000, .count_long = 100'000}, PlayPasses);
}

TEST(CompactBatchMutants, ADeltaThatIsIgnored_IsFound) {
  sim::ExpectFound(Mutant::kDeltaIgnored, 20, PlayPasses);
}

}  // namespace
}  // namespace millrace::broker

// What a pass leaves of a segment: batches without what is superseded, gaps where nothing is left,
// and everything follows on as it did.
#include "broker/partition/compaction/segment_compaction.h"

#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "broker/partition/compaction/batch_compaction.h"
#include "proto/base/checksum.h"
#include "proto/record/record_batch.h"
#include "proto/record/record_batch_builder.h"
#include "raft/codec/entry_codec.h"
#include "raft/runtime/random.h"
#include "tests/support/seeds/seeds.h"

namespace millrace::broker {
namespace {

using raft::core::Entry;
using raft::core::EntryType;
using raft::core::LogPoint;

constexpr RaftGroupId kGroup{9};
constexpr TopicPartition kHome{TopicId(7), PartitionId(3)};

struct Transaction {
  ProducerId producer;
  uint64_t number = 0;
};

// A log of batches and of what else stands between them, and what it says to a reader.
class KeyedLog {
 public:
  struct Record {
    std::string key;
    std::optional<std::string> value;
    bool operator==(const Record&) const = default;
  };
  using Records = std::map<Offset, Record>;

  void AddBatch(const std::vector<Record>& records, int64_t append_time_ms = 1000,
                const Transaction& transaction = {}) {
    RecordBatchBuilder builder({.records_bytes_max = SIZE_MAX});
    for (const Record& record : records) {
      CHECK(builder.TryAppend({.key = record.key, .value = record.value, .timestamp_ms = 5}));
      records_[end_.next_offset + static_cast<int64_t>(&record - records.data())] = record;
    }
    const Bytes batch = std::move(builder).Finish({.destination = kHome});
    const auto count = static_cast<uint32_t>(records.size());
    const uint16_t flag = transaction.number == 0 ? 0 : kFrameTransactional;
    Add({.type = FrameType::kRecordBatch,
         .feature_level = kFeatureLevel,
         .flags = static_cast<uint16_t>(kFramePacked | flag),
         .offset_span = count,
         .record_count = count,
         .append_time_ms = append_time_ms,
         .max_timestamp_ms = 5,
         .producer_id = transaction.producer,
         .transaction_number = transaction.number},
        batch.view());
  }
  void AddMarker(const Transaction& transaction, uint64_t reach) {
    Add({.type = FrameType::kTransactionMarker,
         .feature_level = kFeatureLevel,
         .flags = kFrameControl | kFrameTransactional,
         .producer_id = transaction.producer,
         .transaction_number = transaction.number,
         .reach = reach},
        "");
  }
  void AddOther(FrameType type, std::string_view payload = "") {
    Add({.type = type, .flags = kFrameControl}, payload);
  }
  void NextTerm() { end_.term = Term(end_.term.value() + 1); }

  const std::vector<Entry>& entries() const { return entries_; }
  const Records& records() const { return records_; }
  const LogPoint& end() const { return end_; }

 private:
  void Add(FrameHeader header, std::string_view payload) {
    header.group = kGroup;
    header.term = end_.term;
    header.index = end_.index + 1;
    header.base_offset = end_.next_offset;
    header.payload_size = static_cast<uint32_t>(payload.size());
    header.payload_crc = header.stored_crc = Crc32c(payload);
    header.chain = FrameChain(end_.chain, header);
    Buffer buffer = AllocateFrame(payload.size());
    std::memcpy(FramePayload(buffer), payload.data(), payload.size());
    Result<Entry> entry = raft::DecodeStored(SealFrame(header, std::move(buffer)));
    CHECK(entry.ok()) << entry.status();
    entries_.push_back(*std::move(entry));
    end_ = raft::EndAfter(header);
  }

  LogPoint end_{.term = Term(1)};
  std::vector<Entry> entries_;
  Records records_;
};

// What is left, in pieces of so many entries; checked to follow on to the same end.
std::vector<Entry> Compact(const KeyedLog& log, const std::vector<Entry>& entries, Offset clean_to,
                           SegmentCompaction::Bounds bounds, size_t piece, bool* has_changed) {
  auto keys = std::make_shared<KeyMap>(KeyMap::Options{.bytes_max = 1 << 20}, Random(1));
  for (const Entry& entry : entries) {
    if (entry.frame.header().type != FrameType::kRecordBatch) continue;
    EXPECT_TRUE(VisitKeys(entry.frame, [&](const KeyedRecord& record) {
                  return record.offset >= clean_to || keys->Add(record.key, record.offset);
                }).ok());
  }
  bounds.home = kHome;
  SegmentCompaction compaction(keys, bounds);
  std::vector<Entry> left;
  for (size_t at = 0; at < entries.size(); at += piece) {
    const size_t end = std::min(at + piece, entries.size());
    auto taken = compaction.Take({entries.begin() + static_cast<ptrdiff_t>(at),
                                  entries.begin() + static_cast<ptrdiff_t>(end)});
    EXPECT_TRUE(taken.ok()) << taken.status();
    for (Entry& entry : *taken) left.push_back(std::move(entry));
  }
  if (auto gap = compaction.TakeGap()) left.push_back(*std::move(gap));
  *has_changed = compaction.has_changed();
  LogPoint reached;
  for (const Entry& entry : left) {
    const FrameHeader header = entry.frame.header();
    const Status follows = raft::CheckFollows(reached, kGroup, header);
    EXPECT_TRUE(follows.ok()) << follows;
    EXPECT_TRUE(raft::DecodeStored(entry.frame).ok());
    reached = raft::EndAfter(header);
  }
  EXPECT_EQ(reached, log.end());
  return left;
}

KeyedLog::Records RecordsOf(const std::vector<Entry>& entries) {
  KeyedLog::Records records;
  for (const Entry& entry : entries) {
    const FrameHeader header = entry.frame.header();
    if (header.type != FrameType::kRecordBatch) continue;
    const Bytes payload = entry.frame.payload();
    const auto opened = OpenRecordBatch(payload.view());
    CHECK(opened.ok()) << opened.status();
    RecordIterator at(opened->view);
    RecordView record;
    while (at.Next(&record)) {
      KeyedLog::Record& out = records[header.base_offset + record.place];
      out.key = record.key.value_or("");
      if (record.value.has_value()) out.value = *record.value;
    }
  }
  return records;
}

TEST(SegmentCompaction, WhatIsSuperseded_Goes_AndNothingElse) {
  KeyedLog log;
  log.AddOther(FrameType::kNoOp);
  log.AddBatch({{"a", "1"}, {"b", "1"}});
  log.AddBatch({{"a", "2"}});
  log.AddOther(FrameType::kPartitionCommand);
  log.AddBatch({{"a", "3"}, {"c", ""}});
  log.NextTerm();
  log.AddOther(FrameType::kNoOp);
  log.AddBatch({{"c", "2"}});
  bool has_changed = false;
  const auto left = Compact(log, log.entries(), Offset(100), {}, 2, &has_changed);
  EXPECT_TRUE(has_changed);
  const KeyedLog::Records expected{
      {Offset(1), {"b", "1"}}, {Offset(3), {"a", "3"}}, {Offset(5), {"c", "2"}}};
  EXPECT_EQ(RecordsOf(left), expected);
  // no-op | b | a2 and the command | a3 | no-op of another term | c2
  ASSERT_EQ(left.size(), 6U);
  EXPECT_EQ(left[0].type, EntryType::kGap);
  EXPECT_EQ(LastIndexOf(left[2].frame.header()), LogIndex(4));
  EXPECT_EQ(left[4].term, Term(2));
}

// Whatever their keys: readers of what is committed never see them.
TEST(SegmentCompaction, WhatAnAbortedTransactionWrote_Goes_AndItsMarkerStays) {
  KeyedLog log;
  log.AddBatch({{"a", "1"}});
  log.AddBatch({{"b", "1"}}, 1000, {.producer = ProducerId(1), .number = 1});
  log.AddBatch({{"c", "1"}}, 1000, {.producer = ProducerId(2), .number = 1});
  log.AddMarker({.producer = ProducerId(1), .number = 1}, 2);
  SegmentCompaction compaction(
      std::make_shared<KeyMap>(KeyMap::Options{.bytes_max = 1 << 20}, Random(1)), {.home = kHome});
  const VoidFilter filter({{.producer = ProducerId(1), .first = Offset(1), .end = Offset(3)}});
  const auto left = compaction.Take(log.entries(), filter);
  ASSERT_TRUE(left.ok()) << left.status();
  EXPECT_TRUE(compaction.has_changed());
  const KeyedLog::Records expected{{Offset(0), {"a", "1"}}, {Offset(2), {"c", "1"}}};
  EXPECT_EQ(RecordsOf(*left), expected);
  ASSERT_EQ(left->size(), 4U);
  EXPECT_EQ((*left)[1].type, EntryType::kGap);
  const FrameHeader marker = left->back().frame.header();
  EXPECT_EQ(marker.type, FrameType::kTransactionMarker);
  EXPECT_EQ(marker.reach, 2U);
}

TEST(SegmentCompaction, WhereNoRecordGoes_NothingHasChanged) {
  KeyedLog log;
  log.AddOther(FrameType::kNoOp);
  log.AddBatch({{"a", "1"}, {"b", "1"}});
  bool has_changed = true;
  Compact(log, log.entries(), Offset(100), {}, 1, &has_changed);
  EXPECT_FALSE(has_changed);
}

TEST(SegmentCompaction, ATombstone_GoesByPlaceAndAge_AndAnEmptyValueIsNone) {
  KeyedLog log;
  log.AddBatch({{"a", std::nullopt}, {"b", ""}}, 1000);
  log.AddBatch({{"c", std::nullopt}}, 1000);
  log.AddBatch({{"d", std::nullopt}}, 2000);
  bool has_changed = false;
  const auto left =
      Compact(log, log.entries(), Offset(100),
              {.tombstones_below = Offset(2), .older_than_ms = 2000}, 1, &has_changed);
  const KeyedLog::Records expected{
      {Offset(1), {"b", ""}}, {Offset(2), {"c", std::nullopt}}, {Offset(3), {"d", std::nullopt}}};
  EXPECT_EQ(RecordsOf(left), expected);
  const auto later =
      Compact(log, left, Offset(100), {.tombstones_below = Offset(4), .older_than_ms = 2000}, 1,
              &has_changed);
  EXPECT_EQ(RecordsOf(later).size(), 2U) << "the last one is not old enough";
}

// Any log, any passes: of each key the newest record below the end of the pass is there, and all
// that lies behind it; offsets are what they were.
std::string PlayPasses(uint64_t seed) {
  Random random(seed);
  KeyedLog log;
  for (uint64_t i = random.Between(1, 30); i > 0; --i) {
    if (random.OneIn(6)) log.NextTerm();
    if (random.OneIn(4)) {
      log.AddOther(random.OneIn(2) ? FrameType::kNoOp : FrameType::kPartitionCommand);
      continue;
    }
    std::vector<KeyedLog::Record> records(random.Between(1, 6));
    for (auto& record : records) {
      record.key = "k" + std::to_string(random.Below(8));
      if (!random.OneIn(5)) record.value = std::to_string(random.Below(1000));
    }
    log.AddBatch(records, static_cast<int64_t>(1000 * log.end().index.value()));
  }
  std::vector<Entry> left = log.entries();
  KeyedLog::Records expected = log.records();
  const auto end = static_cast<uint64_t>(log.end().next_offset.value());
  Offset clean_to;
  for (uint64_t pass = random.Between(1, 4); pass > 0; --pass) {
    const Offset tombstones_below = clean_to;
    clean_to =
        Offset(static_cast<int64_t>(random.Between(static_cast<uint64_t>(clean_to.value()), end)));
    std::map<std::string, Offset> newest;
    for (const auto& [offset, record] : expected) {
      if (offset < clean_to) newest[record.key] = offset;
    }
    std::erase_if(expected, [&](const auto& one) {
      const auto at = newest.find(one.second.key);
      const bool is_superseded = at != newest.end() && at->second > one.first;
      return is_superseded || (!one.second.value.has_value() && one.first < tombstones_below);
    });
    bool has_changed = false;
    left = Compact(log, left, clean_to,
                   {.tombstones_below = tombstones_below, .older_than_ms = INT64_MAX},
                   random.Between(1, 5), &has_changed);
    if (RecordsOf(left) != expected) return "other records are left than should be";
  }
  return "";
}

TEST(SegmentCompaction, AnyPasses_LeaveWhatTheRulesSay) {
  sim::ExpectHolds({.count = 400, .count_long = 20'000}, PlayPasses);
}

}  // namespace
}  // namespace millrace::broker

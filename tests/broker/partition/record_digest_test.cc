// What two replicas hold is told apart by any record that is not the same, and by nothing else.

#include "broker/partition/record_digest.h"

#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/partition/compaction/batch_compaction.h"
#include "tests/broker/partition/stored_batch.h"

namespace millrace::broker {
namespace {

constexpr Form kForms[] = {
    {.encoding = BatchEncoding::kPacked},
    {.encoding = BatchEncoding::kTyped},
    {.encoding = BatchEncoding::kPacked, .compression = BatchCompression::kZstd},
    {.encoding = BatchEncoding::kPacked, .compression = BatchCompression::kLz4},
};

std::vector<Record> FourRecords() {
  return {{.key = "k1",
           .value = "one",
           .headers = {{"h", "x"}, {"i", std::nullopt}},
           .timestamp_ms = 4},
          {.key = "k2", .value = std::nullopt, .headers = {}, .timestamp_ms = 9},
          {.key = std::nullopt, .value = "", .headers = {}, .timestamp_ms = 0},
          {.key = "k1", .value = "four", .headers = {}, .timestamp_ms = 2}};
}

RecordDigest DigestOf(const Frame& frame, Offset begin = Offset(0), Offset end = Offset(9'999)) {
  const Result<RecordDigest> digest = DigestRecords(frame, begin, end);
  CHECK(digest.ok()) << digest.status();
  return *digest;
}

RecordDigest DigestOf(const std::vector<Record>& records) {
  return DigestOf(Stored(records, kForms[0]));
}

TEST(RecordDigestTest, HowABatchIsEncoded_MakesNoDifference) {
  const RecordDigest digest = DigestOf(FourRecords());
  EXPECT_EQ(digest.records, 4u);
  for (const Form& form : kForms) EXPECT_EQ(DigestOf(Stored(FourRecords(), form)), digest);
}

TEST(RecordDigestTest, NorWhetherARecordIsAlone_OnceOthersWereCompactedAway) {
  for (const Form& form : kForms) {
    const Frame whole = Stored(FourRecords(), form);
    const Result<CompactedBatch> last = CompactBatch(
        whole, kHome, [](const KeyedRecord& record) { return record.offset == kBase + 3; });
    ASSERT_TRUE(last.ok() && last->outcome == CompactedBatch::Outcome::kRewritten);
    RecordDigest left = DigestOf(whole, kBase + 2, kBase + 3);  // has no key: it stays
    left += DigestOf(whole, kBase + 3, kBase + 4);
    EXPECT_EQ(DigestOf(last->frame), left);
  }
}

TEST(RecordDigestTest, StretchesAddUp_AndWhatLiesOutsideIsNotMeant) {
  const Frame frame = Stored(FourRecords(), kForms[0]);
  for (int64_t cut = 0; cut <= 4; ++cut) {
    RecordDigest sum = DigestOf(frame, kBase, kBase + cut);
    EXPECT_EQ(sum.records, static_cast<uint64_t>(cut));
    sum += DigestOf(frame, kBase + cut, kBase + 4);
    EXPECT_EQ(sum, DigestOf(frame)) << cut;
  }
}

TEST(RecordDigestTest, TheSumCarries) {
  RecordDigest digest{.low = UINT64_MAX, .high = 1, .records = 1};
  digest += {.low = 2, .high = 3, .records = 1};
  EXPECT_EQ(digest, (RecordDigest{.low = 1, .high = 5, .records = 2}));
}

TEST(RecordDigestTest, WhateverIsAnotherOne_IsToldApart) {
  const RecordDigest digest = DigestOf(FourRecords());
  const auto expect_other = [&](const char* what, auto change) {
    std::vector<Record> records = FourRecords();
    change(records);
    EXPECT_NE(DigestOf(records), digest) << what;
  };
  expect_other("a key", [](auto& records) { records[0].key = "k3"; });
  expect_other("no key", [](auto& records) { records[1].key.reset(); });
  expect_other("an empty key", [](auto& records) { records[2].key = ""; });
  expect_other("a value", [](auto& records) { records[0].value = "onf"; });
  expect_other("an empty value", [](auto& records) { records[1].value = ""; });
  expect_other("no value", [](auto& records) { records[2].value.reset(); });
  expect_other("a header's name", [](auto& records) { records[0].headers[0].first = "g"; });
  expect_other("a header's value", [](auto& records) { records[0].headers[0].second = "y"; });
  expect_other("an empty header", [](auto& records) { records[0].headers[1].second = ""; });
  expect_other("the headers' order",
               [](auto& records) { std::swap(records[0].headers[0], records[0].headers[1]); });
  expect_other("no header", [](auto& records) { records[0].headers.pop_back(); });
  expect_other("a time", [](auto& records) { records[0].timestamp_ms = 5; });
  expect_other("an order", [](auto& records) { std::swap(records[0], records[3]); });
  expect_other("a missing record", [](auto& records) { records.pop_back(); });
  expect_other("what moved from the key to the value", [](auto& records) {
    records[0].key = "k";
    records[0].value = "1one";
  });
}

TEST(RecordDigestTest, WithoutATimestamp_ARecordHasTheTimeOfItsAppend) {
  std::vector<Record> records = FourRecords();
  records[2].timestamp_ms = kAppendTimeMs;
  EXPECT_EQ(DigestOf(records), DigestOf(FourRecords()));
}

TEST(RecordDigestTest, WhatIsNoBatch_IsDamage_WithItsEntry) {
  const Result<RecordDigest> digest =
      DigestRecords(FrameOf("no batch", FourRecords(), 0), kBase, kBase + 4);
  EXPECT_EQ(digest.status().code(), Code::kDataLoss);
  EXPECT_THAT(digest.status().message(), testing::HasSubstr("entry 44 of group 9"));
}

}  // namespace
}  // namespace millrace::broker

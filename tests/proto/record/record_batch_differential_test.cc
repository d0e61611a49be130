// The hand-written parser and builder against libprotobuf: what one writes the other reads as the
// same, and whatever the parser accepts of damaged bytes, libprotobuf reads as the same records.

#include <cstring>
#include <string>
#include <vector>

#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/unknown_field_set.h>
#include <gtest/gtest.h>

#include "millrace/v1/record.pb.h"
#include "proto/record/record_batch.h"
#include "proto/record/record_batch_builder.h"
#include "raft/runtime/random.h"

namespace millrace {
namespace {

constexpr TopicPartition kHome{TopicId(1000), PartitionId(1)};
constexpr uint64_t kSeed = 20130101;

std::string RandomText(Random& random, size_t size_max) {
  std::string text(random.Below(size_max + 1), ' ');
  for (char& at : text) at = static_cast<char>('a' + random.Below(26));
  return text;
}

v1::Record RandomRecord(Random& random) {
  v1::Record record;
  if (!random.OneIn(3)) record.set_key(RandomText(random, 20));
  if (!random.OneIn(5)) record.set_value(RandomText(random, 300));
  if (random.OneIn(2)) record.set_timestamp_ms(static_cast<int64_t>(random.Next() >> 1));
  for (uint64_t i = random.Below(3); i > 0; --i) {
    v1::Header* header = record.add_headers();
    header->set_key(random.OneIn(4) ? "naïve €" : RandomText(random, 5));
    if (random.OneIn(2)) header->set_value(RandomText(random, 9));
  }
  return record;
}

v1::RecordBatch RandomBatch(Random& random) {
  v1::RecordBatch batch;
  v1::Records records;
  int64_t max_timestamp = 0;
  for (uint64_t i = random.Between(1, 8); i > 0; --i) {
    *records.add_records() = RandomRecord(random);
    max_timestamp = std::max(max_timestamp, records.records().rbegin()->timestamp_ms());
  }
  batch.set_producer_id(random.Next() >> random.Below(64));
  batch.set_producer_epoch(static_cast<uint32_t>(random.Below(5)));
  batch.set_first_sequence(static_cast<uint32_t>(random.Next() >> 33));
  batch.set_record_count(static_cast<uint32_t>(records.records_size()));
  batch.set_max_timestamp_ms(max_timestamp);
  if (random.OneIn(2)) {
    *batch.mutable_records() = records.records();
    return batch;
  }
  batch.set_packed(records.SerializeAsString());
  batch.set_checksum(PackedChecksum(batch.packed(), kHome));
  return batch;
}

v1::Record ToMessage(const RecordView& view) {
  v1::Record record;
  if (view.key) record.set_key(std::string(*view.key));
  if (view.value) record.set_value(std::string(*view.value));
  record.set_timestamp_ms(view.timestamp_ms);
  record.set_offset_delta(view.offset_delta);
  HeaderIterator headers(view);
  HeaderView header;
  while (headers.Next(&header)) {
    v1::Header* out = record.add_headers();
    out->set_key(std::string(header.key));
    if (header.value) out->set_value(std::string(*header.value));
  }
  EXPECT_EQ(static_cast<uint32_t>(record.headers_size()), view.header_count);
  return record;
}

// Expects that libprotobuf reads `bytes`, which the parser took as `view`, in the same way.
void ExpectSame(const std::string& bytes, const RecordBatchView& view) {
  v1::RecordBatch batch;
  ASSERT_TRUE(batch.ParseFromString(bytes));
  EXPECT_EQ(batch.producer_id(), view.producer_id.value());
  EXPECT_EQ(batch.producer_epoch(), view.producer_epoch);
  EXPECT_EQ(batch.first_sequence(), view.first_sequence);
  EXPECT_EQ(batch.has_packed(), view.is_packed);
  EXPECT_TRUE(batch.GetReflection()->GetUnknownFields(batch).empty());
  v1::Records records;
  if (view.is_packed) {
    EXPECT_EQ(batch.checksum(), view.checksum);
    EXPECT_EQ(batch.records_size(), 0);
    ASSERT_TRUE(records.ParseFromString(batch.packed()));
  } else {
    *records.mutable_records() = batch.records();
  }
  ASSERT_EQ(static_cast<uint32_t>(records.records_size()), view.record_count);
  RecordIterator iterator(view);
  RecordView record;
  for (const v1::Record& expected : records.records()) {
    ASSERT_TRUE(iterator.Next(&record));
    EXPECT_EQ(ToMessage(record).SerializeAsString(), expected.SerializeAsString());
  }
  EXPECT_FALSE(iterator.Next(&record));
}

TEST(RecordBatchDifferential, Parser_ReadsTheSame_AsLibprotobufWrote) {
  Random random(kSeed);
  for (int round = 0; round < 2000; ++round) {
    const std::string bytes = RandomBatch(random).SerializeAsString();
    const Result<RecordBatchView> view = ParseRecordBatch(bytes, kHome);
    ASSERT_TRUE(view.ok()) << view.status() << " seed=" << kSeed << " round=" << round;
    ASSERT_NO_FATAL_FAILURE(ExpectSame(bytes, *view)) << "seed=" << kSeed << " round=" << round;
  }
}

void AppendTo(RecordBatchBuilder* builder, const v1::Record& record) {
  std::vector<HeaderView> headers;
  for (const v1::Header& header : record.headers()) {
    HeaderView view{.key = header.key(), .value = std::nullopt};
    if (header.has_value()) view.value = header.value();
    headers.push_back(view);
  }
  NewRecord fields;
  if (record.has_key()) fields.key = record.key();
  if (record.has_value()) fields.value = record.value();
  fields.headers = headers;
  fields.timestamp_ms = record.timestamp_ms();
  const size_t before = builder->records_bytes();
  ASSERT_TRUE(builder->TryAppend(fields));
  EXPECT_EQ(builder->records_bytes() - before, EncodedRecordSize(fields));
}

TEST(RecordBatchDifferential, Builder_WritesTheSameBytes_AsLibprotobuf) {
  Random random(kSeed + 1);
  for (int round = 0; round < 2000; ++round) {
    v1::RecordBatch batch = RandomBatch(random);
    v1::Records records;
    const bool is_packed = batch.has_packed();
    if (is_packed) {
      ASSERT_TRUE(records.ParseFromString(batch.packed()));
    } else {
      *records.mutable_records() = batch.records();
    }
    RecordBatchBuilder builder(
        {.encoding = is_packed ? BatchEncoding::kPacked : BatchEncoding::kTyped});
    for (const v1::Record& record : records.records()) AppendTo(&builder, record);
    const Bytes bytes = std::move(builder).Finish({.producer_id = ProducerId(batch.producer_id()),
                                                   .producer_epoch = batch.producer_epoch(),
                                                   .first_sequence = batch.first_sequence(),
                                                   .destination = kHome});
    ASSERT_EQ(bytes.view(), batch.SerializeAsString()) << "seed=" << kSeed << " round=" << round;
  }
}

// One to four small damages anywhere: bytes changed, cut out, put in or written twice.
std::string Damage(std::string bytes, Random& random) {
  for (uint64_t i = random.Between(1, 4); i > 0 && !bytes.empty(); --i) {
    const size_t at = random.Below(bytes.size());
    const size_t count = random.Between(1, 4);
    switch (random.Below(4)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ 1 << random.Below(8));
        break;
      case 1:
        bytes.erase(at, count);
        break;
      case 2:
        bytes.insert(at, count, static_cast<char>(random.Below(256)));
        break;
      default:
        bytes.insert(at, bytes.substr(at, count));
    }
  }
  return bytes;
}

// A packed batch's checksum hides all other damage, so it is made right again where it can be.
std::string WithRightChecksum(const std::string& bytes) {
  v1::RecordBatch batch;
  if (!batch.ParseFromString(bytes) || !batch.has_packed()) return bytes;
  const size_t at = bytes.find('\x3d');
  if (at == std::string::npos || at + 5 > bytes.size()) return bytes;
  const uint32_t checksum = PackedChecksum(batch.packed(), kHome);
  std::string fixed = bytes;
  std::memcpy(fixed.data() + at + 1, &checksum, 4);
  return fixed;
}

TEST(RecordBatchDifferential, Parser_AcceptsOfDamagedBytes_OnlyWhatLibprotobufReadsTheSame) {
  google::protobuf::LogSilencer quiet;  // it logs every header key that is not UTF-8
  Random random(kSeed + 2);

  constexpr int kRounds = 100000;
  int accepted = 0;
  for (int round = 0; round < kRounds; ++round) {
    const std::string bytes =
        WithRightChecksum(Damage(RandomBatch(random).SerializeAsString(), random));
    const Result<RecordBatchView> view = ParseRecordBatch(bytes, kHome);
    if (!view.ok()) continue;
    ++accepted;
    ASSERT_NO_FATAL_FAILURE(ExpectSame(bytes, *view)) << "seed=" << kSeed << " round=" << round;
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed=" << kSeed << " round=" << round;
  }
  EXPECT_GT(accepted, kRounds / 50) << "too little is accepted for the test to mean anything";
}

}  // namespace
}  // namespace millrace

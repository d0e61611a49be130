#include "proto/record/record_batch.h"

#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/v1/record.pb.h"
#include "proto/record/record_batch_builder.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;

constexpr TopicPartition kHome{TopicId(7), PartitionId(3)};

v1::RecordBatch Typed() {
  v1::RecordBatch batch;
  v1::Record* one = batch.add_records();
  one->set_key("AA");
  one->set_value("{}");
  one->set_timestamp_ms(1700000000000);
  v1::Header* header = one->add_headers();
  header->set_key("trace");
  header->set_value("1");
  batch.add_records()->set_value("");
  return batch;
}

v1::RecordBatch Packed() {
  v1::Records records;
  *records.mutable_records() = Typed().records();
  v1::RecordBatch batch;
  batch.set_producer_id(12);
  batch.set_producer_epoch(1);
  batch.set_first_sequence(40);
  batch.set_record_count(2);
  batch.set_max_timestamp_ms(1700000000000);
  batch.set_packed(records.SerializeAsString());
  batch.set_checksum(PackedChecksum(batch.packed(), kHome));
  return batch;
}

// What ParseRecordBatch says about `bytes`; empty if it takes them.
std::string Complaint(const std::string& bytes) {
  const Result<RecordBatchView> batch = ParseRecordBatch(bytes, kHome);
  if (batch.ok()) return "";
  EXPECT_EQ(batch.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(batch.status().reason(), Reason::kCorruptBatch);
  return std::string(batch.status().message());
}

std::string ComplaintOf(v1::RecordBatch batch, const std::function<void(v1::RecordBatch&)>& spoil) {
  spoil(batch);
  return Complaint(batch.SerializeAsString());
}

TEST(RecordBatch, Parse_ComputesCountAndTimestamp_OfTypedRecords) {
  const std::string bytes = Typed().SerializeAsString();
  const Result<RecordBatchView> batch = ParseRecordBatch(bytes, kHome);
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_FALSE(batch->is_packed);
  EXPECT_EQ(batch->record_count, 2u);
  EXPECT_EQ(batch->max_timestamp_ms, 1700000000000);
}

TEST(RecordBatch, Parse_TakesPackedRecords_WithEveryHeaderField) {
  const std::string bytes = Packed().SerializeAsString();
  const Result<RecordBatchView> batch = ParseRecordBatch(bytes, kHome);
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_TRUE(batch->is_packed);
  EXPECT_EQ(batch->producer_id, ProducerId(12));
  EXPECT_EQ(batch->producer_epoch, 1u);
  EXPECT_EQ(batch->first_sequence, 40u);
  EXPECT_EQ(batch->record_count, 2u);
}

TEST(RecordBatch, Iterator_TellsNullFromEmpty_AndReadsHeaders) {
  const std::string bytes = Packed().SerializeAsString();
  const Result<RecordBatchView> batch = ParseRecordBatch(bytes, kHome);
  ASSERT_TRUE(batch.ok()) << batch.status();
  RecordIterator records(*batch);
  RecordView record;
  ASSERT_TRUE(records.Next(&record));
  EXPECT_EQ(record.key, "AA");
  EXPECT_EQ(record.header_count, 1u);
  HeaderIterator headers(record);
  HeaderView header;
  ASSERT_TRUE(headers.Next(&header));
  EXPECT_EQ(header.key, "trace");
  EXPECT_EQ(header.value, "1");
  EXPECT_FALSE(headers.Next(&header));
  ASSERT_TRUE(records.Next(&record));
  EXPECT_EQ(record.key, std::nullopt);
  EXPECT_EQ(record.value, "");
  EXPECT_FALSE(records.Next(&record));
  EXPECT_TRUE(records.status().ok());
}

TEST(RecordBatch, Parse_RefusesWrongCount_AndSaysWhichIsRight) {
  EXPECT_THAT(ComplaintOf(Packed(), [](auto& b) { b.set_record_count(3); }),
              HasSubstr("record_count is 3, but there are 2 records"));
  EXPECT_THAT(ComplaintOf(Packed(), [](auto& b) { b.set_record_count(0); }),
              HasSubstr("record_count is 0"));
  EXPECT_THAT(ComplaintOf(Typed(), [](auto& b) { b.set_record_count(1); }),
              HasSubstr("record_count is 1"));
}

TEST(RecordBatch, Parse_RefusesWrongChecksum_AlsoWhenOnlyTheDestinationDiffers) {
  EXPECT_THAT(ComplaintOf(Packed(), [](auto& b) { b.set_checksum(b.checksum() + 1); }),
              HasSubstr("checksum does not match"));
  const std::string bytes = Packed().SerializeAsString();
  EXPECT_FALSE(ParseRecordBatch(bytes, {kHome.topic, PartitionId(4)}).ok());
  EXPECT_FALSE(ParseRecordBatch(bytes, {TopicId(8), kHome.partition}).ok());
  EXPECT_THAT(ComplaintOf(Packed(), [](auto& b) { b.clear_checksum(); }),
              HasSubstr("checksum is missing"));
  EXPECT_THAT(ComplaintOf(Typed(), [](auto& b) { b.set_checksum(1); }),
              HasSubstr("checksum stands beside records"));
}

TEST(RecordBatch, Parse_RefusesWrongTimestamp_ByName) {
  EXPECT_THAT(ComplaintOf(Packed(), [](auto& b) { b.set_max_timestamp_ms(5); }),
              HasSubstr("max_timestamp_ms is 5"));
  EXPECT_THAT(ComplaintOf(Typed(), [](auto& b) { b.mutable_records(1)->set_timestamp_ms(-1); }),
              HasSubstr("record 1: timestamp_ms"));
}

TEST(RecordBatch, Parse_RefusesWhatCompressionAndSizeSayWrong) {
  EXPECT_THAT(
      ComplaintOf(Packed(), [](auto& b) { b.set_compression(static_cast<v1::Compression>(6)); }),
      HasSubstr("compression 6 is not supported by this version"));
  EXPECT_THAT(ComplaintOf(Packed(), [](auto& b) { b.set_compression(v1::COMPRESSION_ZSTD); }),
              HasSubstr("uncompressed_size is 0"));
  EXPECT_THAT(ComplaintOf(Packed(), [](auto& b) { b.set_uncompressed_size(10); }),
              HasSubstr("packed is not compressed"));
  EXPECT_THAT(ComplaintOf(Typed(), [](auto& b) { b.set_compression(v1::COMPRESSION_ZSTD); }),
              HasSubstr("compression stands beside records"));
  EXPECT_EQ(ComplaintOf(Packed(), [](auto& b) { b.set_compression(v1::COMPRESSION_NONE); }), "");
}

TEST(RecordBatch, Parse_RefusesRepeatedUnknownAndMisplacedHeaderFields) {
  const std::string good = Packed().SerializeAsString();
  EXPECT_THAT(Complaint(std::string("\x08\x0c", 2) + good), HasSubstr("field 1 is repeated"));
  EXPECT_THAT(Complaint(std::string("\x10\x01", 2) + good),
              HasSubstr("field 1 is repeated or out"));
  EXPECT_THAT(Complaint(good + std::string("\x08\x0c", 2)), HasSubstr("followed by another field"));
  EXPECT_THAT(Complaint(std::string("\x0d\0\0\0\0", 5)), HasSubstr("unknown field 1"));
}

// libprotobuf reads no length of more than five bytes, other libraries do.
TEST(RecordBatch, Parse_RefusesLengthsThatTakeMoreBytesThanALengthNeeds) {
  const std::string records_tag = "\x72";
  const std::string none_in_five_bytes("\x80\x80\x80\x80\0", 5);
  const std::string none_in_six_bytes("\x80\x80\x80\x80\x80\0", 6);
  const std::string two = std::string("\x20\x02", 2) + records_tag;
  EXPECT_EQ(Complaint(two + none_in_five_bytes + records_tag + none_in_five_bytes), "");
  EXPECT_THAT(Complaint(two + none_in_five_bytes + records_tag + none_in_six_bytes),
              HasSubstr("record 1"));
}

// What a field that comes later would say, as a varint.
std::string Later(unsigned field) {
  return std::string(1, static_cast<char>(WireTag(field, WireType::kVarint))) + '\1';
}

TEST(RecordBatch, Parse_RefusesToStore_WhatALaterVersionWouldSay) {
  const Result<RecordBatchView> batch = ParseRecordBatch(Later(10), kHome);
  EXPECT_EQ(batch.status().code(), Code::kUnimplemented) << batch.status();
  EXPECT_THAT(std::string(batch.status().message()), HasSubstr("unknown field 10"));
  const Result<RecordView> record = ParseProducedRecord(Later(6), 3);
  EXPECT_EQ(record.status().code(), Code::kUnimplemented) << record.status();
  EXPECT_THAT(std::string(record.status().message()), HasSubstr("record 3"));
}

TEST(RecordBatch, Reading_SkipsWhatALaterVersionWouldSay) {
  const std::string long_field("\xa2\x06\x03new", 6);  // field 100, three bytes
  const std::string header = std::string("\x0a\x01k", 3) + Later(7) + long_field;
  std::string record = Later(6) + long_field + std::string("\x12\x01v", 3);
  record += std::string("\x1a", 1) + static_cast<char>(header.size()) + header + Later(9);
  std::string bytes = std::string("\x08\x0c", 2) + Later(9) + long_field + Later(13);
  bytes += std::string("\x72", 1) + static_cast<char>(record.size()) + record;
  const Result<OpenedBatch> batch = OpenRecordBatch(bytes);
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->view.producer_id, ProducerId(12));
  RecordIterator records(batch->view);
  RecordView read;
  ASSERT_TRUE(records.Next(&read)) << records.status();
  EXPECT_EQ(read.value, "v");
  HeaderIterator headers(read);
  HeaderView found;
  ASSERT_TRUE(headers.Next(&found));
  EXPECT_EQ(found.key, "k");
  EXPECT_FALSE(headers.Next(&found));
  EXPECT_FALSE(records.Next(&read));
  EXPECT_TRUE(records.status().ok()) << records.status();
}

// base_offset + max(place in the batch, offset_delta): the same rule for batches as they were
// produced and as compaction leaves them.
TEST(RecordBatch, Reading_CountsOffsets_ByPlaceAndDelta) {
  v1::RecordBatch batch;
  for (const int delta : {0, 4, 0, 9}) batch.add_records()->set_offset_delta(delta);
  batch.mutable_records(2)->set_offset_delta(5);
  const std::string bytes = batch.SerializeAsString();
  const Result<OpenedBatch> opened = OpenRecordBatch(bytes);
  ASSERT_TRUE(opened.ok()) << opened.status();
  RecordIterator records(opened->view);
  RecordView record;
  std::vector<uint32_t> places;
  while (records.Next(&record)) places.push_back(record.place);
  EXPECT_TRUE(records.status().ok()) << records.status();
  EXPECT_EQ(places, (std::vector<uint32_t>{0, 4, 5, 9}));
}

TEST(RecordBatch, Reading_RefusesOffsetsThatGoBack) {
  v1::RecordBatch batch;
  for (const int delta : {3, 2}) batch.add_records()->set_offset_delta(delta);
  const std::string bytes = batch.SerializeAsString();
  RecordIterator records(OpenRecordBatch(bytes)->view);
  RecordView record;
  EXPECT_TRUE(records.Next(&record));
  EXPECT_FALSE(records.Next(&record));
  EXPECT_EQ(records.status().reason(), Reason::kCorruptBatch);
}

TEST(RecordBatch, Parse_RefusesTheBrokersFields) {
  EXPECT_THAT(ComplaintOf(Typed(), [](auto& b) { b.mutable_records(1)->set_offset_delta(7); }),
              HasSubstr("offset_delta is the broker's to set"));
}

TEST(RecordBatch, Parse_RefusesBothPayloadsAndNone) {
  EXPECT_THAT(ComplaintOf(Packed(), [](auto& b) { b.add_records(); }),
              HasSubstr("checksum stands"));
  EXPECT_THAT(ComplaintOf(Typed(), [](auto& b) { b.set_packed("x"); }), HasSubstr("another field"));
  EXPECT_THAT(Complaint(""), HasSubstr("neither records nor packed"));
  EXPECT_THAT(Complaint(std::string("\x20\x02", 2)), HasSubstr("neither records nor packed"));
  EXPECT_THAT(ComplaintOf(Packed(),
                          [](auto& b) {
                            b.set_packed("");
                            b.set_checksum(PackedChecksum("", kHome));
                          }),
              HasSubstr("no records"));
}

TEST(RecordBatch, Parse_RefusesHeaderKeysThatAreNotUtf8) {
  std::string bytes = Typed().SerializeAsString();
  bytes.replace(bytes.find("trace"), 1, "\xff");
  EXPECT_THAT(Complaint(bytes), HasSubstr("record 0: headers.key is not UTF-8"));
}

TEST(RecordBatch, Parse_RefusesEveryTruncation_WithoutReadingPastTheEnd) {
  const std::string good = Packed().SerializeAsString();
  for (size_t size = 0; size < good.size(); ++size) {
    const std::vector<char> exact(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_NE(Complaint(std::string(exact.begin(), exact.end())), "") << size;
  }
}

TEST(RecordBatchBuilder, Finish_MakesABatch_ThatTheParserTakes) {
  RecordBatchBuilder builder({});
  const HeaderView header{.key = "h", .value = std::nullopt};
  ASSERT_TRUE(builder.TryAppend({.key = "k", .value = "v", .headers = {&header, 1}}));
  ASSERT_TRUE(builder.TryAppend({.value = std::string(5000, 'x'), .timestamp_ms = 9}));
  const Bytes bytes = std::move(builder).Finish({.producer_id = ProducerId(UINT64_MAX),
                                                 .producer_epoch = UINT32_MAX,
                                                 .first_sequence = kRecordSequenceModulus - 1,
                                                 .destination = kHome});
  const Result<RecordBatchView> batch = ParseRecordBatch(bytes.view(), kHome);
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->record_count, 2u);
  EXPECT_EQ(batch->max_timestamp_ms, 9);
  EXPECT_EQ(batch->producer_id, ProducerId(UINT64_MAX));
  EXPECT_EQ(batch->first_sequence, kRecordSequenceModulus - 1);
}

TEST(RecordBatchBuilder, TryAppend_RefusesWhatWouldOverflow_ButTakesAnyFirstRecord) {
  RecordBatchBuilder builder({.records_bytes_max = 100, .initial_bytes = 0});
  EXPECT_TRUE(builder.TryAppend({.value = std::string(200, 'x')}));
  EXPECT_FALSE(builder.TryAppend({.value = "y"}));
  EXPECT_EQ(builder.record_count(), 1u);
}

}  // namespace
}  // namespace millrace

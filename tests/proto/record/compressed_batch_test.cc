#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/v1/record.pb.h"
#include "proto/record/record_batch.h"
#include "proto/record/record_batch_builder.h"
#include "proto/record/unpack.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;

constexpr TopicPartition kHome{TopicId(7), PartitionId(3)};
constexpr uint32_t kRecords = 50;

Bytes Built(BatchCompression compression, std::string_view value = "a value, again and again") {
  RecordBatchBuilder builder({});
  for (uint32_t i = 0; i < kRecords; ++i) {
    CHECK(builder.TryAppend({.key = std::to_string(i), .value = value, .timestamp_ms = 100 + i}));
  }
  return std::move(builder).Finish({.producer_id = ProducerId(5),
                                    .producer_epoch = 1,
                                    .first_sequence = 9,
                                    .destination = kHome,
                                    .compression = compression});
}

// As a client of another make would send it: `packed` holds `records`, told as they are.
v1::RecordBatch Foreign(const std::string& records) {
  v1::RecordBatch batch;
  const Result<Bytes> packed = Compress(BatchCompression::kZstd, records);
  CHECK(packed.ok());
  batch.set_packed(packed->data(), packed->size());
  batch.set_compression(v1::COMPRESSION_ZSTD);
  batch.set_uncompressed_size(static_cast<uint32_t>(records.size()));
  batch.set_record_count(2);
  return batch;
}

std::string TwoRecords() {
  v1::Records records;
  records.add_records()->set_value("one");
  records.add_records()->set_value("two");
  return records.SerializeAsString();
}

std::string Complaint(v1::RecordBatch batch) {
  batch.set_checksum(PackedChecksum(batch.packed(), kHome));
  const Result<RecordBatchView> view = ParseRecordBatch(batch.SerializeAsString(), kHome);
  if (view.ok()) return "";
  EXPECT_EQ(view.status().reason(), Reason::kCorruptBatch);
  return std::string(view.status().message());
}

TEST(CompressedBatch, Builder_MakesWhatTheParserTakes_InEveryCompression) {
  const Bytes plain = Built(BatchCompression::kUnspecified);
  for (const BatchCompression compression : kBatchCompressions) {
    const Bytes bytes = Built(compression);
    const Result<RecordBatchView> batch = ParseRecordBatch(bytes.view(), kHome);
    ASSERT_TRUE(batch.ok()) << batch.status();
    EXPECT_EQ(batch->record_count, kRecords);
    EXPECT_EQ(batch->max_timestamp_ms, 149);
    EXPECT_EQ(batch->first_sequence, 9u);
    if (!IsCompressed(compression)) continue;
    EXPECT_EQ(batch->compression, compression);
    EXPECT_LT(bytes.size(), plain.size());
  }
}

TEST(CompressedBatch, Builder_WritesWhatLibprotobufReads) {
  const Bytes bytes = Built(BatchCompression::kLz4);
  v1::RecordBatch batch;
  ASSERT_TRUE(batch.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  EXPECT_EQ(batch.compression(), v1::COMPRESSION_LZ4);
  EXPECT_EQ(batch.SerializeAsString(), bytes.view());
  const Result<Bytes> packed =
      Decompress(BatchCompression::kLz4, batch.packed(), batch.uncompressed_size());
  ASSERT_TRUE(packed.ok()) << packed.status();
  v1::Records records;
  ASSERT_TRUE(records.ParseFromArray(packed->data(), static_cast<int>(packed->size())));
  EXPECT_EQ(records.records_size(), static_cast<int>(kRecords));
}

TEST(CompressedBatch, Builder_LeavesRecordsAsTheyAre_WhereCompressionGainsNothing) {
  RecordBatchBuilder builder({});
  ASSERT_TRUE(builder.TryAppend({.value = "q"}));
  const Bytes bytes =
      std::move(builder).Finish({.destination = kHome, .compression = BatchCompression::kGzip});
  const Result<RecordBatchView> batch = ParseRecordBatch(bytes.view(), kHome);
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_FALSE(IsCompressed(batch->compression));
  EXPECT_EQ(batch->uncompressed_size, 0u);
}

TEST(CompressedBatch, Open_GivesTheRecords_OfEveryCompression) {
  for (const BatchCompression compression : kBatchCompressions) {
    const Bytes bytes = Built(compression);
    Result<OpenedBatch> made = OpenRecordBatch(bytes.view());
    ASSERT_TRUE(made.ok()) << made.status();
    const OpenedBatch opened = std::move(*made);
    RecordIterator records(opened.view);
    RecordView record;
    for (uint32_t i = 0; i < kRecords; ++i) {
      ASSERT_TRUE(records.Next(&record));
      EXPECT_EQ(record.key, std::to_string(i));
    }
    EXPECT_FALSE(records.Next(&record));
    EXPECT_TRUE(records.status().ok()) << records.status();
  }
}

TEST(CompressedBatch, Iterator_SaysSo_WhenItWasNotOpened) {
  const Bytes bytes = Built(BatchCompression::kZstd);
  const Result<RecordBatchView> batch = ParseRecordBatch(bytes.view(), kHome);
  ASSERT_TRUE(batch.ok());
  RecordIterator records(*batch);
  RecordView record;
  EXPECT_FALSE(records.Next(&record));
  EXPECT_THAT(records.status().message(), HasSubstr("compressed"));
}

TEST(CompressedBatch, Parse_ChecksCountTimestampAndStructure_Within) {
  EXPECT_EQ(Complaint(Foreign(TwoRecords())), "");
  v1::RecordBatch batch = Foreign(TwoRecords());
  batch.set_record_count(3);
  EXPECT_THAT(Complaint(batch), HasSubstr("record_count is 3, but there are 2"));
  batch = Foreign(TwoRecords());
  batch.set_max_timestamp_ms(4);
  EXPECT_THAT(Complaint(batch), HasSubstr("max_timestamp_ms is 4"));
  EXPECT_THAT(Complaint(Foreign(TwoRecords() + "x")), HasSubstr("record 2"));
  EXPECT_THAT(Complaint(Foreign(std::string("\x0a\x04\x0a\x09zz", 6))), HasSubstr("record 0"));
}

TEST(CompressedBatch, Parse_RefusesABatchWithinABatch) {
  const Bytes inner = Built(BatchCompression::kZstd);
  EXPECT_THAT(Complaint(Foreign(std::string(inner.view()))), HasSubstr("record 0"));
}

TEST(CompressedBatch, Parse_RefusesALieAboutTheSize) {
  v1::RecordBatch batch = Foreign(TwoRecords());
  batch.set_uncompressed_size(11);
  EXPECT_THAT(Complaint(batch), HasSubstr("uncompressed_size"));
  batch.set_uncompressed_size(kUncompressedBytesMax + 1);
  EXPECT_THAT(Complaint(batch), HasSubstr("uncompressed_size is 4194305, not 1 to 4194304"));
  batch.set_uncompressed_size(0);
  EXPECT_THAT(Complaint(batch), HasSubstr("uncompressed_size is 0"));
}

TEST(CompressedBatch, Parse_RefusesAWrongChecksum_BeforeItDecompresses) {
  v1::RecordBatch batch = Foreign("no records at all");
  batch.set_checksum(1);
  EXPECT_THAT(ParseRecordBatch(batch.SerializeAsString(), kHome).status().message(),
              HasSubstr("checksum does not match"));
}

struct Piece {
  UnpackedBatch unpacked;
  v1::RecordBatch batch;
};

std::vector<Piece> PiecesOf(std::string_view bytes, const BatchUnpacker::Options& options) {
  const Result<RecordBatchView> view = ParseRecordBatchHeader(bytes);
  CHECK(view.ok()) << view.status();
  Result<BatchUnpacker> unpacker = BatchUnpacker::Open(*view, options);
  CHECK(unpacker.ok()) << unpacker.status();
  std::vector<Piece> pieces;
  UnpackedBatch unpacked;
  while (unpacker->Next(&unpacked)) {
    Piece& piece = pieces.emplace_back(Piece{.unpacked = unpacked, .batch = {}});
    CHECK(piece.batch.ParseFromString(std::string(unpacked.bytes.view())));
    EXPECT_EQ(piece.batch.SerializeAsString(), unpacked.bytes.view());
    EXPECT_EQ(piece.batch.record_count(), unpacked.record_count);
  }
  CHECK(unpacker->status().ok()) << unpacker->status();
  return pieces;
}

// As compaction will leave it: of six records, three, of which the first keeps its place.
Bytes WithHoles() {
  v1::Records records;
  int32_t number = 0;
  for (const int32_t place : {0, 3, 4}) {
    v1::Record& record = *records.add_records();
    record.set_value("record " + std::to_string(place));
    record.set_timestamp_ms(100 - number++);
    record.set_offset_delta(place);
  }
  v1::RecordBatch batch = Foreign(records.SerializeAsString());
  batch.set_producer_id(5);
  batch.set_first_sequence(kRecordSequenceModulus - 2);
  batch.set_record_count(3);
  batch.set_max_timestamp_ms(100);
  batch.set_checksum(1);
  return Bytes::Own(batch.SerializeAsString());
}

TEST(CompressedBatch, Unpack_MakesTheSameBatch_WithTypedRecords) {
  for (const BatchCompression compression : kBatchCompressions) {
    const std::vector<Piece> pieces = PiecesOf(Built(compression).view(), {});
    ASSERT_EQ(pieces.size(), 1u);
    EXPECT_EQ(pieces[0].unpacked.first_place, 0u);
    EXPECT_EQ(pieces[0].unpacked.end_place, kRecords);
    const v1::RecordBatch& typed = pieces[0].batch;
    EXPECT_EQ(typed.producer_id(), 5u);
    EXPECT_EQ(typed.producer_epoch(), 1u);
    EXPECT_EQ(typed.first_sequence(), 9u);
    EXPECT_EQ(typed.max_timestamp_ms(), 149);
    EXPECT_FALSE(typed.has_packed() || typed.has_checksum());
    EXPECT_EQ(typed.compression(), v1::COMPRESSION_UNSPECIFIED);
    ASSERT_EQ(typed.records_size(), static_cast<int>(kRecords));
    EXPECT_EQ(typed.records(49).key(), "49");
    EXPECT_TRUE(ParseRecordBatch(pieces[0].unpacked.bytes.view(), kHome).ok());
  }
}

TEST(CompressedBatch, Unpack_CutsPieces_EachABatchAsAProducerWouldSendIt) {
  constexpr size_t kBytesMax = 500;
  constexpr uint32_t kFrom = 7;
  uint32_t place = kFrom;
  for (const Piece& piece : PiecesOf(Built(BatchCompression::kZstd).view(),
                                     {.first_place = kFrom, .bytes_max = kBytesMax})) {
    EXPECT_LE(piece.unpacked.bytes.size(), kBytesMax);
    EXPECT_EQ(piece.unpacked.first_place, place);
    EXPECT_EQ(piece.batch.first_sequence(), 9 + place);
    for (const v1::Record& record : piece.batch.records()) {
      EXPECT_EQ(record.key(), std::to_string(place++));
    }
    EXPECT_EQ(piece.unpacked.end_place, place);
    EXPECT_EQ(piece.batch.max_timestamp_ms(), 100 + place - 1);
    EXPECT_TRUE(ParseRecordBatch(piece.unpacked.bytes.view(), kHome).ok());
  }
  EXPECT_EQ(place, kRecords);
}

TEST(CompressedBatch, Unpack_OfARecordLargerThanAPiece_MakesOneOfItAlone) {
  RecordBatchBuilder builder({});
  for (const size_t size : {10, 2000, 10}) {
    CHECK(builder.TryAppend({.value = std::string(size, 'x')}));
  }
  const Bytes bytes =
      std::move(builder).Finish({.destination = kHome, .compression = BatchCompression::kLz4});
  const std::vector<Piece> pieces = PiecesOf(bytes.view(), {.bytes_max = 1000});
  ASSERT_EQ(pieces.size(), 3u);
  for (const Piece& piece : pieces) {
    EXPECT_EQ(piece.batch.records_size(), 1);
    EXPECT_EQ(piece.batch.first_sequence(), 0u) << "nobody's, and so no sequence";
  }
}

TEST(CompressedBatch, Unpack_CutsAtHoles_SoThatCountingIsRight) {
  const std::vector<Piece> pieces = PiecesOf(WithHoles().view(), {});
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0].unpacked.end_place, 1u);
  EXPECT_EQ(pieces[0].batch.first_sequence(), kRecordSequenceModulus - 2);
  EXPECT_EQ(pieces[0].batch.max_timestamp_ms(), 100);
  EXPECT_EQ(pieces[1].unpacked.first_place, 3u);
  EXPECT_EQ(pieces[1].unpacked.end_place, 5u);
  EXPECT_EQ(pieces[1].batch.first_sequence(), 1u);
  EXPECT_EQ(pieces[1].batch.max_timestamp_ms(), 99);
  EXPECT_EQ(pieces[1].batch.records(1).value(), "record 4");
  EXPECT_EQ(pieces[1].batch.records(1).offset_delta(), 0);
  EXPECT_TRUE(PiecesOf(WithHoles().view(), {.first_place = 5}).empty());
}

TEST(CompressedBatch, Unpack_RefusesWhatHoldsNoRecords) {
  const std::string bytes = Foreign("no records at all").SerializeAsString();
  EXPECT_FALSE(ParseRecordBatchHeader(bytes).ok());  // without a checksum
  v1::RecordBatch batch = Foreign("no records at all");
  batch.set_checksum(1);
  const std::string sealed = batch.SerializeAsString();
  const Result<RecordBatchView> view = ParseRecordBatchHeader(sealed);
  ASSERT_TRUE(view.ok()) << view.status();
  Result<BatchUnpacker> unpacker = BatchUnpacker::Open(*view, {});
  ASSERT_TRUE(unpacker.ok()) << unpacker.status();
  UnpackedBatch piece;
  EXPECT_FALSE(unpacker->Next(&piece));
  EXPECT_EQ(unpacker->status().reason(), Reason::kCorruptBatch);
}

}  // namespace
}  // namespace millrace

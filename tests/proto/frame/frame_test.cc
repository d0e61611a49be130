// The frame: what is written is read back, and no damaged bit passes.

#include "proto/frame/frame.h"

#include <cstring>
#include <string>

#include <gtest/gtest.h>

#include "proto/base/checksum.h"

namespace millrace {
namespace {

Frame Sealed(const std::string& payload, FrameHeader header = {}) {
  header.type = FrameType::kRecordBatch;
  header.payload_size = static_cast<uint32_t>(payload.size());
  header.payload_crc = Crc32c(payload);
  header.stored_crc = header.payload_crc;
  Buffer buffer = AllocateFrame(payload.size());
  std::memcpy(FramePayload(buffer), payload.data(), payload.size());
  return SealFrame(header, std::move(buffer));
}

TEST(Frame, IsReadBack_AsItWasWritten) {
  const Frame frame = Sealed("payload", {.group = RaftGroupId(3),
                                         .term = Term(4),
                                         .index = LogIndex(5),
                                         .base_offset = Offset(6),
                                         .offset_span = 7,
                                         .record_count = 7,
                                         .producer_id = ProducerId(8),
                                         .producer_epoch = 9,
                                         .first_sequence = 10,
                                         .chain = 11});
  const Result<FrameHeader> header = ParseFrame(frame.view());
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->group, RaftGroupId(3));
  EXPECT_EQ(header->term, Term(4));
  EXPECT_EQ(header->index, LogIndex(5));
  EXPECT_EQ(header->base_offset, Offset(6));
  EXPECT_EQ(header->first_sequence, 10u);
  EXPECT_EQ(header->chain, 11u);
  EXPECT_EQ(frame.payload().view(), "payload");
}

TEST(Frame, AnyFlippedBit_OfHeaderOrPayload_IsFound) {
  const Frame frame = Sealed("some payload");
  const size_t used = kFrameHeaderSize + std::string("some payload").size();
  for (size_t bit = 0; bit < used * 8; ++bit) {
    std::string damaged(frame.view());
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(ParseFrame(damaged).ok()) << "bit " << bit;
  }
}

TEST(Frame, EveryTruncation_IsFound) {
  const Frame frame = Sealed("some payload");
  for (size_t size = 0; size < frame.size(); ++size) {
    EXPECT_FALSE(ParseFrame(frame.view().substr(0, size)).ok()) << size;
  }
}

TEST(FrameChain, Differs_WhenAnIdentityFieldDoes) {
  const FrameHeader header{.term = Term(1), .index = LogIndex(2), .payload_crc = 3};
  FrameHeader other = header;
  other.payload_crc = 4;
  EXPECT_NE(FrameChain(0, header), FrameChain(0, other));
  EXPECT_NE(FrameChain(0, header), FrameChain(1, header));
}

// Formats may grow around it, but the chain of an entry is the same for all builds.
TEST(FrameChain, CoversWhatNoRewriteChanges_AndNothingElse) {
  const FrameHeader header{.type = FrameType::kRecordBatch, .index = LogIndex(2), .payload_crc = 3};
  const auto chain_with = [&header](auto change) {
    FrameHeader changed = header;
    change(changed);
    return FrameChain(7, changed);
  };
  const uint32_t chain = FrameChain(7, header);
  for (const uint16_t flag : {kFrameTransactional, kFrameKafkaBatch}) {
    EXPECT_NE(chain_with([&](FrameHeader& changed) { changed.flags = flag; }), chain) << flag;
  }
  for (const uint16_t flag : {kFrameControl, kFrameCompacted, kFramePacked, kFrameCompressed,
                              kFramePayloadElsewhere, kFrameTimed}) {
    EXPECT_EQ(chain_with([&](FrameHeader& changed) { changed.flags = flag; }), chain) << flag;
  }
  EXPECT_NE(chain_with([](FrameHeader& changed) { changed.transaction_number = 1; }), chain);
  EXPECT_NE(chain_with([](FrameHeader& changed) { changed.reach = 1; }), chain);
  EXPECT_EQ(chain_with([](FrameHeader& changed) { changed.stored_crc = 9; }), chain);
  EXPECT_EQ(chain_with([](FrameHeader& changed) { changed.has_reserved_bytes = true; }), chain);
}

TEST(Gap, SaysWhereItEnds) {
  const Frame gap = MakeGap({.group = RaftGroupId(7),
                             .term = Term(3),
                             .first = LogIndex(9),
                             .last = LogIndex(1000),
                             .base_offset = Offset(50),
                             .offset_span = 600,
                             .append_time_ms = 12,
                             .chain = 77});
  const Result<FrameHeader> header = ParseFrame(gap.view());
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_TRUE(CheckGap(*header).ok());
  EXPECT_TRUE(IsRewritten(*header));
  EXPECT_FALSE(IsLogEntry(header->type));
  EXPECT_EQ(header->index, LogIndex(9));
  EXPECT_EQ(LastIndexOf(*header), LogIndex(1000));
  EXPECT_EQ(header->offset_span, 600U);
  EXPECT_EQ(header->chain, 77U);
  EXPECT_FALSE(HasRecordSince(*header, 0)) << "it has no record, of no time";
  FrameHeader other = *header;
  other.reach = 8;
  EXPECT_EQ(CheckGap(other).code(), Code::kDataLoss) << "it ends before it begins";
  other = *header;
  other.feature_level = kFeatureLevel + 1;
  EXPECT_EQ(CheckGap(other).code(), Code::kUnimplemented);
}

// The header with byte `at` set and its checksum right again.
Result<FrameHeader> ParsedWithByte(size_t at, char value) {
  std::string bytes(Sealed("payload").view());
  bytes[at] = value;
  constexpr size_t kHeaderCrcAt = 8;
  std::memset(bytes.data() + kHeaderCrcAt, 0, sizeof(uint32_t));
  const uint32_t crc = Crc32c(std::string_view(bytes).substr(0, kFrameHeaderSize));
  std::memcpy(bytes.data() + kHeaderCrcAt, &crc, sizeof(crc));
  return ParseFrame(bytes);
}

TEST(Frame, OfANewerBuild_IsParsed_ButNotUnderstood) {
  EXPECT_TRUE(IsUnderstood(*ParseFrame(Sealed("payload").view())));
  struct Case {
    const char* what;
    size_t at;
    char value;
  };
  for (const Case& unknown :
       {Case{"type", 5, 10}, Case{"type", 5, 99}, Case{"feature level", 6, kFeatureLevel + 1},
        Case{"reserved", 7, 1}, Case{"flag", 100, kFrameTransactional}, Case{"flag", 101, 1},
        Case{"reserved", 102, 1}, Case{"transaction", 104, 1}, Case{"identity", 112, 1},
        Case{"holder", 120, 1}}) {
    const Result<FrameHeader> header = ParsedWithByte(unknown.at, unknown.value);
    ASSERT_TRUE(header.ok()) << unknown.what << " at " << unknown.at << ": " << header.status();
    EXPECT_FALSE(IsUnderstood(*header)) << unknown.what << " at " << unknown.at;
  }
  for (const char flag : {kFrameControl, kFrameCompacted, kFramePacked, kFrameCompressed}) {
    EXPECT_TRUE(IsUnderstood(*ParsedWithByte(100, flag))) << int{flag};
  }
}

TEST(Frame, OfATransaction_SaysWhichInFlagAndNumber) {
  FrameHeader batch{.type = FrameType::kRecordBatch};
  batch.flags = kFrameTransactional;
  EXPECT_FALSE(IsUnderstood(batch)) << "a flag without a number";
  batch.transaction_number = 3;
  EXPECT_TRUE(IsUnderstood(batch));
  batch.flags = 0;
  EXPECT_FALSE(IsUnderstood(batch)) << "a number without the flag";
  batch.flags = kFrameTransactional;
  batch.reach = 1;
  EXPECT_FALSE(IsUnderstood(batch)) << "no batch makes anything void";

  FrameHeader marker{.type = FrameType::kTransactionMarker,
                     .flags = kFrameControl | kFrameTransactional,
                     .transaction_number = 3};
  EXPECT_TRUE(IsUnderstood(marker));
  marker.reach = 7;
  EXPECT_TRUE(IsUnderstood(marker));
  marker.transaction_number = 0;
  marker.flags = kFrameControl;
  EXPECT_FALSE(IsUnderstood(marker)) << "it ends nothing";

  FrameHeader other{
      .type = FrameType::kNoOp, .flags = kFrameTransactional, .transaction_number = 3};
  EXPECT_FALSE(IsUnderstood(other));
}

TEST(Checksum, Combines_WithoutReadingAgain) {
  const std::string a(1000, 'a');
  const std::string b(12345, 'b');
  EXPECT_EQ(Crc32cCombine(Crc32c(a), Crc32c(b), b.size()), Crc32c(a + b));
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283u) << "the check value of CRC-32C";
}

}  // namespace
}  // namespace millrace

#include "raft/codec/entry_codec.h"

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "proto/base/checksum.h"
#include "raft/core/gap_entry.h"

namespace millrace::raft {
namespace {

Frame FrameOf(FrameType type, const std::string& payload, uint8_t level = kFeatureLevel) {
  FrameHeader header{.type = type,
                     .feature_level = level,
                     .payload_size = static_cast<uint32_t>(payload.size()),
                     .group = RaftGroupId(7),
                     .term = Term(3),
                     .index = LogIndex(9)};
  header.payload_crc = header.stored_crc = Crc32c(payload);
  header.chain = FrameChain(0, header);
  Buffer buffer = AllocateFrame(payload.size());
  std::memcpy(FramePayload(buffer), payload.data(), payload.size());
  return SealFrame(header, std::move(buffer));
}

core::Configuration Joint() {
  return {.voters = {{BrokerId(1), Incarnation(11)}, {BrokerId(2), Incarnation(22)}},
          .outgoing = {{BrokerId(1), Incarnation(11)}},
          .learners = {{BrokerId(3), Incarnation(33)}}};
}

TEST(EntryCodec, Entry_SharesItsFrame_AndLeavesWhatFollows) {
  const Frame frame = FrameOf(FrameType::kRecordBatch, "thirteen byte");
  const Bytes longer = Bytes::Own(std::string(frame.view()) + "what follows");
  const Result<core::Entry> entry = DecodeEntry(longer);
  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_EQ(entry->term, Term(3));
  EXPECT_EQ(entry->index, LogIndex(9));
  EXPECT_EQ(entry->type, core::EntryType::kCommand);
  EXPECT_EQ(entry->frame.view(), frame.view());
  EXPECT_EQ(entry->frame.bytes().data(), longer.data());
}

TEST(EntryCodec, Entry_IsRefused_WhenAnyBitIsFlipped_PaddingIncluded) {
  const Frame frame = FrameOf(FrameType::kRecordBatch, "thirteen byte");
  for (size_t bit = 0; bit < frame.size() * 8; ++bit) {
    std::string bytes(frame.view());
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(DecodeEntry(Bytes::Own(std::move(bytes))).ok()) << bit;
  }
}

TEST(EntryCodec, ConfigurationEntry_CarriesItsConfiguration) {
  const Frame frame = FrameOf(FrameType::kConfiguration, EncodeConfiguration(Joint()));
  const Result<core::Entry> entry = DecodeEntry(frame);
  ASSERT_TRUE(entry.ok()) << entry.status();
  ASSERT_NE(entry->configuration, nullptr);
  EXPECT_EQ(*entry->configuration, Joint());
  EXPECT_FALSE(DecodeEntry(FrameOf(FrameType::kConfiguration, "garbage")).ok());
}

TEST(EntryCodec, Configuration_ComesBackAsItWas) {
  const Result<core::Configuration> decoded = DecodeConfiguration(EncodeConfiguration(Joint()));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, Joint());
}

TEST(EntryCodec, ConfigurationWithoutVoters_OrOutOfOrder_IsRefused) {
  EXPECT_FALSE(DecodeConfiguration("").ok());
  EXPECT_FALSE(DecodeConfiguration("garbage").ok());
  core::Configuration unsorted;
  unsorted.voters = {{BrokerId(2), Incarnation(1)}, {BrokerId(1), Incarnation(1)}};
  EXPECT_FALSE(DecodeConfiguration(EncodeConfiguration(unsorted)).ok());
}

TEST(EntryCodec, EntryOfANewerBuild_IsStored_AndNeverApplied) {
  for (const auto& [type, level] : {std::pair{FrameType::kRecordBatch, kFeatureLevel + 1},
                                    {FrameType::kNoOp, kFeatureLevel + 1},
                                    {static_cast<FrameType>(10), int{kFeatureLevel}}}) {
    const Result<core::Entry> entry =
        DecodeEntry(FrameOf(type, "new", static_cast<uint8_t>(level)));
    ASSERT_TRUE(entry.ok()) << entry.status();
    EXPECT_EQ(entry->type, core::EntryType::kUnknown);
    EXPECT_EQ(entry->index, LogIndex(9));
  }
}

// It would work from the moment that it is appended.
TEST(EntryCodec, ConfigurationOfANewerBuild_IsNotTaken) {
  const Result<core::Entry> entry = DecodeEntry(
      FrameOf(FrameType::kConfiguration, EncodeConfiguration(Joint()), kFeatureLevel + 1));
  EXPECT_EQ(entry.status().code(), Code::kUnimplemented) << entry.status();
}

Frame Gap(uint64_t first, uint64_t last, int64_t base, uint32_t span, uint32_t chain) {
  return MakeGap({.group = RaftGroupId(7),
                  .term = Term(3),
                  .first = LogIndex(first),
                  .last = LogIndex(last),
                  .base_offset = Offset(base),
                  .offset_span = span,
                  .chain = chain});
}

TEST(EntryCodec, AGapThatIsMade_IsWhatIsReadFromItsFrame) {
  const core::Entry made = core::GapEntry({.group = RaftGroupId(7),
                                           .term = Term(3),
                                           .first = LogIndex(10),
                                           .last = LogIndex(14),
                                           .base_offset = Offset(100),
                                           .offset_span = 40,
                                           .append_time_ms = 1'000,
                                           .chain = 5});
  const Result<core::Entry> read = DecodeStored(made.frame);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->term, made.term);
  EXPECT_EQ(read->index, made.index);
  EXPECT_EQ(read->type, made.type);
  EXPECT_EQ(read->chain, made.chain);
}

TEST(EntryCodec, AGap_StandsForWhatItSays) {
  const Result<core::Entry> gap = DecodeStored(Gap(10, 14, 100, 40, 5));
  ASSERT_TRUE(gap.ok()) << gap.status();
  EXPECT_EQ(gap->type, core::EntryType::kGap);
  const core::LogPoint before{
      .index = LogIndex(9), .term = Term(3), .chain = 1, .next_offset = Offset(100)};
  const FrameHeader header = gap->frame.header();
  EXPECT_TRUE(CheckFollows(before, RaftGroupId(7), header).ok());
  const core::LogPoint after = EndAfter(header);
  EXPECT_EQ(after.index, LogIndex(14));
  EXPECT_EQ(after.next_offset, Offset(140));
  EXPECT_EQ(after.chain, 5U);
  EXPECT_FALSE(CheckFollows(after, RaftGroupId(7), header).ok());
  // What compaction left is taken from segments and ranges, not from a log.
  EXPECT_EQ(DecodeEntry(gap->frame).status().code(), Code::kDataLoss);
  EXPECT_EQ(MakeEntry(header, gap->frame).status().code(), Code::kDataLoss);
  const Frame whole = FrameOf(FrameType::kRecordBatch, "left");
  FrameHeader compacted = whole.header();
  compacted.flags = kFrameCompacted;
  Buffer buffer = AllocateFrame(compacted.payload_size);
  std::memcpy(FramePayload(buffer), "left", 4);
  const Frame rewritten = SealFrame(compacted, std::move(buffer));
  EXPECT_TRUE(DecodeStored(rewritten).ok());
  EXPECT_EQ(DecodeEntry(rewritten).status().code(), Code::kDataLoss);
}

// Each replica's gaps are its own.
TEST(EntryCodec, AnothersGaps_AreCutToWhatIsLacked) {
  const core::LogPoint end{
      .index = LogIndex(11), .term = Term(3), .chain = 8, .next_offset = Offset(110)};
  const core::LogPoint limit{
      .index = LogIndex(18), .term = Term(3), .chain = 9, .next_offset = Offset(150)};
  const core::LogPoint everything{.index = LogIndex(UINT64_MAX)};
  const std::vector<core::Entry> theirs{
      *DecodeStored(Gap(2, 9, 20, 70, 1)), *DecodeStored(Gap(10, 14, 100, 30, 5)),
      *DecodeStored(Gap(15, 30, 130, 90, 6)), *DecodeStored(Gap(31, 32, 220, 2, 7))};
  const std::vector<core::Entry> fit = FitBetween(end, limit, theirs);
  ASSERT_EQ(fit.size(), 2U);
  EXPECT_TRUE(CheckFollows(end, RaftGroupId(7), fit[0].frame.header()).ok());
  const core::LogPoint between = EndAfter(fit[0].frame.header());
  EXPECT_EQ(between, EndAfter(theirs[1].frame.header()));
  EXPECT_TRUE(CheckFollows(between, RaftGroupId(7), fit[1].frame.header()).ok());
  EXPECT_EQ(EndAfter(fit[1].frame.header()), limit);
  EXPECT_EQ(FitBetween(end, everything, theirs).size(), 3U);
  const core::LogPoint inside{
      .index = LogIndex(13), .term = Term(3), .chain = 4, .next_offset = Offset(115)};
  const std::vector<core::Entry> part = FitBetween(end, inside, theirs);
  ASSERT_EQ(part.size(), 1U) << "of one gap, both ends";
  EXPECT_EQ(EndAfter(part[0].frame.header()), inside);
}

TEST(EntryCodec, WhatStandsInSegmentsAlone_IsNoEntry) {
  for (const FrameType type : {FrameType::kGap, FrameType::kFill}) {
    EXPECT_EQ(DecodeEntry(FrameOf(type, "")).status().code(), Code::kDataLoss);
  }
}

}  // namespace
}  // namespace millrace::raft

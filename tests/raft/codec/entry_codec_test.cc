#include "raft/codec/entry_codec.h"

#include <cstring>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "proto/base/checksum.h"

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
                                    {static_cast<FrameType>(9), int{kFeatureLevel}}}) {
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

TEST(EntryCodec, WhatStandsInSegmentsAlone_IsNoEntry) {
  for (const FrameType type : {FrameType::kGap, FrameType::kFill}) {
    EXPECT_EQ(DecodeEntry(FrameOf(type, "")).status().code(), Code::kDataLoss);
  }
}

}  // namespace
}  // namespace millrace::raft

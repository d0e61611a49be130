// A segment's names, header, footer and entries: what is written is read, and what is damaged is
// refused.
#include "storage/segment/format.h"

#include <string>

#include <gtest/gtest.h>

#include "tests/storage/segment/segment_rig.h"

namespace millrace::storage {
namespace {

constexpr RaftGroupId kGroup{7};

TEST(SegmentFormat, Name_IsReadBack) {
  const std::string path = SegmentPath(kGroup, LogIndex(42));
  EXPECT_EQ(path, "groups/7/00000000000000000042.segment");
  EXPECT_EQ(ParseSegmentName("00000000000000000042.segment"), LogIndex(42));
}

TEST(SegmentFormat, Name_IsRefused_UnlessItIsExactlyASegmentsName) {
  for (const char* name :
       {"", ".segment", "42.segment", "00000000000000000042.segment.tmp", "00000000000000000042",
        "0000000000000000004x.segment", "-0000000000000000042.segment", "lost+found",
        "99999999999999999999.segment", "000000000000000000042.segment"}) {
    EXPECT_FALSE(ParseSegmentName(name).has_value()) << name;
  }
}

TEST(SegmentFormat, Header_IsRefused_WhenAnyBitIsFlipped) {
  const Bytes header = EncodeSegmentHeader(kGroup, LogIndex(9));
  EXPECT_TRUE(CheckSegmentHeader(header.view(), kGroup, LogIndex(9)).ok());
  for (size_t bit = 0; bit < header.size() * 8; ++bit) {
    std::string bytes(header.view());
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(CheckSegmentHeader(bytes, kGroup, LogIndex(9)).code(), Code::kDataLoss) << bit;
  }
}

TEST(SegmentFormat, Header_IsRefused_WhenItIsAnotherSegments) {
  const Bytes header = EncodeSegmentHeader(kGroup, LogIndex(9));
  EXPECT_FALSE(CheckSegmentHeader(header.view(), RaftGroupId(8), LogIndex(9)).ok());
  EXPECT_FALSE(CheckSegmentHeader(header.view(), kGroup, LogIndex(10)).ok());
  EXPECT_FALSE(CheckSegmentHeader(header.view().substr(0, 31), kGroup, LogIndex(9)).ok());
}

internal::v1::SegmentFooter SomeFooter() {
  internal::v1::SegmentFooter footer;
  footer.set_group_id(7);
  footer.set_first_index(9);
  footer.set_last_index(20);
  footer.set_state("state");
  return footer;
}

TEST(SegmentFormat, Footer_IsReadBack) {
  const Bytes ending = EncodeSegmentEnding(SomeFooter(), 4096);
  const auto trailer = ParseSegmentTrailer(ending.view());
  ASSERT_TRUE(trailer.has_value());
  EXPECT_EQ(trailer->frames_end, 4096U);
  const auto footer = ParseSegmentFooter(ending.view().substr(0, trailer->footer_size), *trailer,
                                         kGroup, LogIndex(9));
  ASSERT_TRUE(footer.ok()) << footer.status();
  EXPECT_EQ(footer->state(), "state");
}

TEST(SegmentFormat, Footer_IsRefused_WhenAnyBitIsFlipped) {
  const Bytes ending = EncodeSegmentEnding(SomeFooter(), 4096);
  for (size_t bit = 0; bit < ending.size() * 8; ++bit) {
    std::string bytes(ending.view());
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    const auto trailer = ParseSegmentTrailer(bytes);
    if (!trailer.has_value()) continue;
    const std::string_view footer = std::string_view(bytes).substr(0, trailer->footer_size);
    EXPECT_FALSE(ParseSegmentFooter(footer, *trailer, kGroup, LogIndex(9)).ok()) << bit;
  }
}

TEST(SegmentFormat, Footer_IsRefused_WhenItIsAnotherSegments) {
  const Bytes ending = EncodeSegmentEnding(SomeFooter(), 4096);
  const auto trailer = ParseSegmentTrailer(ending.view());
  const std::string_view footer = ending.view().substr(0, trailer->footer_size);
  EXPECT_FALSE(ParseSegmentFooter(footer, *trailer, RaftGroupId(8), LogIndex(9)).ok());
  EXPECT_FALSE(ParseSegmentFooter(footer, *trailer, kGroup, LogIndex(8)).ok());
}

TEST(SegmentFormat, Entry_FollowsOn_OnlyInItsPlace) {
  EntryMaker maker(kGroup);
  maker.Batch(2, 10);
  const SegmentEnd before = maker.end();
  const FrameHeader header = ParseFrameHeader(maker.Batch(3, 10).frame.view()).value();
  EXPECT_TRUE(CheckFollows(before, kGroup, header).ok());
  EXPECT_FALSE(CheckFollows(before, RaftGroupId(8), header).ok());
  for (int field = 0; field < 4; ++field) {
    SegmentEnd other = before;
    if (field == 0) other.index += 1;
    if (field == 1) other.term += 1;
    if (field == 2) other.chain ^= 1;
    if (field == 3) other.next_offset += 1;
    EXPECT_EQ(CheckFollows(other, kGroup, header).code(), Code::kDataLoss) << field;
  }
}

}  // namespace
}  // namespace millrace::storage

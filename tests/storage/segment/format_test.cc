// A segment's names, header, footer and entries: what is written is read, and what is damaged is
// refused.
#include "storage/segment/format.h"

#include <optional>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "tests/storage/segment/segment_rig.h"

namespace millrace::storage {
namespace {

constexpr RaftGroupId kGroup{7};
constexpr SegmentFolder kFolder{.group = kGroup, .number = ReplicaNumber(3)};
constexpr SegmentFolder kOtherGroup{.group = RaftGroupId(8), .number = ReplicaNumber(3)};
constexpr SegmentFolder kOtherNumber{.group = kGroup, .number = ReplicaNumber(4)};

TEST(SegmentFormat, Name_IsReadBack) {
  const std::string path = SegmentPath(kFolder, LogIndex(42));
  EXPECT_EQ(path, "groups/7/3.0/00000000000000000042.segment");
  EXPECT_EQ(ParseSegmentName("00000000000000000042.segment"), LogIndex(42));
}

TEST(SegmentFormat, FolderName_IsReadBack_AndNoOtherIsTaken) {
  constexpr SegmentFolder kRestored{.group = kGroup, .number = ReplicaNumber(12), .generation = 34};
  EXPECT_EQ(SegmentDirectory(kRestored), "groups/7/12.34");
  EXPECT_EQ(ParseFolderName(kGroup, "12.34"), kRestored);
  for (const char* name : {"", ".", "1", "1.", ".1", "0.1", "01.0", "1.00", "1.0x", " 1.0", "-1.0",
                           "1.-0", "4294967296.0", "1.4294967296", "1.0.0", "lost+found"}) {
    EXPECT_FALSE(ParseFolderName(kGroup, name).has_value()) << name;
  }
}

TEST(SegmentFormat, Name_IsRefused_UnlessItIsExactlyASegmentsName) {
  for (const char* name :
       {"", ".segment", "42.segment", "00000000000000000042.segment.tmp", "00000000000000000042",
        "0000000000000000004x.segment", "-0000000000000000042.segment", "lost+found",
        "99999999999999999999.segment", "00000000000000000000.segment",
        "000000000000000000042.segment"}) {
    EXPECT_FALSE(ParseSegmentName(name).has_value()) << name;
  }
}

constexpr journal::LogPoint kBefore{
    .index = LogIndex(8), .term = Term(2), .chain = 77, .next_offset = Offset(40)};

TEST(SegmentFormat, Header_IsRefused_WhenAnyBitIsFlipped) {
  const Bytes header = EncodeSegmentHeader(kFolder, kBefore);
  EXPECT_TRUE(CheckSegmentHeader(header.view(), kFolder, kBefore).ok());
  for (size_t bit = 0; bit < header.size() * 8; ++bit) {
    std::string bytes(header.view());
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(CheckSegmentHeader(bytes, kFolder, kBefore).code(), Code::kDataLoss) << bit;
  }
}

TEST(SegmentFormat, Header_IsRefused_WhenItIsAnotherSegments) {
  const Bytes header = EncodeSegmentHeader(kFolder, kBefore);
  EXPECT_FALSE(CheckSegmentHeader(header.view(), kOtherGroup, kBefore).ok());
  EXPECT_EQ(CheckSegmentHeader(header.view(), kOtherNumber, kBefore).code(), Code::kDataLoss);
  EXPECT_FALSE(CheckSegmentHeader(header.view().substr(0, 63), kFolder, kBefore).ok());
  for (int field = 0; field < 4; ++field) {
    journal::LogPoint other = kBefore;
    if (field == 0) other.index = LogIndex(9);
    if (field == 1) other.term = Term(3);
    if (field == 2) ++other.chain;
    if (field == 3) other.next_offset = Offset(41);
    EXPECT_EQ(CheckSegmentHeader(header.view(), kFolder, other).code(), Code::kDataLoss) << field;
  }
}

// Not damaged: another build knows what it says.
TEST(SegmentFormat, Header_OfAnotherBuild_IsNoDamage) {
  for (const size_t at : {8, 56, 60}) {  // version, pass, key id
    std::string bytes(EncodeSegmentHeader(kFolder, kBefore).view());
    SegmentRig::ChangeHeader(at, &bytes);
    EXPECT_EQ(CheckSegmentHeader(bytes, kFolder, kBefore).code(), Code::kUnimplemented) << at;
  }
}

internal::v1::SegmentFooter SomeFooter() {
  internal::v1::SegmentFooter footer;
  footer.set_group_id(7);
  footer.set_first_index(9);
  footer.set_last_index(20);
  footer.set_number(3);
  return footer;
}

constexpr uint64_t kFramesEnd = 4096;

std::string EndingOf(const std::optional<std::string>& state) {
  std::optional<Bytes> bytes;
  if (state.has_value()) bytes = Bytes::CopyOf(*state);
  std::string ending;
  for (const Bytes& piece : EncodeSegmentEnding(SomeFooter(), kFramesEnd, bytes)) {
    ending += piece.view();
  }
  return ending;
}

// The footer in `ending`, which stands at kFramesEnd.
Result<internal::v1::SegmentFooter> ParseFooter(std::string_view ending,
                                                const SegmentFolder& folder, LogIndex first) {
  const auto trailer = ParseSegmentTrailer(ending);
  if (!trailer.has_value()) return DataLoss("no trailer");
  const size_t footer_end = ending.size() - sizeof(SegmentTrailer);
  if (trailer->footer_size > footer_end) return DataLoss("no room for a footer");
  const size_t at = footer_end - trailer->footer_size;
  return ParseSegmentFooter(ending.substr(at, trailer->footer_size), *trailer, kFramesEnd + at,
                            folder, first);
}

TEST(SegmentFormat, Footer_IsReadBack_WithAStateBeforeItOrNone) {
  const std::string ending = EndingOf("state");
  EXPECT_TRUE(ending.starts_with("state"));
  EXPECT_EQ(ParseSegmentTrailer(ending)->frames_end, kFramesEnd);
  const auto footer = ParseFooter(ending, kFolder, LogIndex(9));
  ASSERT_TRUE(footer.ok()) << footer.status();
  EXPECT_EQ(footer->state_size(), 5U);
  const auto without = ParseFooter(EndingOf(std::nullopt), kFolder, LogIndex(9));
  ASSERT_TRUE(without.ok()) << without.status();
  EXPECT_FALSE(without->has_state_size());
  EXPECT_TRUE(ParseFooter(EndingOf(""), kFolder, LogIndex(9))->has_state_size());
}

TEST(SegmentFormat, Footer_IsRefused_WhenAnyBitIsFlipped) {
  const std::string ending = EndingOf(std::nullopt);
  for (size_t bit = 0; bit < ending.size() * 8; ++bit) {
    std::string bytes = ending;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(ParseFooter(bytes, kFolder, LogIndex(9)).ok()) << bit;
  }
}

TEST(SegmentFormat, Footer_IsRefused_WhenItIsAnotherSegments) {
  const std::string ending = EndingOf("state");
  EXPECT_FALSE(ParseFooter(ending, kOtherGroup, LogIndex(9)).ok());
  EXPECT_FALSE(ParseFooter(ending, kOtherNumber, LogIndex(9)).ok());
  EXPECT_FALSE(ParseFooter(ending, kFolder, LogIndex(8)).ok());
  // A byte of the state is gone, or one too many.
  EXPECT_FALSE(ParseFooter(ending.substr(1), kFolder, LogIndex(9)).ok());
  EXPECT_FALSE(ParseFooter("x" + ending, kFolder, LogIndex(9)).ok());
}

TEST(SegmentFormat, FramesEnd_NeitherBeforeAFrame_NorBeforeWhatWasNeverWritten) {
  EntryMaker maker(kGroup);
  EXPECT_FALSE(MayFollowFrames(maker.NoOp().frame.view()));
  EXPECT_FALSE(MayFollowFrames(std::string(8, '\0')));
  EXPECT_FALSE(MayFollowFrames(std::string("\0state", 6)));
  EXPECT_TRUE(MayFollowFrames(SomeFooter().SerializeAsString()));
  EXPECT_TRUE(MayFollowFrames("state"));
  EXPECT_TRUE(MayFollowFrames(""));
}

TEST(SegmentFormat, Entry_FollowsOn_OnlyInItsPlace) {
  EntryMaker maker(kGroup);
  maker.Batch(2, 10);
  const LogPoint before = maker.end();
  const FrameHeader header = ParseFrameHeader(maker.Batch(3, 10).frame.view()).value();
  EXPECT_TRUE(CheckFollows(before, kGroup, header).ok());
  EXPECT_FALSE(CheckFollows(before, RaftGroupId(8), header).ok());
  for (int field = 0; field < 4; ++field) {
    LogPoint other = before;
    if (field == 0) other.index += 1;
    if (field == 1) other.term += 1;
    if (field == 2) other.chain ^= 1;
    if (field == 3) other.next_offset += 1;
    EXPECT_EQ(CheckFollows(other, kGroup, header).code(), Code::kDataLoss) << field;
  }
}

}  // namespace
}  // namespace millrace::storage

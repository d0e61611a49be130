// S22: whose bytes the end of a file is. What a producer wrote is never taken for what a sealed
// segment ends with, whatever it knows.
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "proto/base/checksum.h"
#include "tests/storage/segment/segment_rig.h"

namespace millrace::storage {
namespace {

using internal::v1::SegmentFooter;

std::string FirstPath() { return SegmentPath(SegmentRig::kFolder, LogIndex(1)); }

// The footer of a segment that was sealed after `end`, as a forger would make it who knows all.
SegmentFooter FooterOf(const LogPoint& end) {
  SegmentFooter footer;
  footer.set_group_id(SegmentRig::kFolder.group.value());
  footer.set_number(SegmentRig::kFolder.number.value());
  footer.set_first_index(1);
  footer.set_last_index(end.index.value());
  footer.set_last_term(end.term.value());
  footer.set_chain(end.chain);
  footer.set_next_offset(end.next_offset.value());
  return footer;
}

std::string EndingOf(const SegmentFooter& footer, uint64_t frames_end) {
  return std::string(EncodeSegmentEnding(footer, frames_end, std::nullopt).front().view());
}

void ExpectNotSealed(const Result<RecoveredSegments>& recovered) {
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_FALSE(recovered->snapshot.has_value());
  EXPECT_GT(recovered->active.bytes, 0U);
}

// One entry that is synced; gives where its frame ends.
uint64_t AppendOne(SegmentRig* rig) {
  rig->Append(rig->maker.Batch(1, 100));
  rig->Sync();
  return sizeof(SegmentHeader) + rig->entries[0].frame.size();
}

// An entry above the synced end, within whose payload all is right but where its frames end.
TEST(SegmentEnding, S22_WholeEndingWithinAPayload_IsNotBelieved) {
  SegmentRig rig(1);
  const uint64_t frames_end = AppendOne(&rig) + kFrameHeaderSize;
  const LogPoint end = rig.maker.end();
  SegmentFooter footer = FooterOf(end);
  std::string state = "forged";
  std::string payload;
  do {
    state += 'x';
    footer.set_state_size(state.size());
    footer.set_state_crc(Crc32c(state));
    payload = state + EndingOf(footer, frames_end);
  } while (payload.size() % 8 != 0);
  rig.Append(rig.maker.BatchOf(1, payload));
  rig.Restart(false);
  ExpectNotSealed(rig.Recover(end));
  rig.ExpectAllReadable(1);
}

// The entry's own beginning would be the state.
TEST(SegmentEnding, S22_EntryAboveTheSegmentsEnd_IsNoState) {
  SegmentRig rig(2);
  const uint64_t frames_end = AppendOne(&rig);
  const LogPoint end = rig.maker.end();
  SegmentFooter footer = FooterOf(end);
  size_t padding = 0;
  std::string ending;
  do {
    footer.set_state_size(kFrameHeaderSize + padding);
    ending = EndingOf(footer, frames_end);
  } while ((padding + ending.size()) % 8 != 0 && ++padding > 0);
  rig.Append(rig.maker.BatchOf(1, std::string(padding, 'x') + ending));
  rig.Restart(false);
  ASSERT_TRUE(ParseSegmentTrailer(rig.disk.Content(FirstPath()).value()).has_value());
  ExpectNotSealed(rig.Recover(end));
  rig.ExpectAllReadable(1);
}

// The same, of which a power cut left the end alone; even with the checksum of zeros.
TEST(SegmentEnding, S22_ZerosThatATornEntryLeft_AreNoState) {
  SegmentRig rig(3);
  const uint64_t frames_end = AppendOne(&rig);
  const LogPoint end = rig.maker.end();
  rig.Restart(true);
  const std::string content = rig.disk.Content(FirstPath()).value();
  ASSERT_EQ(content.size(), frames_end);
  const std::string zeros(4096, '\0');
  SegmentFooter footer = FooterOf(end);
  footer.set_state_size(zeros.size());
  footer.set_state_crc(Crc32c(zeros));
  rig.disk.PutFile(FirstPath(), content + zeros + EndingOf(footer, frames_end));
  ExpectNotSealed(rig.Recover(end));
  EXPECT_EQ(rig.disk.Content(FirstPath()), content);
}

struct Foreign {
  const char* name;
  std::function<void(SegmentFooter*)> edit;
};
class ForeignEnding : public testing::TestWithParam<Foreign> {};

// What lies at a file's end is its own footer only if it says so in everything.
TEST_P(ForeignEnding, S22_SealsNothing) {
  SegmentRig rig(4);
  const uint64_t frames_end = AppendOne(&rig);
  const LogPoint end = rig.maker.end();
  rig.Restart(true);
  const std::string content = rig.disk.Content(FirstPath()).value();
  const std::string state = "state";
  SegmentFooter footer = FooterOf(end);
  footer.set_state_size(state.size());
  footer.set_state_crc(Crc32c(state));
  GetParam().edit(&footer);
  rig.disk.PutFile(FirstPath(), content + state + EndingOf(footer, frames_end));
  ExpectNotSealed(rig.Recover(end));
  rig.ExpectAllReadable(1);
}

INSTANTIATE_TEST_SUITE_P(
    Each, ForeignEnding,
    testing::Values(Foreign{"Group", [](auto* footer) { footer->set_group_id(8); }},
                    Foreign{"Number", [](auto* footer) { footer->set_number(4); }},
                    Foreign{"FirstIndex", [](auto* footer) { footer->set_first_index(0); }},
                    Foreign{"LastIndex", [](auto* footer) { footer->set_last_index(2); }},
                    Foreign{"Chain", [](auto* footer) { footer->set_chain(footer->chain() ^ 1); }},
                    Foreign{"ShorterState", [](auto* footer) { footer->set_state_size(3); }},
                    Foreign{"NoState", [](auto* footer) { footer->clear_state_size(); }},
                    Foreign{"LongerState", [](auto* footer) { footer->set_state_size(8); }}),
    [](const auto& foreign) { return foreign.param.name; });

}  // namespace
}  // namespace millrace::storage

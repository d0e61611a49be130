// A part of a log that is pulled from another replica, and a state machine that is only restored:
// what tests of restoring and of repairing replicas have in common.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "proto/base/checksum.h"
#include "proto/frame/frame.h"
#include "raft/codec/entry_codec.h"
#include "raft/ports/state_machine.h"

namespace millrace::raft {

// Its state is what it was restored from.
class PulledMachine final : public StateMachine {
 public:
  void Attach(Group& to) override { group = &to; }
  Status Restore(Bytes saved) override {
    state = std::string(saved.view());
    return {};
  }
  Status Apply(const core::Entry&) override { return {}; }
  StateEncoder TakeSnapshot() const override {
    return [] { return Bytes::CopyOf("s"); };
  }
  Offset next_offset() const override { return Offset(); }
  Offset log_start() const override { return Offset(); }
  int64_t last_append_time_ms() const override { return 0; }
  void OnLeadership(const Leadership&) override {}

  Group* group = nullptr;
  std::string state;
};

struct PulledLog {
  static constexpr RaftGroupId kGroup{7};
  static constexpr core::LogPoint kBegin{
      .index = LogIndex(40), .term = Term(3), .chain = 77, .next_offset = Offset(100)};

  // Entries of one record each that follow on kBegin.
  static std::vector<core::Entry> Entries(size_t count, Term term = Term(4)) {
    std::vector<core::Entry> entries;
    uint32_t chain = kBegin.chain;
    for (size_t i = 0; i < count; ++i) {
      FrameHeader header{.type = FrameType::kRecordBatch,
                         .payload_size = 4,
                         .group = kGroup,
                         .term = term,
                         .index = kBegin.index + (i + 1),
                         .base_offset = kBegin.next_offset + static_cast<int64_t>(i),
                         .offset_span = 1,
                         .record_count = 1};
      Buffer frame = AllocateFrame(4);
      std::memcpy(FramePayload(frame), "abcd", 4);
      header.payload_crc = header.stored_crc = Crc32c("abcd");
      header.chain = chain = FrameChain(chain, header);
      entries.push_back({.term = header.term,
                         .index = header.index,
                         .type = core::EntryType::kCommand,
                         .chain = header.chain,
                         .frame = SealFrame(header, std::move(frame))});
    }
    return entries;
  }
  // The end of what lies before the entry of that place.
  static core::LogPoint Before(const std::vector<core::Entry>& entries, size_t place) {
    return place == 0 ? kBegin : EndAfter(entries.at(place - 1).frame.header());
  }
};

}  // namespace millrace::raft

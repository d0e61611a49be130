// What holds for every state machine: one that was restored from another's snapshot goes on as that
// one does. And the entries to try it with.
//
//   EntrySequence log(kGroup);
//   log.Add({.type = FrameType::kNoOp, .append_time_ms = 5}, "");
//   ExpectRestoredGoesOnAsBefore(log.entries(), [] { return std::make_unique<Machine>(); });
#pragma once

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "proto/base/checksum.h"
#include "proto/frame/frame.h"
#include "raft/core/entry.h"
#include "raft/ports/state_machine.h"

namespace millrace::raft {

// A group's committed entries, each after the one before.
class EntrySequence {
 public:
  explicit EntrySequence(RaftGroupId group) : group_(group) {}

  // Group, term, index, size, checksums and chain are filled in.
  void Add(FrameHeader draft, std::string_view payload) {
    draft.group = group_;
    draft.term = term_;
    draft.index = LogIndex(entries_.size() + 1);
    draft.payload_size = static_cast<uint32_t>(payload.size());
    draft.payload_crc = draft.stored_crc = Crc32c(payload);
    draft.chain = FrameChain(entries_.empty() ? 0 : entries_.back().chain, draft);
    Buffer frame = AllocateFrame(payload.size());
    std::memcpy(FramePayload(frame), payload.data(), payload.size());
    entries_.push_back({.term = draft.term,
                        .index = draft.index,
                        .type = draft.type == FrameType::kNoOp ? core::EntryType::kNoOp
                                                               : core::EntryType::kCommand,
                        .chain = draft.chain,
                        .frame = SealFrame(draft, std::move(frame)),
                        .configuration = nullptr});
  }
  void BeginTerm() { term_ = Term(term_.value() + 1); }
  const std::vector<core::Entry>& entries() const { return entries_; }

 private:
  const RaftGroupId group_;
  Term term_{1};
  std::vector<core::Entry> entries_;
};

// Apply, snapshot, restore, apply the rest: the same as to apply all, wherever the cut is.
template <typename Make>
void ExpectRestoredGoesOnAsBefore(const std::vector<core::Entry>& entries, Make make) {
  const auto whole = make();
  for (const core::Entry& entry : entries) ASSERT_TRUE(whole->Apply(entry).ok()) << entry.index;
  const auto before = make();
  for (size_t cut = 0; cut <= entries.size(); ++cut) {
    const Bytes state = before->TakeSnapshot()();
    ASSERT_FALSE(state.empty()) << "cut=" << cut;
    const auto after = make();
    const Status restored = after->Restore(state);
    ASSERT_TRUE(restored.ok()) << "cut=" << cut << " " << restored;
    ASSERT_EQ(after->next_offset(), before->next_offset()) << "cut=" << cut;
    ASSERT_EQ(after->last_append_time_ms(), before->last_append_time_ms()) << "cut=" << cut;
    ASSERT_EQ(after->TakeSnapshot()().view(), state.view()) << "cut=" << cut;
    for (size_t i = cut; i < entries.size(); ++i) {
      const Status applied = after->Apply(entries[i]);
      ASSERT_TRUE(applied.ok()) << "cut=" << cut << " index=" << entries[i].index << " " << applied;
    }
    ASSERT_EQ(after->TakeSnapshot()().view(), whole->TakeSnapshot()().view()) << "cut=" << cut;
    ASSERT_EQ(after->next_offset(), whole->next_offset()) << "cut=" << cut;
    if (cut == entries.size()) return;
    StateEncoder frozen = before->TakeSnapshot();
    ASSERT_TRUE(before->Apply(entries[cut]).ok());
    ASSERT_EQ(frozen().view(), state.view()) << "it is not frozen, cut=" << cut;
  }
}

}  // namespace millrace::raft

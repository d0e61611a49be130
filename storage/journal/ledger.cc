#include "storage/journal/ledger.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include <glog/logging.h>

namespace millrace::storage::journal {
namespace {

constexpr const char* kNamelessFault = "the record of the replica's creation is lost";

}  // namespace

bool Ledger::IsLive(RaftGroupId group) const {
  const auto found = groups_.find(group);
  return found != groups_.end() && !found->second.fault.has_value();
}

GroupLedger& Ledger::Live(RaftGroupId group) {
  const auto found = groups_.find(group);
  CHECK(found != groups_.end()) << "the journal knows no group " << group;
  CHECK(!found->second.fault.has_value()) << "group " << group << " is faulty";
  return found->second;
}

void Ledger::Pin(RaftGroupId group, const EntryPlace& place) {
  Pins& pins = pins_[place.file];
  pins.bytes += place.size;
  ++pins.entries[group];
}

void Ledger::Unpin(RaftGroupId group, const EntryPlace& place) {
  const auto found = pins_.find(place.file);
  CHECK(found != pins_.end()) << "file " << place.file << " is not pinned";
  Pins& pins = found->second;
  CHECK_GE(pins.bytes, place.size);
  pins.bytes -= place.size;
  if (--pins.entries[group] == 0) pins.entries.erase(group);
  if (pins.entries.empty()) pins_.erase(found);
}

void Ledger::DropEntries(RaftGroupId group, GroupLedger& state,
                         std::map<LogIndex, EntryFacts>::iterator first,
                         std::map<LogIndex, EntryFacts>::iterator last) {
  for (auto at = first; at != last; ++at) Unpin(group, at->second.place);
  state.entries.erase(first, last);
}

void Ledger::Restore(RaftGroupId group, GroupLedger state) {
  CHECK(!IsKnown(group));
  if (state.fault.has_value()) state.entries.clear();
  for (const auto& [index, entry] : state.entries) Pin(group, entry.place);
  groups_.emplace(group, std::move(state));
}

void Ledger::Create(const raft::ReplicaRecord& record) {
  CHECK(!IsKnown(record.group)) << "group " << record.group << " is already known";
  groups_[record.group].record = record;
}

void Ledger::Remove(RaftGroupId group) {
  const auto found = groups_.find(group);
  if (found != groups_.end()) {
    DropEntries(group, found->second, found->second.entries.begin(), found->second.entries.end());
    groups_.erase(found);
  }
  nameless_.erase(group);
  removed_.insert(group);
}

void Ledger::SetHardState(RaftGroupId group, const raft::core::HardState& hard_state) {
  GroupLedger& state = Live(group);
  CHECK_GE(hard_state.term, state.hard_state.term) << "group=" << group;
  state.hard_state = hard_state;
}

void Ledger::Truncate(RaftGroupId group, const TruncationRecord& truncation) {
  GroupLedger& state = Live(group);
  CHECK_GT(truncation.from, state.segment_end.index) << "group=" << group;
  CHECK_GT(truncation.epoch, state.epoch) << "group=" << group;
  const auto first = state.entries.lower_bound(truncation.from);
  if (first != state.entries.end()) {
    DropEntries(group, state, first, state.entries.end());
    const bool has_entries = !state.entries.empty();
    state.last_index = has_entries ? state.entries.rbegin()->first : state.segment_end.index;
    state.last_chain = has_entries ? state.entries.rbegin()->second.chain : state.segment_end.chain;
  }
  CHECK_LT(state.last_index, truncation.from) << "group=" << group;
  state.epoch = truncation.epoch;
  // An earlier cut at or past this one voids nothing that this one does not.
  std::erase_if(state.truncations,
                [&](const TruncationRecord& old) { return old.from >= truncation.from; });
  state.truncations.push_back(truncation);
}

void Ledger::Append(RaftGroupId group, const raft::core::Entry& entry, TruncationEpoch epoch,
                    const EntryPlace& place) {
  GroupLedger& state = Live(group);
  CHECK_EQ(entry.index, state.last_index + 1) << "group=" << group;
  CHECK_EQ(epoch, state.epoch) << "group=" << group;
  state.entries[entry.index] = {entry.term, entry.chain, epoch, place};
  state.last_index = entry.index;
  state.last_chain = entry.chain;
  Pin(group, place);
}

void Ledger::Move(RaftGroupId group, LogIndex index, const EntryPlace& place) {
  GroupLedger& state = Live(group);
  EntryFacts& entry = state.entries.at(index);
  Unpin(group, entry.place);
  entry.place = place;
  Pin(group, place);
}

void Ledger::SegmentSynced(RaftGroupId group, const SegmentEnd& end) {
  GroupLedger& state = Live(group);
  CHECK_LE(end.index, state.last_index) << "group=" << group;
  if (end.index <= state.segment_end.index) return;
  const auto found = state.entries.find(end.index);
  CHECK(found != state.entries.end()) << "group=" << group << " index=" << end.index;
  CHECK_EQ(found->second.chain, end.chain) << "group=" << group << " index=" << end.index;
  state.segment_end = end;
  DropEntries(group, state, state.entries.begin(), std::next(found));
}

void Ledger::MarkFaulty(RaftGroupId group, std::string why) {
  GroupLedger& state = Live(group);
  DropEntries(group, state, state.entries.begin(), state.entries.end());
  state.fault = std::move(why);
}

HardStateRecord Ledger::HardStateOf(RaftGroupId group) const {
  const GroupLedger& state = groups_.at(group);
  return {.hard_state = state.hard_state,
          .epoch = state.epoch,
          .last_index = state.last_index,
          .last_chain = state.last_chain};
}

void Ledger::WriteCheckpoint(const HeadRecord& head, BlockWriter* writer) const {
  writer->Add(RecordType::kHead, 0, RaftGroupId(), EncodeHead(head));
  for (const RaftGroupId group : removed_) writer->Add(RecordType::kTombstone, 0, group, "");
  for (const RaftGroupId group : nameless_) {
    writer->Add(RecordType::kFaulty, 0, group, kNamelessFault);
  }
  for (const auto& [group, state] : groups_) {
    writer->Add(RecordType::kReplica, 0, group, EncodeReplica(state.record));
    writer->Add(RecordType::kSegmentEnd, 0, group, EncodeSegmentEnd(state.segment_end));
    for (const TruncationRecord& truncation : state.truncations) {
      writer->Add(RecordType::kTruncation, 0, group, EncodeTruncation(truncation));
    }
    writer->Add(RecordType::kHardState, 0, group, EncodeHardState(HardStateOf(group)));
    if (state.fault) {
      writer->Add(RecordType::kFaulty, 0, group, *state.fault);
    }
  }
}

uint64_t Ledger::CheckpointBytes() const {
  uint64_t bytes = RecordSize(EncodeHead({}).size()) + removed_.size() * RecordSize(0);
  bytes += nameless_.size() * RecordSize(std::string_view(kNamelessFault).size());
  for (const auto& [group, state] : groups_) {
    bytes += RecordSize(EncodeReplica(state.record).size());
    bytes += RecordSize(EncodeSegmentEnd({}).size());
    bytes += state.truncations.size() * RecordSize(EncodeTruncation({}).size());
    bytes += RecordSize(EncodeHardState({}).size());
    if (state.fault) bytes += RecordSize(state.fault->size());
  }
  return bytes;
}

void Ledger::ForgetTruncationsBefore(uint64_t file) {
  for (auto& [group, state] : groups_) {
    std::erase_if(state.truncations, [file](const TruncationRecord& truncation) {
      return truncation.file_sequence < file;
    });
  }
}

std::optional<uint64_t> Ledger::OldestPinned() const {
  if (pins_.empty()) return std::nullopt;
  return pins_.begin()->first;
}

uint64_t Ledger::PinnedBytes(uint64_t file) const {
  const auto found = pins_.find(file);
  return found == pins_.end() ? 0 : found->second.bytes;
}

std::vector<RaftGroupId> Ledger::PinningGroups(uint64_t file) const {
  std::set<RaftGroupId> groups;
  for (const auto& [at, pins] : pins_) {
    if (at > file) break;
    for (const auto& [group, count] : pins.entries) groups.insert(group);
  }
  return {groups.begin(), groups.end()};
}

std::vector<std::pair<RaftGroupId, LogIndex>> Ledger::EntriesIn(uint64_t file) const {
  std::vector<std::pair<RaftGroupId, LogIndex>> found;
  const auto pins = pins_.find(file);
  if (pins == pins_.end()) return found;
  for (const auto& [group, count] : pins->second.entries) {
    for (const auto& [index, entry] : groups_.at(group).entries) {
      if (entry.place.file == file) found.emplace_back(group, index);
    }
  }
  return found;
}

void Ledger::CheckInvariants() const {
  std::map<uint64_t, uint64_t> bytes;
  for (const auto& [group, state] : groups_) {
    CHECK(!removed_.contains(group)) << "group=" << group;
    if (state.fault) {
      CHECK(state.entries.empty()) << "group=" << group;
      continue;
    }
    LogIndex expected = state.segment_end.index;
    for (const auto& [index, entry] : state.entries) {
      CHECK_EQ(index, expected + 1) << "group=" << group;
      CHECK_LE(entry.epoch, state.epoch) << "group=" << group;
      bytes[entry.place.file] += entry.place.size;
      expected = index;
    }
    CHECK_EQ(expected, state.last_index) << "group=" << group;
  }
  CHECK_EQ(bytes.size(), pins_.size());
  for (const auto& [file, pins] : pins_) CHECK_EQ(pins.bytes, bytes[file]) << "file=" << file;
}

}  // namespace millrace::storage::journal

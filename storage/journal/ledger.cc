#include "storage/journal/ledger.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include <glog/logging.h>

namespace millrace::storage::journal {
namespace {

Fault NamelessFault() {
  return {FaultCause::kDoubt, "the record of the replica's creation is lost"};
}

// What a checkpoint says of a replica: its configuration is the log record's to say.
raft::ReplicaRecord WithoutConfiguration(raft::ReplicaRecord record) {
  record.configuration = {};
  return record;
}

}  // namespace

bool Ledger::IsLive(RaftGroupId group) const {
  const auto found = groups_.find(group);
  return found != groups_.end() && !found->second.fault.has_value();
}

bool Ledger::IsLive(const raft::ReplicaId& replica) const {
  return IsLive(replica.group) && groups_.at(replica.group).record.number == replica.number;
}

// By a tombstone, or by the creation of a later one.
bool Ledger::IsGone(const raft::ReplicaId& replica) const {
  const auto removed = removed_.find(replica.group);
  if (removed != removed_.end() && replica.number <= removed->second.number) return true;
  const auto found = groups_.find(replica.group);
  return found != groups_.end() && replica.number < found->second.record.number;
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
  const raft::ReplicaId id{record.group, record.number};
  CHECK_NE(id.number, ReplicaNumber()) << "group=" << id.group;
  CHECK(!nameless_.contains(id.group)) << "group=" << id.group;
  CHECK(!IsGone(id)) << "group=" << id.group << " number=" << id.number;
  const auto found = groups_.find(id.group);
  if (found != groups_.end()) {
    CHECK_LT(found->second.record.number, id.number) << "group=" << id.group;
    DropEntries(id.group, found->second, found->second.entries.begin(),
                found->second.entries.end());
    groups_.erase(found);
  }
  removed_.erase(id.group);
  GroupLedger& made = groups_[id.group];
  made.record = record;
  made.log.configuration = record.configuration;
  controller_floor_ = std::max(controller_floor_, record.controller_index);
}

void Ledger::Remove(const raft::ReplicaId& replica, LogIndex controller_index) {
  const auto found = groups_.find(replica.group);
  if (found != groups_.end()) {
    DropEntries(replica.group, found->second, found->second.entries.begin(),
                found->second.entries.end());
    groups_.erase(found);
  }
  nameless_.erase(replica.group);
  removed_[replica.group] = {.number = replica.number, .controller_index = controller_index};
  controller_floor_ = std::max(controller_floor_, controller_index);
}

void Ledger::SetHardState(RaftGroupId group, const raft::core::HardState& hard_state) {
  GroupLedger& state = Live(group);
  CHECK_GE(hard_state.term, state.hard_state.term) << "group=" << group;
  state.hard_state = hard_state;
}

void Ledger::Truncate(RaftGroupId group, const TruncationRecord& truncation) {
  GroupLedger& state = Live(group);
  CHECK_GT(truncation.from, state.log.end.index) << "group=" << group;
  CHECK_GT(truncation.epoch, state.epoch) << "group=" << group;
  if (state.last_index >= truncation.from) {
    DropEntries(group, state, state.entries.lower_bound(truncation.from), state.entries.end());
    state.log.SetWritten(std::min(state.log.written, truncation.from - 1));
    SetLast(state);
  }
  CHECK_LT(state.last_index, truncation.from) << "group=" << group;
  state.epoch = truncation.epoch;
  // An earlier cut at or past this one voids nothing that this one does not.
  std::erase_if(state.truncations,
                [&](const TruncationRecord& old) { return old.from >= truncation.from; });
  state.truncations.push_back(truncation);
}

void Ledger::SetLast(GroupLedger& state) {
  if (!state.entries.empty()) {
    state.last_index = state.entries.rbegin()->first;
    state.last_chain = state.entries.rbegin()->second.chain;
    return;
  }
  state.last_index = state.log.segments_end();
  state.last_chain = state.last_index == state.log.end.index ? state.log.end.chain : 0;
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

void Ledger::MoveLog(RaftGroupId group, const LogRecord& moved) {
  GroupLedger& state = Live(group);
  // It was composed for a log that another one has taken the place of.
  if (moved.reset_epoch < state.log.reset_epoch) return;
  CHECK_EQ(moved.reset_epoch, state.log.reset_epoch) << "group=" << group;
  CHECK_EQ(moved.generation, state.log.generation) << "group=" << group;
  const LogIndex known_end = state.last_index;
  if (moved.end.index > state.log.end.index) {
    const auto found = state.entries.find(moved.end.index);
    // One that was never journalled lies in segments, up to the written end.
    CHECK(found != state.entries.end() || moved.end.index <= state.log.written ||
          moved.end.index > known_end)
        << "group=" << group << " index=" << moved.end.index;
    CHECK(found == state.entries.end() || found->second.chain == moved.end.chain)
        << "group=" << group << " index=" << moved.end.index;
    state.log.end = moved.end;
  }
  state.log.SetWritten(std::max(state.log.written, moved.written));
  state.log.cut_epoch = std::max(state.log.cut_epoch, moved.cut_epoch);
  state.log.pass = moved.pass;
  DropEntries(group, state, state.entries.begin(),
              state.entries.upper_bound(state.log.segments_end()));
  if (state.log.segments_end() >= known_end) SetLast(state);
  if (moved.begin.index > state.log.begin.index) state.log.begin = moved.begin;
  if (moved.configuration_index > state.log.configuration_index) {
    state.log.configuration_index = moved.configuration_index;
    state.log.configuration = moved.configuration;
  }
  CHECK_LE(state.log.begin.index, state.log.end.index) << "group=" << group;
  CHECK_LE(state.log.configuration_index, state.log.end.index) << "group=" << group;
}

void Ledger::ResetLog(RaftGroupId group, const LogRecord& log) {
  GroupLedger& state = Live(group);
  CHECK_GT(log.reset_epoch, state.epoch) << "group=" << group;
  CHECK_GT(log.generation, state.log.generation) << "group=" << group;
  DropEntries(group, state, state.entries.begin(), state.entries.end());
  state.log = log;
  state.epoch = log.reset_epoch;
  state.truncations.clear();
  state.last_index = log.end.index;
  state.last_chain = log.end.chain;
}

void Ledger::MarkFaulty(RaftGroupId group, Fault fault) {
  GroupLedger& state = Live(group);
  DropEntries(group, state, state.entries.begin(), state.entries.end());
  state.fault = std::move(fault);
}

HardStateRecord Ledger::HardStateOf(RaftGroupId group) const {
  const GroupLedger& state = groups_.at(group);
  return {.hard_state = state.hard_state,
          .epoch = state.epoch,
          .last_index = state.last_index,
          .last_chain = state.last_chain};
}

void Ledger::WriteCheckpoint(const HeadRecord& head, BlockWriter* writer) const {
  writer->Add({.type = RecordType::kHead, .replica = {}}, EncodeHead(head));
  for (const auto& [group, tombstone] : removed_) {
    writer->Add({.type = RecordType::kTombstone, .replica = {group, tombstone.number}},
                EncodeTombstone(tombstone));
  }
  for (const RaftGroupId group : nameless_) {
    writer->Add({.type = RecordType::kFaulty, .replica = {group, ReplicaNumber()}},
                EncodeFault(NamelessFault()));
  }
  for (const auto& [group, state] : groups_) {
    const raft::ReplicaId replica = state.id();
    writer->Add({.type = RecordType::kReplica, .replica = replica},
                EncodeReplica(WithoutConfiguration(state.record)));
    writer->Add({.type = RecordType::kLog, .replica = replica}, EncodeLog(state.log));
    for (const TruncationRecord& truncation : state.truncations) {
      writer->Add({.type = RecordType::kTruncation, .replica = replica},
                  EncodeTruncation(truncation));
    }
    writer->Add({.type = RecordType::kHardState, .replica = replica},
                EncodeHardState(HardStateOf(group)));
    if (state.fault) {
      writer->Add({.type = RecordType::kFaulty, .replica = replica}, EncodeFault(*state.fault));
    }
  }
}

uint64_t Ledger::CheckpointBytes() const {
  uint64_t bytes = RecordSize(EncodeHead({}).size());
  bytes += removed_.size() * RecordSize(EncodeTombstone({}).size());
  bytes += nameless_.size() * RecordSize(EncodeFault(NamelessFault()).size());
  const uint64_t replica_bytes = RecordSize(EncodeReplica({}).size());
  const uint64_t hard_state_bytes = RecordSize(EncodeHardState({}).size());
  const uint64_t truncation_bytes = RecordSize(EncodeTruncation({}).size());
  for (const auto& [group, state] : groups_) {
    bytes += replica_bytes + hard_state_bytes + RecordSize(EncodeLog(state.log).size());
    bytes += state.truncations.size() * truncation_bytes;
    if (state.fault) bytes += RecordSize(EncodeFault(*state.fault).size());
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
    CHECK_EQ(state.record.group, group);
    if (state.fault) {
      CHECK(state.entries.empty()) << "group=" << group;
      continue;
    }
    LogIndex expected = state.log.segments_end();
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

#include "storage/journal/group_replay.h"

#include <algorithm>
#include <utility>

#include "proto/base/mutants.h"

namespace millrace::storage::journal {
namespace {

uint8_t KnownFlags(RecordType type) {
  if (type == RecordType::kEntry) return kCopied;
  if (type == RecordType::kLog) return kReset | kPending;
  return 0;
}

std::string EntryOf(const std::string& name, LogIndex index) {
  return name + ": entry " + std::to_string(index.value());
}

bool IsVoid(const GroupLedger& ledger, LogIndex index, TruncationEpoch epoch) {
  if (epoch < ledger.log.reset_epoch) return true;
  if (MILLRACE_MUTANT(kIgnoreTruncationEpoch)) return false;
  return std::any_of(ledger.truncations.begin(), ledger.truncations.end(),
                     [&](const TruncationRecord& truncation) {
                       return epoch < truncation.epoch && index >= truncation.from;
                     });
}

}  // namespace

Status GroupReplay::ApplyBlock(const BlockView& view, const Bytes& block, uint64_t position) {
  ASSIGN_OR_RETURN(const std::vector<RecordView> records, ParseRecords(view));
  std::set<RaftGroupId> restated;
  for (const RecordView& record : records) {
    RETURN_IF_ERROR(Apply(record, view.header, block, position));
    restated.insert(record.group);
  }
  if ((view.header.flags & kHeadBlock) != 0) CheckRestated(restated);
  return Status::Ok();
}

Status GroupReplay::Apply(const RecordView& record, const BlockHeader& block, const Bytes& bytes,
                          uint64_t position) {
  if ((record.flags & ~KnownFlags(record.type)) != 0) {
    return Unimplemented("journal record of type " + std::to_string(static_cast<int>(record.type)) +
                         " with unknown flags " + std::to_string(record.flags));
  }
  const bool is_checkpoint = (block.flags & kHeadBlock) != 0;
  switch (record.type) {
    case RecordType::kHead: {
      ASSIGN_OR_RETURN(const HeadRecord head, ParseHead(record.payload));
      controller_floor_ = std::max(controller_floor_, head.controller_floor);
      return Status::Ok();
    }
    case RecordType::kReplica: {
      ASSIGN_OR_RETURN(raft::ReplicaRecord replica, ParseReplica(record.group, record.payload));
      ApplyReplica(std::move(replica), is_checkpoint);
      return Status::Ok();
    }
    case RecordType::kTombstone: {
      ASSIGN_OR_RETURN(const TombstoneRecord tombstone, ParseTombstone(record.payload));
      ApplyTombstone(record.group, tombstone);
      return Status::Ok();
    }
    case RecordType::kHardState: {
      ASSIGN_OR_RETURN(const HardStateRecord parsed, ParseHardState(record.payload));
      if (Group* group = SubjectOf(record)) ApplyHardState(parsed, group);
      return Status::Ok();
    }
    case RecordType::kTruncation: {
      ASSIGN_OR_RETURN(const TruncationRecord parsed, ParseTruncation(record.payload));
      if (Group* group = SubjectOf(record)) ApplyTruncation(parsed, block.file_sequence, group);
      return Status::Ok();
    }
    case RecordType::kEntry: {
      Group* group = SubjectOf(record);
      return group == nullptr ? Status::Ok() : ApplyEntry(record, block, bytes, position, group);
    }
    case RecordType::kLog: {
      ASSIGN_OR_RETURN(const LogRecord parsed, ParseLog(record.payload));
      // A restore that was under way: it is begun again, or goes on, but is nothing yet.
      if ((record.flags & kPending) != 0) return Status::Ok();
      if (Group* group = SubjectOf(record)) ApplyLog(parsed, is_checkpoint, group);
      return Status::Ok();
    }
    case RecordType::kFaulty: {
      ASSIGN_OR_RETURN(Fault fault, ParseFault(record.payload));
      if (Group* group = SubjectOf(record)) group->ledger.fault = std::move(fault);
      return Status::Ok();
    }
  }
  return Unimplemented("journal record of unknown type " +
                       std::to_string(static_cast<int>(record.type)));
}

GroupReplay::Group& GroupReplay::Of(RaftGroupId id, uint16_t short_number) {
  const auto [found, is_new] = groups_.try_emplace(id);
  if (is_new) {
    found->second.doubt = last_damage_;
    found->second.short_number = short_number;
  }
  return found->second;
}

GroupReplay::Group* GroupReplay::SubjectOf(const RecordView& record) {
  const auto removed = removed_.find(record.group);
  const bool is_removed =
      removed != removed_.end() && ShortNumber(removed->second.number) == record.short_number;
  if (is_removed && !groups_.contains(record.group)) return nullptr;
  Group& group = Of(record.group, record.short_number);
  if (group.short_number == record.short_number) return &group;
  // The journal writes of a group's last replica alone, so that this one's creation is lost, and
  // what it promised cannot be told from what the other one did.
  group.lost_successor = record.short_number;
  group.is_known = false;
  return nullptr;
}

void GroupReplay::ApplyReplica(raft::ReplicaRecord record, bool is_checkpoint) {
  controller_floor_ = std::max(controller_floor_, record.controller_index);
  const auto removed = removed_.find(record.group);
  if (removed != removed_.end() && record.number <= removed->second.number) return;
  const uint16_t short_number = ShortNumber(record.number);
  Group* group = &Of(record.group, short_number);
  if (group->has_record && record.number < group->ledger.record.number) return;
  const bool is_same = group->has_record ? record.number == group->ledger.record.number
                                         : group->short_number == short_number;
  if (!is_same) {
    // A new life: nothing of an older one is its own.
    groups_.erase(record.group);
    group = &Of(record.group, short_number);
  }
  removed_.erase(record.group);
  // Its creation: nothing is promised yet. A checkpoint's statement follows in a record of its own.
  if (!is_checkpoint && !group->has_record) {
    group->is_known = true;
    group->last_chain = 0;
    group->ledger.log.configuration = record.configuration;
  }
  group->has_record = true;
  group->ledger.record = std::move(record);
}

// A restated one may come after the records of a later life, which it does not end.
void GroupReplay::ApplyTombstone(RaftGroupId id, const TombstoneRecord& tombstone) {
  controller_floor_ = std::max(controller_floor_, tombstone.controller_index);
  const auto found = groups_.find(id);
  if (found != groups_.end()) {
    const Group& group = found->second;
    if (group.has_record && group.ledger.record.number > tombstone.number) return;
    // One that wrote without a trace of its creation is another than the one that is gone.
    const uint16_t number = group.lost_successor.value_or(group.short_number);
    const std::string doubt = group.doubt;
    groups_.erase(found);
    if (number != ShortNumber(tombstone.number)) Of(id, number).doubt = doubt;
  }
  TombstoneRecord& removed = removed_[id];
  if (tombstone.number > removed.number) removed = tombstone;
}

void GroupReplay::ApplyHardState(const HardStateRecord& record, Group* group) {
  group->ledger.hard_state = record.hard_state;
  group->ledger.epoch = std::max(group->ledger.epoch, record.epoch);
  group->last_index = record.last_index;
  group->last_chain.reset();
  if (record.last_chain != 0) group->last_chain = record.last_chain;
  group->is_known = !group->lost_successor.has_value();
}

void GroupReplay::ApplyTruncation(TruncationRecord record, uint64_t file, Group* group) {
  GroupLedger& ledger = group->ledger;
  if (record.epoch <= ledger.log.reset_epoch) return;
  const bool is_restated = record.file_sequence != 0;
  if (!is_restated) {
    record.file_sequence = file;
    if (group->last_index >= record.from) {
      group->last_index = record.from - 1;
      group->last_chain.reset();
    }
    if (!MILLRACE_MUTANT(kDeadExtentComesBack)) {
      ledger.log.SetWritten(std::min(ledger.log.written, record.from - 1));
    }
  }
  ledger.epoch = std::max(ledger.epoch, record.epoch);
  for (auto at = group->entries.lower_bound(record.from); at != group->entries.end();) {
    const bool is_void =
        at->second.facts.epoch < record.epoch || MILLRACE_MUTANT(kIgnoreTruncationEpoch);
    at = is_void ? group->entries.erase(at) : std::next(at);
  }
  const bool is_known =
      std::any_of(ledger.truncations.begin(), ledger.truncations.end(),
                  [&](const TruncationRecord& old) { return old.epoch == record.epoch; });
  if (is_known) return;
  std::erase_if(ledger.truncations, [&](const TruncationRecord& old) {
    return old.epoch < record.epoch && old.from >= record.from;
  });
  ledger.truncations.push_back(record);
}

Status GroupReplay::ApplyEntry(const RecordView& record, const BlockHeader& block,
                               const Bytes& bytes, uint64_t position, Group* group) {
  ASSIGN_OR_RETURN(const TruncationEpoch epoch, ParseEntryPrefix(record.payload));
  const std::string_view frame = record.payload.substr(kEntryPrefixSize);
  ASSIGN_OR_RETURN(const FrameHeader header, ParseFrameHeader(frame));
  if (header.group != record.group || frame.size() != FrameSize(header.payload_size) ||
      !IsLogEntry(header.type)) {
    return DataLoss("journal entry does not fit its frame");
  }
  if ((record.flags & kCopied) == 0) {
    group->last_index = header.index;
    group->last_chain = header.chain;
  }
  if (header.index <= group->ledger.log.segments_end()) return Status::Ok();
  if (IsVoid(group->ledger, header.index, epoch)) return Status::Ok();
  FoundEntry& entry = group->entries[header.index];
  if (!entry.frame.empty() && epoch < entry.facts.epoch) return Status::Ok();
  const uint64_t offset = record.offset + kEntryPrefixSize;
  entry.facts = {header.term,
                 header.chain,
                 epoch,
                 {.file = block.file_sequence, .offset = position + offset, .size = frame.size()}};
  entry.frame = Frame::OfChecked(bytes.Slice(offset, frame.size()));
  return Status::Ok();
}

void GroupReplay::LetGoOf(uint64_t file) {
  for (auto& [id, group] : groups_) {
    for (auto& [index, entry] : group.entries) {
      if (entry.facts.place.file != file) continue;
      entry.frame = Frame::OfChecked(Bytes::CopyOf(entry.frame.view()));
    }
  }
}

void GroupReplay::ApplyLog(const LogRecord& record, bool is_checkpoint, Group* group) {
  LogRecord& log = group->ledger.log;
  if (record.reset_epoch < log.reset_epoch) return;
  if (record.reset_epoch > log.reset_epoch) return ResetLog(record, is_checkpoint, group);
  log.generation = record.generation;
  if (record.begin.index > log.begin.index) log.begin = record.begin;
  if (record.configuration_index > log.configuration_index || log.configuration.voters.empty()) {
    log.configuration_index = record.configuration_index;
    log.configuration = record.configuration;
  }
  if (record.end.index > log.end.index) log.end = record.end;
  // A checkpoint states it as it is: the truncation that cut it may be what was lost.
  log.cut_epoch = std::max(log.cut_epoch, record.cut_epoch);
  // A repair may take one back.
  log.pass = record.pass;
  log.SetWritten(is_checkpoint ? record.written : std::max(log.written, record.written));
  group->entries.erase(group->entries.begin(), group->entries.upper_bound(log.segments_end()));
  if (is_checkpoint || log.segments_end() <= group->last_index) return;
  group->last_index = log.segments_end();
  group->last_chain.reset();
}

// Also where the reset itself was lost and a checkpoint tells of it, whose hard state then says
// where the log ends.
void GroupReplay::ResetLog(const LogRecord& record, bool is_checkpoint, Group* group) {
  GroupLedger& ledger = group->ledger;
  std::erase_if(group->entries, [&record](const auto& entry) {
    return entry.second.facts.epoch < record.reset_epoch || entry.first <= record.segments_end();
  });
  std::erase_if(ledger.truncations, [&record](const TruncationRecord& truncation) {
    return truncation.epoch <= record.reset_epoch;
  });
  ledger.log = record;
  ledger.epoch = std::max(ledger.epoch, record.reset_epoch);
  if (is_checkpoint) return;
  group->last_index = record.segments_end();
  group->last_chain.reset();
  if (group->last_index == record.end.index) group->last_chain = record.end.chain;
}

void GroupReplay::CheckRestated(const std::set<RaftGroupId>& restated) {
  for (auto& [id, group] : groups_) {
    if (restated.contains(id)) continue;
    group.is_known = false;
    if (group.doubt.empty()) group.doubt = "a later checkpoint does not list the group";
  }
}

void GroupReplay::OnDamage(const std::string& what) {
  last_damage_ = what;
  for (auto& [id, group] : groups_) {
    group.is_known = false;
    group.doubt = what;
  }
}

std::string GroupReplay::Judge(RaftGroupId id, const Group& group) {
  const std::string because = group.doubt.empty() ? "" : " (" + group.doubt + ")";
  const std::string name = "group " + std::to_string(id.value());
  if (group.ledger.fault) {
    return group.ledger.fault->why.empty() ? name + ": faulty, without a reason"
                                           : group.ledger.fault->why;
  }
  if (group.lost_successor.has_value()) {
    return name + ": another replica of it was made here later, and that is lost" + because;
  }
  if (!group.is_known) return name + ": its hard state is not stated after what was lost" + because;
  LogIndex last = group.ledger.log.segments_end();
  // That of an entry above the end is in the segment alone, which recovery holds against what
  // follows.
  std::optional<uint32_t> chain;
  if (last == group.ledger.log.end.index) chain = group.ledger.log.end.chain;
  for (const auto& [index, entry] : group.entries) {
    if (index != last + 1) {
      return EntryOf(name, last + 1).append(" is missing").append(because);
    }
    const FrameHeader header = entry.frame.header();
    if (chain && FrameChain(*chain, header) != header.chain) {
      return EntryOf(name, index).append(" breaks the chain").append(because);
    }
    last = index;
    chain = header.chain;
  }
  if (last != group.last_index || (group.last_chain && chain && *chain != *group.last_chain)) {
    return name + ": the log ends at entry " + std::to_string(last.value()) + ", not at " +
           std::to_string(group.last_index.value()) + " as was written" + because;
  }
  return "";
}

void GroupReplay::Finish(Replayed* replayed) && {
  replayed->removed = std::move(removed_);
  replayed->controller_floor = controller_floor_;
  for (auto& [id, group] : groups_) {
    if (!group.has_record) {
      replayed->nameless.insert(id);
      continue;
    }
    ReplayedGroup& out = replayed->groups[id];
    out.doubt = Judge(id, group);
    out.ledger = std::move(group.ledger);
    if (MILLRACE_MUTANT(kConfigurationFromCreation) &&
        !out.ledger.record.configuration.voters.empty()) {
      out.ledger.log.configuration = out.ledger.record.configuration;
    }
    out.ledger.last_index = group.last_index;
    out.ledger.last_chain = group.last_chain.value_or(0);
    if (!out.doubt.empty()) {
      if (!out.ledger.fault) out.ledger.fault = Fault{FaultCause::kDoubt, out.doubt};
      continue;
    }
    if (group.entries.empty()) {
      const bool is_end = group.last_index == out.ledger.log.end.index;
      out.ledger.last_chain = is_end ? out.ledger.log.end.chain : 0;
    }
    for (auto& [index, entry] : group.entries) {
      out.ledger.entries[index] = entry.facts;
      out.ledger.last_chain = entry.facts.chain;
      out.frames[index] = std::move(entry.frame);
    }
  }
}

}  // namespace millrace::storage::journal

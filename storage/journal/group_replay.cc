#include "storage/journal/group_replay.h"

#include <algorithm>
#include <utility>

#include "proto/base/mutants.h"

namespace millrace::storage::journal {
namespace {

bool IsVoid(const GroupLedger& ledger, LogIndex index, TruncationEpoch epoch) {
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
  const uint8_t known_flags = record.type == RecordType::kEntry ? kCopied : 0;
  if ((record.flags & ~known_flags) != 0) {
    return Unimplemented("journal record of type " + std::to_string(static_cast<int>(record.type)) +
                         " with unknown flags " + std::to_string(record.flags));
  }
  if (record.type == RecordType::kHead) return Status::Ok();
  if (removed_.contains(record.group)) return Status::Ok();
  switch (record.type) {
    case RecordType::kReplica: {
      ASSIGN_OR_RETURN(raft::ReplicaRecord replica, ParseReplica(record.group, record.payload));
      ApplyReplica(std::move(replica), (block.flags & kHeadBlock) != 0);
      return Status::Ok();
    }
    case RecordType::kTombstone:
      groups_.erase(record.group);
      removed_.insert(record.group);
      return Status::Ok();
    case RecordType::kHardState: {
      ASSIGN_OR_RETURN(const HardStateRecord parsed, ParseHardState(record.payload));
      ApplyHardState(record.group, parsed);
      return Status::Ok();
    }
    case RecordType::kTruncation: {
      ASSIGN_OR_RETURN(const TruncationRecord parsed, ParseTruncation(record.payload));
      ApplyTruncation(record.group, parsed, block.file_sequence);
      return Status::Ok();
    }
    case RecordType::kEntry:
      return ApplyEntry(record, block, bytes, position);
    case RecordType::kSegmentEnd: {
      ASSIGN_OR_RETURN(const SegmentEnd end, ParseSegmentEnd(record.payload));
      ApplySegmentEnd(record.group, end);
      return Status::Ok();
    }
    case RecordType::kFaulty:
      Of(record.group).ledger.fault = std::string(record.payload);
      return Status::Ok();
    case RecordType::kHead:
      break;
  }
  return Unimplemented("journal record of unknown type " +
                       std::to_string(static_cast<int>(record.type)));
}

GroupReplay::Group& GroupReplay::Of(RaftGroupId id) {
  const auto [found, is_new] = groups_.try_emplace(id);
  if (is_new) found->second.doubt = last_damage_;
  return found->second;
}

void GroupReplay::ApplyReplica(raft::ReplicaRecord record, bool is_checkpoint) {
  Group& group = Of(record.group);
  // Its creation: nothing is promised yet. A checkpoint's statement follows in a record of its own.
  if (!is_checkpoint && !group.has_record) {
    group.is_known = true;
    group.last_chain = 0;
  }
  group.has_record = true;
  group.ledger.record = std::move(record);
}

void GroupReplay::ApplyHardState(RaftGroupId id, const HardStateRecord& record) {
  Group& group = Of(id);
  group.ledger.hard_state = record.hard_state;
  group.ledger.epoch = std::max(group.ledger.epoch, record.epoch);
  group.last_index = record.last_index;
  group.last_chain = record.last_chain;
  group.is_known = true;
}

void GroupReplay::ApplyTruncation(RaftGroupId id, TruncationRecord record, uint64_t file) {
  Group& group = Of(id);
  GroupLedger& ledger = group.ledger;
  const bool is_restated = record.file_sequence != 0;
  if (!is_restated) {
    record.file_sequence = file;
    if (group.last_index >= record.from) {
      group.last_index = record.from - 1;
      group.last_chain.reset();
    }
  }
  ledger.epoch = std::max(ledger.epoch, record.epoch);
  for (auto at = group.entries.lower_bound(record.from); at != group.entries.end();) {
    const bool is_void =
        at->second.facts.epoch < record.epoch || MILLRACE_MUTANT(kIgnoreTruncationEpoch);
    at = is_void ? group.entries.erase(at) : std::next(at);
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
                               const Bytes& bytes, uint64_t position) {
  ASSIGN_OR_RETURN(const TruncationEpoch epoch, ParseEntryPrefix(record.payload));
  const std::string_view frame = record.payload.substr(kEntryPrefixSize);
  ASSIGN_OR_RETURN(const FrameHeader header, ParseFrameHeader(frame));
  if (header.group != record.group || frame.size() < FrameSize(header.payload_size) ||
      !IsLogEntry(header.type)) {
    return DataLoss("journal entry does not fit its frame");
  }
  Group& group = Of(record.group);
  if ((record.flags & kCopied) == 0) {
    group.last_index = header.index;
    group.last_chain = header.chain;
  }
  if (header.index <= group.ledger.segment_end.index) return Status::Ok();
  if (IsVoid(group.ledger, header.index, epoch)) return Status::Ok();
  FoundEntry& entry = group.entries[header.index];
  if (!entry.frame.empty() && epoch < entry.facts.epoch) return Status::Ok();
  const uint64_t offset = record.offset + kEntryPrefixSize;
  entry.facts = {header.term,
                 header.chain,
                 epoch,
                 {.file = block.file_sequence, .offset = position + offset, .size = frame.size()}};
  entry.header = header;
  entry.frame = bytes.Slice(offset, frame.size());
  return Status::Ok();
}

void GroupReplay::ApplySegmentEnd(RaftGroupId id, const SegmentEnd& end) {
  Group& group = Of(id);
  if (end.index <= group.ledger.segment_end.index) return;
  group.ledger.segment_end = end;
  group.entries.erase(group.entries.begin(), group.entries.upper_bound(end.index));
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
    return group.ledger.fault->empty() ? name + ": faulty, without a reason" : *group.ledger.fault;
  }
  if (!group.is_known) return name + ": its hard state is not stated after what was lost" + because;
  LogIndex last = group.ledger.segment_end.index;
  uint32_t chain = group.ledger.segment_end.chain;
  for (const auto& [index, entry] : group.entries) {
    if (index != last + 1) {
      return name + ": entry " + std::to_string(last.value() + 1) + " is missing" + because;
    }
    if (FrameChain(chain, entry.header) != entry.header.chain) {
      return name + ": entry " + std::to_string(index.value()) + " breaks the chain" + because;
    }
    last = index;
    chain = entry.header.chain;
  }
  if (last != group.last_index || (group.last_chain && chain != *group.last_chain)) {
    return name + ": the log ends at entry " + std::to_string(last.value()) + ", not at " +
           std::to_string(group.last_index.value()) + " as was written" + because;
  }
  return "";
}

void GroupReplay::Finish(Replayed* replayed) && {
  replayed->removed = std::move(removed_);
  for (auto& [id, group] : groups_) {
    if (!group.has_record) {
      replayed->nameless.insert(id);
      continue;
    }
    ReplayedGroup& out = replayed->groups[id];
    out.doubt = Judge(id, group);
    out.ledger = std::move(group.ledger);
    out.ledger.last_index = group.last_index;
    out.ledger.last_chain = group.last_chain.value_or(0);
    if (!out.doubt.empty()) {
      out.ledger.fault = out.doubt;
      continue;
    }
    if (group.entries.empty()) out.ledger.last_chain = out.ledger.segment_end.chain;
    for (auto& [index, entry] : group.entries) {
      out.ledger.entries[index] = entry.facts;
      out.ledger.last_chain = entry.facts.chain;
      out.frames[index] = Bytes::CopyOf(entry.frame.view());
    }
  }
}

}  // namespace millrace::storage::journal

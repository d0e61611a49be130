// What the journal has written, group by group: the source of its checkpoints (never the shards'
// memory, which may be ahead), of which file is still needed by whom, and of what must be copied
// forward.
//
// Owned by Journal, on its executor; does no I/O. "File" here is a file sequence.
//
//   ledger.Append(group, entry, epoch, {.file = 7, .offset = 8192, .size = entry.frame.size()});
//   uint64_t oldest = ledger.OldestPinned().value_or(newest);
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "storage/journal/block_writer.h"
#include "storage/journal/format.h"
#include "storage/journal/records.h"

namespace millrace::storage::journal {

// Where an entry's frame lies.
struct EntryPlace {
  uint64_t file = 0;
  uint64_t offset = 0;
  uint64_t size = 0;
};

// An entry that only the journal has.
struct EntryFacts {
  Term term;
  uint32_t chain = 0;
  TruncationEpoch epoch;
  EntryPlace place;
};

// What is known of one replica: the group's last one here.
struct GroupLedger {
  raft::ReplicaRecord record;
  raft::core::HardState hard_state;
  TruncationEpoch epoch;
  // Those that may still void entries in live files, by epoch; their cuts rise with it.
  std::vector<TruncationRecord> truncations;
  LogRecord log;
  std::map<LogIndex, EntryFacts> entries;  // above log.segments_end()
  LogIndex last_index;
  uint32_t last_chain = 0;  // 0: not known, as the entry lies in a segment
  std::optional<Fault> fault;

  raft::ReplicaId id() const { return {record.group, record.number}; }
};

class Ledger {
 public:
  using Groups = std::map<RaftGroupId, GroupLedger>;

  // What became of the replica. One that is removed, faulty or followed by another takes no more
  // records.
  bool IsLive(const raft::ReplicaId& replica) const;
  bool IsLive(RaftGroupId group) const;
  bool IsKnown(RaftGroupId group) const {
    return groups_.contains(group) || removed_.contains(group) || nameless_.contains(group);
  }
  bool IsGone(const raft::ReplicaId& replica) const;
  const GroupLedger& at(RaftGroupId group) const { return groups_.at(group); }
  const Groups& groups() const { return groups_; }
  bool may_lack_groups() const { return may_lack_groups_; }
  LogIndex controller_floor() const { return controller_floor_; }

  // Recovery's: the group as replay found it.
  void Restore(RaftGroupId group, GroupLedger state);
  void RestoreRemoved(RaftGroupId group, const TombstoneRecord& removed) {
    removed_[group] = removed;
  }
  // A group whose creation is lost: it must not be created again, or it would vote anew.
  void RestoreNameless(RaftGroupId group) { nameless_.insert(group); }
  void RestoreControllerFloor(LogIndex floor) { controller_floor_ = floor; }
  // Damage may have taken groups without a trace; every checkpoint says so from here on.
  void RestoreMayLackGroups() { may_lack_groups_ = true; }

  // What was just put into a block. Pre of those on a group: IsLive, unless said.
  // Pre: IsGone of none of this number or a higher one. An earlier replica of the group is gone.
  void Create(const raft::ReplicaRecord& record);
  // Pre: IsKnown, and not IsGone.
  void Remove(const raft::ReplicaId& replica, LogIndex controller_index);
  void SetHardState(RaftGroupId group, const raft::core::HardState& hard_state);
  // Pre: `from` is above the log's synced end. It may lie past the log's end: what it cut was never
  // written.
  void Truncate(RaftGroupId group, const TruncationRecord& truncation);
  // Pre: entry.index is last_index + 1.
  void Append(RaftGroupId group, const raft::core::Entry& entry, TruncationEpoch epoch,
              const EntryPlace& place);
  // The entry has been copied to `place`.
  void Move(RaftGroupId group, LogIndex index, const EntryPlace& place);
  // Each part of `moved` counts where it is further than what is known. Its written end may lie
  // past the log's end: then what lies between is in segments alone.
  void MoveLog(RaftGroupId group, const LogRecord& moved);
  // Pre: log.reset_epoch is above the group's epoch.
  void ResetLog(RaftGroupId group, const LogRecord& log);
  void MarkFaulty(RaftGroupId group, Fault fault);

  // The record that says what the group promised, as of now.
  HardStateRecord HardStateOf(RaftGroupId group) const;
  // A checkpoint, to be the first records of a file.
  void WriteCheckpoint(const HeadRecord& head, BlockWriter* writer) const;
  uint64_t CheckpointBytes() const;
  // Truncations written before `file` void nothing any more once older files are gone.
  void ForgetTruncationsBefore(uint64_t file);

  // The oldest file with an entry that only the journal has; nullopt if there is none.
  std::optional<uint64_t> OldestPinned() const;
  uint64_t PinnedBytes(uint64_t file) const;
  // Groups with entries in files up to `file`.
  std::vector<RaftGroupId> PinningGroups(uint64_t file) const;
  // Entries in exactly `file`, by group and index.
  std::vector<std::pair<RaftGroupId, LogIndex>> EntriesIn(uint64_t file) const;

  void CheckInvariants() const;

 private:
  struct Pins {
    uint64_t bytes = 0;
    std::map<RaftGroupId, uint64_t> entries;
  };

  GroupLedger& Live(RaftGroupId group);
  void Pin(RaftGroupId group, const EntryPlace& place);
  void Unpin(RaftGroupId group, const EntryPlace& place);
  // After a change of where the log ends.
  static void SetLast(GroupLedger& state);
  void DropEntries(RaftGroupId group, GroupLedger& state,
                   std::map<LogIndex, EntryFacts>::iterator first,
                   std::map<LogIndex, EntryFacts>::iterator last);

  Groups groups_;
  std::map<RaftGroupId, TombstoneRecord> removed_;  // and not made again since
  std::set<RaftGroupId> nameless_;
  LogIndex controller_floor_;
  bool may_lack_groups_ = false;
  std::map<uint64_t, Pins> pins_;  // by file
};

}  // namespace millrace::storage::journal

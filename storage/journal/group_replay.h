// The groups' part of replay: what each record does to its group's state, and whether, at the end,
// a group's state is proven. docs/formats.md, "Replay", has the rules.
//
// Pure; for Replay alone.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "proto/frame/frame.h"
#include "storage/journal/format.h"
#include "storage/journal/replay.h"

namespace millrace::storage::journal {

class GroupReplay {
 public:
  // A block's records, in order. `block` is the whole block, which frames are taken out of.
  Status ApplyBlock(const BlockView& view, const Bytes& block, uint64_t position);
  // Nothing of the file with that sequence is used any more: what is needed of it is copied.
  void LetGoOf(uint64_t file);
  // Bytes were lost here: nobody's state is proven any more, until it is stated again.
  void OnDamage(const std::string& what);
  // Moves the outcome into `replayed`. Pre: all files were let go of.
  void Finish(Replayed* replayed) &&;

 private:
  struct FoundEntry {
    EntryFacts facts;
    Frame frame;  // a view of its file's image, until that is let go of
  };
  // The group's last replica, as far as it was told of.
  struct Group {
    GroupLedger ledger;  // but for entries, last_index and last_chain
    std::map<LogIndex, FoundEntry> entries;
    uint16_t short_number = 0;
    bool has_record = false;
    // The number of another replica of the group that wrote, and whose creation is lost.
    std::optional<uint16_t> lost_successor;
    // Whether hard state and log end are known: from the creation on, or since the last statement
    // of them, unless bytes were lost after that.
    bool is_known = false;
    std::string doubt;  // what was lost
    // Where the log must end, by the last statement and what followed it; no chain after a
    // truncation.
    LogIndex last_index;
    std::optional<uint32_t> last_chain;
  };

  Status Apply(const RecordView& record, const BlockHeader& block, const Bytes& bytes,
               uint64_t position);
  static Status ApplyEntry(const RecordView& record, const BlockHeader& block, const Bytes& bytes,
                           uint64_t position, Group* group);
  void ApplyReplica(raft::ReplicaRecord record, bool is_checkpoint);
  void ApplyTombstone(RaftGroupId id, const TombstoneRecord& tombstone);
  static void ApplyHardState(const HardStateRecord& record, Group* group);
  static void ApplyTruncation(TruncationRecord record, uint64_t file, Group* group);
  static void ApplyLog(const LogRecord& record, bool is_checkpoint, Group* group);
  static void ResetLog(const LogRecord& record, bool is_checkpoint, Group* group);
  void CheckRestated(const std::set<RaftGroupId>& restated);
  // Whom the record is about; null if that replica is gone, or another than the last that was made.
  Group* SubjectOf(const RecordView& record);
  Group& Of(RaftGroupId id, uint16_t short_number);
  // What is wrong with the group's state; empty if it is whole and proven.
  static std::string Judge(RaftGroupId id, const Group& group);

  std::map<RaftGroupId, Group> groups_;
  std::map<RaftGroupId, TombstoneRecord> removed_;
  LogIndex controller_floor_;
  std::string last_damage_;
};

}  // namespace millrace::storage::journal

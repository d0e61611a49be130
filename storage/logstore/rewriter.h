// Makes the segments of stalled groups usable again. Those that could not be read when the store
// was opened are read again. Of those that failed later, what was not synced is in doubt, and the
// journal keeps these entries until a sync that succeeded covers them, or, where a large write was
// all that ever had them, nobody counts on them. So after a pause the group's segments are
// recovered at their synced end, the committed entries above are read back from the journal and
// appended, and once they are synced the group goes on with these segments. A file that had an
// error is never synced again: see LastFile.
//
// One group at a time, each after a pause of its own that doubles from try to try, so that a folder
// that stays bad keeps no other waiting. Part of JournalLogStore; on the shard.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "storage/logstore/log_store.h"

namespace millrace::storage {

class JournalLogStore::Rewriter {
 public:
  explicit Rewriter(JournalLogStore& store) : store_(store) {}
  Rewriter(const Rewriter&) = delete;
  Rewriter& operator=(const Rewriter&) = delete;

  // The group's segments failed just now, or could not be read, or what kept them from being read
  // is repaired.
  void Add(RaftGroupId group);
  // Its files are being read and written just now: nothing else may replace one.
  bool IsTrying(RaftGroupId group) const;
  // The group is removed: what writes its files just now, which must end first; null if nothing
  // does.
  std::shared_ptr<GroupSegments> Forget(RaftGroupId group);
  // Synced entries of the group's segments were truncated: a try that counts on them is nothing.
  void OnCut(RaftGroupId group);
  // There is reason to believe that the next try, if there is to be one, succeeds.
  void Hurry(RaftGroupId group);
  void HurryAll();
  uint64_t group_count() const { return waits_.size(); }

 private:
  // A try that is under way.
  struct Try {
    RaftGroupId group;
    std::shared_ptr<GroupSegments> segments;  // on the segment executor alone
    LogIndex appended;
    // Committed when the read that is under way began.
    LogIndex reading_to;
    RecoveredSegments recovered;
    bool is_cut = false;
  };

  // Before a stalled group's next try.
  struct Pause {
    Duration length;
    TimerId timer;
    bool is_hurried = false;  // there was reason to, since its try began
    uint32_t failures = 0;
  };

  void Wait(RaftGroupId group);
  void BeginNext();
  void BeginAgain();
  // Calls `then` on the shard with an outcome of the segment executor or the journal, unless the
  // group is gone meanwhile.
  template <typename Outcome>
  MoveFunction<void(Outcome)> Then(void (Rewriter::*then)(Outcome));
  void OnRecovered(Result<RecoveredSegments> recovered);
  void OnDamaged(RecoveredSegments recovered);
  void OnFaulty(RaftGroupId id, const Status& why);
  void ReadOn();
  void OnRead(Result<std::vector<raft::core::Entry>> entries);
  void OnAppended(Status status);
  void OnSynced(Result<SegmentsEnd> synced);
  void Fail(const Status& why);

  JournalLogStore& store_;
  std::map<RaftGroupId, Pause> waits_;  // of every stalled group
  std::deque<RaftGroupId> due_;
  std::shared_ptr<Try> try_;  // shared with what was asked for, which asks whether it is the same
};

}  // namespace millrace::storage

// Opens a JournalLogStore: the journal first, then each group's segments, then both put together
// into what Raft starts from.
//
// Part of JournalLogStore. Starts and ends on the shard; keeps itself alive until it is done.
#pragma once

#include <memory>
#include <vector>

#include "storage/logstore/log_store.h"

namespace millrace::storage {

class JournalLogStore::Opener : public std::enable_shared_from_this<JournalLogStore::Opener> {
 public:
  Opener(const LogStoreOptions& options, const Environment& environment,
         MoveFunction<void(Result<Opened>)> done)
      : options_(options), environment_(environment), done_(std::move(done)) {}

  void Start();

  // What Raft starts from; `group` is told how far it has come. DATA_LOSS if what the journal has
  // does not follow on what segments have.
  static Result<raft::RecoveredReplica> Combine(journal::GroupState state,
                                                RecoveredSegments segments, Group& group);

 private:
  void OnJournal(journal::OpenedJournal opened);
  // On the segment executor: one group after the other.
  void RecoverNext();
  void OnDamaged(RecoveredSegments segments);
  void OnRecovered(Result<RecoveredSegments> segments);  // of the group `at_`
  void RemoveLeftovers();
  void Finish();

  const LogStoreOptions options_;
  const Environment environment_;
  MoveFunction<void(Result<Opened>)> done_;
  std::unique_ptr<JournalLogStore> store_;
  journal::JournalState state_;
  std::map<RaftGroupId, journal::GroupState>::iterator at_;
  std::vector<raft::RecoveredReplica> replicas_;
  std::vector<RaftGroupId> unopened_;  // to be tried again
};

}  // namespace millrace::storage

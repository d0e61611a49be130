// Sees everything at once, which no replica can, and names what must never be:
//
//   two leaders in a term        a vote that was not durable       a second vote in a term
//   two entries of one place     a lost write: a leader without a committed entry
//   an older term's entry committed by counting
//   a changed committed entry    a commit index going back         a stale read
//   an acknowledgement before fsync, and a commit that no majority's durable image holds
//
// Owned by Cluster. Records the first anomaly; the run ends with it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "raft/core/raft.h"
#include "tests/simulation/core/disk.h"

namespace millrace::simulation::core {

struct Anomaly {
  std::string name;
  std::string details;
};

class Oracle {
 public:
  // `disks` holds every voter's durable image, as it is at any instant.
  explicit Oracle(std::vector<const DiskImage*> disks) : disks_(std::move(disks)) {}

  bool ok() const { return anomaly_.name.empty(); }
  const Anomaly& anomaly() const { return anomaly_; }
  void Report(std::string name, std::string details);

  // A replica appended an entry: as leader or follower, it must be the one entry of its place.
  void OnAppended(const Voter& who, const raft::core::Entry& entry);
  void OnBecameLeader(const Voter& who, Term term, const raft::core::Log& log);
  void OnSent(const raft::core::Raft& from, const Voter& who,
              const raft::core::OutgoingMessage& message, const DiskImage& disk);
  // `before` is where the replica's commit index stood in this boot.
  void OnCommitted(const Voter& who, const raft::core::Raft& raft, LogIndex before, LogIndex after);
  // A read asked for when `committed_then` entries were committed is served at `index`.
  void OnRead(const Voter& who, LogIndex committed_then, LogIndex index);

  // The newest committed entry that every disk holds; 0 if one differs there.
  LogIndex HeldByAll() const;
  LogIndex committed() const { return LogIndex(committed_.size()); }
  uint32_t committed_chain() const { return committed_.empty() ? 0 : committed_.back().chain; }

 private:
  struct Committed {
    Term term;
    uint32_t chain = 0;
    Term in_term;  // the leader's that committed it
  };

  void CheckVote(const Voter& voter, Term term, const Voter& candidate, const DiskImage& disk);
  void CheckAcknowledgement(const raft::core::Raft& from, const Voter& who, LogIndex index,
                            const DiskImage& disk);
  void CheckMajorityHolds(const raft::core::Entry& entry);

  std::vector<const DiskImage*> disks_;
  Anomaly anomaly_;
  std::map<Term, Voter> leaders_;
  std::map<std::pair<Voter, Term>, Voter> votes_;
  std::unordered_map<uint64_t, uint32_t> chains_;  // by term and index; looked up only
  std::vector<Committed> committed_;               // index 1 first
};

}  // namespace millrace::simulation::core

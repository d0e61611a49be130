// Where partitions end, for whoever wants to know that an offset is not past it: by the replica
// here and by what leaders have said; a leader is asked where that does not reach.
//
// Ends only grow, but where a majority lost its disks: what was heard may then be too large, and an
// offset past the end is noticed by whoever reads there.
//
// Owned by the Node, on the shard's thread.
//
//   if (!ends.Reaches(group, offset)) ends.Ask(group, [](Result<Offset> end) { ... });
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

class PartitionEnds {
 public:
  using Done = MoveFunction<void(Result<Offset>)>;
  struct Environment {
    // The high watermark of the replica that is here, as far as it has applied; none without one.
    std::function<std::optional<Offset>(RaftGroupId)> applied_here;
    // Asks the leader for its high watermark.
    std::function<void(RaftGroupId, Done)> ask;
  };

  explicit PartitionEnds(Environment environment) : environment_(std::move(environment)) {}
  PartitionEnds(const PartitionEnds&) = delete;
  PartitionEnds& operator=(const PartitionEnds&) = delete;

  // Whether the partition is known to have so many records.
  bool Reaches(RaftGroupId group, Offset offset) const;
  // The end, by the leader, as it is after this call. Those that ask while it is asked share the
  // next question: the answer that is on its way may be from before what they know of.
  void Ask(RaftGroupId group, Done done);

 private:
  struct Asked {
    std::vector<Done> now;
    std::vector<Done> next;
  };

  void AskLeader(RaftGroupId group, std::vector<Done> waiting);
  void OnAnswer(RaftGroupId group, const Result<Offset>& end);

  Environment environment_;
  std::map<RaftGroupId, Offset> heard_;
  std::map<RaftGroupId, Asked> asked_;
};

}  // namespace millrace::broker

// Digests what a replica here holds of a stretch of records, whoever leads its group, so that
// replicas can be compared (`millrace partition verify`):
//
//   entries from memory or segments, checksums checked -> digest, on the batch worker's thread -> ...
//
// Owned by the Node, on the shard's thread. A few at a time: each holds a piece of the log as it is
// stored and unpacked.
//
//   digester.Digest(group, {.begin = o, .end = p}, [](Result<ReplicaDigest> digest) { ... });
#pragma once

#include <functional>
#include <memory>

#include "broker/partition/batch_worker.h"
#include "broker/partition/partition.h"
#include "broker/partition/record_digest.h"
#include "broker/partition/turns.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

struct DigestRequest {
  Offset begin;
  Offset end;
};

struct ReplicaDigest {
  RecordDigest digest;  // of the records in [begin, reached)
  // Where to go on. Below `end` where that is too far for one answer, or past the high watermark.
  Offset reached;
  uint64_t bytes = 0;  // as stored, of what was read
  PartitionOffsets offsets;
  uint32_t pass = 0;  // the newest pass of compaction that this replica has done
  // A pass was decided that it has not done, or it did one meanwhile: what it holds is between two.
  bool is_compacting = false;
};

using DigestDone = MoveFunction<void(Result<ReplicaDigest>)>;

class Digester {
 public:
  // All outlive this.
  struct Environment {
    BatchWorker& batches;
    // The replica of the group that is here; null if there is none.
    std::function<Partition*(RaftGroupId)> find_replica;
  };

  explicit Digester(Environment environment) : environment_(std::move(environment)) {}
  Digester(const Digester&) = delete;
  Digester& operator=(const Digester&) = delete;

  // NOT_FOUND if no replica is here, DATA_LOSS where a record is damaged or the replica is silent,
  // RESOURCE_EXHAUSTED with RetryInfo if too many wait, and what Partition::ReadHere says.
  // Pre: begin <= end.
  void Digest(RaftGroupId group, const DigestRequest& request, DigestDone done);

 private:
  struct Run;
  using RunPtr = std::shared_ptr<Run>;  // shared by the steps of one, one after the other

  Partition* Look(const RunPtr& run);
  void Read(const RunPtr& run);
  void Take(const RunPtr& run, ReadOutcome read);

  const Environment environment_;
  Turns turns_{2, 64};
  Lifetime lifetime_;
};

}  // namespace millrace::broker

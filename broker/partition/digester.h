// Digests what a replica here holds of a stretch of records, whoever leads its group, so that
// replicas can be compared (`millrace partition verify`):
//
//   entries from memory or segments, checksums checked -> digest, on the batch worker's thread -> ...
//
// Owned by the Node, on the shard's thread. One at a time, as it holds a piece of the log as it is
// stored and unpacked; and no faster than its pace, beside live records a fifth of that.
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
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/pace.h"
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
    Executor& executor;
    const Clock& clock;
    BatchWorker& batches;
    // The replica of the group that is here; null if there is none.
    std::function<Partition*(RaftGroupId)> find_replica;
    // How many writes of live records there were.
    std::function<uint64_t()> writes;
  };

  // Reads no faster than that, for all who ask. Pre: 5 at least.
  Digester(Environment environment, uint64_t bytes_per_second);
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
  void ReadNow(const RunPtr& run);
  void Take(const RunPtr& run, ReadOutcome read);

  const Environment environment_;
  PaceBesideWrites pace_;
  MonotonicTime not_before_{};  // the next piece is read
  Turns turns_{1, 64};
  Lifetime lifetime_;
};

}  // namespace millrace::broker

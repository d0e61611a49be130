// Does the passes of compaction that partitions' leaders decided, on this broker's replicas, one at
// a time (docs/adr/0016-compaction.md):
//
//   keys of what is new -> a map in memory -> each sealed segment, oldest first: is there something
//   to go? -> made anew beside it -> in its place -> ... -> the journal knows that the pass is done
//
// Where the map is full the segments are gone through with what it has, and the reading goes on
// with another map. What fails is begun again later, from the start: segments that were made anew
// have less to be read.
//
// Owned by the ReplicaSet, on the shard's thread; batches are looked into on the batch worker's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <glog/logging.h>

#include "broker/partition/batch_worker.h"
#include "broker/partition/compaction/key_map.h"
#include "broker/partition/compaction/schedule.h"
#include "broker/partition/compaction/segment_compaction.h"
#include "broker/partition/compaction/void_filter.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/ports/log_store.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/errand.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/random.h"

namespace millrace::broker {

// How far a replica is compacted, for people who look after it.
struct CompactionProgress {
  uint32_t pass_done = 0;     // the newest
  uint32_t pass_decided = 0;  // likewise, as far as this replica has applied its log
  Offset clean_to;            // of that one
  bool is_under_way = false;
  Status failure;  // not ok: why the last attempt ended early
};

struct CompactorOptions {
  // Of the map of keys; some 27 bytes a key.
  uint64_t memory_bytes = 64 << 20;
  // Of what is read; 0: no pass is done.
  uint64_t bytes_per_second = 208 << 20;
};

class Compactor {
 public:
  struct Environment {
    Executor& executor;
    const Clock& clock;
    raft::LogStore& store;
    BatchWorker& batches;
    // What the log calls a replica: its group, topic and partition.
    std::function<std::string(RaftGroupId)> name_of;
  };
  struct Job {
    raft::ReplicaId replica;
    TopicPartition name;
    CompactionState state;
    // The entry that decided it, or a later one: the markers of all transactions that the pass
    // meets lie before it.
    LogIndex decided_by;
  };
  // Called with a replica that has done a pass, durably.
  using Done = MoveFunction<void(const raft::ReplicaId&)>;

  Compactor(const Environment& environment, const CompactorOptions& options, Random random,
            Done done)
      : environment_(environment), options_(options), random_(random), done_(std::move(done)) {
    CHECK(environment_.name_of);
  }
  Compactor(const Compactor&) = delete;
  Compactor& operator=(const Compactor&) = delete;

  // Begins the replica's pass, if it has not done it, its segments are ended far enough, and no
  // other pass is under way. To be called now and then.
  void Offer(const Job& job);
  bool is_busy() const { return pass_ != nullptr; }
  bool IsCompacting(RaftGroupId group) const {
    return is_busy() && pass_->job.replica.group == group;
  }
  // Why the group's last attempt at a pass ended early; OK if it did not.
  Status FailureOf(RaftGroupId group) const;
  // The replica is gone.
  void Forget(RaftGroupId group);
  void Stop();

 private:
  using KeyMapPtr = std::shared_ptr<KeyMap>;
  struct Pass {
    Pass(Executor& executor, const Lifetime& owner) : errand(executor, owner) {}

    Errand errand;
    Job job;
    MonotonicTime began{};
    uint64_t repairs = 0;  // of the group when it began
    // The map has keys of records from `known_from` up to here, those of `read_to` not among them.
    KeyMapPtr keys;
    Offset known_from;
    Offset known_to;
    // The segment that is looked at: before its first entry, and its last; and up to where it was
    // read.
    LogIndex begin;
    LogIndex end;
    LogIndex reached;
    bool is_rewriting = false;
    std::shared_ptr<SegmentCompaction> left;
    MonotonicTime piece_began{};
    uint64_t piece_bytes = 0;
    uint64_t bytes_read = 0;
    uint64_t rewritten = 0;  // segments
  };
  using PassPtr = std::shared_ptr<Pass>;
  struct Failure {
    Status why;
    MonotonicTime not_before;  // the next attempt
  };
  struct KeysRead {
    Status status;
    Offset known_to;  // up to here all keys are in the map
    bool is_full = false;
  };
  struct Compacted {
    Status status;
    std::vector<raft::core::Entry> entries;
  };
  // Entries that were read, and which of them are void.
  struct Piece {
    std::vector<raft::core::Entry> entries;
    VoidFilter filter;
  };
  using Step = void (Compactor::*)(const PassPtr&);
  using PieceStep = void (Compactor::*)(const PassPtr&, Piece);

  // Whether all that the pass is about lies in segments that may be rewritten.
  bool IsSealed(const Job& job) const;
  void BeginMap(const PassPtr& pass);
  void ReadKeys(const PassPtr& pass);
  void TakeKeys(const PassPtr& pass, Piece piece);
  void OnRead(const PassPtr& pass, Result<std::vector<raft::core::Entry>> entries, PieceStep step);
  void NextSegment(const PassPtr& pass);
  void BeginRewrite(const PassPtr& pass);
  void ReadSegment(const PassPtr& pass);
  void TakePiece(const PassPtr& pass, Piece piece);
  void OnPiece(const PassPtr& pass, Compacted compacted);
  void EndSegment(const PassPtr& pass);
  void FinishSegment(const PassPtr& pass);
  void Finish(const PassPtr& pass);
  // The next step, once the piece that was read is as long ago as it may take.
  void Paced(const PassPtr& pass, Step step);
  void Fail(const PassPtr& pass, const Status& why);
  void End(const PassPtr& pass);

  const Environment environment_;
  const CompactorOptions options_;
  Random random_;
  Done done_;
  PassPtr pass_;                             // shared with what is under way for it
  std::map<RaftGroupId, Failure> failures_;  // of groups whose last attempt failed
  Lifetime lifetime_;
};

}  // namespace millrace::broker

#include "broker/partition/digester.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <glog/logging.h>

namespace millrace::broker {
namespace {

using raft::core::Entry;

// Of the log, as stored. What is read for one answer should come within a second from a slow disk,
// and at a slow pace.
constexpr uint64_t kPieceBytes = 1 << 20;
constexpr uint64_t kAnswerBytes = 16 << 20;
constexpr uint64_t kSlowerBeside = 5;  // times, where live records are written
constexpr int64_t kRetryAfterMs = 100;

Status Stopping() { return Unavailable("the broker stops"); }
Status NoReplica() { return NotFound("this broker has no replica of the partition"); }

Result<RecordDigest> DigestAll(const std::vector<Entry>& entries, Offset begin, Offset end) {
  RecordDigest digest;
  for (const Entry& entry : entries) {
    ASSIGN_OR_RETURN(const RecordDigest more, DigestRecords(entry.frame, begin, end));
    digest += more;
  }
  return digest;
}

}  // namespace

struct Digester::Run {
  RaftGroupId group;
  DigestRequest request;
  ReplicaDigest answer;
  Turns::Turn turn;
  DigestDone done;
};

Digester::Digester(Environment environment, uint64_t bytes_per_second)
    : environment_(std::move(environment)),
      pace_({.alone = bytes_per_second, .beside = bytes_per_second / kSlowerBeside}) {
  CHECK_GE(bytes_per_second, kSlowerBeside);
}

void Digester::Digest(RaftGroupId group, const DigestRequest& request, DigestDone done) {
  CHECK_LE(request.begin, request.end);
  if (!turns_.MayWait()) {
    return done(ResourceExhausted("too many digests wait for their turn", Reason::kThrottled)
                    .RetryAfterMs(kRetryAfterMs));
  }
  turns_.Take([this, group, request, life = lifetime_.watch(),
               done = std::move(done)](Turns::Turn turn) mutable {
    if (!life) return done(Stopping());
    const Partition* partition = environment_.find_replica(group);
    if (partition == nullptr) return done(NoReplica());
    Read(std::make_shared<Run>(Run{.group = group,
                                   .request = request,
                                   .answer = {.digest = {},
                                              .reached = request.begin,
                                              .bytes = 0,
                                              .offsets = {},
                                              .pass = partition->passes_done(),
                                              .is_compacting = false},
                                   .turn = std::move(turn),
                                   .done = std::move(done)}));
  });
}

// Null if it is gone; then the run has failed.
Partition* Digester::Look(const RunPtr& run) {
  Partition* partition = environment_.find_replica(run->group);
  if (partition == nullptr) {
    run->done(NoReplica());
    return nullptr;
  }
  const uint32_t pass = partition->passes_done();
  const bool is_between = pass != run->answer.pass || pass != partition->compaction().pass;
  run->answer.is_compacting = run->answer.is_compacting || is_between;
  run->answer.pass = pass;
  return partition;
}

// The first piece of a stretch waits for the last one of another: who compares asks for one after
// the other.
void Digester::Read(const RunPtr& run) {
  environment_.executor.RunAfter(TimeLeft(environment_.clock, not_before_),
                                 [this, run, life = lifetime_.watch()] {
                                   if (!life) return run->done(Stopping());
                                   ReadNow(run);
                                 });
}

void Digester::ReadNow(const RunPtr& run) {
  Partition* partition = Look(run);
  if (partition == nullptr) return;
  not_before_ = environment_.clock.Now();
  partition->ReadHere({.offset = run->answer.reached, .bytes_max = kPieceBytes},
                      [this, run, life = lifetime_.watch()](Result<ReadOutcome> read) {
                        if (!life) return run->done(Stopping());
                        if (!read.ok()) return run->done(read.status());
                        Take(run, *std::move(read));
                      });
}

void Digester::Take(const RunPtr& run, ReadOutcome read) {
  ReplicaDigest& answer = run->answer;
  const Offset from = answer.reached;
  const bool is_end = read.next_offset == from;
  answer.offsets = read.offsets;
  const uint64_t bytes = raft::core::TotalBytes(read.entries);
  not_before_ += pace_.TimeOf(bytes, environment_.writes());
  answer.bytes += bytes;
  answer.reached = std::min(read.next_offset, run->request.end);
  const uint64_t bytes_max = std::min(kAnswerBytes, pace_.rates().beside);
  const bool is_enough = is_end || answer.reached == run->request.end || answer.bytes >= bytes_max;
  environment_.batches.Run<Result<RecordDigest>>(
      {.kind = BatchWorker::Kind::kFetched},
      [entries = std::move(read.entries), from, end = run->request.end] {
        return DigestAll(entries, from, end);
      },
      [this, run, is_enough, life = lifetime_.watch()](Result<RecordDigest> digest) {
        if (!life) return run->done(Stopping());
        if (!digest.ok()) return run->done(digest.status());
        run->answer.digest += *digest;
        if (!is_enough) return Read(run);
        if (Look(run) != nullptr) run->done(run->answer);
      });
}

}  // namespace millrace::broker

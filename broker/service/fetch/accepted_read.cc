#include "broker/service/fetch/accepted_read.h"

#include <utility>

namespace millrace::broker {
namespace {

using FetchDone = MoveFunction<void(Result<FetchedBatches>)>;

FetchedBatches AsStored(const ReadOutcome& outcome) {
  FetchedBatches fetched{.offsets = outcome.offsets,
                         .leader_epoch_base = outcome.leader_epoch_base,
                         .batches = {},
                         .next_offset = outcome.next_offset};
  fetched.batches.reserve(outcome.entries.size());
  for (const raft::core::Entry& entry : outcome.entries) {
    fetched.batches.push_back(FetchedAsStored(entry));
  }
  return fetched;
}

void Rewrite(BatchWorker& batches, const BatchReader& reader, ReadOutcome outcome, FetchDone done) {
  FetchedBatches fetched{.offsets = outcome.offsets,
                         .leader_epoch_base = outcome.leader_epoch_base,
                         .batches = {},
                         .next_offset = outcome.next_offset};
  batches.Run<Result<RewrittenBatches>>(
      {.kind = BatchWorker::Kind::kFetched},
      [entries = std::move(outcome.entries), reader] { return RewriteBatches(entries, reader); },
      [fetched = std::move(fetched),
       done = std::move(done)](Result<RewrittenBatches> rewritten) mutable {
        if (!rewritten.ok()) return done(rewritten.status());
        fetched.batches = std::move(rewritten->batches);
        // Else what was read past the last batch holds nothing, and is passed over, too.
        if (!rewritten->is_whole) fetched.next_offset = rewritten->next_offset;
        done(std::move(fetched));
      });
}

}  // namespace

void ReadAccepted(const FetchEnvironment& environment, const Principal& principal,
                  const AcceptedRead& read, FetchDone done) {
  const BatchReader reader{.offset = read.request.offset,
                           .accepted = read.accepted,
                           .bytes_max = read.request.bytes_max};
  environment.partitions.Read(principal, read.group, read.request, read.wait,
                              [batches = &environment.batches, reader,
                               done = std::move(done)](Result<ReadOutcome> outcome) mutable {
                                if (!outcome.ok()) return done(outcome.status());
                                if (reader.accepted.TakesAllOf(outcome->entries))
                                  return done(AsStored(*outcome));
                                Rewrite(*batches, reader, *std::move(outcome), std::move(done));
                              });
}

}  // namespace millrace::broker

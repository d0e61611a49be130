// The producer's part in transactions: which batches are of which, and what happens to them when
// one fails.
#include <utility>

#include <glog/logging.h>

#include "client/core/producer.h"

namespace millrace::client {

// Pre: the partition has records.
uint64_t Producer::OldestTransaction(const Partition& partition) {
  return partition.batches.empty() ? partition.open_transaction
                                   : partition.batches.front().transaction;
}

// Of what is to be sent next. Pre: there is something.
uint64_t Producer::NextTransaction(const Partition& partition) {
  const bool is_sealed = partition.in_flight < partition.batches.size();
  return is_sealed ? partition.batches[partition.in_flight].transaction
                   : partition.open_transaction;
}

// Pre: there is something to be sent next.
bool Producer::MaySendNext(const Partition& partition) const {
  const uint64_t next = NextTransaction(partition);
  uint64_t before = 0;
  for (size_t i = 0; i < partition.in_flight; ++i) {
    const Batch& sent = partition.batches[i];
    if (sent.transaction < next) before += sent.record_count;
  }
  return transactions_->MaySend(next, before);
}

Status Producer::BeginTransaction() {
  if (!has_transactions()) return FailedPrecondition("the producer has no transactional id");
  return transactions_->Begin();
}

Status Producer::EndTransaction(bool is_commit, MonotonicTime now) {
  if (!has_transactions()) return FailedPrecondition("the producer has no transactional id");
  const uint64_t ended = transactions_->current();
  RETURN_IF_ERROR(transactions_->End(is_commit));
  if (!is_commit && transactions_->unanswered(ended) > 0) {
    FailTransaction(
        ended, Aborted("the transaction is aborted by its producer", Reason::kTransactionEnded));
  }
  Flush(now);
  return {};
}

// Nothing of it and of those behind it is on its way any more. Those may be stored where the broker
// did not hold them; what is stored is aborted before they are sent again.
void Producer::FailTransaction(uint64_t transaction, const Status& why) {
  if (!transactions_->Fail(transaction, why)) return;
  for (Partition& partition : partitions_) {
    size_t first = 0;
    while (first < partition.in_flight && partition.batches[first].transaction < transaction) {
      ++first;
    }
    TakeBack(&partition, first, /*is_in_doubt=*/true);
  }
  MarkAllReady();
}

// Reports the oldest batch with `error`, and fails its transaction. Pre: there are records.
void Producer::FailOldest(Partition* partition, const Status& error, Cause cause) {
  CHECK(!partition->batches.empty() || partition->open);
  if (partition->batches.empty()) Seal(partition);
  Rewind(partition, /*is_in_doubt=*/cause == Cause::kOther || !IsRefusal(error));
  FailTransaction(OldestTransaction(*partition), error);
  Answer(partition, error, Offset(-1), 0);
  partition->retry.Clear();
}

// Reports what is oldest and of transactions that have failed. What is older than that is awaited
// first, for reports come in the order of records.
void Producer::AnswerFailed(Partition* partition) {
  while (!partition->batches.empty() || partition->open) {
    const Status& failure = transactions_->failure(OldestTransaction(*partition));
    if (failure.ok()) return;
    if (partition->batches.empty()) Seal(partition);
    CHECK_EQ(partition->in_flight, 0u);
    Answer(partition, AbortedBecause(failure), Offset(-1), 0);
  }
}

Status Producer::HasOffsets() {
  if (!has_transactions()) return FailedPrecondition("the producer has no transactional id");
  return transactions_->HasOffsets();
}

void Producer::OnOffsetsStaged(const TransactionAsk& ask, const Status& status) {
  if (IsFencing(status)) return FailAll(status);
  if (!transactions_->OnStaged(ask.transaction, status)) FailTransaction(ask.transaction, status);
  MarkAllReady();
}

void Producer::OnTransactionEnded(const TransactionAsk& ask, const Status& status) {
  if (IsFencing(status)) return FailAll(status);
  if (!transactions_->OnEnded(ask.transaction, status)) FailTransaction(ask.transaction, status);
  MarkAllReady();
}

// Of what is left nothing is stored under the old epoch but in what is aborted.
void Producer::OnTransactionsInitialized(ProducerId id, uint32_t epoch) {
  identity_.id = id;
  identity_.epoch = epoch;
  transactions_->OnInitialized();
  for (Partition& partition : partitions_) {
    CHECK_EQ(partition.in_flight, 0u);
    partition.producer_id = id;
    partition.epoch = epoch;
    for (Batch& batch : partition.batches) batch.is_in_doubt = false;
    Renumber(&partition, 0);
    partition.retry.Clear();
  }
  MarkAllReady();
}

void Producer::MarkAllReady() {
  for (uint32_t handle = 0; handle < partitions_.size(); ++handle) {
    const Partition& partition = partitions_[handle];
    if (!partition.batches.empty() || partition.open) MarkReady(handle);
  }
}

}  // namespace millrace::client

#include "client/core/transactions.h"

#include <algorithm>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "client/core/retry.h"

namespace millrace::client {
namespace {

// Whether nobody answered, so that it may have been done or not.
bool IsUnknown(const Status& error) {
  return error.code() == Code::kUnavailable || error.code() == Code::kDeadlineExceeded ||
         error.code() == Code::kCancelled;
}

// Whether the transaction has ended, one way or the other.
bool IsDecided(const Status& answer) {
  return answer.ok() || answer.reason() == Reason::kTransactionEnded;
}

// An answer to an abort.
bool WasCommitted(const Status& answer) {
  return std::any_of(answer.metadata().begin(), answer.metadata().end(), [](const auto& entry) {
    return entry.first == "outcome" && entry.second == "committed";
  });
}

constexpr char kUnknownOutcome[] = "it is not known how the transaction ended";

}  // namespace

bool IsFencing(const Status& error) {
  return error.reason() == Reason::kTransactionFenced || error.reason() == Reason::kProducerFenced;
}

Status AbortedBecause(const Status& cause) {
  if (cause.reason() == Reason::kTransactionEnded) return cause;
  return Aborted("the transaction is aborted: " + cause.ToString(), Reason::kTransactionEnded)
      .AddMetadata("outcome", "aborted");
}

size_t Transactions::PlaceOf(uint64_t transaction) const {
  CHECK_GE(transaction, first_);
  CHECK_LT(transaction - first_, transactions_.size());
  return transaction - first_;
}

Status Transactions::Begin() {
  RETURN_IF_ERROR(end_of_all_);
  if (current() != 0) return FailedPrecondition("a transaction is open; end it first");
  if (transactions_.size() >= kTransactionsMax) {
    return ResourceExhausted(std::to_string(kTransactionsMax) + " transactions have not ended yet");
  }
  transactions_.emplace_back();
  return {};
}

Status Transactions::CheckSend() const {
  RETURN_IF_ERROR(end_of_all_);
  const uint64_t transaction = current();
  if (transaction == 0) {
    return FailedPrecondition("no transaction is open, and the producer has a transactional id");
  }
  if (!failure(transaction).ok()) return AbortedBecause(failure(transaction));
  return {};
}

Status Transactions::HasOffsets() {
  RETURN_IF_ERROR(CheckSend());
  transactions_.back().has_offsets = true;
  return {};
}

Status Transactions::End(bool is_commit) {
  RETURN_IF_ERROR(end_of_all_);
  if (current() == 0) return FailedPrecondition("no transaction is open");
  transactions_.back().ending = is_commit ? Ending::kCommit : Ending::kAbort;
  return {};
}

uint64_t Transactions::current() const {
  const bool is_open = !transactions_.empty() && transactions_.back().ending == Ending::kNone;
  return is_open ? last() : 0;
}

void Transactions::Sent() { ++Find(current()).unanswered; }

bool Transactions::Answered(uint64_t transaction, uint32_t records, bool is_stored) {
  Transaction& found = Find(transaction);
  CHECK_GE(found.unanswered, records);
  found.unanswered -= records;
  found.has_stored |= is_stored;
  return found.unanswered == 0 && transaction != last();
}

bool Transactions::Fail(uint64_t transaction, const Status& why) {
  CHECK(!why.ok());
  Transaction& failed = Find(transaction);
  if (!failed.failure.ok()) return false;
  failed.failure = why;
  const Status behind = why.With("the transaction before it failed");
  for (uint64_t later = transaction + 1; later <= last(); ++later) {
    if (Find(later).has_stored && Find(later).failure.ok()) Find(later).failure = behind;
  }
  return true;
}

void Transactions::EndAll(const Status& why) {
  CHECK(!why.ok());
  CHECK_EQ(unanswered_records(), 0u);
  if (end_of_all_.ok()) end_of_all_ = why;
  for (Transaction& transaction : transactions_) {
    if (transaction.ending != Ending::kNone) Tell(&transaction, end_of_all_);
  }
  first_ += transactions_.size();
  transactions_.clear();
}

bool Transactions::MaySend(uint64_t transaction, uint64_t unanswered_before) const {
  uint64_t unanswered = 0;
  for (uint64_t before = first_; before < transaction; ++before) {
    const Transaction& earlier = Find(before);
    if (!earlier.failure.ok()) return false;
    unanswered += earlier.unanswered;
  }
  CHECK_GE(unanswered, unanswered_before);
  return unanswered == unanswered_before && Find(transaction).failure.ok();
}

uint64_t Transactions::NumberOf(uint64_t transaction) const {
  CHECK_GT(transaction, before_epoch_);
  return transaction - before_epoch_;
}

std::optional<TransactionAsk> Transactions::Wanted() const {
  if (transactions_.empty()) return std::nullopt;
  const Transaction& first = transactions_.front();
  if (first.ending == Ending::kNone || first.unanswered > 0) return std::nullopt;
  using Kind = TransactionAsk::Kind;
  const bool is_commit = first.failure.ok() && first.ending == Ending::kCommit;
  const Kind end = is_commit && first.has_offsets ? Kind::kStageOffsets : Kind::kEnd;
  return TransactionAsk{.kind = first.is_aborted ? Kind::kInitialize : end,
                        .transaction = first_,
                        .number = NumberOf(first_),
                        .is_commit = is_commit};
}

bool Transactions::OnStaged(uint64_t transaction, const Status& status) {
  if (transactions_.empty() || transaction != first_) return true;  // all has ended meanwhile
  if (status.ok()) transactions_.front().has_offsets = false;
  return status.ok() || MayHeal(status, {}, {});
}

bool Transactions::OnEnded(uint64_t transaction, const Status& status) {
  if (transactions_.empty() || transaction != first_) return true;  // all has ended meanwhile
  Transaction& first = transactions_.front();
  const bool is_decided = IsDecided(status);
  if (first.failure.ok() && is_decided) {
    Tell(&first, status);
    RemoveFirst();
    return true;
  }
  if (first.failure.ok()) {
    if (IsUnknown(status)) Tell(&first, status.With(kUnknownOutcome));
    first.is_in_doubt = true;
    return false;
  }
  if (!is_decided && !IsUnknown(status) && MayHeal(status, {}, {})) return true;
  Tell(&first, OutcomeOfFailed(first, status));
  // Not if it may be open yet: another producer may have the id, which only an answer tells.
  first.is_aborted = is_decided || !IsUnknown(status);
  return true;
}

Status Transactions::OutcomeOfFailed(const Transaction& transaction, const Status& answer) {
  const bool is_decided = IsDecided(answer);
  if (transaction.ending == Ending::kAbort) return is_decided ? Status() : answer;
  if (transaction.is_in_doubt && WasCommitted(answer)) return {};
  if (transaction.is_in_doubt && !is_decided) return answer.With(kUnknownOutcome);
  return AbortedBecause(transaction.failure);
}

void Transactions::OnInitialized() {
  if (transactions_.empty()) return;
  CHECK(transactions_.front().is_aborted);
  before_epoch_ = first_;
  RemoveFirst();
}

void Transactions::Tell(Transaction* transaction, const Status& outcome) {
  if (std::exchange(transaction->is_told, true)) return;
  outcomes_.push_back(outcome);
}

void Transactions::RemoveFirst() {
  CHECK(transactions_.front().is_told);
  CHECK_EQ(transactions_.front().unanswered, 0u);
  transactions_.pop_front();
  ++first_;
}

std::vector<Status> Transactions::TakeOutcomes() { return std::exchange(outcomes_, {}); }

uint64_t Transactions::unanswered_records() const {
  uint64_t records = 0;
  for (const Transaction& transaction : transactions_) records += transaction.unanswered;
  return records;
}

}  // namespace millrace::client

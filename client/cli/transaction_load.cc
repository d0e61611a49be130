#include "client/cli/transaction_load.h"

#include <algorithm>
#include <utility>

#include "client/cli/connection.h"
#include "raft/runtime/random.h"

namespace millrace::client::cli {
namespace {

// Records that all producers together are given before an interrupt or a failure is looked for.
constexpr uint64_t kRecordsPerTurn = 512;

}  // namespace

TransactionLoad::TransactionLoad(const LoadOptions& options, Producers* producers)
    : options_(options),
      progress_(options.label, options.records, {.done = "", .records = "acknowledged"}),
      producers_(producers),
      lanes_(producers->size()) {
  for (size_t i = 0; i < lanes_.size(); ++i) {
    const uint64_t before = options.records * i / lanes_.size();
    lanes_[i].producer = (*producers)[i].get();
    lanes_[i].left = options.records * (i + 1) / lanes_.size() - before;
  }
  Random random(options.record_bytes);
  value_.resize(options.record_bytes);
  for (char& at : value_) at = static_cast<char>('!' + random.Below(90));
}

Status TransactionLoad::Run(BenchPhase* phase) {
  started_at_ = clock_.Now();
  is_feeding_ = true;
  loop_.Post([this] { Feed(); });
  loop_.RunAfter(kLoadLookInterval, [this] { LookAgain(); });
  loop_.Run();
  if (error_.ok()) error_ = AwaitAnswers();
  const bool has_failed = has_failed_;
  if (!error_.ok() || has_failed)
    producers_->clear();  // what they report now failed for that alone
  progress_.Finish();
  if (has_failed) return first_error_;
  RETURN_IF_ERROR(error_);
  const MonotonicTime end = has_transactions() ? last_at_ : MonotonicTime(acknowledged_at_.load());
  const double seconds = std::max(1e-6, static_cast<double>((end - started_at_).count()) / 1e6);
  phase->records += acknowledged_;
  phase->transactions += committed_;
  phase->records_per_second.push_back(static_cast<double>(acknowledged_) / seconds);
  phase->commits.Add(commits_);
  return {};
}

Status TransactionLoad::Look() {
  if (IsInterrupted()) return Interrupted(WithThousands(acknowledged_) + " records were sent");
  if (has_failed_) return Status(Code::kCancelled, "a record failed");
  progress_.Update(acknowledged_, acknowledged_, clock_.Now());
  return {};
}

void TransactionLoad::LookAgain() {
  if (Status looked = Look(); !looked.ok()) return End(std::move(looked));
  loop_.RunAfter(kLoadLookInterval, [this] { LookAgain(); });
}

void TransactionLoad::End(Status why) {
  if (error_.ok()) error_ = std::move(why);
  loop_.Stop();
}

bool TransactionLoad::HasMoreToSend() const {
  return std::ranges::any_of(lanes_, [](const Lane& lane) { return lane.left > 0; });
}

void TransactionLoad::Feed() {
  is_feeding_ = false;
  Status fed = Look();
  for (Lane& lane : lanes_) {
    if (fed.ok() && lane.left > 0 && !lane.is_waiting) fed = SendTurn(&lane);
  }
  if (!fed.ok()) return End(std::move(fed));
  if (!HasMoreToSend() && unended_ == 0) return loop_.Stop();
  // Else the end of a transaction goes on.
  const bool can_send = std::ranges::any_of(
      lanes_, [](const Lane& lane) { return lane.left > 0 && !lane.is_waiting; });
  if (!can_send) return;
  is_feeding_ = true;
  loop_.Post([this] { Feed(); });
}

Status TransactionLoad::SendTurn(Lane* lane) {
  const uint64_t share = std::max<uint64_t>(16, kRecordsPerTurn / lanes_.size());
  for (uint64_t left = std::min(lane->left, share); left > 0; --left) {
    if (has_transactions() && !lane->is_open) RETURN_IF_ERROR(Begin(lane));
    if (lane->is_waiting) return {};
    RETURN_IF_ERROR(SendOne(lane));
    --lane->left;
    ++lane->in_transaction;
    const bool is_whole =
        lane->in_transaction == options_.records_per_transaction || lane->left == 0;
    if (has_transactions() && is_whole) RETURN_IF_ERROR(Commit(lane));
    if (lane->is_waiting) return {};
  }
  return {};
}

Status TransactionLoad::Begin(Lane* lane) {
  Status begun = lane->producer->BeginTransaction();
  lane->is_waiting = begun.code() == Code::kResourceExhausted;  // too many have not ended
  if (lane->is_waiting) return {};
  lane->is_open = begun.ok();
  return begun;
}

// A producer that has no room has more to wait for than the others.
Status TransactionLoad::SendOne(Lane* lane) {
  while (true) {
    Status sent = lane->producer->Send({.value = value_},
                                       [this](const Delivery& delivery) { OnDelivery(delivery); });
    if (sent.code() != Code::kResourceExhausted) return sent;
    RETURN_IF_ERROR(Look());
  }
}

Status TransactionLoad::Commit(Lane* lane) {
  lane->is_open = false;
  lane->in_transaction = 0;
  lane->is_waiting = options_.kind == LoadKind::kAwaited;
  ++unended_;
  return lane->producer->CommitTransaction(
      [this, lane, since = clock_.Now()](const Status& outcome) {
        loop_.Post([this, lane, outcome, since, at = clock_.Now()] {
          OnCommitted(lane, outcome, since, at);
        });
      });
}

void TransactionLoad::OnCommitted(Lane* lane, const Status& outcome, MonotonicTime since,
                                  MonotonicTime at) {
  if (!outcome.ok()) return End(outcome);
  --unended_;
  ++committed_;
  commits_.Record(at - since);
  last_at_ = at;
  lane->is_waiting = false;
  if (!is_feeding_) Feed();
}

Status TransactionLoad::AwaitAnswers() {
  for (const auto& producer : *producers_) {
    while (!producer->Flush(kLoadLookInterval).ok()) RETURN_IF_ERROR(Look());
  }
  return {};
}

void TransactionLoad::OnDelivery(const Delivery& delivery) {
  if (!delivery.status.ok()) {
    if (has_failed_) return;
    first_error_ = delivery.status;
    has_failed_ = true;
    return;
  }
  acknowledged_at_.store(clock_.Now().count(), std::memory_order_relaxed);
  acknowledged_.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace millrace::client::cli

// Transactions in a partition (docs/adr/0018-transactions.md): which batches may begin one, markers
// that end them, and what readers see of both.

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "broker/partition/compaction/void_filter.h"
#include "broker/partition/partition.h"
#include "millrace/internal/v1/transaction_marker.pb.h"
#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "raft/ports/propose_control.h"

namespace millrace::broker {
namespace {

using raft::core::Entry;

// How long a batch is held for a transaction to be registered, or the one before it to end.
constexpr Duration kHeldMax = std::chrono::seconds(10);

TransactionName NameOf(const FrameHeader& header) {
  return {.producer = header.producer_id,
          .epoch = header.producer_epoch,
          .number = header.transaction_number};
}

}  // namespace

Offset Partition::last_stable() const {
  if (MILLRACE_MUTANT(kLsoFromHighWatermark)) return next_offset_;
  const std::optional<Offset> open = producers_.oldest_open();
  return open.has_value() ? std::max(*open, log_start_) : next_offset_;
}

Status Partition::CheckMayBegin(uint64_t number, ProducerId producer) const {
  if (number == 0) return {};
  if (producer == ProducerId()) {
    return InvalidArgument("the batch has a transaction_number and no producer_id");
  }
  return CheckHasTransactions(environment_.image);
}

bool Partition::AdmitTransaction(const RecordBatchView& view, const SentBatch& batch,
                                 ProduceDone* done) {
  const TransactionName name = NameOf(view);
  const TransactionCheck check = producers_.CheckTransaction(name);
  switch (check.verdict) {
    case TransactionCheck::kTake:
      return true;
    case TransactionCheck::kRefused:
      MILLRACE_SOMETIMES("a batch came after its transaction's end");
      RefuseOnceConfirmed(check.error, std::move(*done));
      return false;
    case TransactionCheck::kAwaitMarker:
      MILLRACE_SOMETIMES("a transaction waited for the one before it to end");
      // Registered meanwhile: the coordinator answers once it is decided how that one ends.
      HoldToRegister(view, batch, std::move(*done));
      return false;
    case TransactionCheck::kRegister:
      if (granted_ == name) return true;
      if (MILLRACE_MUTANT(kAppendBeforeRegister)) {
        environment_.registrar.Register(group_, name, [](const Status&) {});
        return true;
      }
      HoldToRegister(view, batch, std::move(*done));
      return false;
  }
  return false;
}

// Pre: none of the producer's batches is held.
void Partition::HoldToRegister(const RecordBatchView& view, const SentBatch& batch,
                               ProduceDone done) {
  Hold(view, batch, std::move(done));
  Register(NameOf(view));
}

void Partition::Hold(const RecordBatchView& view, const SentBatch& batch, ProduceDone done) {
  held_.Hold({.view = view, .sent = batch, .done = std::move(done)},
             environment_.clock.Now() + kHeldMax);
}

void Partition::Register(const TransactionName& name) {
  const HeldBatches::Registration asked = held_.AwaitRegistration(name);
  environment_.registrar.Register(
      group_, name, [this, asked, life = lifetime_.watch()](const Status& registered) {
        if (life) OnRegistered(asked, registered);
      });
}

// One whose batches are not held any more, or whose marker has come meanwhile, waits for nothing.
void Partition::OnRegistered(const HeldBatches::Registration& asked, const Status& registered) {
  const TransactionName& name = asked.name;
  if (held_.registering(name.producer) != asked) return;
  if (registered.ok()) {
    held_.SetRegistered(name.producer);
    if (IsBehind(name)) MILLRACE_SOMETIMES("a transaction was registered before its turn");
    return ReleaseUnlessBehind(name.producer);
  }
  if (registered.code() == Code::kUnavailable && IsBehind(name)) {
    // Once more when that one has ended.
    return held_.ForgetRegistration(name.producer);
  }
  std::vector<HeldBatch> others;
  for (HeldBatch& held : held_.Take(name.producer)) {
    if (NameOf(held.view) == name) {
      held.done(registered);
    } else {
      others.push_back(std::move(held));
    }
  }
  for (HeldBatch& held : others) TakeChecked(held.view, held.sent, std::move(held.done));
}

// Each as if it had come just now: what it waited for may have changed all that was known of it.
void Partition::ReleaseHeld(ProducerId producer) {
  for (HeldBatch& held : held_.Take(producer)) {
    TakeChecked(held.view, held.sent, std::move(held.done));
  }
}

// Whether another one of its producer is open, whose end it waits for.
bool Partition::IsBehind(const TransactionName& name) const {
  return producers_.CheckTransaction(name).verdict == TransactionCheck::kAwaitMarker;
}

// What it waited for has come, or it waits on: for the end of another, or to be registered.
void Partition::ReleaseUnlessBehind(ProducerId producer) {
  if (!held_.Holds(producer) || IsBehind(held_.front(producer))) return;
  const auto registering = held_.registering(producer);
  if (registering.has_value() && !held_.is_registered(producer)) return;
  if (registering.has_value()) granted_ = registering->name;
  ReleaseHeld(producer);
  granted_.reset();
}

void Partition::FailHeld(std::vector<HeldBatch> held, const Status& why) {
  for (HeldBatch& one : held) one.done(why);
}

void Partition::RefuseExpired() {
  FailHeld(held_.TakeExpired(environment_.clock.Now()),
           Unavailable("the batch's transaction could not begin in time: the one before it has not "
                       "ended, or its coordinator does not answer")
               .RetryAfterMs(1000));
}

void Partition::EndTransaction(const TransactionEnd& end, raft::StatusDone done) {
  if (!leadership_.is_ready) return done(raft_->NotLeader());
  const bool has_ended =
      producers_.HasEnded(end.name) && !MILLRACE_MUTANT(kMarkerEndsWhateverIsOpen);
  if (has_ended) return done({});
  const Result<LogIndex> index = ProposeMarker(end);
  if (!index.ok()) return done(index.status());
  endings_.push_back({.index = *index, .done = std::move(done)});
  // It was registered before it was decided how it ends: what it may append, it would have by now.
  const auto registering = held_.registering(end.name.producer);
  if (registering.has_value() && registering->name == end.name) {
    MILLRACE_SOMETIMES("a marker came before its transaction's first batch");
    return ReleaseHeld(end.name.producer);
  }
  // What is appended from now on lies behind the marker, or is lost with it.
  ReleaseUnlessBehind(end.name.producer);
}

Result<LogIndex> Partition::ProposeMarker(const TransactionEnd& end) {
  const Offset at = raft_->next_offset();
  FrameHeader draft{.type = FrameType::kTransactionMarker,
                    .feature_level = environment_.image.entry_level(),
                    .flags = kFrameTransactional,
                    .base_offset = at,
                    .producer_id = end.name.producer,
                    .producer_epoch = end.name.epoch,
                    .transaction_number = end.name.number};
  const std::optional<Offset> since = producers_.OpenSince(end.name);
  if (since.has_value() && !end.is_committed) draft.reach = static_cast<uint64_t>(at - *since);
  internal::v1::TransactionMarker marker;
  marker.set_outcome(end.is_committed ? internal::v1::TRANSACTION_OUTCOME_COMMITTED
                                      : internal::v1::TRANSACTION_OUTCOME_ABORTED);
  marker.set_reason(end.reason);
  ASSIGN_OR_RETURN(
      const LogIndex index,
      raft::ProposeControl(*raft_, draft, marker.SerializeAsString(), environment_.clock.WallMs()));
  producers_.AddEndInFlight({.name = end.name, .index = index, .offset = at});
  return index;
}

void Partition::ApplyMarker(const FrameHeader& header) {
  const std::optional<Offset> since = producers_.ApplyEnd(
      {.name = NameOf(header), .index = header.index, .offset = header.base_offset});
  const std::optional<VoidRange> void_range = VoidRangeOf(header);
  if (!void_range.has_value()) return;
  // The leader that wrote it knew of the same batches.
  CHECK(since == void_range->first)
      << "group=" << group_ << " index=" << header.index << " " << NameOf(header);
  void_ranges_.Add(header.index, *void_range, environment_.store.readable_end(group_));
}

void Partition::OnMarkerApplied(const FrameHeader& header) {
  while (!endings_.empty() && endings_.front().index <= header.index) {
    Ending ended = std::move(endings_.front());
    endings_.pop_front();
    ended.done({});
  }
  ReleaseUnlessBehind(header.producer_id);
  if (!waiters_.empty()) WakeWaiters(/*all=*/false);
}

void Partition::FailEndings(const Status& why) {
  for (Ending& ending : std::exchange(endings_, {})) ending.done(why);
}

void Partition::LeaveOutVoid(const ReadRequest& request, ReadOutcome outcome, ReadDone done) {
  const auto is_transactional = [](const Entry& entry) {
    return entry.frame.header().transaction_number != 0;
  };
  const bool is_clear =
      request.isolation == Isolation::kUncommitted ||
      std::none_of(outcome.entries.begin(), outcome.entries.end(), is_transactional);
  if (is_clear) return done(std::move(outcome));
  const auto leave_out = [](std::vector<VoidRange> ranges, ReadOutcome* from) {
    const VoidFilter filter(std::move(ranges));
    std::erase_if(from->entries,
                  [&](const Entry& entry) { return filter.IsVoid(entry.frame.header()); });
  };
  const Offset first = outcome.entries.front().frame.header().base_offset;
  const Offset end = outcome.next_offset;
  std::vector<VoidRange> ranges = void_ranges_.Overlapping(first, end);
  if (void_ranges_.KnowsAllBehind(first)) {
    leave_out(std::move(ranges), &outcome);
    return done(std::move(outcome));
  }
  environment_.store.FindVoidRanges(
      group_, first, end,
      [this, leave_out, life = lifetime_.watch(), ranges = std::move(ranges),
       outcome = std::move(outcome),
       done = std::move(done)](Result<std::vector<VoidRange>> stored) mutable {
        if (!life) return done(NotFound("the partition was deleted", Reason::kTopicDeleted));
        if (!stored.ok()) return done(raft_->ReportUnreadable(stored.status()));
        ranges.insert(ranges.end(), stored->begin(), stored->end());
        leave_out(std::move(ranges), &outcome);
        done(std::move(outcome));
      });
}

}  // namespace millrace::broker

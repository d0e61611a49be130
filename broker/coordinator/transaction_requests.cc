#include "broker/coordinator/transaction_requests.h"

#include <algorithm>
#include <utility>

#include "broker/controller/producer_id.h"
#include "broker/coordinator/transaction_errors.h"
#include "proto/base/mutants.h"

namespace millrace::broker {

using internal::v1::CoordinatorRecords;
using internal::v1::EndTransactionRequest;
using internal::v1::InitTransactionsRequest;
using internal::v1::ParticipantsEnded;
using internal::v1::RegisterTransactionRequest;
using internal::v1::TransactionChanged;
using Next = TransactionDecision::Next;

namespace {

constexpr TransactionOutcome kCommitted = internal::v1::TRANSACTION_OUTCOME_COMMITTED;
constexpr TransactionOutcome kAborted = internal::v1::TRANSACTION_OUTCOME_ABORTED;

TransactionDecision Answered(Status status) {
  TransactionDecision decision;
  decision.status = std::move(status);
  return decision;
}

TransactionDecision Waits(const std::string& id, uint64_t number, const std::string& what) {
  TransactionDecision decision;
  decision.next = Next::kWait;
  decision.status = Unavailable(TextOf(id, number) + " " + what);
  return decision;
}

// What waits for the one that is completing.
TransactionDecision WaitsForCompletion(const std::string& id, const TransactionalId& known) {
  return Waits(id, known.completing->name.number,
               "is decided, and some of its partitions have not been told yet");
}

// Not ok: it is not of the transactional id's present producer id and epoch.
Status CheckIsCurrent(const std::string& id, const TransactionalId& known,
                      const TransactionName& name) {
  if (name.producer != known.producer || name.epoch < known.epoch) return Fenced(id, known);
  // No shard that kept what it said has given it.
  if (name.epoch > known.epoch) return UnknownProducer(name);
  return {};
}

TransactionChanged& AddChange(const std::string& id, const TransactionName& name,
                              CoordinatorRecords* records) {
  auto& changed = *records->add_records()->mutable_transaction_changed();
  changed.set_transactional_id(id);
  Fill(name, changed.mutable_name());
  return changed;
}

void AddOutcome(const std::string& id, const TransactionName& name,
                const TransactionalId::Decided& decided, CoordinatorRecords* records) {
  TransactionChanged& changed = AddChange(id, name, records);
  changed.set_outcome(decided.outcome);
  changed.set_reason(decided.reason);
}

TransactionName OngoingOf(const TransactionalId& known) {
  return {.producer = known.producer, .epoch = known.epoch, .number = known.ongoing->number};
}

// Whether it cannot begin any more: it is decided, or was passed over.
bool IsPast(const TransactionalId& known, uint64_t number) {
  return number <= known.last.number ||
         (known.ongoing.has_value() && number < known.ongoing->number);
}

// Ends a transaction that may be the transactional id's, for whoever may.
TransactionDecision DecideOutcome(const std::string& id, const TransactionalId& known,
                                  const TransactionName& name,
                                  const TransactionalId::Decided& wanted) {
  if (name.number <= known.last.number) {
    const bool is_so = name.number == known.last.number && wanted.outcome == known.last.outcome;
    return Answered(is_so ? Status() : Ended(id, name.number, known));
  }
  // Nobody took part in it, and nobody can any more.
  if (IsPast(known, name.number)) return Answered({});
  if (known.ongoing.has_value()) {
    if (name.number > known.ongoing->number) {
      return Waits(id, known.ongoing->number, "is open, and has to be ended first");
    }
    if (known.ongoing->is_abort_only && wanted.outcome == kCommitted) {
      return Answered(MayOnlyBeAborted(id, name.number));
    }
    const bool is_completed = !known.ongoing->participants.empty();
    if (is_completed && known.completing.has_value()) return WaitsForCompletion(id, known);
  }
  TransactionDecision decision;
  AddOutcome(id, name, wanted, &decision.records);
  return decision;
}

bool IsOf(const TransactionalId& known, const TransactionName& name) {
  return known.producer == name.producer && known.epoch == name.epoch;
}

// Whether the epoch that comes next is another producer id's.
bool NeedsProducer(const TransactionalId* known) {
  return known == nullptr || known->epoch >= kProducerEpochMax;
}

TransactionDecision Granted(const TransactionalId& known, const std::string& id) {
  if (known.completing.has_value()) return WaitsForCompletion(id, known);
  TransactionDecision decision;
  decision.granted = {.producer = known.producer, .epoch = known.epoch};
  return decision;
}

}  // namespace

Status CheckInit(const InitTransactionsRequest& request) {
  RETURN_IF_ERROR(CheckId(request.transactional_id(), "transactional_id"));
  if (request.request_id() == 0) return InvalidArgument("request_id is 0");
  const auto& expected = request.expected();
  if (request.has_expected() && (expected.producer_id() == 0 || expected.epoch() == 0)) {
    return InvalidArgument("who is to have the id has no producer id or epoch; both are 1 and up");
  }
  const uint32_t limit = request.time_limit_ms();
  const bool is_in_bounds = limit >= kTransactionTimeMsMin && limit <= kTransactionTimeMsMax;
  if (limit == 0 || is_in_bounds) return {};
  return InvalidArgument("a time limit of " + std::to_string(limit) + " ms is not between " +
                         std::to_string(kTransactionTimeMsMin) + " and " +
                         std::to_string(kTransactionTimeMsMax));
}

Status CheckRegister(const RegisterTransactionRequest& request) {
  RETURN_IF_ERROR(CheckTransactionName(NameFrom(request.transaction())));
  if (request.participants().empty()) return InvalidArgument("participants: none");
  return {};
}

Status CheckEnd(const EndTransactionRequest& request) {
  RETURN_IF_ERROR(CheckId(request.transactional_id(), "transactional_id"));
  RETURN_IF_ERROR(CheckTransactionName(NameFrom(request.transaction())));
  const bool is_known = request.outcome() == kCommitted || request.outcome() == kAborted;
  if (!is_known) return InvalidArgument("outcome is none of those there are");
  return {};
}

Status CheckAbort(const internal::v1::AbortTransactionRequest& request) {
  RETURN_IF_ERROR(CheckId(request.transactional_id(), "transactional_id"));
  return CheckTransactionName(NameFrom(request.transaction()));
}

TransactionDecision DecideInit(const ShardState& state, const CoordinatorCircumstances& now,
                               const InitTransactionsRequest& request, const InitAsked& asked) {
  const std::string& id = request.transactional_id();
  const TransactionalId* known = state.transactions().Find(id);
  if (known != nullptr && known->request_id == request.request_id()) return Granted(*known, id);
  if (asked.was_granted) {
    return Answered(known == nullptr ? UnknownTransactionalId(id) : Fenced(id, *known));
  }
  if (request.has_expected() && known == nullptr) return Answered(UnknownTransactionalId(id));
  if (request.has_expected() && !IsOf(*known, NameFrom(request.expected()))) {
    return Answered(Fenced(id, *known));
  }
  if (known == nullptr && now.is_memory_full) {
    return Answered(ResourceExhausted(
        "transactional id \"" + id +
        "\" is new, and the coordinator's memory is full (--coordinator-memory-bytes-max)"));
  }
  // The one that is ongoing cannot be aborted yet.
  const bool is_held_up =
      known != nullptr && known->ongoing.has_value() && known->completing.has_value();
  if (is_held_up) return WaitsForCompletion(id, *known);
  if (NeedsProducer(known) && !asked.offered.has_value()) {
    TransactionDecision decision;
    decision.next = Next::kNeedProducer;
    return decision;
  }
  TransactionDecision decision;
  if (known != nullptr && known->ongoing.has_value()) {
    AddOutcome(id, OngoingOf(*known),
               {.outcome = kAborted, .reason = internal::v1::TRANSACTION_END_REASON_FENCED},
               &decision.records);
  }
  decision.granted = NeedsProducer(known)
                         ? TransactionName{.producer = *asked.offered, .epoch = 1}
                         : TransactionName{.producer = known->producer, .epoch = known->epoch + 1};
  auto& changed = *decision.records.add_records()->mutable_transactional_id_changed();
  changed.set_transactional_id(id);
  changed.set_producer_id(decision.granted.producer.value());
  changed.set_epoch(decision.granted.epoch);
  changed.set_time_limit_ms(request.time_limit_ms() == 0 ? kTransactionTimeMsDefault
                                                         : request.time_limit_ms());
  changed.set_request_id(request.request_id());
  if (known == nullptr || known->is_idle()) return decision;
  decision.next = Next::kWait;
  decision.status = Unavailable("what was open of transactional id \"" + id +
                                "\" before is decided, and some partitions have not been told yet");
  return decision;
}

TransactionDecision DecideRegister(const ShardState& state, const CoordinatorCircumstances& now,
                                   const RegisterTransactionRequest& request) {
  const TransactionName name = NameFrom(request.transaction());
  const std::string* id = state.transactions().FindByProducer(name.producer);
  if (id == nullptr) return Answered(UnknownProducer(name));
  const TransactionalId& known = *state.transactions().Find(*id);
  if (Status current = CheckIsCurrent(*id, known, name); !current.ok()) {
    return Answered(std::move(current));
  }
  if (IsPast(known, name.number)) return Answered(Ended(*id, name.number, known));
  const bool is_open = known.ongoing.has_value();
  if (is_open && name.number > known.ongoing->number) {
    return Waits(*id, known.ongoing->number, "is open, and has to be ended first");
  }
  const Participants before = is_open ? known.ongoing->participants : Participants();
  const Participants added = Difference(ParticipantsFrom(request.participants()), before);
  if (added.empty()) return Answered({});
  if (is_open && known.ongoing->is_abort_only) return Answered(MayOnlyBeAborted(*id, name.number));
  if (now.is_memory_full) {
    return Answered(
        ResourceExhausted(TextOf(*id, name.number) +
                          " has partitions that are new, and the coordinator's memory is "
                          "full (--coordinator-memory-bytes-max)"));
  }
  TransactionDecision decision;
  TransactionChanged& changed = AddChange(*id, name, &decision.records);
  if (before.size() + added.size() > kParticipantsMax) {
    changed.set_is_abort_only(true);
    decision.status = MayOnlyBeAborted(*id, name.number);
    return decision;
  }
  Fill(added, changed.mutable_participants());
  return decision;
}

TransactionDecision DecideEnd(const ShardState& state, const EndTransactionRequest& request) {
  const std::string& id = request.transactional_id();
  TransactionName name = NameFrom(request.transaction());
  const TransactionalId* known = state.transactions().Find(id);
  if (known == nullptr) return Answered(UnknownProducer(name));
  if (Status current = CheckIsCurrent(id, *known, name); !current.ok()) {
    return Answered(std::move(current));
  }
  if (MILLRACE_MUTANT(kEndWithoutNumber) && known->ongoing.has_value()) {
    name.number = known->ongoing->number;
  }
  return DecideOutcome(
      id, *known, name,
      {.outcome = request.outcome(), .reason = internal::v1::TRANSACTION_END_REASON_ASKED});
}

TransactionDecision DecideAbort(const ShardState& state,
                                const internal::v1::AbortTransactionRequest& request) {
  const std::string& id = request.transactional_id();
  const TransactionName name = NameFrom(request.transaction());
  const TransactionalId* known = state.transactions().Find(id);
  if (known == nullptr) return Answered(UnknownTransactionalId(id));
  // Of one that is not there nothing is noted: its producer may begin it yet.
  const bool is_there = name.producer == known->producer && name.epoch == known->epoch &&
                        (name.number <= known->last.number ||
                         (known->ongoing.has_value() && name.number == known->ongoing->number));
  if (!is_there) {
    return Answered(FailedPrecondition(TextOf(id, name.number) + " (producer id " +
                                       std::to_string(name.producer.value()) + ", epoch " +
                                       std::to_string(name.epoch) + ") is not open"));
  }
  return DecideOutcome(
      id, *known, name,
      {.outcome = kAborted, .reason = internal::v1::TRANSACTION_END_REASON_ADMINISTRATOR});
}

CoordinatorDecision DecideTimeLimit(const ShardState& state, const std::string& id,
                                    const TransactionName& name) {
  const TransactionalId* known = state.transactions().Find(id);
  const bool is_open = known != nullptr && known->ongoing.has_value() && OngoingOf(*known) == name;
  if (!is_open) return CoordinatorRecords();
  return DecideOutcome(
             id, *known, name,
             {.outcome = kAborted, .reason = internal::v1::TRANSACTION_END_REASON_TIME_LIMIT})
      .records;
}

CoordinatorDecision DecideForget(const ShardState& state, const std::string& id, int64_t since_ms) {
  const TransactionalId* known = state.transactions().Find(id);
  CoordinatorRecords records;
  const bool is_old = known != nullptr && known->is_idle() && known->changed_ms <= since_ms;
  if (is_old) {
    records.add_records()->mutable_transactional_id_removed()->set_transactional_id(id);
  }
  return records;
}

CoordinatorDecision DecideEnded(const ShardState& state, const ParticipantsEnded& ended) {
  const TransactionalId* known = state.transactions().Find(ended.transactional_id());
  CoordinatorRecords records;
  const bool is_completing = known != nullptr && known->completing.has_value() &&
                             known->completing->name == NameFrom(ended.name());
  if (!is_completing) return records;
  const Participants told = ParticipantsFrom(ended.participants());
  const Participants rest = Difference(known->completing->participants, told);
  const Participants news = Difference(known->completing->participants, rest);
  if (news.empty()) return records;
  auto& record = *records.add_records()->mutable_participants_ended();
  record.set_transactional_id(ended.transactional_id());
  *record.mutable_name() = ended.name();
  Fill(news, record.mutable_participants());
  return records;
}

}  // namespace millrace::broker

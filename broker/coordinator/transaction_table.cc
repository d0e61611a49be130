#include "broker/coordinator/transaction_table.h"

#include <optional>
#include <utility>

namespace millrace::broker {

using internal::v1::CoordinatorState;
using internal::v1::ParticipantsEnded;
using internal::v1::TransactionalIdChanged;
using internal::v1::TransactionalIdRemoved;
using internal::v1::TransactionChanged;

namespace {

// What a node of a map costs beside what it holds.
constexpr size_t kNodeBytes = 64;

Status DoesNotFollow(const std::string& name, const std::string& what) {
  return DataLoss("a coordinator's record does not follow from those before it: " + what +
                  " of transactional id \"" + name + "\"");
}

uint64_t BytesOf(const std::string& name, const TransactionalId& id) {
  // In its own node, and where it is found by its producer id.
  return id.bytes() + 2 * (kNodeBytes + name.size());
}

}  // namespace

const TransactionalId* TransactionTable::Find(std::string_view name) const {
  const CopyOnWrite<TransactionalId>* found = ids_.Find(name);
  return found == nullptr ? nullptr : &**found;
}

const TransactionalId* TransactionTable::Next(Cursor* cursor) const {
  const CopyOnWrite<TransactionalId>* next = ids_.Next(cursor);
  return next == nullptr ? nullptr : &**next;
}

template <typename Change>
void TransactionTable::ChangeId(const std::string& name, Change change) {
  const auto [found, is_new] = ids_.Make(name);
  TransactionalId& id = found.Mutable();
  if (!is_new) Unindex(name, id);
  change(id);
  Index(name, id);
}

void TransactionTable::Index(const std::string& name, const TransactionalId& id) {
  producers_.Make(id.producer).first = name;
  if (id.ongoing.has_value()) ongoing_.Make(name).first = id.ongoing->number;
  if (id.completing.has_value()) {
    producers_.Make(id.completing->name.producer).first = name;
    completing_.Make(name).first = id.completing->name.number;
  }
  bytes_ += BytesOf(name, id);
}

void TransactionTable::Unindex(const std::string& name, const TransactionalId& id) {
  producers_.Erase(id.producer);
  if (id.completing.has_value()) producers_.Erase(id.completing->name.producer);
  ongoing_.Erase(name);
  completing_.Erase(name);
  bytes_ -= BytesOf(name, id);
}

Status TransactionTable::CheckFollows(const TransactionalIdChanged& changed) const {
  const std::string& name = changed.transactional_id();
  const ProducerId producer(changed.producer_id());
  if (SlotOf(producer) != SlotOf(name)) return DoesNotFollow(name, "a producer id of another slot");
  const std::string* owner = FindByProducer(producer);
  if (owner != nullptr && *owner != name) return DoesNotFollow(name, "another one's producer id");
  const TransactionalId* known = Find(name);
  if (known == nullptr) return {};
  if (known->ongoing.has_value()) return DoesNotFollow(name, "an epoch above an open transaction");
  if (known->producer == producer && changed.epoch() <= known->epoch) {
    return DoesNotFollow(name, "epoch " + std::to_string(changed.epoch()) + " after " +
                                   std::to_string(known->epoch));
  }
  return {};
}

Status TransactionTable::Apply(const TransactionalIdChanged& changed, const Place& place) {
  RETURN_IF_ERROR(CheckFollows(changed));
  ChangeId(changed.transactional_id(), [&](TransactionalId& id) {
    id.producer = ProducerId(changed.producer_id());
    id.epoch = changed.epoch();
    id.time_limit_ms = changed.time_limit_ms();
    id.request_id = changed.request_id();
    id.changed_index = place.index;
    id.changed_ms = place.time_ms;
    id.last = {};
  });
  return {};
}

Status TransactionTable::Apply(const TransactionalIdRemoved& removed) {
  const std::string& name = removed.transactional_id();
  const TransactionalId* id = Find(name);
  if (id == nullptr) return DoesNotFollow(name, "the end");
  if (!id->is_idle()) return DoesNotFollow(name, "the end before that of its transactions");
  Unindex(name, *id);
  ids_.Erase(name);
  return {};
}

Status TransactionTable::CheckFollows(const TransactionChanged& changed) const {
  const std::string& name = changed.transactional_id();
  const TransactionName transaction = NameFrom(changed.name());
  const std::string what = "transaction " + std::to_string(transaction.number);
  const TransactionalId* id = Find(name);
  const bool is_its = id != nullptr && id->producer == transaction.producer &&
                      id->epoch == transaction.epoch && transaction.number > id->last.number;
  if (!is_its) return DoesNotFollow(name, what);
  if (!internal::v1::TransactionOutcome_IsValid(changed.outcome())) {
    return Unimplemented(what + " of transactional id \"" + name +
                         "\" has an outcome that this version does not know");
  }
  const bool is_beside = id->ongoing.has_value() && id->ongoing->number != transaction.number;
  if (is_beside) return DoesNotFollow(name, what + " beside an open one");
  const bool is_completed = changed.outcome() != internal::v1::TRANSACTION_OUTCOME_UNSPECIFIED &&
                            id->ongoing.has_value() && !id->ongoing->participants.empty();
  if (is_completed && id->completing.has_value()) {
    return DoesNotFollow(name, what + " beside one that is completing");
  }
  return {};
}

Status TransactionTable::Apply(const TransactionChanged& changed, const Place& place) {
  RETURN_IF_ERROR(CheckFollows(changed));
  const TransactionName name = NameFrom(changed.name());
  ChangeId(changed.transactional_id(), [&](TransactionalId& id) {
    id.changed_index = place.index;
    id.changed_ms = place.time_ms;
    if (changed.outcome() == internal::v1::TRANSACTION_OUTCOME_UNSPECIFIED) {
      if (!id.ongoing.has_value()) {
        id.ongoing = TransactionalId::Ongoing();
        id.ongoing->number = name.number;
        id.ongoing->since_ms = place.time_ms;
      }
      id.ongoing->participants =
          Union(id.ongoing->participants, ParticipantsFrom(changed.participants()));
      id.ongoing->is_abort_only = id.ongoing->is_abort_only || changed.is_abort_only();
      return;
    }
    id.last = {.number = name.number, .outcome = changed.outcome(), .reason = changed.reason()};
    const std::optional<TransactionalId::Ongoing> ended = std::exchange(id.ongoing, std::nullopt);
    if (!ended.has_value() || ended->participants.empty()) return;
    id.completing = {.name = name,
                     .outcome = changed.outcome(),
                     .reason = changed.reason(),
                     .participants = ended->participants};
  });
  return {};
}

Status TransactionTable::Apply(const ParticipantsEnded& ended, const Place& place) {
  const TransactionalId* known = Find(ended.transactional_id());
  const bool is_completing = known != nullptr && known->completing.has_value() &&
                             known->completing->name == NameFrom(ended.name());
  if (!is_completing) return {};
  ChangeId(ended.transactional_id(), [&](TransactionalId& id) {
    id.changed_index = place.index;
    id.changed_ms = place.time_ms;
    Participants& left = id.completing->participants;
    left = Difference(left, ParticipantsFrom(ended.participants()));
    if (left.empty()) id.completing.reset();
  });
  return {};
}

void TransactionTable::SaveTo(CoordinatorState* saved) const {
  ids_.ForEach([saved](const std::string& name, const CopyOnWrite<TransactionalId>& id) {
    Save(name, *id, saved->add_transactional_ids());
  });
}

Result<TransactionTable> TransactionTable::LoadFrom(const CoordinatorState& saved) {
  TransactionTable table;
  for (const auto& one : saved.transactional_ids()) {
    const std::string& name = one.transactional_id();
    TransactionalId loaded = LoadTransactionalId(one);
    const bool is_twice =
        table.Find(name) != nullptr || table.FindByProducer(loaded.producer) != nullptr;
    if (is_twice) {
      return DataLoss("a coordinator's state has transactional id \"" + name +
                      "\", or its producer id, twice");
    }
    table.ChangeId(name, [&](TransactionalId& id) { id = std::move(loaded); });
  }
  return table;
}

}  // namespace millrace::broker

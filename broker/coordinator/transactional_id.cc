#include "broker/coordinator/transactional_id.h"

#include <algorithm>
#include <iterator>

namespace millrace::broker {

TransactionName NameFrom(const internal::v1::TransactionName& name) {
  return {
      .producer = ProducerId(name.producer_id()), .epoch = name.epoch(), .number = name.number()};
}

TransactionName NameFrom(const v1::TransactionName& name) {
  return {.producer = ProducerId(name.producer_id()),
          .epoch = name.producer_epoch(),
          .number = name.number()};
}

void Fill(const TransactionName& name, internal::v1::TransactionName* out) {
  out->set_producer_id(name.producer.value());
  out->set_epoch(name.epoch);
  out->set_number(name.number);
}

Participants Union(const Participants& one, const Participants& other) {
  Participants all;
  all.reserve(one.size() + other.size());
  std::ranges::set_union(one, other, std::back_inserter(all));
  return all;
}

Participants Difference(const Participants& one, const Participants& other) {
  Participants left;
  std::ranges::set_difference(one, other, std::back_inserter(left));
  return left;
}

Participants ParticipantsFrom(const google::protobuf::RepeatedField<uint64_t>& groups) {
  Participants participants;
  participants.reserve(static_cast<size_t>(groups.size()));
  for (const uint64_t group : groups) participants.emplace_back(group);
  std::ranges::sort(participants);
  participants.erase(std::unique(participants.begin(), participants.end()), participants.end());
  return participants;
}

void Fill(const Participants& participants, google::protobuf::RepeatedField<uint64_t>* out) {
  for (const RaftGroupId group : participants) out->Add(group.value());
}

size_t TransactionalId::bytes() const {
  size_t participants = ongoing.has_value() ? ongoing->participants.size() : 0;
  if (completing.has_value()) participants += completing->participants.size();
  return sizeof(TransactionalId) + participants * sizeof(RaftGroupId);
}

void Save(const std::string& name, const TransactionalId& id,
          internal::v1::SavedTransactionalId* out) {
  out->set_transactional_id(name);
  out->set_producer_id(id.producer.value());
  out->set_epoch(id.epoch);
  out->set_time_limit_ms(id.time_limit_ms);
  out->set_request_id(id.request_id);
  out->set_changed_index(id.changed_index.value());
  out->set_changed_ms(id.changed_ms);
  out->mutable_last()->set_number(id.last.number);
  out->mutable_last()->set_outcome(id.last.outcome);
  out->mutable_last()->set_reason(id.last.reason);
  if (id.ongoing.has_value()) {
    auto& ongoing = *out->mutable_ongoing();
    ongoing.set_number(id.ongoing->number);
    ongoing.set_since_ms(id.ongoing->since_ms);
    Fill(id.ongoing->participants, ongoing.mutable_participants());
    ongoing.set_is_abort_only(id.ongoing->is_abort_only);
  }
  if (id.completing.has_value()) {
    auto& completing = *out->mutable_completing();
    Fill(id.completing->name, completing.mutable_name());
    completing.set_outcome(id.completing->outcome);
    completing.set_reason(id.completing->reason);
    Fill(id.completing->participants, completing.mutable_participants());
  }
}

TransactionalId LoadTransactionalId(const internal::v1::SavedTransactionalId& saved) {
  TransactionalId id{.producer = ProducerId(saved.producer_id()),
                     .epoch = saved.epoch(),
                     .time_limit_ms = saved.time_limit_ms(),
                     .request_id = saved.request_id(),
                     .changed_index = LogIndex(saved.changed_index()),
                     .changed_ms = saved.changed_ms(),
                     .last = {.number = saved.last().number(),
                              .outcome = saved.last().outcome(),
                              .reason = saved.last().reason()},
                     .ongoing = {},
                     .completing = {}};
  if (saved.has_ongoing()) {
    id.ongoing = {.number = saved.ongoing().number(),
                  .since_ms = saved.ongoing().since_ms(),
                  .participants = ParticipantsFrom(saved.ongoing().participants()),
                  .is_abort_only = saved.ongoing().is_abort_only()};
  }
  if (saved.has_completing()) {
    id.completing = {.name = NameFrom(saved.completing().name()),
                     .outcome = saved.completing().outcome(),
                     .reason = saved.completing().reason(),
                     .participants = ParticipantsFrom(saved.completing().participants())};
  }
  return id;
}

}  // namespace millrace::broker

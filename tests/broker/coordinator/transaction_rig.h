// Transactions in few words: requests about them, and what a shard's state says of them.
//
//   TransactionDecision decided = DecideEnd(state, EndOf("pay", Tx(1, 1, 7), kCommit));
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "broker/coordinator/slot.h"
#include "broker/coordinator/transaction_requests.h"
#include "broker/coordinator/transactional_id.h"
#include "millrace/internal/v1/transaction.pb.h"

namespace millrace::broker {

inline constexpr TransactionOutcome kCommit = internal::v1::TRANSACTION_OUTCOME_COMMITTED;
inline constexpr TransactionOutcome kAbort = internal::v1::TRANSACTION_OUTCOME_ABORTED;

// The producer id of the block of that number that is the transactional id's.
inline ProducerId ProducerOf(const std::string& id, uint64_t block = 1) {
  return ProducerId(block * kProducerIdBlock + SlotOf(id));
}

inline TransactionName TransactionOf(const std::string& id, uint32_t epoch, uint64_t number,
                                     uint64_t block = 1) {
  return {.producer = ProducerOf(id, block), .epoch = epoch, .number = number};
}

inline internal::v1::InitTransactionsRequest InitOf(const std::string& id, uint64_t request,
                                                    uint32_t time_limit_ms = 0) {
  internal::v1::InitTransactionsRequest init;
  init.set_transactional_id(id);
  init.set_request_id(request);
  init.set_time_limit_ms(time_limit_ms);
  return init;
}

inline internal::v1::RegisterTransactionRequest RegisterOf(const TransactionName& name,
                                                           const std::vector<uint64_t>& groups) {
  internal::v1::RegisterTransactionRequest request;
  Fill(name, request.mutable_transaction());
  for (const uint64_t group : groups) request.add_participants(group);
  return request;
}

inline internal::v1::EndTransactionRequest EndOf(const std::string& id, const TransactionName& name,
                                                 TransactionOutcome outcome) {
  internal::v1::EndTransactionRequest request;
  request.set_transactional_id(id);
  Fill(name, request.mutable_transaction());
  request.set_outcome(outcome);
  return request;
}

inline internal::v1::AbortTransactionRequest AbortOf(const std::string& id,
                                                     const TransactionName& name) {
  internal::v1::AbortTransactionRequest request;
  request.set_transactional_id(id);
  Fill(name, request.mutable_transaction());
  return request;
}

inline internal::v1::ParticipantsEnded ToldOf(const std::string& id, const TransactionName& name,
                                              const std::vector<uint64_t>& groups) {
  internal::v1::ParticipantsEnded ended;
  ended.set_transactional_id(id);
  Fill(name, ended.mutable_name());
  for (const uint64_t group : groups) ended.add_participants(group);
  return ended;
}

inline std::string ToText(const Participants& participants) {
  std::string text;
  for (const RaftGroupId group : participants) {
    text += (text.empty() ? "" : ",") + std::to_string(group.value());
  }
  return "[" + text + "]";
}

// "producer 1, epoch 2, last 3 committed (asked), ongoing 4 [5,6]": the producer by its block.
inline std::string ToText(const TransactionalId& id) {
  const auto block = [](ProducerId producer) {
    return std::to_string(producer.value() / kProducerIdBlock);
  };
  const auto end = [](TransactionOutcome outcome, TransactionEndReason reason) {
    return std::string(outcome == kCommit ? " committed (" : " aborted (") +
           internal::v1::TransactionEndReason_Name(reason).substr(
               std::string("TRANSACTION_END_REASON_").size()) +
           ")";
  };
  std::string text = "producer " + block(id.producer) + ", epoch " + std::to_string(id.epoch);
  if (id.last.number != 0) {
    text += ", last " + std::to_string(id.last.number) + end(id.last.outcome, id.last.reason);
  }
  if (id.ongoing.has_value()) {
    text += ", ongoing " + std::to_string(id.ongoing->number) + " " +
            ToText(id.ongoing->participants) +
            (id.ongoing->is_abort_only ? " that may only be aborted" : "");
  }
  if (id.completing.has_value()) {
    const TransactionName& name = id.completing->name;
    text += ", completing " + std::to_string(name.number) + " of " + block(name.producer) + "/" +
            std::to_string(name.epoch) + end(id.completing->outcome, id.completing->reason) + " " +
            ToText(id.completing->participants);
  }
  return text;
}

}  // namespace millrace::broker

// What is said of transactions that are not as somebody takes them to be.
//
// Pure; any thread.
//
//   return Ended("payments", name.number, known);
#pragma once

#include <cstdint>
#include <string>

#include "broker/coordinator/transactional_id.h"
#include "proto/base/status.h"

namespace millrace::broker {

// "transaction 7 of transactional id "payments"".
std::string TextOf(const std::string& id, uint64_t number);
// "committed", "aborted".
std::string TextOf(TransactionOutcome outcome);
// "asked", "time_limit", "fenced", "administrator".
std::string TextOf(TransactionEndReason reason);

// INVALID_ARGUMENT where it can be no transaction's.
Status CheckTransactionName(const TransactionName& name);
// NOT_FOUND (UNKNOWN_TRANSACTIONAL_ID).
Status UnknownTransactionalId(const std::string& id);
// NOT_FOUND (UNKNOWN_PRODUCER).
Status UnknownProducer(const TransactionName& name);
// ABORTED (TRANSACTION_FENCED).
Status Fenced(const std::string& id, const TransactionalId& known);
// ABORTED (TRANSACTION_ENDED), with the outcome if it is the last one.
Status Ended(const std::string& id, uint64_t number, const TransactionalId& known);
// RESOURCE_EXHAUSTED.
Status MayOnlyBeAborted(const std::string& id, uint64_t number);

}  // namespace millrace::broker

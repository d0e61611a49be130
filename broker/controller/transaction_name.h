// What a transaction is called: its producer's number for it, within an epoch. It has no other
// name, so that whatever comes late ends or continues that one and no other
// (docs/adr/0018-transactions.md).
#pragma once

#include <compare>
#include <cstdint>
#include <ostream>
#include <string>

#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

struct TransactionName {
  ProducerId producer;
  uint32_t epoch = 0;
  uint64_t number = 0;  // the producer's, rising from 1 in each epoch; 0: none
  auto operator<=>(const TransactionName&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const TransactionName& name) {
  return out << "transaction " << name.number << " of producer " << name.producer << " epoch "
             << name.epoch;
}

// ABORTED (TRANSACTION_ENDED).
inline Status TransactionHasEnded(const TransactionName& name) {
  return Aborted("transaction " + std::to_string(name.number) + " of producer " +
                     std::to_string(name.producer.value()) + " has ended",
                 Reason::kTransactionEnded);
}

}  // namespace millrace::broker

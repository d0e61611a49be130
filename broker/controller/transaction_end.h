// How a transaction ended, as its shard of the coordinator tells those who took part.
#pragma once

#include "broker/controller/transaction_name.h"
#include "millrace/internal/v1/transaction_marker.pb.h"

namespace millrace::broker {

struct TransactionEnd {
  TransactionName name;
  bool is_committed = false;
  internal::v1::TransactionEndReason reason = {};
};

}  // namespace millrace::broker

// How long transactions have been open, by their shard's leader's own clock since it saw them
// first: a leader that begins gives each its whole time once more. Wall clocks jump, and append
// times stay ahead once one of them did.
//
// Nothing of it is in the log. A value; pure.
//
//   for (const OverdueTransaction& one : times.Look(table, clock.Now())) ...
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "broker/controller/transaction_name.h"
#include "broker/coordinator/transaction_table.h"
#include "raft/runtime/clock.h"

namespace millrace::broker {

struct OverdueTransaction {
  std::string id;
  TransactionName name;
};

class TransactionTimes {
 public:
  // Looks at some of those that are ongoing, the next ones each time. Those of them that have been
  // open for longer than they may be.
  std::vector<OverdueTransaction> Look(const TransactionTable& table, MonotonicTime now);
  void Clear() { *this = TransactionTimes(); }

 private:
  struct Seen {
    TransactionName name;
    MonotonicTime first{};
    uint64_t round = 0;  // that saw it last
  };

  std::map<std::string, Seen> seen_;
  TransactionTable::Ongoing::Cursor cursor_;
  uint64_t round_ = 0;  // through all of them
};

}  // namespace millrace::broker

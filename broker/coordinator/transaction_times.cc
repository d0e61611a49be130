#include "broker/coordinator/transaction_times.h"

#include <chrono>
#include <cstddef>

namespace millrace::broker {
namespace {

// At a time: about a millisecond.
constexpr size_t kLookedAtMax = 5'000;
// What is decided at once.
constexpr size_t kFoundMax = 1'000;

}  // namespace

std::vector<OverdueTransaction> TransactionTimes::Look(const TransactionTable& table,
                                                       MonotonicTime now) {
  std::vector<OverdueTransaction> overdue;
  for (size_t i = 0; i < kLookedAtMax && overdue.size() < kFoundMax; ++i) {
    if (table.ongoing().Next(&cursor_) == nullptr) {
      // Those that were not seen in this round have ended.
      std::erase_if(seen_, [this](const auto& one) { return one.second.round != round_; });
      cursor_ = {};
      ++round_;
      break;
    }
    const std::string& id = cursor_.name;
    const TransactionalId& known = *table.Find(id);
    const TransactionName name{
        .producer = known.producer, .epoch = known.epoch, .number = known.ongoing->number};
    Seen& seen = seen_[id];
    if (seen.name != name) seen = {.name = name, .first = now};
    seen.round = round_;
    if (now - seen.first < std::chrono::milliseconds(known.time_limit_ms)) continue;
    overdue.push_back({.id = id, .name = name});
  }
  return overdue;
}

}  // namespace millrace::broker

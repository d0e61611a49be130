#include "broker/coordinator/transaction_sweep.h"

#include <cstddef>

namespace millrace::broker {
namespace {

// At a time: about a millisecond.
constexpr size_t kLookedAtMax = 5'000;
// What is decided at once.
constexpr size_t kFoundMax = 1'000;

}  // namespace

std::vector<std::string> Unused(const TransactionTable& table, int64_t wall_ms,
                                TransactionTable::Cursor* cursor) {
  std::vector<std::string> found;
  for (size_t i = 0; i < kLookedAtMax && found.size() < kFoundMax; ++i) {
    const TransactionalId* id = table.Next(cursor);
    if (id == nullptr) {
      *cursor = {};
      break;
    }
    const bool is_unused = id->is_idle() && id->changed_ms + kTransactionalIdKeptMs <= wall_ms;
    if (is_unused) found.push_back(cursor->name);
  }
  return found;
}

}  // namespace millrace::broker

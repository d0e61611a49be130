// Which transactional ids nobody has used for long.
//
// Pure. What it finds is decided on its own, as what anybody asks is.
//
//   for (const std::string& id : Unused(table, *wall_ms, &cursor)) ...
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "broker/coordinator/transaction_table.h"

namespace millrace::broker {

// How long a transactional id without an open transaction is kept.
inline constexpr int64_t kTransactionalIdKeptMs = int64_t{7} * 24 * 60 * 60 * 1000;

// Looks at some of them behind the cursor, which begins anew at the end.
std::vector<std::string> Unused(const TransactionTable& table, int64_t wall_ms,
                                TransactionTable::Cursor* cursor);

}  // namespace millrace::broker

// Which records of transactions a reader is given (docs/transactions.md).
//
// A value; any thread.
//
//   auto all = (*client)->OpenConsumer("payments", {.isolation = millrace::Isolation::kUncommitted});
#pragma once

namespace millrace {

enum class Isolation {
  // Those of what is committed; behind the first record of one that is open nothing, until it ends.
  kCommitted,
  // All, also those of what was aborted.
  kUncommitted,
};

}  // namespace millrace

// Transactions as `millrace transaction` prints them: which are open and since when, whose they
// are, how the one before ended, and how far the partitions can be read that they hold back.
//
// Pure; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "client/cli/output.h"
#include "millrace/transactions.h"

namespace millrace::client::cli {

using TransactionListings = std::vector<TransactionListing>;
using TransactionOffsets = std::vector<TransactionOffset>;

// "ongoing".
const char* NameOf(TransactionState state);

// Those that are open at `now_ms` for that long and longer.
TransactionListings OpenLongerThan(std::chrono::milliseconds age, const TransactionListings& listed,
                                   int64_t now_ms);
// What is open first, and of that what is open for longest; the others as they were.
void SortByAge(TransactionListings* listed);
std::string ListingsToText(const TransactionListings& listed, int64_t now_ms);
Json ListingsToJson(const TransactionListings& listed);

// "transaction 5 of transactional id orders-1 (producer id 1025, epoch 3)".
std::string NameToText(const TransactionName& name);
Json NameToJson(const TransactionName& name);

// A line for the id, and for what is open and how the newest that has ended did.
std::string DescriptionToText(const TransactionDescription& transaction, int64_t now_ms);
// "transaction 4 was aborted: it was open for longer than its time limit".
std::string EndToText(const EndedTransaction& ended);
// A row for each partition that takes part, and how many records of it cannot be read yet; a line
// for each of which that is not known. Nothing without partitions.
std::string TransactionOffsetsToText(const TransactionOffsets& offsets);
Json DescriptionToJson(const TransactionDescription& transaction,
                       const TransactionOffsets& offsets);

}  // namespace millrace::client::cli

// Transactions as an administrator sees them, of whichever producers: which there are, since when
// one is open, what it holds back, and aborting it. A program's own are the Producer's
// (millrace/producer.h). Every call waits for the answer, asking one broker after the other with
// back-off until one has it or the time is up: then UNAVAILABLE or DEADLINE_EXCEEDED, and a change
// may or may not have been made. FAILED_PRECONDITION by a cluster below feature level 4.
//
// Client::transactions() has it. Any thread, several at once.
//
//   auto open = (*client)->transactions().ListTransactions(
//       {.states = {millrace::TransactionState::kOngoing}});
//   if (!open.ok()) return Complain(open.status());
//   for (const millrace::TransactionListing& row : *open) std::cout << row.name.transactional_id;
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "millrace/status.h"

namespace millrace {

namespace internal {
class Runtime;
}  // namespace internal

enum class TransactionState : uint8_t {
  kUnknown,     // of a later version of Millrace
  kIdle,        // nothing is open
  kOngoing,     // its producer writes
  kCommitting,  // decided, and partitions are being told
  kAborting,    // likewise
};

enum class TransactionOutcome : uint8_t {
  kUnknown,  // of a later version of Millrace
  kCommitted,
  kAborted,
};

// Which transaction: no other one ever has the same name.
struct TransactionName {
  std::string transactional_id = {};
  uint64_t producer_id = 0;
  uint32_t producer_epoch = 0;  // grows with every producer that takes the id
  uint64_t number = 0;          // in that epoch, from 1; 0: none yet
};

// A transactional id, and the newest transaction of it.
struct TransactionListing {
  TransactionName name = {};
  TransactionState state = TransactionState::kUnknown;
  // When the ongoing one began, else when anything of the id changed last: by the coordinator's
  // wall clock, in milliseconds since 1970 UTC.
  int64_t since_ms = 0;
};

// Which of them.
struct TransactionQuery {
  std::string prefix = {};                    // of the transactional id; empty: all
  std::vector<TransactionState> states = {};  // empty: all; not kUnknown
};

struct TransactionPartition {
  std::string topic = {};  // empty: it is gone, or the broker that answered did not know it yet
  uint64_t topic_id = 0;   // 0: likewise
  uint32_t partition = 0;
};

struct OngoingTransaction {
  uint64_t number = 0;
  int64_t since_ms = 0;  // as in TransactionListing
};

struct EndedTransaction {
  uint64_t number = 0;
  TransactionOutcome outcome = TransactionOutcome::kUnknown;
  // "asked" (by its producer), "time_limit", "fenced" (another producer took the id) or
  // "administrator"; or of a later version of Millrace.
  std::string reason = {};
};

struct TransactionDescription {
  std::string transactional_id = {};
  TransactionState state = TransactionState::kUnknown;
  uint64_t producer_id = 0;
  uint32_t producer_epoch = 0;
  // How long one may be open before it is aborted.
  std::chrono::milliseconds time_limit{0};
  std::optional<OngoingTransaction> ongoing = {};
  // The newest that has ended or is being told; nothing: there is none in this epoch.
  std::optional<EndedTransaction> last = {};
  // What takes part in the ongoing one; without one, what is still to be told how the last ended.
  std::vector<TransactionPartition> partitions = {};
  // So do offsets that a group has read (Producer::SendOffsets).
  bool has_group_offsets = false;

  // The ongoing one's, as AbortTransaction takes it; nothing without one.
  std::optional<TransactionName> ongoing_name() const {
    if (!ongoing) return std::nullopt;
    return TransactionName{.transactional_id = transactional_id,
                           .producer_id = producer_id,
                           .producer_epoch = producer_epoch,
                           .number = ongoing->number};
  }
};

// How far a partition can be read.
struct TransactionOffset {
  TransactionPartition partition = {};
  Status status = {};  // why the offsets are not known
  // Readers of what is committed get no further: the first record of the oldest transaction that is
  // open there, be it this one or another; else `end`.
  int64_t last_stable = 0;
  int64_t end = 0;  // one past the last record that is stored on a majority
};

class Transactions {
 public:
  static constexpr std::chrono::milliseconds kTimeout{30'000};

  ~Transactions();
  Transactions(const Transactions&) = delete;
  Transactions& operator=(const Transactions&) = delete;

  // By transactional id. INVALID_ARGUMENT for kUnknown.
  Result<std::vector<TransactionListing>> ListTransactions(
      const TransactionQuery& query = {}, std::chrono::milliseconds timeout = kTimeout);
  // NOT_FOUND (UNKNOWN_TRANSACTIONAL_ID): no producer ever had it, or nobody used it for seven
  // days.
  Result<TransactionDescription> DescribeTransaction(const std::string& transactional_id,
                                                     std::chrono::milliseconds timeout = kTimeout);
  // Of the description's partitions, sorted by topic and partition: some of each topic at the same
  // time. Those without a leader are asked for until the time is up; then theirs is a row with an
  // error, as is that of a topic that is gone.
  Result<std::vector<TransactionOffset>> DescribeOffsets(
      const TransactionDescription& transaction, std::chrono::milliseconds timeout = kTimeout);
  // Aborts this one and no other. Ok: decided durably, or it was aborted before; readers go on a
  // little later. Its producer is told, and goes on with its next. FAILED_PRECONDITION: it is not
  // open; ABORTED (TRANSACTION_ENDED): it ended, and was committed if the metadata `outcome` says
  // so. Without that metadata later ones have ended since, and nobody knows how this one did, also
  // where this call has aborted it and the answer was lost. NOT_FOUND as above; INVALID_ARGUMENT
  // for a name that none can have, with a 0 in it.
  Status AbortTransaction(const TransactionName& name,
                          std::chrono::milliseconds timeout = kTimeout);

 private:
  friend class Client;
  explicit Transactions(std::shared_ptr<internal::Runtime> runtime);

  // Shared with the client and all that was made from it.
  std::shared_ptr<internal::Runtime> runtime_;
};

}  // namespace millrace

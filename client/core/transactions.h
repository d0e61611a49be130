// The transactions of one producer: which one is open, what of each is unanswered, which may be
// sent, and what brokers have to be asked so that they end, one after the other.
//
// Owned by Producer, which asks it. Pure: no clock, no chance, no I/O.
//
// Offsets of a group that are part of one are staged once all its records are answered, and before
// it is ended. They end in their order. The records of one may follow those before it in the same
// partition, which registers one after the other; but whatever those before it have in other
// partitions is answered first: a coordinator that hears of n + 1 first takes n for one without
// records. End(n) is asked once all of n is answered, and End(n + 1) once End(n) is.
//
// One of which a record failed, or of which nobody knows how it ended, has failed. Nothing of it
// and of what is behind it is sent any more. It is ended as aborted; then the id is initialized
// again, for sequences are in doubt. What is behind it goes on in the new epoch, whose first number
// is 1: what brokers may have of that under the old epoch is aborted by then. What they are known
// to have is aborted with it, so that such a transaction fails, too.
//
//   RETURN_IF_ERROR(transactions.Begin());
//   transactions.Sent();                                // a record
//   transactions.Answered(transactions.current(), 1, true);
//   RETURN_IF_ERROR(transactions.End(true));
//   transactions.Wanted();                              // End(1, commit)
//   transactions.OnEnded(1, Status::Ok());              // TakeOutcomes() has an ok one
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "proto/base/status.h"

namespace millrace::client {

// What to ask brokers.
struct TransactionAsk {
  enum class Kind : uint8_t { kStageOffsets, kEnd, kInitialize };
  Kind kind = Kind::kEnd;
  uint64_t transaction = 0;  // as Transactions counts
  uint64_t number = 0;       // its number in the epoch
  bool is_commit = false;
};

// Whether another producer has the transactional id.
bool IsFencing(const Status& error);
// What records, and the end, of a transaction are told that is aborted because of `cause`.
Status AbortedBecause(const Status& cause);

class Transactions {
 public:
  // Transactions that have not ended, the open one included.
  static constexpr size_t kTransactionsMax = 1024;

  // FAILED_PRECONDITION if one is open; RESOURCE_EXHAUSTED; the error that ended everything.
  Status Begin();
  // Ok if the open one takes a record.
  Status CheckSend() const;
  // Offsets are part of the open one. Errors as CheckSend's.
  Status HasOffsets();
  // Ends the open one; its outcome follows. FAILED_PRECONDITION if there is none.
  Status End(bool is_commit);
  // The open one. They are counted from 1 on, over all epochs; 0: none.
  uint64_t current() const;

  // A record of the open one is on its way.
  void Sent();
  // Of so many records it is known what became of them. True if others may be sent for that.
  bool Answered(uint64_t transaction, uint32_t records, bool is_stored);
  // It can only be aborted. True if that was not known.
  bool Fail(uint64_t transaction, const Status& why);
  // Everything ends with `why`, now and from now on. Pre: nothing is unanswered.
  void EndAll(const Status& why);

  uint64_t unanswered(uint64_t transaction) const { return Find(transaction).unanswered; }
  // Why it failed; ok if it did not.
  const Status& failure(uint64_t transaction) const { return Find(transaction).failure; }
  // Whether its records may be sent to a partition that has so many unanswered ones of those
  // before.
  bool MaySend(uint64_t transaction, uint64_t unanswered_before) const;
  // In the producer's present epoch.
  uint64_t NumberOf(uint64_t transaction) const;

  // What is to be asked; the same until it is answered.
  std::optional<TransactionAsk> Wanted() const;
  // How kStageOffsets was answered. False if the transaction fails for that: then Fail it.
  bool OnStaged(uint64_t transaction, const Status& status);
  // How kEnd was answered. False if the transaction has failed for that: then Fail it.
  bool OnEnded(uint64_t transaction, const Status& status);
  // There is a new epoch.
  void OnInitialized();
  // How transactions ended, since the last call, in their order.
  std::vector<Status> TakeOutcomes();

  // Of all transactions.
  uint64_t unanswered_records() const;

 private:
  enum class Ending : uint8_t { kNone, kCommit, kAbort };  // what the program wants
  struct Transaction {
    Ending ending = Ending::kNone;
    uint64_t unanswered = 0;
    bool has_stored = false;   // a record
    bool has_offsets = false;  // that are not staged yet
    Status failure;
    bool is_in_doubt =
        false;             // its commit was asked for, and refused: an earlier try may have done it
    bool is_told = false;  // the program
    bool is_aborted = false;  // brokers know that; what is left is to initialize the id
  };

  size_t PlaceOf(uint64_t transaction) const;
  const Transaction& Find(uint64_t transaction) const {
    return transactions_[PlaceOf(transaction)];
  }
  Transaction& Find(uint64_t transaction) { return transactions_[PlaceOf(transaction)]; }
  uint64_t last() const { return first_ + transactions_.size() - 1; }
  void Tell(Transaction* transaction, const Status& outcome);
  // How one ended that has failed, as brokers have answered to its abort.
  static Status OutcomeOfFailed(const Transaction& transaction, const Status& answer);
  void RemoveFirst();

  std::deque<Transaction> transactions_;
  uint64_t first_ = 1;         // what the first of them is counted as
  uint64_t before_epoch_ = 0;  // the last one of earlier epochs
  Status end_of_all_;
  std::vector<Status> outcomes_;
};

}  // namespace millrace::client

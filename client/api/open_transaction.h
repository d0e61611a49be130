// A producer's transactions as the threads that send see them: whether one is open, and where among
// the records that wait for the client's thread each begins and ends.
//
// Owned by ProducerHandle; under its lock.
//
//   RETURN_IF_ERROR(transaction.Begin());
//   RETURN_IF_ERROR(transaction.CheckSend());
//   transaction.Sent();
//   for (OpenTransaction::Turn& turn : transaction.TakeTurns()) ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>

#include "client/core/group_session.h"
#include "client/core/transactions.h"
#include "millrace/producer.h"
#include "proto/base/status.h"

namespace millrace::internal {

class OpenTransaction {
 public:
  // Transactions whose end the program was not told yet, the open one included.
  static constexpr size_t kUnendedMax = 1000;
  static_assert(kUnendedMax < client::Transactions::kTransactionsMax);  // one may be told and stay

  // A beginning, offsets that are part of it, or an end.
  struct Turn {
    enum class Kind : uint8_t { kBegin, kOffsets, kEnd };
    uint64_t records_before = 0;  // of all that were ever sent
    Kind kind = Kind::kBegin;
    v1::CommitOffsetsRequest offsets = {};
    bool is_commit = false;
    TransactionCallback on_ended = {};
  };

  explicit OpenTransaction(bool has_transactions) : has_transactions_(has_transactions) {}

  Status Begin();
  Status End(bool is_commit, TransactionCallback on_ended);
  Status CheckSend() const;
  // FAILED_PRECONDITION also while the one before has not ended: what it has read may not count.
  Status CheckOffsets() const;
  // Pre: CheckOffsets.
  void Offsets(v1::CommitOffsetsRequest offsets);
  // Of the open one.
  bool has_offsets() const { return has_offsets_; }
  // A record was taken.
  void Sent() { ++records_; }
  // The program was told of an end.
  void Ended();
  // Everything fails from now on.
  void EndAll(const Status& why) { end_of_all_ = why; }
  // Those since the last call.
  std::deque<Turn> TakeTurns() { return std::exchange(turns_, {}); }

 private:
  Status Check() const;

  const bool has_transactions_;
  bool is_open_ = false;
  bool has_offsets_ = false;
  size_t unended_ = 0;
  Status end_of_all_;
  uint64_t records_ = 0;
  std::deque<Turn> turns_;
};

}  // namespace millrace::internal

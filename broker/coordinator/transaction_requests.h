// What a shard of the coordinator is asked about transactions, and what it decides about them by
// itself, as pure functions: (state, request) -> records, and what to answer once they are applied.
// No clock, no chance, no I/O.
//
// A request names what it changes, so that it is answered the second time as the first. One that
// waits for something is decided again once its transactional id has changed.
//
//   RETURN_IF_ERROR(CheckEnd(request));
//   TransactionDecision decided = DecideEnd(state, request);
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "broker/coordinator/requests.h"
#include "broker/coordinator/shard_state.h"
#include "broker/coordinator/transactional_id.h"
#include "millrace/internal/v1/coordinator.pb.h"
#include "millrace/internal/v1/transaction.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

inline constexpr uint32_t kTransactionTimeMsMin = 1'000;
inline constexpr uint32_t kTransactionTimeMsMax = 900'000;
inline constexpr uint32_t kTransactionTimeMsDefault = 60'000;
// Of one transaction.
inline constexpr size_t kParticipantsMax = 10'000;

// INVALID_ARGUMENT where one value of the request can be none.
Status CheckInit(const internal::v1::InitTransactionsRequest& request);
Status CheckRegister(const internal::v1::RegisterTransactionRequest& request);
Status CheckEnd(const internal::v1::EndTransactionRequest& request);
Status CheckAbort(const internal::v1::AbortTransactionRequest& request);

struct TransactionDecision {
  enum class Next : uint8_t {
    kAnswer,
    kWait,          // for the transactional id to change: then it is decided again
    kNeedProducer,  // to be offered a producer id: then it is decided again
  };
  internal::v1::CoordinatorRecords records;
  Next next = Next::kAnswer;
  // The answer, once the records are applied. Where it waits: what it waits for, as an error.
  Status status;
  TransactionName granted;  // the answer to an Init, number aside
};

// What is known beside an Init's request.
struct InitAsked {
  // Of its slot, and nobody's yet.
  std::optional<ProducerId> offered;
  // The transactional id was changed for it: it waits for what was before.
  bool was_granted = false;
};
// ABORTED (TRANSACTION_FENCED) where another one came after it; RESOURCE_EXHAUSTED.
TransactionDecision DecideInit(const ShardState& state, const CoordinatorCircumstances& now,
                               const internal::v1::InitTransactionsRequest& request,
                               const InitAsked& asked);
// ABORTED (TRANSACTION_ENDED, TRANSACTION_FENCED); NOT_FOUND (UNKNOWN_PRODUCER);
// RESOURCE_EXHAUSTED, and then it may only be aborted.
TransactionDecision DecideRegister(const ShardState& state, const CoordinatorCircumstances& now,
                                   const internal::v1::RegisterTransactionRequest& request);
// The same.
TransactionDecision DecideEnd(const ShardState& state,
                              const internal::v1::EndTransactionRequest& request);
// ABORTED (TRANSACTION_ENDED) where it is committed; NOT_FOUND; FAILED_PRECONDITION where it is
// not there.
TransactionDecision DecideAbort(const ShardState& state,
                                const internal::v1::AbortTransactionRequest& request);
// Aborts that transaction, if it is ongoing still: it has taken too long.
CoordinatorDecision DecideTimeLimit(const ShardState& state, const std::string& id,
                                    const TransactionName& name);
// Removes the transactional id, if nothing of it has changed after then.
CoordinatorDecision DecideForget(const ShardState& state, const std::string& id, int64_t since_ms);
// Nothing where they have ended already.
CoordinatorDecision DecideEnded(const ShardState& state,
                                const internal::v1::ParticipantsEnded& ended);

}  // namespace millrace::broker

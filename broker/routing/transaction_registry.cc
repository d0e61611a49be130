#include "broker/routing/transaction_registry.h"

#include <chrono>
#include <memory>
#include <utility>

#include "millrace/internal/v1/transaction.pb.h"

namespace millrace::broker {
namespace {

// Together less than a partition holds a batch for it.
constexpr Duration kAnswerTimeMax = std::chrono::seconds(4);
constexpr uint32_t kWaitMs = 5'000;

// As a partition's client is to be told.
Status ToPartition(const Status& registered) {
  if (registered.code() != Code::kUnavailable) return registered;
  return Unavailable("the transaction's coordinator cannot be asked: " +
                     std::string(registered.message()))
      .RetryAfterMs(100);
}

}  // namespace

void TransactionRegistry::Register(RaftGroupId participant, const TransactionName& name,
                                   raft::StatusDone done) {
  const bool is_posted = !asked_.empty();
  asked_[name].push_back({.participant = participant, .done = std::move(done)});
  if (!is_posted) executor_->Post(lifetime_.Guard([this] { AskAll(); }));
}

void TransactionRegistry::AskAll() {
  for (auto& [name, asked] : std::exchange(asked_, {})) Ask(name, std::move(asked));
}

void TransactionRegistry::Ask(const TransactionName& name, std::vector<Asked> asked) {
  internal::v1::RegisterTransactionRequest request;
  Fill(name, request.mutable_transaction());
  for (const Asked& one : asked) request.add_participants(one.participant.value());
  request.set_wait_ms(kWaitMs);
  auto all = std::make_shared<std::vector<Asked>>(std::move(asked));
  coordinators_->RegisterTransaction(
      {.principal = {}, .timeout = kAnswerTimeMax}, std::move(request),
      [all](const Result<internal::v1::RegisterTransactionReply>& reply) {
        const Status registered = ToPartition(reply.status());
        for (Asked& one : *all) one.done(registered);
      });
}

}  // namespace millrace::broker

#include "broker/coordinator/transaction_description.h"

#include <algorithm>
#include <string>

#include "broker/api/request_limits.h"
#include "broker/coordinator/requests.h"
#include "broker/coordinator/transaction_errors.h"

namespace millrace::broker {

using internal::v1::ListedTransaction;
using internal::v1::ListTransactionsRequest;
using internal::v1::TransactionState;

namespace {

constexpr size_t kListedBytesMax = kGroupIdBytesMax + 64;
// One page looks at no more: few may be in the states that are asked for.
constexpr size_t kLookedAtMax = 20'000;

TransactionName NewestOf(const TransactionalId& id) {
  if (!id.ongoing.has_value() && id.completing.has_value()) return id.completing->name;
  return {.producer = id.producer,
          .epoch = id.epoch,
          .number = id.ongoing.has_value() ? id.ongoing->number : id.last.number};
}

void FillListed(const std::string& name, const TransactionalId& id, ListedTransaction* out) {
  out->set_transactional_id(name);
  out->set_state(StateOf(id));
  Fill(NewestOf(id), out->mutable_transaction());
  out->set_since_ms(id.ongoing.has_value() ? id.ongoing->since_ms : id.changed_ms);
}

bool IsAskedFor(const std::string& name, const TransactionalId& id,
                const ListTransactionsRequest& request) {
  if (!name.starts_with(request.prefix())) return false;
  return request.states().empty() ||
         std::ranges::find(request.states(), StateOf(id)) != request.states().end();
}

}  // namespace

TransactionState StateOf(const TransactionalId& id) {
  if (id.ongoing.has_value()) return internal::v1::TRANSACTION_STATE_ONGOING;
  if (!id.completing.has_value()) return internal::v1::TRANSACTION_STATE_IDLE;
  return id.completing->outcome == internal::v1::TRANSACTION_OUTCOME_COMMITTED
             ? internal::v1::TRANSACTION_STATE_COMMITTING
             : internal::v1::TRANSACTION_STATE_ABORTING;
}

Status AnswerListTransactions(const ShardState& state, const ListTransactionsRequest& request,
                              internal::v1::ListTransactionsReply* reply) {
  ASSIGN_OR_RETURN(GroupsToken token, ParseGroupsToken(request.page_token()));
  const size_t fitting = kPageBytesMax / kListedBytesMax;
  const size_t count_max =
      request.page_size() == 0 ? fitting : std::min<size_t>(fitting, request.page_size());
  const TransactionTable& table = state.transactions();
  size_t looked_at = 0;
  while (const TransactionalId* id = table.Next(&token.after)) {
    if (IsAskedFor(token.after.name, *id, request)) {
      FillListed(token.after.name, *id, reply->add_transactions());
    }
    const bool is_full =
        static_cast<size_t>(reply->transactions_size()) >= count_max || ++looked_at >= kLookedAtMax;
    if (!is_full) continue;
    TransactionTable::Cursor rest = token.after;
    if (table.Next(&rest) != nullptr) reply->set_next_page_token(ToPageToken(token));
    return {};
  }
  return {};
}

Status AnswerDescribeTransaction(const ShardState& state,
                                 const internal::v1::DescribeTransactionRequest& request,
                                 internal::v1::DescribeTransactionReply* reply) {
  const TransactionalId* id = state.transactions().Find(request.transactional_id());
  if (id == nullptr) return UnknownTransactionalId(request.transactional_id());
  reply->set_state(StateOf(*id));
  Save(request.transactional_id(), *id, reply->mutable_transactional_id());
  return {};
}

}  // namespace millrace::broker

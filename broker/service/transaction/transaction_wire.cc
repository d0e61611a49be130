#include "broker/service/transaction/transaction_wire.h"

#include "broker/coordinator/transaction_errors.h"
#include "proto/base/ids.h"

namespace millrace::broker {
namespace {

namespace inner = internal::v1;

// The numbers of the two enums are the same.
static_assert(int{v1::TRANSACTION_STATE_ABORTING} == int{inner::TRANSACTION_STATE_ABORTING});
static_assert(v1::TransactionState_ARRAYSIZE == inner::TransactionState_ARRAYSIZE);
static_assert(int{v1::TRANSACTION_RESULT_COMMIT} == int{inner::TRANSACTION_OUTCOME_COMMITTED});
static_assert(int{v1::TRANSACTION_RESULT_ABORT} == int{inner::TRANSACTION_OUTCOME_ABORTED});

template <typename Request>
void FillName(const Request& request, inner::TransactionName* name) {
  name->set_producer_id(request.producer_id());
  name->set_epoch(request.producer_epoch());
  name->set_number(request.transaction_number());
}

template <typename Decided>
void FillLast(const Decided& decided, uint64_t number, v1::DescribeTransactionResponse* out) {
  out->set_last_number(number);
  out->set_last_result(static_cast<v1::TransactionResult>(decided.outcome()));
  out->set_last_reason(TextOf(decided.reason()));
}

void FillPartition(RaftGroupId group, const ClusterView& view, v1::TransactionPartition* out) {
  const TopicInfo* topic = view.image().FindTopicOf(group);
  if (topic == nullptr) return;
  out->set_topic(topic->name);
  out->set_topic_id(topic->id.value());
  for (const PartitionInfo& partition : topic->partitions) {
    if (partition.group == group) out->set_partition(partition.partition.value());
  }
}

}  // namespace

Result<inner::EndTransactionRequest> ToInternal(const v1::EndTransactionRequest& request) {
  const bool is_result = request.result() == v1::TRANSACTION_RESULT_COMMIT ||
                         request.result() == v1::TRANSACTION_RESULT_ABORT;
  if (!is_result) return InvalidArgument("result is neither commit nor abort");
  inner::EndTransactionRequest out;
  out.set_transactional_id(request.transactional_id());
  FillName(request, out.mutable_transaction());
  out.set_outcome(static_cast<inner::TransactionOutcome>(request.result()));
  return out;
}

inner::AbortTransactionRequest ToInternal(const v1::AbortTransactionRequest& request) {
  inner::AbortTransactionRequest out;
  out.set_transactional_id(request.transactional_id());
  FillName(request, out.mutable_transaction());
  return out;
}

inner::ListTransactionsRequest ToInternal(const v1::ListTransactionsRequest& request) {
  inner::ListTransactionsRequest out;
  out.set_prefix(request.prefix());
  for (const int state : request.states()) {
    out.add_states(static_cast<inner::TransactionState>(state));
  }
  out.set_page_size(request.page_size());
  out.set_page_token(request.page_token());
  return out;
}

v1::ListTransactionsResponse ToPublic(const inner::ListTransactionsReply& reply) {
  v1::ListTransactionsResponse response;
  for (const inner::ListedTransaction& one : reply.transactions()) {
    v1::ListedTransaction& out = *response.add_transactions();
    out.set_transactional_id(one.transactional_id());
    out.set_producer_id(one.transaction().producer_id());
    out.set_producer_epoch(one.transaction().epoch());
    out.set_transaction_number(one.transaction().number());
    out.set_state(static_cast<v1::TransactionState>(one.state()));
    out.set_since_ms(one.since_ms());
  }
  response.set_next_page_token(reply.next_page_token());
  return response;
}

v1::DescribeTransactionResponse ToPublic(const inner::DescribeTransactionReply& reply,
                                         const ClusterView& view) {
  const inner::SavedTransactionalId& id = reply.transactional_id();
  v1::DescribeTransactionResponse response;
  response.set_state(static_cast<v1::TransactionState>(reply.state()));
  response.set_producer_id(id.producer_id());
  response.set_producer_epoch(id.epoch());
  response.set_transaction_timeout_ms(id.time_limit_ms());
  if (id.last().number() > 0) {
    FillLast(id.last(), id.last().number(), &response);
  } else if (id.has_completing()) {
    FillLast(id.completing(), id.completing().name().number(), &response);
  }
  const auto add = [&](const auto& participants) {
    for (const uint64_t group : participants) {
      const TopicInfo* topic = view.image().FindTopicOf(RaftGroupId(group));
      if (topic != nullptr && topic->kind == TopicKind::kCoordinator) {
        response.set_has_group_offsets(true);
        continue;
      }
      FillPartition(RaftGroupId(group), view, response.add_partitions());
    }
  };
  if (id.has_ongoing()) {
    response.set_ongoing_number(id.ongoing().number());
    response.set_ongoing_since_ms(id.ongoing().since_ms());
    add(id.ongoing().participants());
  } else if (id.has_completing()) {
    add(id.completing().participants());
  }
  return response;
}

}  // namespace millrace::broker

#include "broker/service/transaction/transaction_service.h"

#include <string>
#include <utility>

#include "broker/api/parse_request.h"
#include "broker/api/unknown_fields.h"
#include "broker/coordinator/requests.h"
#include "broker/service/transaction/transaction_wire.h"

namespace millrace::broker {
namespace {

// A request about one transactional id.
template <typename Request>
Result<Request> ParseAboutId(const Call& call) {
  ASSIGN_OR_RETURN(Request request, ParseRequest<Request>(call.request()));
  RETURN_IF_ERROR(CheckId(request.transactional_id(), "transactional_id"));
  return request;
}

void Reply(Call& call, const google::protobuf::MessageLite& response) {
  call.Reply(Bytes::Own(response.SerializeAsString()));
}

}  // namespace

void TransactionService::Register(ServiceRegistry* registry) {
  const auto add = [this, registry](const std::string& name, void (TransactionService::*serve)(
                                                                 const std::shared_ptr<Call>&)) {
    registry->AddCall("/millrace.v1.TransactionService/" + name,
                      [this, serve](const std::shared_ptr<Call>& call) { (this->*serve)(call); });
  };
  add("EndTransaction", &TransactionService::EndTransaction);
  add("ListTransactions", &TransactionService::ListTransactions);
  add("DescribeTransaction", &TransactionService::DescribeTransaction);
  add("AbortTransaction", &TransactionService::AbortTransaction);
}

CoordinatorClient::Asker TransactionService::AskerOf(const Call& call) const {
  return {.principal = call.principal(),
          .timeout = TimeFor(environment_.clock, call, kForwardTimeout)};
}

void TransactionService::EndTransaction(const std::shared_ptr<Call>& call) {
  const auto request = ParseAboutId<v1::EndTransactionRequest>(*call);
  if (!request.ok()) return call->Fail(request.status());
  if (const Status understood = CheckUnderstood(*request); !understood.ok()) {
    return call->Fail(understood);
  }
  const auto asked = ToInternal(*request);
  if (!asked.ok()) return call->Fail(asked.status());
  environment_.coordinators.EndTransaction(AskerOf(*call), *asked, [call](const auto& ended) {
    if (!ended.ok()) return call->Fail(ended.status());
    Reply(*call, v1::EndTransactionResponse());
  });
}

void TransactionService::AbortTransaction(const std::shared_ptr<Call>& call) {
  const auto request = ParseAboutId<v1::AbortTransactionRequest>(*call);
  if (!request.ok()) return call->Fail(request.status());
  if (const Status understood = CheckUnderstood(*request); !understood.ok()) {
    return call->Fail(understood);
  }
  environment_.coordinators.AbortTransaction(AskerOf(*call), ToInternal(*request),
                                             [call](const auto& aborted) {
                                               if (!aborted.ok())
                                                 return call->Fail(aborted.status());
                                               Reply(*call, v1::AbortTransactionResponse());
                                             });
}

// Those of one shard; behind its last page comes the next shard's first.
void TransactionService::ListTransactions(const std::shared_ptr<Call>& call) {
  const auto request = ParseRequest<v1::ListTransactionsRequest>(call->request());
  if (!request.ok()) return call->Fail(request.status());
  const Result<GroupsToken> token = ParseGroupsToken(request->page_token());
  if (!token.ok()) return call->Fail(token.status());
  environment_.coordinators.ListTransactions(
      AskerOf(*call), ToInternal(*request),
      [this, call, next_shard = token->shard + 1](const auto& listed) {
        if (!listed.ok()) return call->Fail(listed.status());
        v1::ListTransactionsResponse response = ToPublic(*listed);
        const bool has_more = response.next_page_token().empty() &&
                              next_shard < environment_.coordinators.shard_count();
        if (has_more) {
          response.set_next_page_token(ToPageToken(GroupsToken{.shard = next_shard, .after = {}}));
        }
        Reply(*call, response);
      });
}

void TransactionService::DescribeTransaction(const std::shared_ptr<Call>& call) {
  const auto request = ParseAboutId<v1::DescribeTransactionRequest>(*call);
  if (!request.ok()) return call->Fail(request.status());
  internal::v1::DescribeTransactionRequest asked;
  asked.set_transactional_id(request->transactional_id());
  environment_.coordinators.DescribeTransaction(
      AskerOf(*call), asked, [this, call](const auto& described) {
        if (!described.ok()) return call->Fail(described.status());
        Reply(*call, ToPublic(*described, environment_.view));
      });
}

}  // namespace millrace::broker

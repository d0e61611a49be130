#include "client/core/client.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include <glog/logging.h>

#include "client/core/error.h"
#include "client/core/retry.h"
#include "client/core/transport_error.h"

namespace millrace::client {
namespace {

// A refresh so long after the last is the first of a new row; so is one after a refresh that told
// of a leader that was not known, since what fails next is another matter.
constexpr Duration kRefreshRowEnds = std::chrono::seconds(2);
constexpr Duration kRefreshTimeout = std::chrono::seconds(5);
// How long OpenTopic believes that a broker has only not heard of the topic yet.
constexpr Duration kNewTopicGrace = std::chrono::milliseconds(300);

// How soon leaders that were away are asked again for their offsets.
constexpr Duration kOffsetsRetry = std::chrono::milliseconds(50);

// What is in vain for so long is told, and so often.
constexpr Duration kOutageMin = std::chrono::seconds(1);
constexpr Duration kOutageInterval = std::chrono::seconds(1);

// Whether partitions lack an answer that they may have in a while, and all that do so.
template <typename Response>
bool IsWorthAskingAgain(const Response& response) {
  bool lacks_any = false;
  for (const auto& partition : response.partitions()) {
    if (!partition.has_error()) continue;
    if (!MayHeal(FromError(partition.error()), Duration(0), Duration(0))) return false;
    lacks_any = true;
  }
  return lacks_any;
}

// Whether another broker, or the same one later, may do what this one did not.
bool IsWorthAnotherTry(const Status& error) {
  return error.code() == Code::kUnavailable || error.code() == Code::kDeadlineExceeded ||
         (error.code() == Code::kResourceExhausted && error.retry_after_ms().has_value()) ||
         IsForeign(error);
}

template <typename Response>
RpcDone Parse(ResponseDone<Response> done) {
  return [done = std::move(done)](const Result<Bytes>& result) mutable {
    done(ParseAnswer<Response>(result));
  };
}

Bytes Serialize(const google::protobuf::MessageLite& message) {
  return Bytes::Own(message.SerializeAsString());
}

}  // namespace

struct Client::PendingCall {
  Method method;
  Bytes body;
  MonotonicTime started_at{};
  MonotonicTime deadline{};
  // Without one, `deadline` holds for refused connections, too.
  std::optional<MonotonicTime> refused_deadline;
  RpcDone done;
  std::string address = {};  // of the try under way
  uint32_t failures = 0;
  std::set<std::string> refused = {};  // addresses where nobody listened, all in a row
  std::set<std::string> foreign = {};  // that do not know the method
};

Client::Client(const Environment& environment, ClientOptions options)
    : environment_(environment), options_(std::move(options)) {
  CHECK(!options_.bootstrap.empty());
}

std::vector<std::string> Client::Addresses() const {
  std::vector<std::string> addresses = metadata_.Addresses();
  for (const std::string& address : options_.bootstrap) {
    if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
      addresses.push_back(address);
    }
  }
  return addresses;
}

void Client::Call(const Method& method, Bytes body, Duration timeout, RpcDone done) {
  auto call = std::make_shared<PendingCall>();
  call->method = method;
  call->body = std::move(body);
  call->done = std::move(done);
  Start(std::move(call), timeout);
}

void Client::RunAfter(Duration delay, Task task) {
  executor().RunAfter(delay, lifetime_.Guard(std::move(task)));
}

void Client::CallAt(const std::string& address, const char* method, Bytes body, Duration timeout,
                    RpcDone done) {
  connector().Call(
      {.address = address, .method = method, .body = std::move(body), .timeout = timeout},
      lifetime_.Guard(
          [done = std::move(done)](Result<Bytes> result) mutable { done(std::move(result)); }));
}

void Client::Start(std::shared_ptr<PendingCall> call, Duration timeout) {
  call->started_at = clock().Now();
  call->deadline = call->started_at + timeout;
  Try(std::move(call));
}

void Client::Try(std::shared_ptr<PendingCall> call) {
  const Duration left = call->deadline - clock().Now();
  const bool is_change = call->method.kind == CallKind::kChange;
  const std::vector<std::string> addresses = Addresses();
  call->address = addresses[next_address_ % addresses.size()];
  RpcRequest request{.address = call->address,
                     .method = call->method.name,
                     .body = call->body,
                     .timeout = is_change ? left : std::min(left, options_.attempt_timeout)};
  connector().Call(std::move(request),
                   lifetime_.Guard([this, call = std::move(call)](Result<Bytes> result) {
                     OnTried(call, std::move(result));
                   }));
}

// Whether every address has said what no other try will change.
bool Client::IsLastTry(PendingCall* call, const Status& error) {
  const size_t count = Addresses().size();
  if (IsForeign(error)) call->foreign.insert(call->address);
  if (IsConnectionRefused(error)) {
    call->refused.insert(call->address);
  } else {
    call->refused.clear();
  }
  if (call->foreign.size() >= count) return true;
  return call->refused_deadline && clock().Now() >= *call->refused_deadline &&
         call->refused.size() + call->foreign.size() >= count;
}

void Client::OnTried(std::shared_ptr<PendingCall> call, Result<Bytes> result) {
  if (!IsWorthAnotherTry(result.status())) return call->done(std::move(result));
  ++next_address_;
  if (IsLastTry(call.get(), result.status())) return call->done(std::move(result));
  TellOutage({.address = call->address,
              .status = result.status(),
              .lasts = clock().Now() - call->started_at});
  Duration delay = BackoffDelay(options_.backoff, ++call->failures, environment_.random);
  if (const std::optional<int64_t> after = result.status().retry_after_ms()) {
    delay = std::max<Duration>(delay, std::chrono::milliseconds(*after));
  }
  if (clock().Now() + delay >= call->deadline) return call->done(std::move(result));
  RunAfter(delay, [this, call = std::move(call)]() mutable { Try(std::move(call)); });
}

template <typename Response, typename Request>
void Client::Invoke(const Method& method, const Request& request, Duration timeout,
                    ResponseDone<Response> done) {
  Call(method, Serialize(request), timeout, Parse<Response>(std::move(done)));
}

void Client::CreateTopic(const v1::CreateTopicRequest& request, Duration timeout,
                         ResponseDone<v1::CreateTopicResponse> done) {
  // So that a retry knows its own first try.
  v1::CreateTopicRequest named = request;
  if (named.request_id() == 0) named.set_request_id(environment_.random.Next());
  Invoke<v1::CreateTopicResponse>({"/millrace.v1.AdminService/CreateTopic", CallKind::kChange},
                                  named, timeout, std::move(done));
}

void Client::DeleteTopic(const v1::DeleteTopicRequest& request, Duration timeout,
                         ResponseDone<v1::DeleteTopicResponse> done) {
  v1::DeleteTopicRequest named = request;
  if (named.request_id() == 0) named.set_request_id(environment_.random.Next());
  Invoke<v1::DeleteTopicResponse>({"/millrace.v1.AdminService/DeleteTopic", CallKind::kChange},
                                  named, timeout, std::move(done));
}

void Client::AlterTopic(const v1::AlterTopicRequest& request, Duration timeout,
                        ResponseDone<v1::AlterTopicResponse> done) {
  v1::AlterTopicRequest named = request;
  if (named.request_id() == 0) named.set_request_id(environment_.random.Next());
  Invoke<v1::AlterTopicResponse>({"/millrace.v1.AdminService/AlterTopic", CallKind::kChange}, named,
                                 timeout, std::move(done));
}

void Client::ListTopicSettings(Duration timeout, ResponseDone<v1::ListTopicSettingsResponse> done) {
  Invoke<v1::ListTopicSettingsResponse>({"/millrace.v1.MetadataService/ListTopicSettings"},
                                        v1::ListTopicSettingsRequest(), timeout, std::move(done));
}

void Client::DescribeTopics(const v1::DescribeTopicsRequest& request, Duration timeout,
                            ResponseDone<v1::DescribeTopicsResponse> done) {
  Invoke<v1::DescribeTopicsResponse>({"/millrace.v1.MetadataService/DescribeTopics"}, request,
                                     timeout, std::move(done));
}

void Client::ListTopics(bool include_internal, Duration timeout,
                        ResponseDone<v1::ListTopicsResponse> done) {
  ListMoreTopics(include_internal, {}, clock().Now() + timeout, std::move(done));
}

// Asks for the page behind what is known `so_far`.
void Client::ListMoreTopics(bool include_internal, v1::ListTopicsResponse so_far,
                            MonotonicTime deadline, ResponseDone<v1::ListTopicsResponse> done) {
  v1::ListTopicsRequest request;
  request.set_page_token(so_far.next_page_token());
  request.set_include_internal(include_internal);
  Invoke<v1::ListTopicsResponse>(
      {"/millrace.v1.MetadataService/ListTopics"}, request, TimeLeft(clock(), deadline),
      [this, include_internal, so_far = std::move(so_far), deadline, done = std::move(done),
       life = lifetime_.watch()](Result<v1::ListTopicsResponse> page) mutable {
        if (!life || !page.ok()) return done(std::move(page));
        so_far.set_next_page_token(page->next_page_token());
        so_far.mutable_topics()->MergeFrom(page->topics());
        if (page->next_page_token().empty()) return done(std::move(so_far));
        ListMoreTopics(include_internal, std::move(so_far), deadline, std::move(done));
      });
}

void Client::DescribeCluster(Duration timeout, ResponseDone<v1::DescribeClusterResponse> done) {
  Invoke<v1::DescribeClusterResponse>({"/millrace.v1.MetadataService/DescribeCluster"},
                                      v1::DescribeClusterRequest(), timeout, std::move(done));
}

void Client::GetServerInfo(Duration timeout, ResponseDone<v1::GetServerInfoResponse> done) {
  Invoke<v1::GetServerInfoResponse>({"/millrace.v1.MetadataService/GetServerInfo"},
                                    v1::GetServerInfoRequest(), timeout, std::move(done));
}

void Client::Reach(Duration timeout, Duration refused_timeout,
                   ResponseDone<v1::GetServerInfoResponse> done) {
  auto call = std::make_shared<PendingCall>();
  call->method = {"/millrace.v1.MetadataService/GetServerInfo"};
  call->refused_deadline = clock().Now() + refused_timeout;
  call->done = Parse<v1::GetServerInfoResponse>(std::move(done));
  Start(std::move(call), timeout);
}

void Client::TellOutage(const OutageReport& outage) {
  if (!options_.on_outage || outage.lasts < kOutageMin) return;
  const MonotonicTime now = clock().Now();
  const auto [told, is_new] = told_outages_.try_emplace(outage.address, now);
  if (!is_new && now - told->second < kOutageInterval) return;
  told->second = now;
  options_.on_outage(outage);
}

template <typename Request, typename Response>
void Client::AskAll(Ask<Request, Response> ask, const Request& request, Duration timeout,
                    ResponseDone<Response> done) {
  const MonotonicTime deadline = clock().Now() + timeout;
  (this->*ask)(request, timeout,
               [this, ask, request, deadline, done = std::move(done),
                life = lifetime_.watch()](Result<Response> response) mutable {
                 if (!life || !response.ok()) return done(std::move(response));
                 const Duration left = deadline - clock().Now() - kOffsetsRetry;
                 if (!IsWorthAskingAgain(*response) || left <= Duration(0)) {
                   return done(std::move(response));
                 }
                 RunAfter(kOffsetsRetry,
                          [this, ask, request, left, done = std::move(done)]() mutable {
                            AskAll(ask, request, left, std::move(done));
                          });
               });
}

void Client::ListAllOffsets(const v1::ListOffsetsRequest& request, Duration timeout,
                            ResponseDone<v1::ListOffsetsResponse> done) {
  AskAll(&Client::ListOffsets, request, timeout, std::move(done));
}

void Client::DeleteAllRecords(const v1::DeleteRecordsRequest& request, Duration timeout,
                              ResponseDone<v1::DeleteRecordsResponse> done) {
  AskAll(&Client::DeleteRecords, request, timeout, std::move(done));
}

void Client::DeleteRecords(const v1::DeleteRecordsRequest& request, Duration timeout,
                           ResponseDone<v1::DeleteRecordsResponse> done) {
  Invoke<v1::DeleteRecordsResponse>({"/millrace.v1.AdminService/DeleteRecords", CallKind::kChange},
                                    request, timeout, std::move(done));
}

void Client::ListOffsets(const v1::ListOffsetsRequest& request, Duration timeout,
                         ResponseDone<v1::ListOffsetsResponse> done) {
  Invoke<v1::ListOffsetsResponse>({"/millrace.v1.ConsumerService/ListOffsets"}, request, timeout,
                                  std::move(done));
}

void Client::InitProducer(const v1::InitProducerRequest& request, Duration timeout,
                          ResponseDone<v1::InitProducerResponse> done) {
  Invoke<v1::InitProducerResponse>({"/millrace.v1.ProducerService/InitProducer"}, request, timeout,
                                   std::move(done));
}

void Client::EndTransaction(const v1::EndTransactionRequest& request, Duration timeout,
                            ResponseDone<v1::EndTransactionResponse> done) {
  Invoke<v1::EndTransactionResponse>({"/millrace.v1.TransactionService/EndTransaction"}, request,
                                     timeout, std::move(done));
}

void Client::OpenTopic(const std::string& topic, Duration timeout,
                       MoveFunction<void(Status)> done) {
  v1::DescribeTopicsRequest request;
  request.add_names(topic);
  DescribeTopics(request, timeout,
                 lifetime_.Guard([this, topic, timeout, done = std::move(done)](
                                     Result<v1::DescribeTopicsResponse> response) mutable {
                   if (response.ok()) {
                     metadata_.Update(*response);
                     return done(Status::Ok());
                   }
                   const bool may_be_new =
                       response.status().code() == Code::kNotFound && timeout > kNewTopicGrace;
                   if (!may_be_new) return done(response.status());
                   ++next_address_;
                   RunAfter(kNewTopicGrace, [this, topic, done = std::move(done)]() mutable {
                     OpenTopic(topic, kNewTopicGrace, std::move(done));
                   });
                 }));
}

uint64_t Client::Watch(const std::string& topic, std::function<void(const Status&)> listener) {
  const uint64_t id = next_watch_++;
  watches_[id] = {.topic = topic, .listener = std::move(listener)};
  if (watches_.size() == 1) PlanAgedRefresh();
  return id;
}

// Trouble is what refreshes are for; but nothing is in trouble because a topic got more partitions.
// Clients that began together do not ask together.
void Client::PlanAgedRefresh() {
  const Duration age = options_.metadata_age_max;
  const auto spread = static_cast<uint64_t>((age / 10).count());
  const Duration later(static_cast<Duration::rep>(environment_.random.Below(spread + 1)));
  executor().Cancel(age_timer_);
  age_timer_ = executor().RunAfter(age + later, lifetime_.Guard([this] { RefreshMetadata(); }));
}

void Client::RefreshMetadata() {
  if (is_refresh_planned_ || refreshes_under_way_ > 0 || watches_.empty()) return;
  is_refresh_planned_ = true;
  const MonotonicTime now = clock().Now();
  const bool is_row_over = has_news_ || now - last_refresh_ > kRefreshRowEnds;
  has_news_ = false;
  refreshes_in_row_ = is_row_over ? 0 : refreshes_in_row_ + 1;
  Duration delay{0};
  if (refreshes_in_row_ > 0) {
    delay = BackoffDelay(options_.backoff, refreshes_in_row_, environment_.random);
  }
  RunAfter(delay, [this] { StartRefresh(); });
}

// Each topic by itself: one that is gone says nothing of the others.
void Client::StartRefresh() {
  is_refresh_planned_ = false;
  std::set<std::string> topics;
  for (const auto& [id, watch] : watches_) topics.insert(watch.topic);
  ++next_address_;  // whoever answered last may be the one who lags behind
  refreshes_under_way_ = topics.size();
  for (const std::string& topic : topics) {
    v1::DescribeTopicsRequest request;
    request.add_names(topic);
    DescribeTopics(
        request, kRefreshTimeout,
        lifetime_.Guard([this, topic](const Result<v1::DescribeTopicsResponse>& response) {
          OnRefreshed(topic, response);
        }));
  }
}

void Client::OnRefreshed(const std::string& topic,
                         const Result<v1::DescribeTopicsResponse>& response) {
  --refreshes_under_way_;
  last_refresh_ = clock().Now();
  PlanAgedRefresh();
  if (response.ok() && metadata_.Update(*response)) has_news_ = true;
  // Listeners may end their watches or begin others.
  std::vector<uint64_t> ids;
  for (const auto& [id, watch] : watches_) {
    if (watch.topic == topic) ids.push_back(id);
  }
  for (uint64_t id : ids) {
    auto found = watches_.find(id);
    if (found == watches_.end()) continue;
    const std::function<void(const Status&)> listener = found->second.listener;
    listener(response.status());
  }
}

}  // namespace millrace::client

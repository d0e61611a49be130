// A cluster as a program sees it: unary calls that any broker answers, tried again elsewhere while
// brokers are away, and the metadata that producers and consumers route by.
//
// One owner; everything, callbacks too, on the executor given. It outlives the producers and
// consumers made from it.
//
//   Client client({.executor = loop, .clock = clock, .connector = grpc, .random = random},
//                 {.bootstrap = {"127.0.0.1:7440"}});
//   client.CreateTopic(request, timeout, [](Result<v1::CreateTopicResponse> response) { ... });
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "client/core/backoff.h"
#include "client/core/connector.h"
#include "client/core/metadata.h"
#include "millrace/v1/admin_service.pb.h"
#include "millrace/v1/consumer_service.pb.h"
#include "millrace/v1/metadata_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "millrace/v1/transaction_service.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/random.h"
#include "raft/runtime/task.h"

namespace millrace::client {

// What has been in vain for a second and more.
struct OutageReport {
  std::string address = {};  // tried last; empty if there is none to try
  Status status = {};
  std::string topic = {};  // empty: of a call
  PartitionId partition;
  Duration lasts{};  // since it last worked, or began
};

struct ClientOptions {
  // HOST:PORT of some brokers. Not empty.
  std::vector<std::string> bootstrap;
  std::string client_id = "millrace";
  // One try of one broker; a call as a whole has its own timeout.
  Duration attempt_timeout = std::chrono::seconds(2);
  BackoffOptions backoff{.initial = std::chrono::milliseconds(20),
                         .max = std::chrono::milliseconds(500)};
  // What is known of watched topics is asked for again when it is as old as this, or a tenth more.
  Duration metadata_age_max = std::chrono::seconds(30);
  // Called for what has been in vain for a second, and then about once a second and address for as
  // long as that lasts. May be empty.
  std::function<void(const OutageReport&)> on_outage = {};
};

template <typename Response>
using ResponseDone = MoveFunction<void(Result<Response>)>;

// What a broker answered, as a message.
template <typename Response>
Result<Response> ParseAnswer(const Result<Bytes>& answer) {
  RETURN_IF_ERROR(answer.status());
  Response response;
  if (response.ParseFromArray(answer->data(), static_cast<int>(answer->size()))) return response;
  return Internal("the broker's answer cannot be read");
}

class Client {
 public:
  struct Environment {
    Executor& executor;
    const Clock& clock;
    Connector& connector;
    Random random;
  };
  Client(const Environment& environment, ClientOptions options);
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // What a call is for. A broker that is silent for `attempt_timeout` is given up and another one
  // asked; what changes something may take as long as the caller waits.
  enum class CallKind { kAsk, kChange };
  struct Method {
    const char* name;  // "/millrace.v1.AdminService/CreateTopic"
    CallKind kind = CallKind::kAsk;
  };
  // Calls it at one broker after the other, with back-off, until one gives an answer other than
  // UNAVAILABLE, or RESOURCE_EXHAUSTED with RetryInfo, or `timeout` has passed; then the last
  // error. A server that is no broker is passed over, unless all are such.
  void Call(const Method& method, Bytes body, Duration timeout, RpcDone done);
  // Runs `task` after `delay` if this is still there.
  void RunAfter(Duration delay, Task task);
  // Calls it once, at this address: for what only one broker knows.
  void CallAt(const std::string& address, const char* method, Bytes body, Duration timeout,
              RpcDone done);

  void CreateTopic(const v1::CreateTopicRequest& request, Duration timeout,
                   ResponseDone<v1::CreateTopicResponse> done);
  void DeleteTopic(const v1::DeleteTopicRequest& request, Duration timeout,
                   ResponseDone<v1::DeleteTopicResponse> done);
  void AlterTopic(const v1::AlterTopicRequest& request, Duration timeout,
                  ResponseDone<v1::AlterTopicResponse> done);
  void ListTopicSettings(Duration timeout, ResponseDone<v1::ListTopicSettingsResponse> done);
  void DescribeTopics(const v1::DescribeTopicsRequest& request, Duration timeout,
                      ResponseDone<v1::DescribeTopicsResponse> done);
  // All topics, Millrace's own if `include_internal`: asks for page after page, within `timeout` in
  // all.
  void ListTopics(bool include_internal, Duration timeout,
                  ResponseDone<v1::ListTopicsResponse> done);
  void GetServerInfo(Duration timeout, ResponseDone<v1::GetServerInfoResponse> done);
  // The same, but it gives up after `refused_timeout` where nobody listens at any address.
  void Reach(Duration timeout, Duration refused_timeout,
             ResponseDone<v1::GetServerInfoResponse> done);
  void DescribeCluster(Duration timeout, ResponseDone<v1::DescribeClusterResponse> done);
  void ListOffsets(const v1::ListOffsetsRequest& request, Duration timeout,
                   ResponseDone<v1::ListOffsetsResponse> done);
  // The same, asked again until every partition has answered, one has an error that does not heal,
  // or `timeout` has passed: the last answer.
  void ListAllOffsets(const v1::ListOffsetsRequest& request, Duration timeout,
                      ResponseDone<v1::ListOffsetsResponse> done);
  // The same way.
  void DeleteAllRecords(const v1::DeleteRecordsRequest& request, Duration timeout,
                        ResponseDone<v1::DeleteRecordsResponse> done);
  void InitProducer(const v1::InitProducerRequest& request, Duration timeout,
                    ResponseDone<v1::InitProducerResponse> done);
  void EndTransaction(const v1::EndTransactionRequest& request, Duration timeout,
                      ResponseDone<v1::EndTransactionResponse> done);

  // A topic's metadata, fetched now: NOT_FOUND if it does not exist.
  void OpenTopic(const std::string& topic, Duration timeout, MoveFunction<void(Status)> done);
  // Asks for the watched topics' metadata soon, but not more often than back-off allows. Without
  // being told to, it does so whenever that is metadata_age_max old.
  void RefreshMetadata();
  // Calls `listener` after every refresh of `topic`, with its status: NOT_FOUND if the broker asked
  // does not know this topic; the watch's id.
  uint64_t Watch(const std::string& topic, std::function<void(const Status&)> listener);
  void Unwatch(uint64_t watch) { watches_.erase(watch); }

  // Hands it to on_outage, unless it lasts less than a second or its address was told just now.
  void TellOutage(const OutageReport& outage);

  MetadataCache& metadata() { return metadata_; }
  Executor& executor() { return environment_.executor; }
  const Clock& clock() const { return environment_.clock; }
  Connector& connector() { return environment_.connector; }
  Random ForkRandom() { return environment_.random.Fork(); }
  const ClientOptions& options() const { return options_; }
  // Of the brokers that are known, and of those to begin with.
  std::vector<std::string> Addresses() const;

 private:
  struct PendingCall;
  struct WatchedTopic {
    std::string topic;
    std::function<void(const Status&)> listener;
  };

  template <typename Request, typename Response>
  using Ask = void (Client::*)(const Request&, Duration, ResponseDone<Response>);
  // Asks until every partition has answered, one has an error that does not heal, or the time is
  // up.
  template <typename Request, typename Response>
  void AskAll(Ask<Request, Response> ask, const Request& request, Duration timeout,
              ResponseDone<Response> done);
  void DeleteRecords(const v1::DeleteRecordsRequest& request, Duration timeout,
                     ResponseDone<v1::DeleteRecordsResponse> done);
  void ListMoreTopics(bool include_internal, v1::ListTopicsResponse so_far, MonotonicTime deadline,
                      ResponseDone<v1::ListTopicsResponse> done);
  void Try(std::shared_ptr<PendingCall> call);
  void OnTried(std::shared_ptr<PendingCall> call, Result<Bytes> result);
  void Start(std::shared_ptr<PendingCall> call, Duration timeout);
  bool IsLastTry(PendingCall* call, const Status& error);
  void StartRefresh();
  void PlanAgedRefresh();
  void OnRefreshed(const std::string& topic, const Result<v1::DescribeTopicsResponse>& response);
  template <typename Response, typename Request>
  void Invoke(const Method& method, const Request& request, Duration timeout,
              ResponseDone<Response> done);

  Environment environment_;
  const ClientOptions options_;
  MetadataCache metadata_;
  std::map<uint64_t, WatchedTopic> watches_;
  uint64_t next_watch_ = 1;
  uint32_t next_address_ = 0;
  bool is_refresh_planned_ = false;
  size_t refreshes_under_way_ = 0;  // a topic each
  uint32_t refreshes_in_row_ = 0;
  bool has_news_ = false;  // the last refresh told of a leader that was not known
  MonotonicTime last_refresh_{};
  TimerId age_timer_;
  std::map<std::string, MonotonicTime> told_outages_;  // by address
  Lifetime lifetime_;
};

}  // namespace millrace::client

#include "client/core/replica_survey.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

namespace millrace::client {
namespace {

constexpr char kMethod[] = "/millrace.v1.AdminService/DescribeReplicas";

using Answer = Result<v1::DescribeReplicasResponse>;

// Leaves those partitions that are asked for.
Status Narrow(const SurveyRequest& request, v1::Topic* topic) {
  if (!request.partition.has_value()) return {};
  const uint32_t wanted = request.partition->value();
  for (const v1::Partition& partition : topic->partitions()) {
    if (partition.partition() != wanted) continue;
    v1::Partition found = partition;
    topic->clear_partitions();
    *topic->add_partitions() = std::move(found);
    return {};
  }
  return NotFound("topic \"" + request.topic + "\" has no partition " + std::to_string(wanted));
}

class Survey : public std::enable_shared_from_this<Survey> {
 public:
  Survey(Client& client, SurveyRequest request, Duration timeout, ResponseDone<ReplicaSurvey> done)
      : client_(client),
        request_(std::move(request)),
        deadline_(client.clock().Now() + timeout),
        done_(std::move(done)) {}

  void Start() {
    v1::DescribeTopicsRequest topics;
    topics.add_names(request_.topic);
    client_.DescribeTopics(
        topics, TimeLeft(client_.clock(), deadline_),
        [self = shared_from_this()](const Result<v1::DescribeTopicsResponse>& response) {
          self->OnTopic(response);
        });
  }

 private:
  void OnTopic(const Result<v1::DescribeTopicsResponse>& response) {
    if (!response.ok()) return done_(response.status());
    if (response->topics_size() != 1) {
      return done_(Internal("the broker's answer has not the one topic"));
    }
    found_.topic = response->topics(0);
    if (Status status = Narrow(request_, &found_.topic); !status.ok()) return done_(status);
    for (const v1::Broker& broker : response->brokers()) {
      found_.addresses[BrokerId(broker.broker_id())] = broker.address();
    }
    std::set<BrokerId> asked;
    for (const v1::Partition& partition : found_.topic.partitions()) {
      for (const uint32_t id : partition.replica_ids()) asked.insert(BrokerId(id));
    }
    missing_ = asked.size();
    if (missing_ == 0) return done_(std::move(found_));
    const uint32_t first = request_.partition.value_or(PartitionId()).value();
    for (const BrokerId broker : asked) Ask(broker, first, {});
  }

  void Ask(BrokerId broker, uint32_t first_partition, v1::DescribeReplicasResponse so_far) {
    const std::string& address = found_.addresses[broker];
    if (address.empty()) return Take(broker, Unavailable("its address is not known"));
    v1::DescribeReplicasRequest request;
    request.set_topic_id(found_.topic.topic_id());
    request.set_first_partition(first_partition);
    request.set_partition_count_max(request_.partition.has_value() ? 1 : 0);
    client_.CallAt(
        address, kMethod, Bytes::Own(request.SerializeAsString()),
        std::min(TimeLeft(client_.clock(), deadline_), client_.options().attempt_timeout),
        [self = shared_from_this(), broker, first_partition,
         so_far = std::move(so_far)](const Result<Bytes>& result) mutable {
          self->OnAnswer(broker, first_partition, std::move(so_far),
                         ParseAnswer<v1::DescribeReplicasResponse>(result));
        });
  }

  void OnAnswer(BrokerId broker, uint32_t first_partition, v1::DescribeReplicasResponse so_far,
                Answer answer) {
    if (!answer.ok()) return Take(broker, std::move(answer));
    if (BrokerId(answer->broker_id()) != broker) {
      return Take(broker, Unavailable(found_.addresses[broker] + " is broker " +
                                      std::to_string(answer->broker_id())));
    }
    so_far.set_broker_id(answer->broker_id());
    so_far.mutable_replicas()->MergeFrom(answer->replicas());
    const uint32_t next = answer->next_partition();
    if (next == 0) return Take(broker, std::move(so_far));
    if (next <= first_partition) {
      return Take(broker, Internal("the broker's answer goes on at partition " +
                                   std::to_string(next) + ", where it was"));
    }
    Ask(broker, next, std::move(so_far));
  }

  void Take(BrokerId broker, Answer answer) {
    found_.brokers.emplace(broker, std::move(answer));
    if (--missing_ == 0) done_(std::move(found_));
  }

  Client& client_;
  const SurveyRequest request_;
  const MonotonicTime deadline_;
  ResponseDone<ReplicaSurvey> done_;
  ReplicaSurvey found_;
  size_t missing_ = 0;
};

}  // namespace

void SurveyReplicas(Client& client, const SurveyRequest& request, Duration timeout,
                    ResponseDone<ReplicaSurvey> done) {
  std::make_shared<Survey>(client, request, timeout, std::move(done))->Start();
}

}  // namespace millrace::client

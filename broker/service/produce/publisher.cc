#include "broker/service/produce/publisher.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <glog/logging.h>

#include "broker/api/error_reply.h"
#include "millrace/v1/producer_service.pb.h"
#include "proto/record/key_hash.h"
#include "proto/record/record_batch.h"

namespace millrace::broker {
namespace {

// A partition names a record by its place in its batch; whoever called knows it by that in the
// call, which `numbers` has.
Status OfTheCall(const Status& error, const std::vector<size_t>& numbers) {
  for (const auto& [key, value] : error.metadata()) {
    uint32_t place = 0;
    const auto [end, errc] = std::from_chars(value.data(), value.data() + value.size(), place);
    const bool is_number = errc == std::errc() && end == value.data() + value.size();
    if (key == kRecordWithoutKey && is_number && place < numbers.size()) {
      return RecordWithoutKey(static_cast<uint32_t>(numbers[place]));
    }
  }
  return error;
}

}  // namespace

// Gathers what became of a call's records, and answers once.
class Publisher::Answer : public std::enable_shared_from_this<Publisher::Answer> {
 public:
  Answer(Publisher& publisher, std::shared_ptr<Call> call, Groups groups)
      : publisher_(&publisher), call_(std::move(call)), groups_(std::move(groups)) {
    publisher_->inflight_bytes_ += call_->request().size();
  }

  void Start(const PublishRequestView& request, const TopicInfo& topic) {
    for (size_t i = 0; i < request.records.size(); ++i) response_.add_results();
    missing_ = groups_.size();
    const ProduceEnvironment& environment = publisher_->environment_;
    const Lifetime& lifetime = publisher_->lifetime_;
    timer_ = environment.executor.RunAfter(
        TimeFor(environment.clock, *call_, kTimeMax),
        lifetime.Guard([self = shared_from_this()] { self->GiveUp(); }));
    const Principal principal = call_->principal();
    // An answer may come at once, and ends its group.
    std::vector<std::pair<PartitionId, Bytes>> batches;
    for (const auto& [partition, numbers] : groups_) {
      std::vector<std::string_view> records;
      for (const size_t number : numbers) records.push_back(request.records[number]);
      batches.emplace_back(partition, EncodeTypedBatch(records));
    }
    for (auto& [partition, batch] : batches) {
      const RaftGroupId group = topic.partitions[partition.value()].group;
      environment.partitions.Produce(
          principal, group, {.bytes = std::move(batch), .expected_end = request.expected_end},
          lifetime.Guard(
              [self = shared_from_this(), partition, group](const Result<ProduceOutcome>& outcome) {
                self->OnProduced(partition, group, outcome);
              }));
    }
  }

 private:
  void OnProduced(PartitionId partition, RaftGroupId group, const Result<ProduceOutcome>& outcome) {
    auto found = groups_.find(partition);
    if (call_ == nullptr || found == groups_.end()) return;  // answered without it
    if (outcome.ok()) {
      int64_t offset = outcome->base_offset.value();
      for (const size_t number : found->second) {
        ResultOf(number, partition)->set_offset(offset++);
      }
      groups_.erase(found);
    } else {
      const Status error = OfTheCall(outcome.status(), found->second);
      Fail(found, publisher_->environment_.view.WithLeader(error, group));
    }
    if (--missing_ == 0) Send();
  }

  // Which of the rest are stored is not known.
  void GiveUp() {
    if (call_ == nullptr) return;
    while (!groups_.empty()) {
      Fail(groups_.begin(), DeadlineExceeded("the partition's leader did not answer in time"));
    }
    Send();
  }

  v1::PublishResult* ResultOf(size_t number, PartitionId partition) {
    v1::PublishResult* result = response_.mutable_results(static_cast<int>(number));
    result->set_partition(partition.value());
    return result;
  }

  void Fail(Groups::iterator group, const Status& status) {
    v1::Error error;
    ToError(status, &error);
    for (const size_t number : group->second) {
      *ResultOf(number, group->first)->mutable_error() = error;
    }
    groups_.erase(group);
  }

  void Send() {
    publisher_->environment_.executor.Cancel(timer_);
    publisher_->inflight_bytes_ -= call_->request().size();
    std::exchange(call_, nullptr)->Reply(Bytes::Own(response_.SerializeAsString()));
  }

  Publisher* publisher_;
  std::shared_ptr<Call> call_;  // the edge's; null once answered
  Groups groups_;               // unanswered
  size_t missing_ = 0;
  v1::PublishResponse response_;
  TimerId timer_;
};

void Publisher::Serve(std::shared_ptr<Call> call) {
  const Result<PublishRequestView> request = ParsePublishRequest(call->request());
  if (!request.ok()) return call->Fail(request.status());
  const Result<const TopicInfo*> topic =
      environment_.view.FindLog(request->topic, request->topic_id);
  if (!topic.ok()) return call->Fail(topic.status());
  if (inflight_bytes_ > 0 && inflight_bytes_ + call->request().size() > kInflightBytesMax) {
    return call->Fail(
        ResourceExhausted("too much is being published at this broker", Reason::kThrottled)
            .RetryAfterMs(50));
  }
  Result<Groups> groups = Split(*request, **topic);
  if (!groups.ok()) return call->Fail(groups.status());
  std::make_shared<Answer>(*this, std::move(call), *std::move(groups))->Start(*request, **topic);
}

Result<Publisher::Groups> Publisher::Split(const PublishRequestView& request,
                                           const TopicInfo& topic) {
  if (request.partition.has_value()) {
    RETURN_IF_ERROR(
        environment_.view
            .FindPartition({.topic = "", .topic_id = topic.id, .partition = *request.partition})
            .status());
  }
  Groups groups;
  std::optional<PartitionId> keyless = request.partition;
  for (size_t i = 0; i < request.records.size(); ++i) {
    ASSIGN_OR_RETURN(const RecordView record,
                     ParseProducedRecord(request.records[i], static_cast<uint32_t>(i)));
    if (!record.key.has_value() || request.partition.has_value()) {
      if (!keyless.has_value()) keyless = PickPartition(topic);
      groups[*keyless].push_back(i);
    } else {
      // By an older number of partitions the key would go elsewhere.
      RETURN_IF_ERROR(environment_.view.CheckKnowsTopics());
      const auto count = static_cast<uint32_t>(topic.partitions.size());
      groups[PartitionOfKey(*record.key, count)].push_back(i);
    }
  }
  return groups;
}

// In turn, passing over those without a leader as long as others have one.
PartitionId Publisher::PickPartition(const TopicInfo& topic) {
  const auto count = static_cast<uint32_t>(topic.partitions.size());
  const uint32_t first = picks_++ % count;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t number = (first + i) % count;
    if (environment_.view.LeaderOf(topic.partitions[number].group).leader != BrokerId()) {
      return PartitionId(number);
    }
  }
  return PartitionId(first);
}

}  // namespace millrace::broker

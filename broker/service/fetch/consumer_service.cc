#include "broker/service/fetch/consumer_service.h"

#include <optional>

#include "broker/api/error_reply.h"
#include "broker/api/parse_request.h"
#include "broker/api/request_limits.h"
#include "broker/service/fetch/fetch_stream.h"
#include "broker/service/fetch/position.h"
#include "broker/service/fetch/subscribe_stream.h"

namespace millrace::broker {
namespace {

void Fill(const PartitionOffsets& offsets, Isolation isolation, v1::PartitionOffsets* out) {
  out->set_log_start_offset(offsets.log_start.value());
  out->set_high_watermark(offsets.high_watermark.value());
  out->set_end_offset(offsets.end_of(isolation).value());
  out->set_leader_epoch(offsets.leader_epoch.value());
  if (!offsets.timestamp_offset.has_value()) return;
  out->set_timestamp_offset(offsets.timestamp_offset->value());
  if (!offsets.found.has_value()) return;
  out->set_found_timestamp_ms(offsets.found->timestamp_ms);
  out->set_found_leader_epoch(offsets.found->leader_epoch.value());
}

}  // namespace

// Gathers what each partition answers, and replies once.
class ConsumerService::OffsetsAnswer {
 public:
  OffsetsAnswer(const ClusterView& view, std::shared_ptr<Call> call, size_t partitions,
                Isolation isolation)
      : view_(&view), call_(std::move(call)), missing_(partitions), isolation_(isolation) {
    for (size_t i = 0; i < partitions; ++i) response_.add_partitions();
  }

  void Take(size_t place, const Asked& asked, const Result<PartitionOffsets>& offsets) {
    v1::PartitionOffsets* out = response_.mutable_partitions(static_cast<int>(place));
    out->set_partition(asked.partition.value());
    if (offsets.ok()) {
      Fill(*offsets, isolation_, out);
    } else {
      ToError(view_->WithLeader(offsets.status(), asked.group), out->mutable_error());
    }
    if (--missing_ == 0) call_->Reply(Bytes::Own(response_.SerializeAsString()));
  }

 private:
  const ClusterView* view_;
  std::shared_ptr<Call> call_;
  size_t missing_;
  const Isolation isolation_;
  v1::ListOffsetsResponse response_;
};

void ConsumerService::Register(ServiceRegistry* registry) {
  registry->AddCall("/millrace.v1.ConsumerService/ListOffsets",
                    [this](std::shared_ptr<Call> call) { ListOffsets(std::move(call)); });
  registry->AddStream("/millrace.v1.ConsumerService/Fetch",
                      [this](std::shared_ptr<Stream> stream) -> std::unique_ptr<StreamHandler> {
                        return MakeFetchStream(environment_, std::move(stream));
                      });
  registry->AddStream("/millrace.v1.ConsumerService/Subscribe",
                      [this](std::shared_ptr<Stream> stream) -> std::unique_ptr<StreamHandler> {
                        return MakeSubscribeStream(environment_, std::move(stream));
                      });
}

Result<std::vector<ConsumerService::Asked>> ConsumerService::FindPartitions(
    const v1::ListOffsetsRequest& request) const {
  RETURN_IF_ERROR(CheckCount(static_cast<size_t>(request.partitions_size()), "partitions"));
  ASSIGN_OR_RETURN(const TopicInfo* topic,
                   environment_.view.FindLog(request.topic(), TopicId(request.topic_id())));
  std::vector<Asked> found;
  if (request.partitions().empty()) {
    RETURN_IF_ERROR(environment_.view.CheckKnowsTopics());
    for (const PartitionInfo& info : topic->partitions)
      found.push_back({info.partition, info.group});
  }
  for (const uint32_t number : request.partitions()) {
    ASSIGN_OR_RETURN(const PartitionInfo* info,
                     environment_.view.FindPartition(
                         {.topic = "", .topic_id = topic->id, .partition = PartitionId(number)}));
    found.push_back({info->partition, info->group});
  }
  return found;
}

void ConsumerService::ListOffsets(std::shared_ptr<Call> call) {
  const auto request = ParseRequest<v1::ListOffsetsRequest>(call->request());
  if (!request.ok()) return call->Fail(request.status());
  const auto partitions = FindPartitions(*request);
  if (!partitions.ok()) return call->Fail(partitions.status());
  if (request->has_timestamp_ms() && request->newest()) {
    return call->Fail(InvalidArgument("timestamp_ms and newest cannot both be asked for"));
  }
  OffsetsQuery query{.timestamp_ms = std::nullopt, .is_newest = request->newest()};
  if (request->has_timestamp_ms()) query.timestamp_ms = request->timestamp_ms();
  const Duration time_max = TimeFor(environment_.clock, *call, kForwardTimeout);
  const Principal principal = call->principal();
  auto answer = std::make_shared<OffsetsAnswer>(
      environment_.view, std::move(call), partitions->size(), IsolationOf(request->isolation()));
  for (size_t i = 0; i < partitions->size(); ++i) {
    const Asked& asked = (*partitions)[i];
    environment_.partitions.Offsets(principal, asked.group, query, time_max,
                                    [answer, i, asked](const Result<PartitionOffsets>& offsets) {
                                      answer->Take(i, asked, offsets);
                                    });
  }
}

}  // namespace millrace::broker

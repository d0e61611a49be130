// DeleteRecords: asks each partition's leader, and answers once, when all of them did.
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/api/error_reply.h"
#include "broker/api/parse_request.h"
#include "broker/api/request_limits.h"
#include "broker/api/unknown_fields.h"
#include "broker/service/metadata/admin_service.h"
#include "millrace/v1/admin_service.pb.h"

namespace millrace::broker {
namespace {

struct Asked {
  const PartitionInfo* partition;
  Offset before;
};

Result<std::vector<Asked>> FindPartitions(const ClusterView& view,
                                          const v1::DeleteRecordsRequest& request) {
  RETURN_IF_ERROR(CheckCount(static_cast<size_t>(request.partitions_size()), "partitions"));
  if (request.partitions().empty()) return InvalidArgument("partitions: none is named");
  ASSIGN_OR_RETURN(const TopicInfo* topic,
                   view.FindLog(request.topic(), TopicId(request.topic_id())));
  std::vector<Asked> found;
  std::set<uint32_t> named;
  for (const v1::RecordsBefore& records : request.partitions()) {
    const std::string name = "partition " + std::to_string(records.partition());
    if (!named.insert(records.partition()).second) {
      return InvalidArgument(name + " is named twice");
    }
    if (records.before_offset() < 0) {
      return InvalidArgument("before_offset of " + name + " is " +
                             std::to_string(records.before_offset()) + ", and may not be negative");
    }
    ASSIGN_OR_RETURN(
        const PartitionInfo* partition,
        view.FindPartition(
            {.topic = "", .topic_id = topic->id, .partition = PartitionId(records.partition())}));
    found.push_back({.partition = partition, .before = Offset(records.before_offset())});
  }
  return found;
}

// What the partitions answer, in the order of the request.
class Answer {
 public:
  Answer(const ClusterView& view, std::shared_ptr<Call> call, size_t partitions)
      : view_(&view), call_(std::move(call)), missing_(partitions) {
    for (size_t i = 0; i < partitions; ++i) response_.add_partitions();
  }

  void Take(size_t place, PartitionId partition, RaftGroupId group,
            const Result<PartitionOffsets>& offsets) {
    v1::DeletedRecords& out = *response_.mutable_partitions(static_cast<int>(place));
    out.set_partition(partition.value());
    if (offsets.ok()) {
      out.set_log_start_offset(offsets->log_start.value());
      out.set_high_watermark(offsets->high_watermark.value());
      out.set_leader_epoch(offsets->leader_epoch.value());
    } else {
      ToError(view_->WithLeader(offsets.status(), group), out.mutable_error());
    }
    if (--missing_ == 0) call_->Reply(Bytes::Own(response_.SerializeAsString()));
  }

 private:
  const ClusterView* view_;
  std::shared_ptr<Call> call_;
  size_t missing_;
  v1::DeleteRecordsResponse response_;
};

}  // namespace

void AdminService::DeleteRecords(std::shared_ptr<Call> call) {
  const auto request = ParseRequest<v1::DeleteRecordsRequest>(call->request());
  if (!request.ok()) return call->Fail(request.status());
  if (Status status = CheckUnderstood(*request); !status.ok()) return call->Fail(status);
  const Result<std::vector<Asked>> partitions = FindPartitions(environment_.view, *request);
  if (!partitions.ok()) return call->Fail(partitions.status());
  const Duration time_max = TimeFor(environment_.clock, *call, kForwardTimeout);
  const Principal principal = call->principal();
  auto answer = std::make_shared<Answer>(environment_.view, std::move(call), partitions->size());
  for (size_t i = 0; i < partitions->size(); ++i) {
    const auto [partition, before] = (*partitions)[i];
    environment_.partitions.DeleteRecords(
        principal, partition->group, before, time_max,
        [answer, i, number = partition->partition, group = partition->group](
            const Result<PartitionOffsets>& offsets) { answer->Take(i, number, group, offsets); });
  }
}

}  // namespace millrace::broker

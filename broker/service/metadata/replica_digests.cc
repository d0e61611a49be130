#include "broker/service/metadata/replica_digests.h"

#include <string>
#include <utility>

#include "broker/api/parse_request.h"
#include "broker/api/unknown_fields.h"
#include "millrace/v1/admin_service.pb.h"

namespace millrace::broker {
namespace {

Result<DigestRequest> StretchOf(const v1::DigestReplicaRequest& request) {
  if (request.begin_offset() < 0) {
    return InvalidArgument("begin_offset is " + std::to_string(request.begin_offset()) +
                           ", and may not be negative");
  }
  if (request.end_offset() < request.begin_offset()) {
    return InvalidArgument("end_offset is " + std::to_string(request.end_offset()) +
                           ", and may not be below begin_offset, " +
                           std::to_string(request.begin_offset()));
  }
  return DigestRequest{.begin = Offset(request.begin_offset()),
                       .end = Offset(request.end_offset())};
}

v1::DigestReplicaResponse ResponseOf(const ReplicaDigest& digest, BrokerId self) {
  v1::DigestReplicaResponse response;
  response.set_broker_id(self.value());
  response.set_reached_offset(digest.reached.value());
  response.set_digest_low(digest.digest.low);
  response.set_digest_high(digest.digest.high);
  response.set_record_count(digest.digest.records);
  response.set_bytes(digest.bytes);
  response.set_log_start_offset(digest.offsets.log_start.value());
  response.set_high_watermark(digest.offsets.high_watermark.value());
  response.set_compaction_pass(digest.pass);
  response.set_is_compacting(digest.is_compacting);
  return response;
}

}  // namespace

void ReplicaDigests::Register(ServiceRegistry* registry) {
  registry->AddCall("/millrace.v1.AdminService/DigestReplica",
                    [this](std::shared_ptr<Call> call) { DigestReplica(std::move(call)); });
}

void ReplicaDigests::DigestReplica(std::shared_ptr<Call> call) const {
  const auto request = ParseRequest<v1::DigestReplicaRequest>(call->request());
  if (!request.ok()) return call->Fail(request.status());
  if (Status status = CheckUnderstood(*request); !status.ok()) return call->Fail(status);
  const Result<DigestRequest> stretch = StretchOf(*request);
  if (!stretch.ok()) return call->Fail(stretch.status());
  const Result<const PartitionInfo*> partition =
      environment_.view.FindPartition({.topic = request->topic(),
                                       .topic_id = TopicId(request->topic_id()),
                                       .partition = PartitionId(request->partition())});
  if (!partition.ok()) return call->Fail(partition.status());
  environment_.digester.Digest(
      (*partition)->group, *stretch,
      [call, self = environment_.self](const Result<ReplicaDigest>& told) {
        if (!told.ok()) return call->Fail(told.status());
        call->Reply(Bytes::Own(ResponseOf(*told, self).SerializeAsString()));
      });
}

}  // namespace millrace::broker

#include "broker/service/metadata/describe_replicas.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "broker/api/parse_request.h"

namespace millrace::broker {
namespace {

// So many are looked at for one answer: it takes one turn of the shard, and is far from what gRPC
// clients take.
constexpr size_t kPartitionsPerAnswerMax = 1000;

v1::ReplicaRole RoleOf(raft::ReplicaRole role) {
  switch (role) {
    case raft::ReplicaRole::kLeader:
      return v1::REPLICA_ROLE_LEADER;
    case raft::ReplicaRole::kFollower:
      return v1::REPLICA_ROLE_FOLLOWER;
    case raft::ReplicaRole::kCandidate:
      return v1::REPLICA_ROLE_CANDIDATE;
    case raft::ReplicaRole::kSilent:
      return v1::REPLICA_ROLE_SILENT;
    case raft::ReplicaRole::kJoining:
      return v1::REPLICA_ROLE_JOINING;
    case raft::ReplicaRole::kRestoring:
      break;
  }
  return v1::REPLICA_ROLE_RESTORING;
}

void DescribeRestore(const raft::RestoreProgress& progress, v1::ReplicaRestore* out) {
  out->set_source_id(progress.source.value());
  out->set_begin_offset(progress.begin_offset.value());
  out->set_entry_count(progress.entries);
  out->set_entry_count_total(progress.entries_total);
  out->set_bytes(progress.bytes);
  out->set_elapsed_ms(static_cast<uint64_t>(progress.elapsed / std::chrono::milliseconds(1)));
}

void DescribeCompaction(const CompactionProgress& progress, v1::ReplicaCompaction* out) {
  out->set_pass_done(progress.pass_done);
  out->set_pass_decided(progress.pass_decided);
  out->set_clean_to_offset(progress.clean_to.value());
  out->set_is_under_way(progress.is_under_way);
  if (!progress.failure.ok()) out->set_failure(progress.failure.ToString());
}

// The partitions that the request is about, as far as the topic has them.
std::pair<size_t, size_t> RangeOf(const v1::DescribeReplicasRequest& request, size_t partitions) {
  const size_t first = std::min<size_t>(request.first_partition(), partitions);
  const size_t count_max = request.partition_count_max();
  return {first, count_max == 0 ? partitions : std::min(partitions, first + count_max)};
}

void DescribeReplica(const raft::ReplicaState& state, v1::Replica* out) {
  out->set_role(RoleOf(state.role));
  out->set_term(state.term.value());
  out->set_leader_id(state.leader.value());
  out->set_log_start_offset(state.log_start.value());
  out->set_high_watermark(state.high_watermark.value());
  if (state.log_end.has_value()) out->set_log_end_offset(state.log_end->value());
  if (state.last.has_value()) out->set_last_index(state.last->value());
  out->set_applied_index(state.applied.value());
  out->set_sealed_segment_count(state.sealed_segments);
  out->set_sealed_segment_bytes(state.sealed_bytes);
  out->set_active_segment_bytes(state.active_bytes);
  if (!state.fault.ok()) out->set_fault(state.fault.ToString());
  if (!state.stall.ok()) out->set_write_stall(state.stall.ToString());
  if (state.restore.has_value()) DescribeRestore(*state.restore, out->mutable_restore());
}

}  // namespace

void ReplicaDescriber::Register(ServiceRegistry* registry) {
  registry->AddCall("/millrace.v1.AdminService/DescribeReplicas",
                    [this](const std::shared_ptr<Call>& call) { DescribeReplicas(*call); });
}

void ReplicaDescriber::DescribeReplicas(Call& call) const {
  const auto request = ParseRequest<v1::DescribeReplicasRequest>(call.request());
  if (!request.ok()) return call.Fail(request.status());
  const Result<const TopicInfo*> topic =
      environment_.view.FindTopic(request->topic(), TopicId(request->topic_id()));
  if (!topic.ok()) return call.Fail(topic.status());
  call.Reply(Bytes::Own(Describe(*request, **topic).SerializeAsString()));
}

v1::DescribeReplicasResponse ReplicaDescriber::Describe(const v1::DescribeReplicasRequest& request,
                                                        const TopicInfo& topic) const {
  v1::DescribeReplicasResponse response;
  response.set_broker_id(environment_.self.value());
  const auto [first, end] = RangeOf(request, topic.partitions.size());
  for (size_t at = first; at < end; ++at) {
    if (at - first == kPartitionsPerAnswerMax) {
      response.set_next_partition(static_cast<uint32_t>(at));
      break;
    }
    const PartitionInfo& partition = topic.partitions[at];
    const std::optional<raft::ReplicaState> state = environment_.state_of(partition.group);
    if (!state.has_value()) continue;
    v1::Replica& replica = *response.add_replicas();
    replica.set_partition(partition.partition.value());
    DescribeReplica(*state, &replica);
    const auto progress = environment_.compaction_of(partition.group);
    if (progress.has_value()) DescribeCompaction(*progress, replica.mutable_compaction());
  }
  return response;
}

}  // namespace millrace::broker

#include "client/api/replicas.h"

#include <algorithm>
#include <utility>

#include "client/api/runtime.h"

namespace millrace {
namespace internal {
namespace {

constexpr std::pair<v1::ReplicaRole, ReplicaRole> kRoles[] = {
    {v1::REPLICA_ROLE_LEADER, ReplicaRole::kLeader},
    {v1::REPLICA_ROLE_FOLLOWER, ReplicaRole::kFollower},
    {v1::REPLICA_ROLE_CANDIDATE, ReplicaRole::kCandidate},
    {v1::REPLICA_ROLE_SILENT, ReplicaRole::kSilent},
    {v1::REPLICA_ROLE_JOINING, ReplicaRole::kJoining},
    {v1::REPLICA_ROLE_RESTORING, ReplicaRole::kRestoring},
};

ReplicaRole RoleOf(v1::ReplicaRole role) {
  for (const auto& [told, known] : kRoles) {
    if (told == role) return known;
  }
  return ReplicaRole::kUnknown;
}

void Describe(const v1::Replica& replica, ReplicaDescription* row) {
  row->role = RoleOf(replica.role());
  row->term = replica.term();
  row->leader_id = replica.leader_id();
  row->start = replica.log_start_offset();
  row->end = replica.high_watermark();
  if (replica.has_log_end_offset()) row->log_end = replica.log_end_offset();
  if (replica.has_last_index()) row->last_index = replica.last_index();
  row->applied_index = replica.applied_index();
  row->sealed_segment_count = replica.sealed_segment_count();
  row->sealed_segment_bytes = replica.sealed_segment_bytes();
  row->active_segment_bytes = replica.active_segment_bytes();
  row->fault = replica.fault();
  row->write_stall = replica.write_stall();
  if (!replica.has_restore()) return;
  const v1::ReplicaRestore& restore = replica.restore();
  row->restore = RestoreDescription{.source_id = restore.source_id(),
                                    .begin_offset = restore.begin_offset(),
                                    .entry_count = restore.entry_count(),
                                    .entry_count_total = restore.entry_count_total(),
                                    .bytes = restore.bytes(),
                                    .elapsed = std::chrono::milliseconds(restore.elapsed_ms())};
}

ReplicaDescription RowOf(const client::ReplicaSurvey& survey, uint32_t partition, uint32_t broker) {
  ReplicaDescription row{.partition = partition, .broker_id = broker};
  const auto& answer = survey.brokers.at(BrokerId(broker));
  if (!answer.ok()) {
    row.status = answer.status();
    return row;
  }
  row.role = ReplicaRole::kMissing;
  const auto& replicas = answer->replicas();
  const auto found = std::lower_bound(
      replicas.begin(), replicas.end(), partition,
      [](const v1::Replica& replica, uint32_t number) { return replica.partition() < number; });
  if (found != replicas.end() && found->partition() == partition) Describe(*found, &row);
  return row;
}

// Of two that think so the one of the later term.
const ReplicaDescription* FindLeader(const std::vector<ReplicaDescription>& rows) {
  const ReplicaDescription* leader = nullptr;
  for (const ReplicaDescription& row : rows) {
    const bool leads = row.status.ok() && row.role == ReplicaRole::kLeader;
    if (leads && (leader == nullptr || row.term > leader->term)) leader = &row;
  }
  return leader;
}

void CompareWithLeader(std::vector<ReplicaDescription>* rows) {
  const ReplicaDescription* leader = FindLeader(*rows);
  if (leader == nullptr || !leader->last_index.has_value()) return;
  const uint64_t end = *leader->last_index;
  for (ReplicaDescription& row : *rows) {
    if (&row == leader || !row.last_index.has_value()) continue;
    row.entries_behind = end - std::min(end, *row.last_index);
  }
}

}  // namespace

std::vector<ReplicaDescription> RowsOf(const client::ReplicaSurvey& survey) {
  std::vector<ReplicaDescription> all;
  for (const v1::Partition& partition : survey.topic.partitions()) {
    std::vector<ReplicaDescription> rows;
    for (const uint32_t broker : partition.replica_ids()) {
      rows.push_back(RowOf(survey, partition.partition(), broker));
    }
    CompareWithLeader(&rows);
    all.insert(all.end(), rows.begin(), rows.end());
  }
  return all;
}

}  // namespace internal

Result<std::vector<ReplicaDescription>> Admin::DescribeReplicas(const std::string& topic,
                                                                std::optional<uint32_t> partition,
                                                                std::chrono::milliseconds timeout) {
  client::SurveyRequest request{.topic = topic};
  if (partition.has_value()) request.partition = PartitionId(*partition);
  ASSIGN_OR_RETURN(const client::ReplicaSurvey survey,
                   runtime_->Await<client::ReplicaSurvey>([&](auto done) {
                     client::SurveyReplicas(runtime_->client(), request, internal::Bounded(timeout),
                                            std::move(done));
                   }));
  return internal::RowsOf(survey);
}

}  // namespace millrace

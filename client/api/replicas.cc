#include "client/api/replicas.h"

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
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

// Sixteen digits.
std::string Hex(uint64_t number) {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016" PRIx64, number);
  return text.data();
}

ReplicaRole RoleOf(v1::ReplicaRole role) {
  for (const auto& [told, known] : kRoles) {
    if (told == role) return known;
  }
  return ReplicaRole::kUnknown;
}

RestoreDescription Described(const v1::ReplicaRestore& restore) {
  return {.source_id = restore.source_id(),
          .begin_offset = restore.begin_offset(),
          .entry_count = restore.entry_count(),
          .entry_count_total = restore.entry_count_total(),
          .bytes = restore.bytes(),
          .elapsed = std::chrono::milliseconds(restore.elapsed_ms())};
}

CompactionDescription Described(const v1::ReplicaCompaction& compaction) {
  return {.pass_done = compaction.pass_done(),
          .pass_decided = compaction.pass_decided(),
          .clean_to = compaction.clean_to_offset(),
          .is_under_way = compaction.is_under_way(),
          .failure = compaction.failure()};
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
  if (replica.has_restore()) row->restore = Described(replica.restore());
  if (replica.has_compaction()) row->compaction = Described(replica.compaction());
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

PartitionVerification Told(uint32_t partition, const client::Verification& verified) {
  PartitionVerification told{.partition = partition,
                             .start = verified.begin.value(),
                             .end = verified.end.value(),
                             .record_count = verified.records,
                             .bytes = verified.bytes};
  if (verified.first_difference.has_value()) {
    told.first_difference = verified.first_difference->value();
  }
  for (const client::VerifiedMember& member : verified.members) {
    ReplicaVerification replica{.broker_id = member.broker.value(),
                                .status = member.status,
                                .compared_to = member.compared_to.value()};
    if (member.has_record) replica.digest = Hex(member.digest_high) + Hex(member.digest_low);
    told.replicas.push_back(std::move(replica));
  }
  return told;
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

Result<PartitionVerification> Admin::VerifyPartition(const std::string& topic, uint32_t partition,
                                                     std::chrono::milliseconds timeout) {
  const client::VerifyRequest request{
      .topic = topic, .partition = PartitionId(partition), .patience = internal::Bounded(timeout)};
  ASSIGN_OR_RETURN(const client::Verification verified,
                   runtime_->Await<client::Verification>([&](auto done) {
                     client::VerifyPartition(runtime_->client(), request, std::move(done));
                   }));
  return internal::Told(partition, verified);
}

}  // namespace millrace

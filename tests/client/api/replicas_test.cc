// The rows that programs are told: one for each replica that there should be.
#include "client/api/replicas.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::internal {
namespace {

// One partition on brokers 1 to 3, which all answered.
class ReplicasTest : public testing::Test {
 protected:
  ReplicasTest() {
    v1::Partition& partition = *survey_.topic.add_partitions();
    for (const uint32_t broker : {1, 2, 3}) {
      partition.add_replica_ids(broker);
      survey_.brokers.emplace(BrokerId(broker), v1::DescribeReplicasResponse());
    }
  }
  v1::Replica& Add(uint32_t broker, v1::ReplicaRole role, uint64_t term, uint64_t last_index) {
    v1::Replica& replica = *survey_.brokers.at(BrokerId(broker))->add_replicas();
    replica.set_role(role);
    replica.set_term(term);
    replica.set_last_index(last_index);
    return replica;
  }
  std::vector<ReplicaDescription> Rows() const { return RowsOf(survey_); }

  client::ReplicaSurvey survey_;
};

TEST_F(ReplicasTest, ABrokerThatDidNotAnswer_AndOneThatHasNone_HaveRowsOfTheirOwn) {
  Add(1, v1::REPLICA_ROLE_LEADER, 4, 10);
  survey_.brokers.at(BrokerId(2)) = Unavailable("down");
  const auto rows = Rows();
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].role, ReplicaRole::kLeader);
  EXPECT_EQ(rows[1].broker_id, 2u);
  EXPECT_EQ(rows[1].status.message(), "down");
  EXPECT_TRUE(rows[2].status.ok());
  EXPECT_EQ(rows[2].role, ReplicaRole::kMissing);
}

TEST_F(ReplicasTest, WhoIsBehind_IsMeasuredByTheLeader_OfTheLatestTerm) {
  Add(1, v1::REPLICA_ROLE_LEADER, 4, 100);
  Add(2, v1::REPLICA_ROLE_LEADER, 5, 30);
  Add(3, v1::REPLICA_ROLE_FOLLOWER, 5, 28);
  const auto rows = Rows();
  EXPECT_EQ(rows[0].entries_behind, 0u) << "what it has beyond is cut";
  EXPECT_FALSE(rows[1].entries_behind.has_value());
  EXPECT_EQ(rows[2].entries_behind, 2u);
}

TEST_F(ReplicasTest, WhereNobodyLeads_OrALogIsNotKnown_NobodyIsSaidToBeBehind) {
  Add(1, v1::REPLICA_ROLE_CANDIDATE, 4, 100);
  Add(2, v1::REPLICA_ROLE_FOLLOWER, 4, 30);
  for (const auto& row : Rows()) EXPECT_FALSE(row.entries_behind.has_value());
  Add(3, v1::REPLICA_ROLE_LEADER, 5, 130);
  survey_.brokers.at(BrokerId(2))->mutable_replicas(0)->clear_last_index();
  EXPECT_EQ(Rows()[0].entries_behind, 30u);
  EXPECT_FALSE(Rows()[1].entries_behind.has_value());
}

TEST_F(ReplicasTest, EachPartition_HasItsOwnRows_AndLeader) {
  Add(1, v1::REPLICA_ROLE_LEADER, 4, 10);
  v1::Partition& second = *survey_.topic.add_partitions();
  second.set_partition(5);
  second.add_replica_ids(2);
  second.add_replica_ids(1);
  Add(2, v1::REPLICA_ROLE_FOLLOWER, 4, 7).set_partition(5);
  Add(1, v1::REPLICA_ROLE_LEADER, 4, 9).set_partition(5);
  const auto rows = Rows();
  ASSERT_EQ(rows.size(), 5u);
  EXPECT_EQ(rows[1].role, ReplicaRole::kMissing) << "broker 2 has no replica of partition 0";
  EXPECT_EQ(rows[3].partition, 5u);
  EXPECT_EQ(rows[3].broker_id, 2u);
  EXPECT_EQ(rows[3].entries_behind, 2u);
}

TEST_F(ReplicasTest, WhatTheBrokerTold_IsInTheRow) {
  v1::Replica& replica = Add(1, v1::REPLICA_ROLE_RESTORING, 4, 10);
  replica.set_leader_id(2);
  replica.set_log_start_offset(1);
  replica.set_high_watermark(2);
  replica.set_log_end_offset(3);
  replica.set_applied_index(9);
  replica.set_sealed_segment_count(5);
  replica.set_sealed_segment_bytes(6);
  replica.set_active_segment_bytes(7);
  replica.set_fault("fault");
  replica.set_write_stall("stall");
  v1::ReplicaRestore& restore = *replica.mutable_restore();
  restore.set_source_id(2);
  restore.set_begin_offset(11);
  restore.set_entry_count(12);
  restore.set_entry_count_total(13);
  restore.set_bytes(14);
  restore.set_elapsed_ms(15);
  v1::ReplicaCompaction& compaction = *replica.mutable_compaction();
  compaction.set_pass_done(16);
  compaction.set_pass_decided(17);
  compaction.set_clean_to_offset(18);
  compaction.set_is_under_way(true);
  compaction.set_failure("failure");
  const ReplicaDescription row = Rows()[0];
  EXPECT_EQ(row.role, ReplicaRole::kRestoring);
  EXPECT_EQ(row.term, 4u);
  EXPECT_EQ(row.leader_id, 2u);
  EXPECT_EQ(row.start, 1);
  EXPECT_EQ(row.end, 2);
  EXPECT_EQ(row.log_end, 3);
  EXPECT_EQ(row.last_index, 10u);
  EXPECT_EQ(row.applied_index, 9u);
  EXPECT_EQ(row.sealed_segment_count, 5u);
  EXPECT_EQ(row.sealed_segment_bytes, 6u);
  EXPECT_EQ(row.active_segment_bytes, 7u);
  EXPECT_EQ(row.fault + "," + row.write_stall, "fault,stall");
  ASSERT_TRUE(row.restore.has_value());
  EXPECT_EQ(row.restore->source_id, 2u);
  EXPECT_EQ(row.restore->begin_offset, 11);
  EXPECT_EQ(row.restore->entry_count, 12u);
  EXPECT_EQ(row.restore->entry_count_total, 13u);
  EXPECT_EQ(row.restore->bytes, 14u);
  EXPECT_EQ(row.restore->elapsed, std::chrono::milliseconds(15));
  ASSERT_TRUE(row.compaction.has_value());
  EXPECT_EQ(row.compaction->pass_done, 16u);
  EXPECT_EQ(row.compaction->pass_decided, 17u);
  EXPECT_EQ(row.compaction->clean_to, 18);
  EXPECT_TRUE(row.compaction->is_under_way);
  EXPECT_EQ(row.compaction->failure, "failure");
}

}  // namespace
}  // namespace millrace::internal

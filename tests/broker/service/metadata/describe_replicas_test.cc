// What a broker tells of its replicas of a topic, whatever these say of themselves.
#include "broker/service/metadata/describe_replicas.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "broker/controller/decide.h"
#include "tests/broker/api/fake_call.h"

namespace millrace::broker {
namespace {

constexpr BrokerId kSelf{1};
constexpr BrokerId kOther{2};

v1::DescribeReplicasRequest ReplicasOf(const std::string& topic, uint32_t first = 0,
                                       uint32_t count_max = 0) {
  v1::DescribeReplicasRequest request;
  request.set_topic(topic);
  request.set_first_partition(first);
  request.set_partition_count_max(count_max);
  return request;
}

class DescribeReplicasTest : public testing::Test {
 protected:
  DescribeReplicasTest() {
    describer_.Register(&registry_);
    internal::v1::BrokerRegistered broker;
    broker.set_broker_id(kSelf.value());
    broker.set_incarnation(11);
    Apply(DecideRegister(image_, broker, std::string(kProducerIdKeyBytes, 'k')));
  }
  // The topic "t".
  void Create(uint32_t partition_count) {
    v1::CreateTopicRequest request;
    request.set_name("t");
    request.set_partition_count(partition_count);
    request.set_replication_factor(1);
    Apply(DecideCreateTopic(image_, request, {.cluster_size = 1, .now_ms = 1}));
  }
  void Apply(const Decision& decision) {
    CHECK(decision.ok()) << decision.status();
    for (const auto& record : decision->records()) CHECK(image_.Apply(record).ok());
  }
  // From now on this broker has one.
  raft::ReplicaState& ReplicaOf(uint32_t partition) {
    return replicas_[image_.FindTopic("t")->partitions[partition].group];
  }
  std::shared_ptr<FakeCall> Call(const v1::DescribeReplicasRequest& request) {
    return FakeCall::Make(registry_, "/millrace.v1.AdminService/DescribeReplicas", request);
  }
  v1::DescribeReplicasResponse Describe(const v1::DescribeReplicasRequest& request) {
    return Call(request)->response<v1::DescribeReplicasResponse>();
  }
  static std::vector<uint32_t> PartitionsOf(const v1::DescribeReplicasResponse& response) {
    std::vector<uint32_t> partitions;
    for (const v1::Replica& replica : response.replicas()) {
      partitions.push_back(replica.partition());
    }
    return partitions;
  }

  Image image_;
  LeaderTable leaders_;
  ClusterView view_{
      image_,
      leaders_,
      {.is_current = [this] { return is_current_; }, .controller_health = [] { return Status(); }}};
  bool is_current_ = true;
  std::map<RaftGroupId, raft::ReplicaState> replicas_;
  std::optional<CompactionProgress> compaction_;  // of each
  ReplicaDescriber describer_{{.view = view_,
                               .self = kSelf,
                               .state_of =
                                   [this](RaftGroupId group) {
                                     const auto found = replicas_.find(group);
                                     return found == replicas_.end() ? std::nullopt
                                                                     : std::optional(found->second);
                                   },
                               .compaction_of = [this](RaftGroupId) { return compaction_; }}};
  ServiceRegistry registry_;
};

TEST_F(DescribeReplicasTest, ItTellsAllThatIsKnownOfAReplica) {
  Create(1);
  ReplicaOf(0) = {.role = raft::ReplicaRole::kLeader,
                  .term = Term(4),
                  .leader = kSelf,
                  .log_start = Offset(10),
                  .high_watermark = Offset(20),
                  .log_end = Offset(30),
                  .last = LogIndex(13),
                  .applied = LogIndex(12),
                  .sealed_segments = 2,
                  .sealed_bytes = 2000,
                  .active_bytes = 300,
                  .fault = {},
                  .stall = ResourceExhausted("no room"),
                  .restore = {}};
  const auto response = Describe(ReplicasOf("t"));
  EXPECT_EQ(response.broker_id(), kSelf.value());
  ASSERT_EQ(response.replicas_size(), 1);
  EXPECT_EQ(response.replicas(0).ShortDebugString(),
            "role: REPLICA_ROLE_LEADER term: 4 leader_id: 1 log_start_offset: 10 "
            "high_watermark: 20 log_end_offset: 30 last_index: 13 applied_index: 12 "
            "sealed_segment_count: 2 sealed_segment_bytes: 2000 active_segment_bytes: 300 "
            "write_stall: \"RESOURCE_EXHAUSTED: no room\"");
}

TEST_F(DescribeReplicasTest, WhatAReplicaIsWithout_IsAbsent) {
  Create(1);
  ReplicaOf(0) = {.role = raft::ReplicaRole::kSilent, .fault = DataLoss("rot")};
  const v1::Replica replica = Describe(ReplicasOf("t")).replicas(0);
  EXPECT_EQ(replica.ShortDebugString(), "role: REPLICA_ROLE_SILENT fault: \"DATA_LOSS: rot\"");
  EXPECT_FALSE(replica.has_last_index());
}

TEST_F(DescribeReplicasTest, ARestore_IsToldWithHowFarItIs) {
  Create(1);
  ReplicaOf(0) = {.role = raft::ReplicaRole::kRestoring,
                  .restore = raft::RestoreProgress{.source = kOther,
                                                   .begin_offset = Offset(7),
                                                   .entries = 3,
                                                   .entries_total = 9,
                                                   .bytes = 4096,
                                                   .elapsed = std::chrono::seconds(2)}};
  EXPECT_EQ(Describe(ReplicasOf("t")).replicas(0).ShortDebugString(),
            "role: REPLICA_ROLE_RESTORING restore { source_id: 2 begin_offset: 7 entry_count: 3 "
            "entry_count_total: 9 bytes: 4096 elapsed_ms: 2000 }");
}

TEST_F(DescribeReplicasTest, HowFarAReplicaIsCompacted_IsToldOnceAPassWasDecided) {
  Create(1);
  ReplicaOf(0);
  EXPECT_FALSE(Describe(ReplicasOf("t")).replicas(0).has_compaction());
  compaction_ = {.pass_done = 3,
                 .pass_decided = 4,
                 .clean_to = Offset(100),
                 .is_under_way = true,
                 .failure = ResourceExhausted("no room")};
  EXPECT_EQ(Describe(ReplicasOf("t")).replicas(0).compaction().ShortDebugString(),
            "pass_done: 3 pass_decided: 4 clean_to_offset: 100 is_under_way: true "
            "failure: \"RESOURCE_EXHAUSTED: no room\"");
}

TEST_F(DescribeReplicasTest, PartitionsThatThisBrokerHasNoReplicaOf_AreLeftOut_AsThoseNotAskedFor) {
  Create(5);
  for (const uint32_t partition : {0, 1, 3, 4}) ReplicaOf(partition);
  EXPECT_EQ(PartitionsOf(Describe(ReplicasOf("t"))), (std::vector<uint32_t>{0, 1, 3, 4}));
  EXPECT_EQ(PartitionsOf(Describe(ReplicasOf("t", 1, 3))), (std::vector<uint32_t>{1, 3}));
  EXPECT_TRUE(PartitionsOf(Describe(ReplicasOf("t", 5))).empty());
  EXPECT_TRUE(PartitionsOf(Describe(ReplicasOf("t", UINT32_MAX, UINT32_MAX))).empty());
  EXPECT_EQ(Describe(ReplicasOf("t", 1, 3)).next_partition(), 0u);
}

TEST_F(DescribeReplicasTest, AThousandAreToldAtOnce_AndWhereToGoOn) {
  Create(2001);
  for (uint32_t partition = 0; partition < 2001; ++partition) ReplicaOf(partition);
  const auto first = Describe(ReplicasOf("t"));
  EXPECT_EQ(first.replicas_size(), 1000);
  EXPECT_EQ(first.next_partition(), 1000u);
  const auto second = Describe(ReplicasOf("t", first.next_partition()));
  EXPECT_EQ(second.replicas(0).partition(), 1000u);
  EXPECT_EQ(second.next_partition(), 2000u);
  EXPECT_EQ(Describe(ReplicasOf("t", second.next_partition())).next_partition(), 0u);
}

TEST_F(DescribeReplicasTest, ATopicThatIsNotThere_IsNotFound) {
  EXPECT_EQ(Call(ReplicasOf("absent"))->status().reason(), Reason::kUnknownTopic);
}

TEST_F(DescribeReplicasTest, WhileTheBrokerStarts_ItSaysSo) {
  is_current_ = false;
  EXPECT_EQ(Call(ReplicasOf("t"))->status().reason(), Reason::kNotInitialized);
  Create(1);
  EXPECT_TRUE(Call(ReplicasOf("t"))->status().ok()) << "of this one it knows";
}

}  // namespace
}  // namespace millrace::broker

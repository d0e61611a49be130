// What a broker tells of its cluster: what it knows, what it cannot know yet, and who leads.
#include "broker/routing/cluster_view.h"

#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

constexpr RaftGroupId kGroup{2};

std::string MetadataOf(const Status& status, std::string_view key) {
  for (const auto& [name, value] : status.metadata()) {
    if (name == key) return value;
  }
  return "";
}

class ClusterViewTest : public testing::Test {
 protected:
  ClusterViewTest() {
    internal::v1::ControllerRecord record;
    auto& broker = *record.mutable_broker_registered();
    broker.set_broker_id(3);
    broker.set_incarnation(13);
    auto& endpoint = *broker.add_endpoints();
    endpoint.set_protocol(internal::v1::BrokerRegistered::PROTOCOL_CLIENTS);
    endpoint.set_address("b3:7000");
    CHECK(image_.Apply(record).ok());
    auto& topic = *record.mutable_topic_created();
    topic.set_topic_id(1);
    topic.set_name("t");
    topic.set_kind(internal::v1::TopicCreated::KIND_PARTITION_LOG);
    topic.set_leader_epoch_base(100);
    auto& partition = *topic.add_partitions();
    partition.set_group_id(kGroup.value());
    partition.set_first_configuration_stands(true);
    auto& replica = *partition.add_replicas();
    replica.set_broker_id(3);
    replica.set_incarnation(13);
    replica.set_number(1);
    CHECK(image_.Apply(record).ok());
  }

  Image image_;
  LeaderTable leaders_;
  bool is_current_ = true;
  Status health_;
  ClusterView view_{image_,
                    leaders_,
                    {.is_current = [this] { return is_current_; },
                     .controller_health = [this] { return health_; }}};
};

TEST_F(ClusterViewTest, ATopic_IsFoundByNameOrId_AndAPartitionByNumber) {
  EXPECT_EQ((*view_.FindTopic("t", TopicId()))->id, TopicId(1));
  EXPECT_EQ((*view_.FindTopic("", TopicId(1)))->name, "t");
  EXPECT_EQ((*view_.FindPartition({"t", TopicId(), PartitionId(0)}))->group, kGroup);
  const Status beyond = view_.FindPartition({"t", TopicId(), PartitionId(1)}).status();
  EXPECT_EQ(beyond.reason(), Reason::kUnknownPartition);
  EXPECT_NE(beyond.message().find("no partition 1"), std::string::npos) << beyond;
}

TEST_F(ClusterViewTest, WhatDoesNotExist_IsSaidNotToOnlyByWhoKnows) {
  EXPECT_EQ(view_.FindTopic("u", TopicId()).status().reason(), Reason::kUnknownTopic);
  EXPECT_EQ(view_.FindTopic("", TopicId(9)).status().reason(), Reason::kUnknownTopic);
  EXPECT_EQ(view_.FindTopic("", TopicId()).status().code(), Code::kInvalidArgument);
  is_current_ = false;
  EXPECT_EQ(view_.FindTopic("u", TopicId()).status().reason(), Reason::kNotInitialized);
  EXPECT_TRUE(view_.FindTopic("t", TopicId()).ok()) << "what is there is known";
  EXPECT_TRUE(view_.FindPartition({"t", TopicId(), PartitionId(0)}).ok());
  EXPECT_EQ(view_.FindPartition({"t", TopicId(), PartitionId(1)}).status().reason(),
            Reason::kNotInitialized)
      << "it may have got one more";
  health_ = Unavailable("silent", Reason::kReplicaSilent);
  EXPECT_EQ(view_.FindTopic("u", TopicId()).status().reason(), Reason::kReplicaSilent);
}

TEST_F(ClusterViewTest, ANotLeaderError_NamesWhoLeads_IfThatIsKnown) {
  EXPECT_EQ(MetadataOf(view_.NotLeader(kGroup), "leader_id"), "");
  leaders_.Report(kGroup, {.leader = BrokerId(3), .term = Term(7)});
  const Status error = view_.NotLeader(kGroup);
  EXPECT_EQ(MetadataOf(error, "leader_id"), "3");
  EXPECT_EQ(MetadataOf(error, "leader_address"), "b3:7000");
  EXPECT_EQ(MetadataOf(error, "leader_epoch"), "107");
  EXPECT_EQ(error.message(), "partition 0 of topic \"t\": its leader is broker 3");
  // A leader that the image does not know has no address.
  leaders_.Report(kGroup, {.leader = BrokerId(4), .term = Term(8)});
  EXPECT_EQ(MetadataOf(view_.NotLeader(kGroup), "leader_id"), "");
}

TEST_F(ClusterViewTest, WhatAnErrorSaysOfTheLeader_Stays_AndOtherErrorsGetNone) {
  leaders_.Report(kGroup, {.leader = BrokerId(3), .term = Term(7)});
  const Status told = Unavailable("moved", Reason::kNotLeader).AddMetadata("leader_address", "x:1");
  EXPECT_EQ(MetadataOf(view_.WithLeader(told, kGroup), "leader_address"), "x:1");
  EXPECT_TRUE(view_.WithLeader(NotFound("gone"), kGroup).metadata().empty());
}

TEST_F(ClusterViewTest, ANotLeaderError_NamesWhatHasNone) {
  EXPECT_EQ(view_.NotLeader(kGroup).message(),
            "partition 0 of topic \"t\" has no leader that is known here at the moment");
  EXPECT_EQ(view_.NotLeader(kControllerGroup).message(),
            "the controller has no leader that is known here at the moment");
  EXPECT_EQ(view_.NotLeader(RaftGroupId(99)).message(),
            "a partition that is not known here has no leader that is known here at the moment");
  const Status hinted = Unavailable("moved", Reason::kNotLeader).AddMetadata("leader_id", "9");
  EXPECT_EQ(MetadataOf(view_.WithLeader(hinted, kGroup), "leader_id"), "9");
}

TEST_F(ClusterViewTest, Epochs_AreTheBaseAndTheTerm_AndNoneWithoutATopic) {
  EXPECT_EQ(view_.EpochOf(kGroup, Term(7)), LeaderEpoch(107));
  EXPECT_EQ(view_.EpochOf(kControllerGroup, Term(7)), LeaderEpoch(7));
  EXPECT_FALSE(view_.EpochOf(RaftGroupId(99), Term(7)).has_value());
}

TEST_F(ClusterViewTest, Listeners_AreToldOnce_AndMayListenAgain) {
  std::vector<int> told;
  view_.OnceImageChanged([&] {
    told.push_back(1);
    view_.OnceImageChanged([&] { told.push_back(2); });
  });
  view_.NotifyImageChanged();
  EXPECT_EQ(told, std::vector<int>({1}));
  view_.NotifyImageChanged();
  view_.NotifyImageChanged();
  EXPECT_EQ(told, std::vector<int>({1, 2}));
}

TEST_F(ClusterViewTest, AWatch_IsToldOfEachChange_UntilItEnds_AlsoByAnother) {
  std::vector<int> told;
  uint64_t second = 0;
  const uint64_t first = view_.WatchImage([&] {
    told.push_back(1);
    if (told.size() > 3) view_.UnwatchImage(second);
  });
  second = view_.WatchImage([&] { told.push_back(2); });
  view_.WatchImage([&] { told.push_back(3); });
  view_.NotifyImageChanged();
  EXPECT_EQ(told, std::vector<int>({1, 2, 3}));
  view_.NotifyImageChanged();
  EXPECT_EQ(told, std::vector<int>({1, 2, 3, 1, 3})) << "the first ended the second";
  view_.UnwatchImage(first);
  view_.NotifyImageChanged();
  EXPECT_EQ(told, std::vector<int>({1, 2, 3, 1, 3, 3}));
}

TEST(LeaderTableTest, NewerTermsWin_AndALostLeaderIsNobody) {
  LeaderTable table;
  int changes = 0;
  const auto listen = [&] { table.OnceChanged([&changes] { ++changes; }); };
  listen();
  table.Report(kGroup, {.leader = BrokerId(1), .term = Term(5)});
  listen();
  table.Report(kGroup, {.leader = BrokerId(2), .term = Term(4)});
  EXPECT_EQ(table.Find(kGroup).leader, BrokerId(1)) << "an old term's leader";
  table.Report(kGroup, {.leader = BrokerId(1), .term = Term(5)});
  EXPECT_EQ(changes, 1) << "nothing new was said";
  table.Lost(kGroup, Term(4));
  EXPECT_EQ(table.Find(kGroup).leader, BrokerId(1));
  table.Lost(kGroup, Term(5));
  EXPECT_EQ(table.Find(kGroup).leader, BrokerId());
  EXPECT_EQ(table.Find(kGroup).term, Term(5));
  EXPECT_EQ(changes, 2);
  table.Report(kGroup, {.leader = BrokerId(2), .term = Term(6)});
  table.Report(RaftGroupId(3), {.leader = BrokerId(1), .term = Term(1)});
  table.BrokerGone(BrokerId(2));
  EXPECT_EQ(table.Find(kGroup).leader, BrokerId());
  EXPECT_EQ(table.Find(RaftGroupId(3)).leader, BrokerId(1));
  table.Forget(RaftGroupId(3));
  EXPECT_EQ(table.Find(RaftGroupId(3)).term, Term());
}

}  // namespace
}  // namespace millrace::broker

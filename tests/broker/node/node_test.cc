// How a broker begins, what it tells its clients while it cannot begin, and how it ends.
#include "broker/node/node.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/v1/producer_service.pb.h"
#include "tests/broker/node/node_rig.h"

namespace millrace::broker {
namespace {

using internal::v1::BootstrapState;

BootstrapState InitializedState(const std::vector<Voter>& list) {
  BootstrapState state;
  state.set_stage(BootstrapState::STAGE_INITIALIZED);
  for (const Voter& voter : list) {
    state.add_members(voter.broker.value());
    auto& listed = *state.add_controllers();
    listed.set_broker_id(voter.broker.value());
    listed.set_incarnation(voter.incarnation.value());
    listed.set_number(voter.number.value());
  }
  return state;
}

class NodeTest : public NodeRig {};

TEST_F(NodeTest, ASingleBroker_Bootstraps_Registers_AndIsReadyOnce) {
  Make(kAlone);
  int times_ready = 0;
  node_->OnceReady([&times_ready] { ++times_ready; });
  Start();
  EXPECT_FALSE(node_->is_ready());
  EXPECT_EQ(Described("t").reason(), Reason::kNotInitialized);
  world_.RunFor(kWhile);
  EXPECT_TRUE(node_->is_ready());
  EXPECT_EQ(times_ready, 1);
  EXPECT_EQ(identity_.controllers(), kAlone);
  EXPECT_EQ(identity_.cluster_uuid(), ClusterUuid(kCluster, kAlone));
  EXPECT_EQ(identity_.cluster_level(), KnownFeatureLevel());
  const BrokerInfo* self = node_->controller().image().FindBroker(kSelf.broker);
  ASSERT_NE(self, nullptr);
  EXPECT_EQ(ClientAddressOf(*self), "one:7440");
  node_->OnceReady([&times_ready] { ++times_ready; });
  world_.RunFor(kWhile);
  EXPECT_EQ(times_ready, 2);
  EXPECT_TRUE(fatal_.empty());
}

// Whoever answered and then forgot which list it had would be another cluster's controller.
TEST_F(NodeTest, NoReplicaIsMade_BeforeTheBootstrapIsDurable) {
  identity_.write_time = std::chrono::seconds(1);
  Make(kAlone);
  Start();
  world_.RunFor(std::chrono::milliseconds(1900));
  EXPECT_TRUE(store_.groups.empty());
  world_.RunFor(std::chrono::milliseconds(200));
  EXPECT_TRUE(store_.groups.contains(kControllerGroup));
}

TEST_F(NodeTest, AReadyBroker_AnswersThroughItsRegistry) {
  StartAlone();
  EXPECT_EQ(Described("t").reason(), Reason::kUnknownTopic);
  const auto created = Call(kCreateTopic, Topic("t", 2));
  world_.RunFor(kWhile);
  ASSERT_TRUE(created->is_answered());
  const auto topic = created->response<v1::CreateTopicResponse>().topic();
  EXPECT_EQ(topic.partitions_size(), 2);
  for (const auto& partition : topic.partitions()) EXPECT_EQ(partition.leader_id(), 1u);
  EXPECT_TRUE(Described("t").ok());
}

TEST_F(NodeTest, ARestart_FindsItsTopics_AndLeadsThem) {
  LiveAlone();
  Make(kAlone, {store_.Recovered(partition_), store_.Recovered(kControllerGroup)});
  Start();
  world_.RunFor(kWhile);
  EXPECT_TRUE(node_->is_ready());
  EXPECT_TRUE(Described("t").ok());
  EXPECT_TRUE(Leads(partition_));
}

TEST_F(NodeTest, AWipedController_SaysFatalOnce_AndWhy) {
  Make(kThree);
  Start();
  Connect(kLeader);
  std::vector<Voter> list = kThree;
  list[0].incarnation = Incarnation(99);  // whom its data directory was before
  for (int time = 0; time < 2; ++time) Tell(kLeader, InitializedState(list));
  world_.RunFor(kWhile);
  ASSERT_EQ(fatal_.size(), 1u);
  EXPECT_EQ(fatal_[0].code(), Code::kFailedPrecondition);
  EXPECT_NE(fatal_[0].message().find("it was wiped"), std::string::npos) << fatal_[0];
  EXPECT_TRUE(store_.groups.empty());
  EXPECT_FALSE(node_->is_ready());
}

TEST_F(NodeTest, ABrokerThatAPeerRefuses_SaysFatalOnce_AndWhy) {
  Make(kThree);
  Start();
  BootstrapState refusal = InitializedState(kThree);
  refusal.set_refusal("broker 1 was wiped");
  for (int time = 0; time < 2; ++time) Tell(kLeader, refusal);
  ASSERT_EQ(fatal_.size(), 1u);
  EXPECT_NE(fatal_[0].message().find("broker 2 refuses this broker: broker 1 was wiped"),
            std::string::npos)
      << fatal_[0];
}

TEST_F(NodeTest, ABootstrapMessageThatCannotBeRead_ChangesNothing) {
  Make(kThree);
  Start();
  node_->OnPeerMessage(kLeader.holder(), raft::PeerKind::kBootstrap, Bytes::Own("\xFF"));
  EXPECT_TRUE(fatal_.empty());
  EXPECT_EQ(identity_.stage(), Bootstrap::Stage::kFresh);
}

// Where the controller's replica is silent -------------------------------------------------------

TEST_F(NodeTest, WithoutTheControllersLog_ClientsAreTold_AndNothingLeads_UntilItCanBeRead) {
  LiveAlone();
  raft::RecoveredReplica silent = store_.Recovered(kControllerGroup);
  silent.health = Unavailable("no descriptors just now");
  Make(kAlone, {std::move(silent), store_.Recovered(partition_)});
  Start();
  world_.RunFor(kWhile);
  EXPECT_FALSE(node_->is_ready());
  EXPECT_EQ(Described("t").code(), Code::kUnavailable);
  EXPECT_EQ(Described("t").reason(), Reason::kReplicaSilent);
  const auto cluster = Call(kDescribeCluster, v1::DescribeClusterRequest());
  EXPECT_EQ(cluster->status().reason(), Reason::kReplicaSilent);
  EXPECT_EQ(Call(kCreateTopic, Topic("u"))->status().reason(), Reason::kReplicaSilent);
  EXPECT_FALSE(Leads(partition_));
  store_.Recover(kControllerGroup);
  world_.RunFor(kWhile);
  EXPECT_TRUE(node_->is_ready());
  EXPECT_TRUE(Described("t").ok());
  EXPECT_TRUE(Leads(partition_));
  EXPECT_TRUE(fatal_.empty());
}

// Another broker's replica may be whole; where there is no other, nobody will ever know.
TEST_F(NodeTest, ADamagedControllersLog_IsDataLossOnlyWhereNobodyElseHasIt) {
  for (const std::vector<Voter>& controllers : {kAlone, kThree}) {
    identity_.Initialize(kCluster, controllers);
    raft::RecoveredReplica silent;
    silent.record = {
        .group = kControllerGroup, .number = kSelf.number, .kind = raft::ReplicaKind::kController};
    silent.health = DataLoss("entry 4 is rotten");
    Make(controllers, {std::move(silent)});
    Start();
    world_.RunFor(kWhile);
    const Status told = Described("t");
    EXPECT_EQ(told.reason(), Reason::kReplicaSilent);
    EXPECT_EQ(told.code(), controllers.size() == 1 ? Code::kDataLoss : Code::kUnavailable);
    EXPECT_NE(told.message().find("broker 1 does not know the topics"), std::string::npos) << told;
  }
}

TEST_F(NodeTest, AControllersReplicaThatDamageTook_IsNotMadeAnew) {
  LiveAlone();
  store_.groups.erase(kControllerGroup);
  store_.removed.insert({kControllerGroup, kSelf.number});
  Make(kAlone, {store_.Recovered(partition_)});
  Start();
  world_.RunFor(kWhile);
  EXPECT_FALSE(store_.groups.contains(kControllerGroup));
  EXPECT_EQ(node_->host().Find(kControllerGroup), nullptr);
  EXPECT_EQ(Described("t").code(), Code::kDataLoss);
  EXPECT_EQ(Described("t").reason(), Reason::kReplicaSilent);
  EXPECT_FALSE(Leads(partition_));
  EXPECT_TRUE(store_.groups.contains(partition_));
}

// Its record says what it is: the topic's kind is not known before there is an image.
TEST_F(NodeTest, ACoordinatorsReplica_IsFoundAtAStart_AndLeads) {
  coordinator_shards_ = 1;
  LiveAlone();
  const TopicInfo* topic = node_->controller().image().FindTopic(kCoordinatorTopic);
  ASSERT_NE(topic, nullptr);
  const RaftGroupId shard = topic->partitions[0].group;
  EXPECT_EQ(store_.groups.at(shard).record.kind, raft::ReplicaKind::kCoordinator);
  Make(kAlone,
       {store_.Recovered(shard), store_.Recovered(partition_), store_.Recovered(kControllerGroup)});
  Start();
  ASSERT_NE(node_->replicas().FindShard(shard), nullptr) << "before there is an image";
  world_.RunFor(kWhile);
  EXPECT_TRUE(node_->replicas().FindShard(shard)->is_ready());
  EXPECT_TRUE(Leads(partition_));
}

// The end ----------------------------------------------------------------------------------------

TEST_F(NodeTest, AfterStop_WhoeverWasToHearThatItIsReady_DoesNot) {
  StartAlone();
  bool is_told = false;
  node_->OnceReady([&is_told] { is_told = true; });
  node_->Stop();
  world_.RunFor(kWhile);
  EXPECT_FALSE(is_told);
}

TEST_F(NodeTest, AfterStop_ACallThatWaitsForALeader_IsNotAnswered) {
  StartAlone();
  const auto created = Call(kCreateTopic, Topic("t"));
  ASSERT_TRUE(world_.RunUntil(
      [this] { return node_->controller().image().FindTopic("t") != nullptr; }, kWhile));
  ASSERT_FALSE(created->is_answered());
  node_->Stop();
  world_.RunFor(std::chrono::minutes(1));
  EXPECT_FALSE(created->is_answered());
}

// Its time is up only when there is nobody left whom it might ask.
TEST_F(NodeTest, AfterStop_ACallThatWaitsForTheDisk_IsNotAnswered_AlsoOnceTheNodeIsGone) {
  LiveAlone();
  Make(kAlone, {store_.Recovered(partition_), store_.Recovered(kControllerGroup)});
  Start();
  world_.RunFor(kWhile);
  ASSERT_TRUE(Leads(partition_));
  store_.write_time = std::chrono::hours(1);
  v1::PublishRequest request;
  request.set_topic("t");
  request.add_records()->set_value("v");
  const auto published = Call(kPublish, request);
  world_.RunFor(std::chrono::milliseconds(100));
  ASSERT_FALSE(published->is_answered());
  node_->Stop();
  node_.reset();
  world_.RunFor(std::chrono::minutes(1));
  EXPECT_FALSE(published->is_answered());
}

}  // namespace
}  // namespace millrace::broker

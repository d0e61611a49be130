// The way to the controller, between two brokers: one leads it, over a group whose fate the test
// decides, the other asks.
#include "broker/routing/controller_client.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "broker/controller/producer_id.h"
#include "tests/broker/routing/linked_forwarders.h"
#include "tests/raft/host/fake_group.h"

namespace millrace::broker {
namespace {

constexpr BrokerId kLeader{1};
constexpr BrokerId kOther{2};

internal::v1::RegisterRequest Registration(uint32_t id) {
  internal::v1::RegisterRequest request;
  auto& broker = *request.mutable_broker();
  broker.set_broker_id(id);
  broker.set_incarnation(10 + id);
  auto& endpoint = *broker.add_endpoints();
  endpoint.set_protocol(internal::v1::BrokerRegistered::PROTOCOL_CLIENTS);
  endpoint.set_address("b" + std::to_string(id) + ":1");
  return request;
}

v1::CreateTopicRequest Topic(const std::string& name, uint32_t replication_factor) {
  v1::CreateTopicRequest request;
  request.set_name(name);
  request.set_replication_factor(replication_factor);
  return request;
}

struct Side {
  Side(BrokerId self, LinkedForwarders& link, sim::SimProcess& process)
      : controller(process.clock()),
        group(kControllerGroup, controller),
        view(controller.image(), leaders,
             {.is_current = [] { return true; }, .controller_health = [this] { return health; }}),
        server({.executor = process.executor(),
                .clock = process.clock(),
                .controller = controller,
                .once_image_changed = [this](Task task) { view.OnceImageChanged(std::move(task)); },
                .term_of = [](RaftGroupId) { return Term(1); },
                .cluster_size = 3,
                .producer_id_key = std::string(kProducerIdKeyBytes, 'k')}),
        client({.controller = controller,
                .server = server,
                .view = view,
                .forwarder = link.Of(self),
                .self = self}) {}

  Status health;
  LeaderTable leaders;
  Controller controller;
  raft::FakeGroup group;
  ClusterView view;
  ControllerServer server;
  ControllerClient client;
};

class ControllerClientTest : public testing::Test {
 protected:
  ControllerClientTest() {
    leading_.group.Lead(Term(2));
    Follow(Term(2));
  }

  void Follow(Term term) {
    asking_.controller.OnLeadership(
        {.term = term, .leader = {kLeader, Incarnation(11), ReplicaNumber(1)}});
  }
  template <typename Reply>
  using Got = std::shared_ptr<std::optional<Result<Reply>>>;
  template <typename Reply>
  static std::pair<Got<Reply>, ControllerReplied<Reply>> Await() {
    auto got = std::make_shared<std::optional<Result<Reply>>>();
    return {got, [got](Result<Reply> reply) {
              EXPECT_FALSE(got->has_value()) << "answered twice";
              *got = std::move(reply);
            }};
  }
  Got<internal::v1::RegisterReply> Register(Side& side, uint32_t broker) {
    auto [got, done] = Await<internal::v1::RegisterReply>();
    side.client.Register(kAsker, Registration(broker), std::move(done));
    Settle();
    return got;
  }
  Got<v1::CreateTopicResponse> Create(Side& side, const v1::CreateTopicRequest& request) {
    auto [got, done] = Await<v1::CreateTopicResponse>();
    side.client.CreateTopic(kAsker, request, std::move(done));
    Settle();
    return got;
  }
  void Settle() {
    for (int turn = 0; turn < 3; ++turn) {
      link_.Deliver();
      leading_.group.CommitAll();
      leading_.group.AnswerBarriers(Status::Ok());
      leading_.view.NotifyImageChanged();
    }
  }

  static inline const ControllerClient::Asker kAsker{.principal = {},
                                                     .timeout = std::chrono::seconds(10)};
  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("broker");
  LinkedForwarders link_{process_.executor(), kLeader, kOther};
  Side leading_{kLeader, link_, process_};
  Side asking_{kOther, link_, process_};
};

TEST_F(ControllerClientTest, WhatAnotherBrokerAsks_IsDecidedAtTheLeader) {
  ASSERT_TRUE((**Register(leading_, 1)).ok());
  EXPECT_EQ(link_.delivered(), 0) << "the leader asks itself";
  const auto registered = Register(asking_, 2);
  ASSERT_TRUE(registered->has_value() && (*registered)->ok()) << (*registered)->status();
  EXPECT_EQ((**registered)->image_index(), leading_.controller.image().applied_index().value());
  EXPECT_EQ(leading_.controller.image().brokers().size(), 2u);

  ASSERT_TRUE((**Create(asking_, Topic("t", 1))).ok());
  const TopicInfo* topic = leading_.controller.image().FindTopic("t");
  ASSERT_NE(topic, nullptr);
  const uint64_t id = topic->id.value();
  auto [deleted, done] = Await<v1::DeleteTopicResponse>();
  v1::DeleteTopicRequest deletion;
  deletion.set_name("t");
  asking_.client.DeleteTopic(kAsker, deletion, std::move(done));
  Settle();
  ASSERT_TRUE(deleted->has_value() && (*deleted)->ok());
  EXPECT_EQ((**deleted)->topic_id(), id);

  auto [block, block_done] = Await<internal::v1::AllocateProducerIdsReply>();
  asking_.client.AllocateProducerIds(kAsker, std::move(block_done));
  Settle();
  ASSERT_TRUE(block->has_value() && (*block)->ok());
  EXPECT_EQ((**block)->end() - (**block)->first(), kProducerIdBlock);
}

TEST_F(ControllerClientTest, ADecisionsError_ComesBackAsItIs) {
  ASSERT_TRUE((**Register(leading_, 1)).ok());
  const auto here = Create(leading_, Topic("no/slash", 1));
  const auto there = Create(asking_, Topic("no/slash", 1));
  ASSERT_TRUE(here->has_value() && there->has_value());
  EXPECT_EQ((*here)->status().code(), Code::kInvalidArgument);
  EXPECT_EQ((*there)->status().code(), Code::kInvalidArgument);
  EXPECT_EQ((*there)->status().message(), (*here)->status().message());
}

TEST_F(ControllerClientTest, ATopicWithTooFewBrokers_WaitsForTheNextThatRegisters) {
  ASSERT_TRUE((**Register(leading_, 1)).ok());
  const auto created = Create(asking_, Topic("t", 3));
  ASSERT_TRUE((**Register(leading_, 2)).ok());
  EXPECT_FALSE(created->has_value());
  ASSERT_TRUE((**Register(leading_, 3)).ok());
  Settle();
  ASSERT_TRUE(created->has_value());
  EXPECT_TRUE((*created)->ok()) << (*created)->status();
}

// What it was decided on is old by the time that it is sure who leads: nobody says so again.
TEST_F(ControllerClientTest, ATopicWithTooFewBrokers_HearsOfOneThatRegistersWhileItIsDecided) {
  ASSERT_TRUE((**Register(leading_, 1)).ok());
  ASSERT_TRUE((**Register(leading_, 2)).ok());
  auto [created, done] = Await<v1::CreateTopicResponse>();
  leading_.client.CreateTopic(kAsker, Topic("t", 3), std::move(done));
  auto [registered, register_done] = Await<internal::v1::RegisterReply>();
  leading_.client.Register(kAsker, Registration(3), std::move(register_done));
  leading_.group.CommitAll();
  leading_.view.NotifyImageChanged();
  ASSERT_TRUE(registered->has_value());
  EXPECT_FALSE(created->has_value());
  leading_.group.AnswerBarriers(Status::Ok());
  leading_.group.CommitAll();
  ASSERT_TRUE(created->has_value());
  EXPECT_TRUE((*created)->ok()) << (*created)->status();
}

TEST_F(ControllerClientTest, TopicsThatWait_AreMadeInTheOrderInWhichTheyCame) {
  ASSERT_TRUE((**Register(leading_, 1)).ok());
  for (int i = 0; i < 20; ++i) Create(leading_, Topic("t" + std::to_string(i), 3));
  ASSERT_TRUE((**Register(leading_, 2)).ok());
  ASSERT_TRUE((**Register(leading_, 3)).ok());
  Settle();
  int place = 0;
  for (const auto& [id, topic] : leading_.controller.image().topics()) {
    EXPECT_EQ(topic->name, "t" + std::to_string(place++)) << id;
  }
  EXPECT_EQ(place, 20);
}

TEST_F(ControllerClientTest, ATopicThatWaitsInVain_SaysForWhat_BeforeItsAskerGivesUp) {
  ASSERT_TRUE((**Register(leading_, 1)).ok());
  const auto created = Create(asking_, Topic("t", 3));
  world_.RunFor(std::chrono::milliseconds(9'500));
  link_.Deliver();
  ASSERT_TRUE(created->has_value());
  EXPECT_EQ((*created)->status().code(), Code::kDeadlineExceeded);
  EXPECT_NE((*created)->status().message().find("1 of 3"), std::string::npos)
      << (*created)->status();
  // Nor is it made later.
  ASSERT_TRUE((**Register(leading_, 2)).ok());
  ASSERT_TRUE((**Register(leading_, 3)).ok());
  EXPECT_EQ(leading_.controller.image().FindTopic("t"), nullptr);
}

TEST_F(ControllerClientTest, AStoppedServer_AnswersNothingThatWaits) {
  ASSERT_TRUE((**Register(leading_, 1)).ok());
  const auto created = Create(leading_, Topic("t", 3));
  leading_.server.Stop();
  world_.RunFor(std::chrono::minutes(1));
  EXPECT_FALSE(created->has_value());
}

TEST_F(ControllerClientTest, WithoutALeader_ItSaysSo_OrThatThisBrokerNeverHears) {
  asking_.controller.OnLeadership({.term = Term(3), .leader = {}});
  const auto unknown = Register(asking_, 2);
  ASSERT_TRUE(unknown->has_value());
  EXPECT_EQ((*unknown)->status().reason(), Reason::kNotLeader);
  asking_.health = DataLoss("its log is gone", Reason::kReplicaSilent);
  const auto silent = Register(asking_, 2);
  EXPECT_EQ((*silent)->status().reason(), Reason::kReplicaSilent);
  EXPECT_EQ(link_.delivered(), 0);
}

// A leader that is cut off has an old image: it may tell nobody what it lacks.
TEST_F(ControllerClientTest, ARefusal_IsToldOnceItIsSureWhoLeads) {
  ASSERT_TRUE((**Register(leading_, 1)).ok());
  auto [deleted, done] = Await<v1::DeleteTopicResponse>();
  v1::DeleteTopicRequest deletion;
  deletion.set_name("nobody-made-it");
  asking_.client.DeleteTopic(kAsker, deletion, std::move(done));
  link_.Deliver();
  leading_.group.CommitAll();
  link_.Deliver();
  EXPECT_FALSE(deleted->has_value());
  leading_.group.AnswerBarriers(Unavailable("another one leads", Reason::kNotLeader));
  link_.Deliver();
  ASSERT_TRUE(deleted->has_value());
  EXPECT_EQ((*deleted)->status().reason(), Reason::kNotLeader);
}

TEST_F(ControllerClientTest, ARequestThatIsTooLarge_StaysAtItsBroker) {
  const auto refused = Create(asking_, Topic(std::string(100'000, 'n'), 1));
  ASSERT_TRUE(refused->has_value());
  EXPECT_EQ((*refused)->status().code(), Code::kInvalidArgument);
  EXPECT_EQ(link_.delivered(), 0);
}

TEST_F(ControllerClientTest, AnOlderLeaderThanTheOneThatIsMeant_Refuses) {
  Follow(Term(3));
  const auto refused = Register(asking_, 2);
  ASSERT_TRUE(refused->has_value());
  EXPECT_EQ((*refused)->status().reason(), Reason::kNotLeader);
  EXPECT_TRUE(leading_.controller.image().brokers().empty());
}

}  // namespace
}  // namespace millrace::broker

// A member's session against a broker that is a script: what it says on its streams, and what its
// owner is told, in order.
#include "client/core/group_session.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ScriptedConnector final : public Connector {
 public:
  struct Opened {
    std::string address;
    RpcStreamHandler* handler = nullptr;  // null once it is left
    std::vector<v1::JoinRequest> said;
  };

  void Call(RpcRequest, RpcDone) override {}
  std::unique_ptr<RpcStream> OpenStream(const std::string& address, const std::string& method,
                                        RpcStreamHandler* handler) override {
    EXPECT_EQ(method, "/millrace.v1.GroupService/Join");
    streams.push_back(std::make_shared<Opened>());
    streams.back()->address = address;
    streams.back()->handler = handler;
    return std::make_unique<End>(streams.back());
  }

  std::vector<std::shared_ptr<Opened>> streams;

 private:
  struct End final : RpcStream {
    explicit End(std::shared_ptr<Opened> of) : opened(std::move(of)) {}
    ~End() override { opened->handler = nullptr; }
    void Write(std::vector<Bytes> pieces) override {
      std::string whole;
      for (const Bytes& piece : pieces) whole += piece.view();
      CHECK(opened->said.emplace_back().ParseFromString(whole));
    }
    std::shared_ptr<Opened> opened;
  };
};

class GroupSessionTest : public testing::Test {
 protected:
  void Begin(GroupSessionOptions options = {.group = "g"}) {
    options.subscription.add_topics("t");
    options.session_timeout = seconds(6);
    session_ = std::make_unique<GroupSession>(
        client_, options,
        GroupSession::Listener{
            .assigned =
                [this](const std::vector<GroupPartition>& partitions) {
                  std::string text = "assigned";
                  for (const GroupPartition& one : partitions) {
                    text += " " + std::to_string(one.partition.partition.value()) + "@" +
                            std::to_string(one.committed.value_or(Offset(-1)).value());
                  }
                  told_.push_back(text);
                },
            .revoked = [this](const auto& partitions) { Note("revoked", partitions); },
            .lost = [this](const auto& partitions, const Status&) { Note("lost", partitions); },
            .failed = [this](const Status& why) { told_.push_back("failed " + why.ToString()); }});
    session_->Start();
  }
  void Note(std::string text, const std::vector<TopicPartition>& partitions) {
    for (const TopicPartition& one : partitions) {
      text += " " + std::to_string(one.partition.value());
    }
    told_.push_back(text);
  }
  std::vector<std::string> Told() {
    world_.RunFor(milliseconds(1));
    return std::exchange(told_, {});
  }
  ScriptedConnector::Opened& stream() { return *connector_.streams.back(); }
  void Answer(const v1::JoinResponse& response) {
    process_.executor().Post([this, response] {
      stream().handler->OnMessage(Bytes::Own(response.SerializeAsString()));
    });
    world_.RunFor(milliseconds(1));
  }
  void Close(const Status& why) {
    process_.executor().Post([this, why] { stream().handler->OnClosed(why); });
    world_.RunFor(milliseconds(1));
  }
  void Join(int32_t epoch = 1) {
    v1::JoinResponse response;
    response.mutable_joined()->set_member_epoch(epoch);
    response.mutable_joined()->set_interval_ms(2'000);
    Answer(response);
  }
  void Assign(uint64_t version, const std::vector<uint32_t>& has,
              const std::vector<uint32_t>& gives_up = {}, int32_t epoch = 1) {
    v1::JoinResponse response;
    v1::Assignment& assignment = *response.mutable_assignment();
    assignment.set_version(version);
    assignment.set_member_epoch(epoch);
    if (!has.empty()) {
      v1::AssignedTopic& topic = *assignment.add_topics();
      topic.set_topic("t");
      topic.set_topic_id(7);
      for (const uint32_t partition : has) {
        topic.add_partitions()->set_partition(partition);
        topic.mutable_partitions()->rbegin()->set_offset(10 + partition);
      }
    }
    if (!gives_up.empty()) {
      v1::OwnedPartitions& topic = *assignment.add_revoked();
      topic.set_topic_id(7);
      topic.mutable_partitions()->Assign(gives_up.begin(), gives_up.end());
    }
    Answer(response);
  }
  void AnswerPings() {
    v1::JoinResponse pong;
    pong.mutable_pong();
    Answer(pong);
  }
  void Commit(uint32_t partition, int64_t offset) {
    GroupSession::Commits commits;
    v1::TopicCommit& topic = *commits.Add();
    topic.set_topic_id(7);
    topic.add_partitions()->set_partition(partition);
    topic.mutable_partitions(0)->set_offset(offset);
    session_->Commit(commits, [this, offset](const Result<GroupSession::Refused>& done) {
      told_.push_back("committed " + std::to_string(offset) + " " +
                      (done.ok() ? std::to_string(done->size()) : done.status().ToString()));
    });
  }
  void AnswerCommit(uint64_t id) {
    v1::JoinResponse response;
    response.mutable_commit()->set_commit_id(id);
    Answer(response);
  }
  static std::string Text(const v1::JoinRequest& request) { return request.ShortDebugString(); }
  // Those said behind the first.
  std::vector<std::string> Said() {
    std::vector<std::string> said;
    for (size_t i = 1; i < stream().said.size(); ++i) said.push_back(Text(stream().said[i]));
    stream().said.resize(1);
    return said;
  }
  static TopicPartition Place(uint32_t partition) { return {TopicId(7), PartitionId(partition)}; }

  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("client");
  ScriptedConnector connector_;
  Client client_{{.executor = process_.executor(),
                  .clock = process_.clock(),
                  .connector = connector_,
                  .random = Random(1)},
                 {.bootstrap = {"b1:1", "b2:1", "b3:1"}, .client_id = "app"}};
  std::vector<std::string> told_;
  std::unique_ptr<GroupSession> session_;
};

TEST_F(GroupSessionTest, ItBegins_AsSomebodyWhoOwnsNothing_AndIsToldWhatItGets) {
  Begin({.group = "g", .instance_id = "one", .assignor = "range"});
  ASSERT_EQ(stream().said.size(), 1U);
  const v1::JoinInit& init = stream().said[0].init();
  EXPECT_EQ(init.group(), "g");
  EXPECT_EQ(init.member_id().size(), 32U);
  EXPECT_EQ(init.session(), 1U);
  EXPECT_EQ(init.member_epoch(), 0);
  EXPECT_EQ(init.instance_id(), "one");
  EXPECT_EQ(init.assignor(), "range");
  EXPECT_EQ(init.client_id(), "app");
  EXPECT_EQ(init.session_timeout_ms(), 6'000U);
  EXPECT_EQ(init.revoke_timeout_ms(), 60'000U);
  EXPECT_EQ(init.subscription().topics(0), "t");
  Join();
  Assign(5, {});
  EXPECT_THAT(Told(), IsEmpty());
  Assign(6, {0, 2});
  EXPECT_THAT(Told(), ElementsAre("assigned 0@10 2@12"));
  Assign(7, {0, 1, 2});
  EXPECT_THAT(Told(), ElementsAre("assigned 1@11")) << "what it keeps it hears nothing of";
}

TEST_F(GroupSessionTest, WhatItIsToGiveUp_ItGivesUpOnce_AndSaysWhatIsLeft) {
  Begin();
  Join();
  Assign(5, {0, 1, 2});
  Assign(6, {0}, {1, 2});
  EXPECT_THAT(Told(), ElementsAre("assigned 0@10 1@11 2@12", "revoked 1 2"));
  Assign(6, {0}, {1, 2});
  EXPECT_THAT(Told(), IsEmpty());
  EXPECT_THAT(Said(), IsEmpty());
  session_->GaveUp({Place(2)});
  EXPECT_THAT(Said(),
              ElementsAre("done { version: 6 owned { topic_id: 7 partitions: 0 partitions: 1 } }"));
  session_->GaveUp({Place(1)});
  EXPECT_THAT(Said(), ElementsAre("done { version: 6 owned { topic_id: 7 partitions: 0 } }"));
  Assign(7, {0, 1}, {}, 2);
  EXPECT_THAT(Told(), ElementsAre("assigned 1@11")) << "it may come back";
}

TEST_F(GroupSessionTest, WhereItsStreamBreaks_ItGoesOnElsewhere_WithWhatItHas) {
  Begin();
  Join();
  Assign(5, {0, 1}, {}, 3);
  EXPECT_EQ(Told().size(), 1U);
  Commit(0, 20);
  Commit(0, 21);
  EXPECT_EQ(Said().size(), 2U);
  AnswerCommit(1);
  EXPECT_THAT(Told(), ElementsAre("committed 20 0"));
  const std::string before = stream().address;
  Close(Unavailable("the broker stops"));
  world_.RunFor(seconds(1));
  ASSERT_EQ(connector_.streams.size(), 2U);
  EXPECT_NE(stream().address, before);
  const v1::JoinInit& init = stream().said[0].init();
  EXPECT_EQ(init.session(), 2U);
  EXPECT_EQ(init.member_epoch(), 3);
  EXPECT_EQ(init.owned(0).partitions_size(), 2);
  EXPECT_THAT(Said(), IsEmpty()) << "it is not known yet whether it is a member";
  Join(3);
  EXPECT_THAT(Said(), ElementsAre("commit { commit_id: 2 topics { topic_id: 7 partitions { "
                                  "offset: 21 } } }"));
  AnswerCommit(2);
  EXPECT_THAT(Told(), ElementsAre("committed 21 0"));
}

TEST_F(GroupSessionTest, WhatItGaveUp_ItSaysAgain_WhereThatWasNotHeard) {
  Begin();
  Join();
  Assign(5, {0, 1});
  Assign(6, {0}, {1});
  session_->GaveUp({Place(1)});
  Close(Unavailable("gone"));
  world_.RunFor(seconds(1));
  EXPECT_EQ(stream().said[0].init().owned(0).partitions_size(), 1);
  Join();
  Assign(6, {0}, {1});
  EXPECT_THAT(Said(), ElementsAre("done { version: 6 owned { topic_id: 7 partitions: 0 } }"));
  EXPECT_THAT(Told(), ElementsAre("assigned 0@10 1@11", "revoked 1"));
}

TEST_F(GroupSessionTest, OneThatWasTakenOut_HasNothing_AndJoinsAnew) {
  Begin();
  Join();
  Assign(5, {0, 1}, {}, 3);
  Commit(0, 20);
  EXPECT_EQ(Told().size(), 1U);
  Close(Aborted("it was taken out", Reason::kMemberFenced));
  EXPECT_THAT(Told(), ElementsAre("committed 20 ABORTED: it was taken out", "lost 0 1"));
  world_.RunFor(seconds(1));
  ASSERT_EQ(connector_.streams.size(), 2U);
  const v1::JoinInit& init = stream().said[0].init();
  EXPECT_EQ(init.member_epoch(), 0);
  EXPECT_EQ(init.session(), 2U);
  EXPECT_EQ(init.owned_size(), 0);
  Join(9);
  Assign(8, {1}, {}, 9);
  EXPECT_THAT(Told(), ElementsAre("assigned 1@11"));
}

// Others may have what it has: its time is the coordinator's.
TEST_F(GroupSessionTest, OneThatIsNotHeardOf_HasNothing_OnceItsSessionsTimeIsOver) {
  Begin();
  Join();
  Assign(5, {0});
  EXPECT_EQ(Told().size(), 1U);
  for (int i = 0; i < 5; ++i) {
    world_.RunFor(seconds(2));
    AnswerPings();
  }
  EXPECT_EQ(connector_.streams.size(), 1U);
  EXPECT_THAT(Told(), IsEmpty());
  world_.RunFor(seconds(5));
  EXPECT_GT(connector_.streams.size(), 1U) << "it tries elsewhere before";
  EXPECT_THAT(Told(), IsEmpty());
  world_.RunFor(seconds(3));
  EXPECT_THAT(Told(), ElementsAre("lost 0"));
  EXPECT_EQ(stream().said[0].init().member_epoch(), 0);
}

TEST_F(GroupSessionTest, WhoCanBeNoMember_IsToldWhy_AndNothingFollows) {
  Begin();
  Close(InvalidArgument("a topic pattern is no RE2 expression"));
  EXPECT_THAT(Told(), ElementsAre("failed INVALID_ARGUMENT: a topic pattern is no RE2 expression"));
  world_.RunFor(seconds(20));
  EXPECT_EQ(connector_.streams.size(), 1U);
  EXPECT_THAT(Told(), IsEmpty());
}

TEST_F(GroupSessionTest, AMemberThatIsRefusedForGood_IsToldWhatItLoses_First) {
  Begin();
  Join();
  Assign(5, {0, 1});
  EXPECT_THAT(Told(), ElementsAre("assigned 0@10 1@11"));
  Close(InvalidArgument("another digest"));
  EXPECT_THAT(Told(), ElementsAre("lost 0 1", "failed INVALID_ARGUMENT: another digest"));
}

TEST_F(GroupSessionTest, WhereItsInstanceIsInUse_ItTriesAgain) {
  Begin({.group = "g", .instance_id = "one"});
  Close(FailedPrecondition("in use", Reason::kInstanceIdInUse));
  world_.RunFor(seconds(1));
  EXPECT_EQ(connector_.streams.size(), 2U);
  EXPECT_THAT(Told(), IsEmpty());
}

TEST_F(GroupSessionTest, ItLeaves_OnceWhatItCommittedIsAnswered) {
  Begin();
  Join();
  Assign(5, {0});
  Commit(0, 20);
  Told();
  Said();
  session_->Leave(/*will_be_back=*/true, [this] { told_.push_back("left"); });
  EXPECT_THAT(Said(), IsEmpty());
  AnswerCommit(1);
  EXPECT_THAT(Said(), ElementsAre("leave { will_be_back: true }"));
  EXPECT_THAT(Told(), ElementsAre("committed 20 0"));
  Close(Status::Ok());
  EXPECT_THAT(Told(), ElementsAre("left"));
  world_.RunFor(seconds(20));
  EXPECT_EQ(connector_.streams.size(), 1U);
}

TEST_F(GroupSessionTest, ItLeaves_AlsoWhereNobodyHearsIt) {
  Begin();
  Join();
  Assign(5, {0});
  Told();
  session_->Leave(/*will_be_back=*/false, [this] { told_.push_back("left"); });
  world_.RunFor(seconds(20));
  EXPECT_THAT(Told(), testing::Contains("left"));
}

}  // namespace
}  // namespace millrace::client

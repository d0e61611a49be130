// How far groups are behind, where their shard is led: when leaders are asked, for what together,
// and what is kept of their answers.
#include "broker/coordinator/lag_server.h"

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "raft/host/host.h"
#include "tests/broker/controller/records.h"
#include "tests/raft/host/memory_log_store.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {
namespace {

constexpr RaftGroupId kShard{9};
constexpr Voter kSelf{BrokerId(1), Incarnation(11), ReplicaNumber(1)};
constexpr uint64_t kFirstGroup = 100;  // of the topic's partitions
constexpr uint32_t kPartitions = 4;

// The only replica of a shard, and leaders of partitions that answer as the test says.
class LagServerTest : public testing::Test {
 protected:
  using Described = std::shared_ptr<std::optional<Result<v1::DescribeLagResponse>>>;
  struct Question {
    std::vector<UnreadQuestion> asked;
    UnreadDone done;
  };

  void SetUp() override {
    FLAGS_minloglevel = google::GLOG_FATAL;
    ASSERT_TRUE(image_.Apply(Created(1, "t", kFirstGroup, kPartitions)).ok());
    raft::ReplicaRecord record{
        .group = kShard, .number = kSelf.number, .kind = raft::ReplicaKind::kCoordinator};
    record.configuration.voters = {kSelf};
    shard_.SetLeadershipListener(
        [this](const raft::Leadership& leadership) { lags_->OnLeadership(kShard, leadership); });
    Make({});
    host_.Start();
    host_.CreateReplica(record, /*campaign=*/true, shard_);
    Run(100);
    ASSERT_TRUE(shard_.is_ready());
    led_ = shard_.leadership();
  }
  void TearDown() override { lags_->Stop(); }

  void Make(const LagServer::Limits& limits) {
    lags_ = std::make_unique<LagServer>(LagServer::Environment{
        .executor = process_.executor(),
        .clock = process_.clock(),
        .image = image_,
        .find_shard = [this](RaftGroupId) { return is_gone_ ? nullptr : &shard_; },
        .not_leader = [](RaftGroupId) { return Unavailable("not here", Reason::kNotLeader); },
        .groups_with_members = [this](RaftGroupId) { return with_members_; },
        .ask =
            [this](std::vector<UnreadQuestion> asked, UnreadDone done) {
              questions_.push_back({std::move(asked), std::move(done)});
              if (!holds_answers_) AnswerOne();
            },
        .limits = limits});
    if (shard_.is_ready()) lags_->OnLeadership(kShard, shard_.leadership());
  }
  void Run(int64_t ms) { world_.RunFor(std::chrono::milliseconds(ms)); }

  // Every partition ends at the same offset.
  void AnswerOne() {
    Question question = std::move(questions_.front());
    questions_.pop_front();
    ++answered_;
    asked_ = question.asked;
    UnreadAnswers answers;
    for (const UnreadQuestion& one : question.asked) {
      if (!unknown_.ok()) {
        answers.emplace_back(unknown_);
        continue;
      }
      const int64_t waited_ms = one.next < Offset(end_) ? waited_ms_ : 0;
      answers.emplace_back(Unread{.log_start = Offset(0),
                                  .high_watermark = Offset(end_),
                                  .waited_ms_min = waited_ms,
                                  .waited_ms_max = waited_ms});
    }
    question.done(std::move(answers));
  }
  // The same in all partitions, or in the first ones.
  void Commit(const std::string& group, int64_t offset, uint32_t partitions = kPartitions) {
    internal::v1::CoordinatorRecords records;
    auto& committed = *records.add_records()->mutable_offsets_committed();
    committed.set_group(group);
    auto& topic = *committed.add_topics();
    topic.set_topic_id(1);
    for (uint32_t partition = 0; partition < partitions; ++partition) {
      topic.add_partitions(partition);
      topic.add_offsets(offset);
      topic.add_leader_epochs(0);
    }
    shard_.Execute({.key = group,
                    .is_alone = false,
                    .bytes = 1,
                    .decide = [records](const ShardState&) { return records; },
                    .done = [](const Status& status) { EXPECT_TRUE(status.ok()) << status; }});
    Run(20);
  }
  Described Describe(const std::string& group, const std::string& page_token = "") {
    auto request = std::make_shared<v1::DescribeLagRequest>();
    request->set_group(group);
    request->set_page_token(page_token);
    auto got = std::make_shared<std::optional<Result<v1::DescribeLagResponse>>>();
    lags_->Describe(kShard, request, [got](Result<v1::DescribeLagResponse> response) {
      EXPECT_FALSE(got->has_value()) << "answered twice";
      *got = std::move(response);
    });
    return got;
  }
  v1::PartitionLag RowOf(const std::string& group) {
    const Described described = Describe(group);
    EXPECT_TRUE(described->has_value() && (*described)->ok());
    const v1::DescribeLagResponse& response = ***described;
    EXPECT_EQ(response.topics_size(), 1);
    return response.topics_size() == 1 ? response.topics(0).partitions(0) : v1::PartitionLag();
  }

  raft::Leadership led_;
  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("broker");
  raft::MemoryTransport transport_;
  raft::MemoryLogStore store_{process_.executor()};
  Image image_;
  CoordinatorMemory memory_{CoordinatorLimits{}};
  raft::Host host_{raft::HostOptions{.self = kSelf.holder()},
                   raft::HostEnvironment{process_.executor(), process_.clock(), transport_, store_},
                   process_.Fork()};
  CoordinatorShard shard_{kShard, CoordinatorShard::Environment{process_.executor(),
                                                                process_.clock(), image_, memory_}};
  std::vector<std::string> with_members_;
  std::deque<Question> questions_;
  std::vector<UnreadQuestion> asked_;  // last
  int answered_ = 0;
  bool holds_answers_ = false;
  bool is_gone_ = false;
  Status unknown_;
  int64_t end_ = 10;
  int64_t waited_ms_ = 700;
  std::unique_ptr<LagServer> lags_;
};

TEST_F(LagServerTest, AGroupThatIsAskedFor_IsMeasuredThen) {
  Commit("g", 4);
  EXPECT_EQ(answered_, 0) << "nobody asked";
  v1::PartitionLag row = RowOf("g");
  EXPECT_EQ(row.lag(), 6);
  EXPECT_EQ(row.lag_ms_max(), 700);
  ASSERT_EQ(asked_.size(), kPartitions);
  EXPECT_EQ(asked_[1].group, RaftGroupId(kFirstGroup + 1));
  EXPECT_EQ(asked_[1].next, Offset(4));
  Commit("g", 10);
  row = RowOf("g");
  EXPECT_EQ(row.lag(), 0) << "as new as the last commit";
  EXPECT_EQ(Describe("none")->value().status().reason(), Reason::kUnknownGroup);
}

TEST_F(LagServerTest, WhereNothingIsCommitted_NoRecordsTimeIsAskedFor) {
  Commit("g", 4, 1);
  Describe("g");
  ASSERT_EQ(asked_.size(), kPartitions);
  EXPECT_EQ(asked_[0].next, Offset(4));
  EXPECT_EQ(asked_[1].next, Offset(INT64_MAX));
}

TEST_F(LagServerTest, WhoAsksWhileOthersWait_SharesTheNextMeasurement) {
  Commit("g", 4);
  holds_answers_ = true;
  const Described first = Describe("g");
  Commit("g", 10);
  const Described second = Describe("g");
  const Described third = Describe("g");
  EXPECT_EQ(questions_.size(), 1U);
  AnswerOne();
  ASSERT_TRUE(first->has_value());
  EXPECT_FALSE(second->has_value()) << "what is on its way may be from before what it knows of";
  EXPECT_EQ(questions_.size(), 1U) << "one for both";
  AnswerOne();
  ASSERT_TRUE(second->has_value() && third->has_value());
  EXPECT_EQ((**second)->total().lag(), 0);
  EXPECT_TRUE(questions_.empty());
}

TEST_F(LagServerTest, GroupsWithMembers_AreLookedAtEveryFiveSeconds_Together) {
  Commit("a", 4);
  Commit("b", 5);
  Commit("idle", 5);
  with_members_ = {"a", "b"};
  Run(5'000);
  EXPECT_EQ(answered_, 1);
  EXPECT_EQ(asked_.size(), 2 * kPartitions);
  Run(15'000);
  EXPECT_EQ(answered_, 4);
  EXPECT_EQ(lags_->partitions_kept(), 2 * kPartitions) << "nothing of the idle one";
}

TEST_F(LagServerTest, WhatWasSampled_MakesRates) {
  with_members_ = {"g"};
  for (int i = 0; i < 8; ++i) {
    Commit("g", i * 10);
    end_ = 100 + i * 20;
    Run(4'980);
  }
  const v1::PartitionLag row = RowOf("g");
  EXPECT_GE(row.measured_ms(), 30'000);
  EXPECT_NEAR(static_cast<double>(row.came_in()), static_cast<double>(row.measured_ms()) / 250, 20);
  EXPECT_NEAR(static_cast<double>(row.read()), static_cast<double>(row.measured_ms()) / 500, 10);
}

TEST_F(LagServerTest, ANewLeader_BeginsAnew) {
  Commit("g", 4);
  with_members_ = {"g"};
  Run(40'000);
  EXPECT_GT(RowOf("g").measured_ms(), 0);
  shard_.OnLeadership({.term = Term(50), .leader = {}});
  EXPECT_EQ(lags_->partitions_kept(), 0U);
  EXPECT_EQ(Describe("g")->value().status().reason(), Reason::kNotLeader);
  const int before = answered_;
  Run(20'000);
  EXPECT_EQ(answered_, before) << "who does not lead asks nobody";
  shard_.OnLeadership(led_);
  EXPECT_EQ(RowOf("g").measured_ms(), 0);
}

TEST_F(LagServerTest, WhoWaitsWhenLeadershipIsLost_IsToldSo) {
  Commit("g", 4);
  holds_answers_ = true;
  const Described waiting = Describe("g");
  const Described next = Describe("g");
  shard_.OnLeadership({.term = Term(50), .leader = {}});
  ASSERT_TRUE(waiting->has_value() && next->has_value());
  EXPECT_EQ((*waiting)->status().reason(), Reason::kNotLeader);
  EXPECT_EQ((*next)->status().reason(), Reason::kNotLeader);
  shard_.OnLeadership(led_);
  AnswerOne();
  EXPECT_EQ(lags_->partitions_kept(), 0U) << "of a term that is over";
}

// It moved to other brokers.
TEST_F(LagServerTest, AShardThatIsNotHereAnyMore_IsNotAskedAbout_AndForgotten) {
  Commit("g", 4);
  holds_answers_ = true;
  const Described waiting = Describe("g");
  is_gone_ = true;
  EXPECT_EQ(Describe("g")->value().status().reason(), Reason::kNotLeader) << "not: there is none";
  AnswerOne();
  EXPECT_EQ((*waiting)->status().reason(), Reason::kNotLeader);
  Run(5'000);
  EXPECT_EQ(lags_->partitions_kept(), 0U);
}

TEST_F(LagServerTest, AGroupWithoutMembers_IsForgotten_AMinuteAfterItWasAskedFor) {
  Commit("g", 4);
  Describe("g");
  EXPECT_EQ(lags_->partitions_kept(), kPartitions);
  Run(59'000);
  EXPECT_EQ(lags_->partitions_kept(), kPartitions);
  EXPECT_EQ(answered_, 1) << "it is not sampled";
  Run(6'000);
  EXPECT_EQ(lags_->partitions_kept(), 0U);
}

TEST_F(LagServerTest, ASlowLeader_IsNotAskedAgainMeanwhile) {
  Commit("g", 4);
  with_members_ = {"g"};
  holds_answers_ = true;
  Run(21'000);
  EXPECT_EQ(questions_.size(), 1U);
  AnswerOne();
  Run(5'000);
  EXPECT_EQ(questions_.size(), 1U);
}

TEST_F(LagServerTest, ALeaderThatDoesNotAnswer_IsNotKnown_AndWhatWasKnownGoesOn) {
  Commit("g", 4);
  with_members_ = {"g"};
  Run(20'000);
  unknown_ = Unavailable("it is gone");
  EXPECT_EQ(RowOf("g").grounds(), "its leader did not answer: it is gone");
  unknown_ = {};
  EXPECT_GE(RowOf("g").measured_ms(), 10'000);
}

TEST_F(LagServerTest, TheNextPage_IsOfTheSameMeasurement) {
  Commit("g", 4);
  Describe("g");
  end_ = 20;
  const Described page = Describe("g", "1/1/");
  ASSERT_TRUE(page->has_value() && (*page)->ok());
  EXPECT_EQ((**page)->topics(0).partitions_size(), 2);
  EXPECT_EQ((**page)->topics(0).partitions(0).lag(), 6);
  EXPECT_EQ(answered_, 1);
  // Another leader does not have it.
  shard_.OnLeadership({.term = Term(50), .leader = {}});
  shard_.OnLeadership(led_);
  const Described again = Describe("g", "1/1/");
  ASSERT_TRUE(again->has_value() && (*again)->ok());
  EXPECT_EQ((**again)->topics(0).partitions(0).lag(), 16);
}

TEST_F(LagServerTest, GroupsPastTheLimits_AreNotSampled_AndThenNotMeasured) {
  lags_->Stop();
  Make({.partitions_sampled = kPartitions, .partitions_kept = 2 * kPartitions});
  for (const char* group : {"a", "b", "c"}) Commit(group, 4);
  with_members_ = {"a", "b", "c"};
  Run(10'000);
  EXPECT_EQ(asked_.size(), kPartitions) << "only the first";
  EXPECT_EQ(RowOf("b").lag(), 6);
  EXPECT_EQ(Describe("c")->value().status().reason(), Reason::kThrottled);
  EXPECT_EQ(lags_->partitions_kept(), 2 * kPartitions);
  EXPECT_EQ(RowOf("a").lag(), 6);
}

TEST_F(LagServerTest, NothingComesBack_OnceItIsStopped) {
  Commit("g", 4);
  with_members_ = {"g"};
  holds_answers_ = true;
  const Described waiting = Describe("g");
  Run(5'000);
  lags_->Stop();
  while (!questions_.empty()) AnswerOne();
  EXPECT_FALSE(waiting->has_value());
  Run(20'000);
  EXPECT_TRUE(questions_.empty());
}

}  // namespace
}  // namespace millrace::broker

// What lies before readers of partitions, asked by a broker that leads them and by one that does
// not.
#include "broker/routing/unread_client.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "broker/routing/attached_bytes.h"
#include "millrace/internal/v1/forward.pb.h"
#include "millrace/v1/record.pb.h"
#include "tests/broker/partition/lone_partition.h"
#include "tests/broker/routing/linked_forwarders.h"

namespace millrace::broker {
namespace {

constexpr RaftGroupId kGroup{2};
constexpr RaftGroupId kNobodys{3};
constexpr BrokerId kLeader{1};
constexpr BrokerId kOther{2};

struct Side {
  Side(BrokerId self, LinkedForwarders& link, const Image& image, const Clock& clock,
       Partition* partition)
      : view(image, leaders,
             {.is_current = [] { return true; }, .controller_health = [] { return Status::Ok(); }}),
        client(
            {.clock = clock,
             .view = view,
             .find_replica =
                 [partition](RaftGroupId group) { return group == kGroup ? partition : nullptr; },
             .forwarder = link.Of(self),
             .self = self}) {
    leaders.Report(kGroup, {.leader = kLeader, .term = Term(3)});
  }

  LeaderTable leaders;
  ClusterView view;
  UnreadClient client;
};

class UnreadClientTest : public testing::Test, protected LonePartition {
 protected:
  UnreadClientTest() : LonePartition(kGroup) {
    partition_.set_leader_epoch_base(100);
    group_.Lead(Term(3));
  }

  void Produce(int records) {
    v1::RecordBatch batch;
    for (int i = 0; i < records; ++i) batch.add_records()->set_value("v");
    partition_.Produce({.bytes = Bytes::Own(batch.SerializeAsString())},
                       [](const Result<ProduceOutcome>&) {});
    group_.CommitAll();
  }
  void Run(int64_t ms) { world_.RunFor(std::chrono::milliseconds(ms)); }
  std::optional<UnreadAnswers> Ask(Side& side, const std::vector<UnreadQuestion>& questions) {
    std::optional<UnreadAnswers> got;
    side.client.Ask(questions, [&got](UnreadAnswers answers) {
      EXPECT_FALSE(got.has_value()) << "answered twice";
      got = std::move(answers);
    });
    link_.Deliver();
    Run(1);
    link_.Deliver();
    return got;
  }

  LinkedForwarders link_{process_.executor(), kLeader, kOther};
  Side leading_{kLeader, link_, image_, process_.clock(), &partition_};
  Side asking_{kOther, link_, image_, process_.clock(), nullptr};
};

TEST_F(UnreadClientTest, TheLeaderTellsTheSame_HereAndToAnotherBroker) {
  Produce(3);
  Run(4'000);
  Produce(2);
  Run(1'000);
  for (Side* side : {&leading_, &asking_}) {
    const auto answers = Ask(*side, {{.group = kGroup, .next = Offset(1)},
                                     {.group = kGroup, .next = Offset(3)},
                                     {.group = kGroup, .next = Offset(5)},
                                     {.group = kGroup, .next = Offset(INT64_MAX)}});
    ASSERT_TRUE(answers.has_value());
    ASSERT_EQ(answers->size(), 4U);
    for (const Result<Unread>& answer : *answers) {
      ASSERT_TRUE(answer.ok()) << answer.status();
      EXPECT_EQ(answer->log_start, Offset(0));
      EXPECT_EQ(answer->high_watermark, Offset(5));
      EXPECT_EQ(answer->waited_ms_min, answer->waited_ms_max) << "it is in memory";
    }
    EXPECT_GE((*answers)[0]->waited_ms_max, 5'000);
    EXPECT_LT((*answers)[0]->waited_ms_max, 5'100);
    EXPECT_GE((*answers)[1]->waited_ms_max, 1'000);
    EXPECT_LT((*answers)[1]->waited_ms_max, 1'100);
    EXPECT_EQ((*answers)[2]->waited_ms_max, 0) << "nothing is left to read";
    EXPECT_EQ((*answers)[3]->waited_ms_max, 0);
  }
}

TEST_F(UnreadClientTest, APartitionThatNobodyLeads_IsAnErrorOfItsOwn) {
  Produce(1);
  const std::vector<UnreadQuestion> questions{{.group = kNobodys}, {.group = kGroup}};
  auto answers = Ask(asking_, questions);
  ASSERT_TRUE(answers.has_value());
  EXPECT_EQ((*answers)[0].status().reason(), Reason::kNotLeader);
  EXPECT_TRUE((*answers)[1].ok());
  // The hint is wrong, and says so at the other end.
  asking_.leaders.Report(kNobodys, {.leader = kLeader, .term = Term(1)});
  answers = Ask(asking_, questions);
  ASSERT_TRUE(answers.has_value());
  EXPECT_EQ((*answers)[0].status().reason(), Reason::kNotLeader);
  EXPECT_TRUE((*answers)[1].ok());
}

TEST_F(UnreadClientTest, ManyPartitionsOfALeader_AreAskedForAThousandAtATime) {
  Produce(1);
  const std::vector<UnreadQuestion> questions(2'500, {.group = kGroup, .next = Offset(1)});
  const auto answers = Ask(asking_, questions);
  ASSERT_TRUE(answers.has_value());
  EXPECT_EQ(answers->size(), 2'500U);
  for (const Result<Unread>& answer : *answers) EXPECT_TRUE(answer.ok());
  EXPECT_EQ(link_.delivered(), 6) << "three questions, three answers";
}

TEST_F(UnreadClientTest, NoQuestions_AreAnsweredAtOnce) {
  const auto answers = Ask(asking_, {});
  ASSERT_TRUE(answers.has_value());
  EXPECT_TRUE(answers->empty());
}

TEST_F(UnreadClientTest, ABrokerThatIsGone_IsNotWaitedFor) {
  Produce(1);
  std::optional<UnreadAnswers> got;
  asking_.client.Ask({{.group = kGroup}, {.group = kNobodys}},
                     [&got](UnreadAnswers answers) { got = std::move(answers); });
  EXPECT_FALSE(got.has_value());
  link_.Of(kOther).OnPeerDisconnected(kLeader);
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ((*got)[0].status().code(), Code::kUnavailable);
}

// Of another build, or damaged on its way.
TEST_F(UnreadClientTest, AnAnswerThatCannotBe_IsAnErrorOfItsPartitions) {
  std::vector<internal::v1::UnreadReply> replies(3);
  replies[0].add_partitions()->set_log_start_offset(7);
  replies[1].add_partitions()->set_waited_ms_min(1);
  replies[2].add_partitions();
  replies[2].add_partitions();
  for (const internal::v1::UnreadReply& reply : replies) {
    LinkedForwarders link(process_.executor(), kLeader, kOther);
    link.Of(kLeader).Serve(kForwardUnread, [&](const ForwardedRequest&, ForwardReplied done) {
      done(AttachBytes(reply));
    });
    Side side(kOther, link, image_, process_.clock(), nullptr);
    std::optional<UnreadAnswers> got;
    side.client.Ask({{.group = kGroup}}, [&got](UnreadAnswers answers) { got = answers; });
    link.Deliver();
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ((*got)[0].status().code(), Code::kInternal) << reply.ShortDebugString();
  }
}

}  // namespace
}  // namespace millrace::broker

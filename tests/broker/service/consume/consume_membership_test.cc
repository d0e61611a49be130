// Members of a group on Consume streams: what they own, what keeps them alive, and how they go.

#include <memory>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "tests/broker/service/consume/consume_fixture.h"

namespace millrace::broker {
namespace {

class ConsumeMembershipTest : public ConsumeTest {};

TEST_F(ConsumeMembershipTest, WithoutAnId_TheBrokerDrawsOne) {
  std::set<std::string> ids;
  for (size_t broker = 0; broker < 3; ++broker) {
    for (int i = 0; i < 2; ++i) {
      const auto one = Start(broker, ConsumerInit(""));
      ASSERT_TRUE(Until([&] { return !one->joined.empty(); }));
      EXPECT_EQ(one->joined[0].member_id().size(), 32U);
      ids.insert(one->joined[0].member_id());
      EndWell(one.get());
    }
  }
  EXPECT_EQ(ids.size(), 6U);
}

// Rule 16: "every commit that counts lies before the offset that is handed over".
TEST_F(ConsumeMembershipTest,
       Rule16_ARevokedPartition_IsAnothersOnceTheClientIsDone_FromWhereItWas) {
  PublishToAll(0, 10);
  const auto one = Owner(0);
  ASSERT_TRUE(Until([&] { return one->records.size() == 40; }));
  ASSERT_TRUE(Until([&] { return one->is_settled(); }));
  one->commits = false;
  PublishToAll(10, 5);
  ASSERT_TRUE(Until([&] { return one->records.size() == 60; }));
  const auto two = Start(1, ConsumerInit("b"));
  ASSERT_TRUE(Until([&] { return one->revoked.size() == 2; }));
  rig_.world.RunFor(seconds(5));
  EXPECT_TRUE(two->owned.empty()) << "the first one works on them";
  const uint32_t moved = one->revoked[0].partition();
  Publish(moved, 15, 1);
  rig_.world.RunFor(seconds(1));
  EXPECT_EQ(one->ValuesOf(moved), Values(moved, 0, 15)) << "nothing more of it is sent";
  one->CommitUpTo(one->last_number);
  one->commits = true;
  ASSERT_TRUE(Until([&] { return ShareAll({one.get(), two.get()}); }));
  ASSERT_TRUE(Until([&] { return !two->records.empty(); }));
  EXPECT_EQ(two->StartOf(moved), 15);
  EXPECT_EQ(two->ValuesOf(moved), Values(moved, 15, 16));
  EXPECT_GT(two->assigned[0].fencing_token(), one->assigned[0].fencing_token());
  // Who keeps a partition reads on.
  const uint32_t kept = *one->owned.begin();
  Publish(kept, 15, 1);
  ASSERT_TRUE(Until([&] { return one->ValuesOf(kept) == Values(kept, 0, 16); }));
}

// Rule 15: "Who does not give up in revoke_timeout is fenced".
TEST_F(ConsumeMembershipTest, Rule15_WhoIsNotDoneInTheRevokeTime_IsTakenOut_ThoughItLives) {
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_revoke_timeout_ms(5'000);
  const auto one = Owner(0, init);
  one->commits = false;
  one->KeepPinging(seconds(2));
  const auto two = Start(1, ConsumerInit("b"));
  ASSERT_TRUE(Until([&] { return one->revoked.size() == 2; }));
  rig_.world.RunFor(seconds(4));
  EXPECT_FALSE(one->status().has_value());
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }, seconds(3)));
  EXPECT_EQ(one->status()->reason(), Reason::kMemberFenced) << *one->status();
  EXPECT_TRUE(Until([&] { return two->owned.size() == kPartitions; }));
}

// Rule 25: "a stream that takes nothing for its session time is broken", whatever its client says.
TEST_F(ConsumeMembershipTest, Rule25_AClientThatTakesNothing_IsTakenOutAfterItsTime_ThoughItPings) {
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_session_timeout_ms(6'000);
  const auto one = Owner(0, init);
  one->KeepPinging(seconds(1));
  one->commits = false;
  one->stream().is_stuck = true;
  PublishToAll(0, 10);
  rig_.world.RunFor(seconds(5));
  EXPECT_FALSE(one->status().has_value());
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }, seconds(4)));
  EXPECT_EQ(one->status()->reason(), Reason::kMemberFenced) << *one->status();
}

TEST_F(ConsumeMembershipTest, Rule25_AClientThatDoesNotRead_IsToldOneChange_AndThenTheNewest) {
  const auto one = Owner(0);
  ASSERT_TRUE(Until([&] { return one->is_settled(); }));
  one->commits = false;
  one->stream().is_stuck = true;
  for (uint32_t i = 1; i <= 4; ++i) {
    Grow(kPartitions + i);
    rig_.world.RunFor(seconds(2));
  }
  EXPECT_EQ(one->owned.size(), kPartitions + 1) << "one is on its way, and no more";
  one->stream().is_stuck = false;
  one->Take();
  ASSERT_TRUE(Until([&] { return one->owned.size() == kPartitions + 4; }));
  EXPECT_FALSE(one->status().has_value());
}

TEST_F(ConsumeMembershipTest, Rule25_AClientThatTakesNoResults_IsNotHeard_UntilItsTimeIsOver) {
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_session_timeout_ms(6'000);
  const auto one = Owner(0, init);
  one->commits = false;
  one->stream().is_stuck = true;
  v1::ConsumeRequest commit;
  auto& topic = *commit.mutable_commit()->mutable_offsets()->add_topics();
  topic.set_topic("a-topic-that-is-not-there-" + std::string(200, 'x'));
  for (int i = 0; i < 100; ++i) topic.add_partitions();
  for (size_t i = 0; one->stream().is_reading; ++i) {
    ASSERT_LT(i, 10'000U);
    one->Say(commit);
  }
  EXPECT_LT(one->stream().pending_bytes(), uint64_t{3} << 20);
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }, seconds(9)));
  EXPECT_EQ(one->status()->reason(), Reason::kMemberFenced) << *one->status();
}

TEST_F(ConsumeMembershipTest, Rule25_ASilentClient_IsTakenOut_AndOneThatIsDoneWithNothing_Stays) {
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_session_timeout_ms(6'000);
  const auto one = Owner(0, init);
  rig_.world.RunFor(seconds(20));
  EXPECT_FALSE(one->status().has_value());
  EXPECT_GE(one->empty_messages, 6U) << "it was sent something to be done with";
  one->commits = false;
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }, seconds(9)));
  EXPECT_EQ(one->status()->reason(), Reason::kMemberFenced) << *one->status();
}

TEST_F(ConsumeMembershipTest, Rule25_AClientThatWorksForLong_AndPings_StaysIn_AndReadsSlowly) {
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_session_timeout_ms(4'000);
  const auto one = Owner(0, init);
  one->commits = false;
  one->KeepPinging(seconds(1));
  rig_.world.RunFor(seconds(12));
  // The transport has always something left, and takes a little now and then.
  one->stream().is_stuck = true;
  for (int i = 0; i < 12; ++i) {
    Publish(0, i, 1);
    one->Take();
    Publish(1, i, 1);
    rig_.world.RunFor(seconds(1));
  }
  EXPECT_FALSE(one->status().has_value()) << *one->status();
}

// Rule 17: "it takes the place, epoch and partitions of one ... that said it would be back".
TEST_F(ConsumeMembershipTest, Rule17_AStaticMemberThatWillBeBack_FindsWhatItHad) {
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_instance_id("i");
  const auto one = Owner(0, init);
  const auto two = Start(1, ConsumerInit("b"));
  ASSERT_TRUE(Until([&] { return ShareAll({one.get(), two.get()}); }));
  const Consumer::Partitions had = one->owned;
  one->Leave(/*will_be_back=*/true);
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }));
  EXPECT_TRUE(one->status()->ok()) << *one->status();
  rig_.world.RunFor(seconds(10));
  init.set_member_id("a-2");
  const auto back = Start(2, init);
  ASSERT_TRUE(Until([&] { return back->owned == had; }));
  EXPECT_TRUE(two->revoked.empty());
  init.set_member_id("a-3");
  const auto refused = Start(1, init);
  ASSERT_TRUE(Until([&] { return refused->status().has_value(); }));
  EXPECT_EQ(refused->status()->reason(), Reason::kInstanceIdInUse) << *refused->status();
}

// Rule 18: "A member counts its streams".
TEST_F(ConsumeMembershipTest, Rule18_ANextStreamAtAnotherBroker_HasWhatTheMemberHad_AtOnce) {
  PublishToAll(0, 5);
  auto one = Owner(0);
  ASSERT_TRUE(Until([&] { return one->is_settled(); }));
  ASSERT_EQ(one->records.size(), 5 * kPartitions);
  one->commits = false;
  PublishToAll(5, 5);
  ASSERT_TRUE(Until([&] { return one->records.size() == 10 * kPartitions; }));
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_session(2);
  const auto two = Start(1, init);
  ASSERT_TRUE(Until([&] { return two->owned.size() == kPartitions; }, seconds(3)));
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }, seconds(4)));
  EXPECT_EQ(one->status()->reason(), Reason::kMemberFenced);
  ASSERT_TRUE(Until([&] { return two->records.size() == 5 * kPartitions; }));
  EXPECT_EQ(two->ValuesOf(0), Values(0, 5, 10));
  EXPECT_EQ(MemberCount(), 1U);
}

TEST_F(ConsumeMembershipTest, ALeave_OrAHalfClose_ComesAfterTheCommitsBeforeIt) {
  for (const bool leaves : {false, true}) {
    PublishToAll(leaves ? 10 : 0, 10);
    const auto one = Owner(leaves ? 1 : 0, ConsumerInit(leaves ? "b" : "a"));
    one->commits = false;
    ASSERT_TRUE(Until([&] { return one->records.size() == 10 * kPartitions; }));
    // The second one waits for the first one.
    one->CommitUpTo(one->records[0].number, 4);
    one->CommitUpTo(one->last_number, 5);
    leaves ? one->Leave() : one->HalfClose();
    ASSERT_TRUE(Until([&] { return one->status().has_value(); }));
    EXPECT_TRUE(one->status()->ok()) << *one->status();
    EXPECT_EQ(one->results.back().commit_id(), 5U);
    EXPECT_EQ(MemberCount(), leaves ? 0U : 1U);
    for (uint32_t partition = 0; partition < kPartitions; ++partition) {
      EXPECT_EQ(Committed(partition), leaves ? 20 : 10);
    }
    // It is a member for its session's time.
    ASSERT_TRUE(Until([&] { return MemberCount() == 0; }));
  }
}

TEST_F(ConsumeMembershipTest, BehindALeave_OrAHalfClose_NothingIsSentButResults) {
  for (const bool leaves : {false, true}) {
    const size_t coordinator = CoordinatorOf(rig_, "g");
    const auto one = Owner(Other(coordinator), ConsumerInit(leaves ? "b" : "a"));
    ASSERT_TRUE(Until([&] { return one->is_settled(); }));
    one->commits = false;
    rig_.cluster.Kill(coordinator, /*power_loss=*/true);
    const uint64_t number = one->last_number;
    one->CommitOffset(0, 0, 99);  // its answer takes a while
    leaves ? one->Leave() : one->HalfClose();
    for (uint32_t partition = 0; partition < kPartitions; ++partition) {
      Publish(partition, leaves ? 1 : 0, 1, Other(coordinator));
    }
    ASSERT_TRUE(Until([&] { return one->status().has_value(); }));
    EXPECT_TRUE(one->status()->ok()) << *one->status();
    EXPECT_EQ(one->last_number, number);
    EXPECT_EQ(one->results.back().commit_id(), 99U);
    rig_.cluster.Start(coordinator);
    ASSERT_TRUE(Until([&] { return rig_.cluster.is_serving(coordinator); }));
    ASSERT_TRUE(Until([&] { return MemberCount() == 0; }));
  }
}

TEST_F(ConsumeMembershipTest, WithoutMemoryToRead_ItIsReadLater) {
  const auto one = Owner(0);
  const auto two = Start(1, ConsumerInit("b"));
  ASSERT_TRUE(Until([&] { return ShareAll({one.get(), two.get()}); }));
  PublishToAll(0, 3);
  ASSERT_TRUE(Until([&] { return one->records.size() + two->records.size() == 12; }));
  MemoryBudget& sessions = rig_.cluster.node(0).client_memory().sessions;
  MemoryHold all(sessions, sessions.free());
  EndWell(two.get());
  rig_.world.RunFor(seconds(2));
  EXPECT_EQ(one->owned.size(), 2U);
  all.Release();
  ASSERT_TRUE(Until([&] { return one->owned.size() == kPartitions; }, seconds(1)));
  PublishToAll(3, 1);
  for (uint32_t partition = 0; partition < kPartitions; ++partition) {
    const auto has_last = [&, partition] {
      const auto values = one->ValuesOf(partition);
      return !values.empty() && values.back() == Values(partition, 3, 4)[0];
    };
    EXPECT_TRUE(Until(has_last, seconds(2)));
  }
}

TEST_F(ConsumeMembershipTest, HalfClosed_OrCut_TheMemberHasItsSessionsTime) {
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_session_timeout_ms(5'000);
  auto closed = Owner(0, init);
  closed->HalfClose();
  ASSERT_TRUE(Until([&] { return closed->status().has_value(); }, seconds(1)));
  EXPECT_TRUE(closed->status()->ok()) << *closed->status();
  EXPECT_EQ(MemberCount(), 1U);
  ASSERT_TRUE(Until([&] { return MemberCount() == 0; }, seconds(8)));
  auto cut = Owner(1, init);
  cut->Cut();
  EXPECT_EQ(MemberCount(), 1U);
  ASSERT_TRUE(Until([&] { return MemberCount() == 0; }, seconds(8)));
}

}  // namespace
}  // namespace millrace::broker

// Transactions where their shard is led: what is answered when, who waits, and what outlives whom.
#include "broker/coordinator/transaction_server.h"

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "broker/coordinator/transaction_sweep.h"
#include "tests/broker/coordinator/transaction_server_rig.h"
#include "tests/raft/host/fake_group.h"

namespace millrace::broker {
namespace {

TEST_F(TransactionServerTest, AnInit_TakesAProducerIdOfItsSlot_AndKeepsItAfterThat) {
  const Answer& first = Ask(InitOf("a", 1));
  EXPECT_FALSE(first.has_come());
  Run(20);
  ASSERT_TRUE(first.is_ok()) << *first.status;
  EXPECT_EQ(producers_.asked, std::vector<uint32_t>{SlotOf("a")});
  EXPECT_EQ(SlotOf(first.granted.producer), SlotOf("a"));
  EXPECT_EQ(first.granted.epoch, 1U);
  const Answer& second = Ask(InitOf("a", 2));
  Run(20);
  EXPECT_EQ(second.granted.producer, first.granted.producer);
  EXPECT_EQ(second.granted.epoch, 2U);
  EXPECT_EQ(producers_.asked.size(), 1U);
}

// Rule 69: "InitTransactions has a request id; the same one gets the same epoch."
TEST_F(TransactionServerTest, Rule69_AnInitThatIsRepeated_GetsTheSameEpoch_AlsoOfAnotherLeader) {
  const Answer& first = Ask(InitOf("a", 1));
  const Answer& beside = Ask(InitOf("a", 1));
  Run(20);
  Restart();
  const Answer& again = Ask(InitOf("a", 1));
  Run(20);
  ASSERT_TRUE(first.is_ok() && beside.is_ok() && again.is_ok());
  EXPECT_EQ(beside.granted, first.granted);
  EXPECT_EQ(again.granted, first.granted);
}

TEST_F(TransactionServerTest, WhereNoProducerIdCanBeHad_TheInitSaysSo) {
  producers_.holds = true;
  const Answer& init = Ask(InitOf("a", 1));
  Run(1000);
  EXPECT_FALSE(init.has_come());
  producers_.LetGo(Unavailable("nobody leads"));
  EXPECT_EQ(init.code(), Code::kUnavailable);
  EXPECT_EQ(shard_->state().transactions().size(), 0U);
}

// Rule 70: "Init fences before it answers", and it answers once nothing of before is open.
TEST_F(TransactionServerTest, Rule70_AnInit_AbortsWhatIsOpen_AndWaitsUntilAllHaveBeenTold) {
  Open("a", {5, 6});
  const Answer& init = Ask(InitOf("a", 99));
  Run(500);
  EXPECT_FALSE(init.has_come());
  const Answer& late = Ask(EndOf("a", Name("a", 1), kCommit));
  Run(20);
  EXPECT_EQ(late.reason(), Reason::kTransactionFenced);
  ASSERT_EQ(Markers().size(), 1U);
  EXPECT_EQ(Markers()[0].name, Name("a", 1));
  EXPECT_EQ(Markers()[0].outcome, kAbort);
  EXPECT_EQ(Markers()[0].reason, internal::v1::TRANSACTION_END_REASON_FENCED);
  Tell({ToldOf("a", Name("a", 1), {5})});
  Run(500);
  EXPECT_FALSE(init.has_come());
  Tell({ToldOf("a", Name("a", 1), {6})});
  Run(20);
  ASSERT_TRUE(init.is_ok());
  EXPECT_EQ(init.granted.epoch, 2U);
}

TEST_F(TransactionServerTest, OfTwoInits_TheOneThatCameLastIsGrantedIt) {
  Open("a", {5});
  const Answer& first = Ask(InitOf("a", 98));
  Run(20);
  const Answer& second = Ask(InitOf("a", 99));
  Run(20);
  EXPECT_EQ(first.reason(), Reason::kTransactionFenced);
  EXPECT_FALSE(second.has_come());
  Tell({ToldOf("a", Name("a", 1), {5})});
  Run(20);
  ASSERT_TRUE(second.is_ok());
  EXPECT_EQ(second.granted.epoch, 3U);
}

// Rule 72: "a registration that comes before the End of the one before waits for it."
TEST_F(TransactionServerTest, Rule72_ARegistrationOfTheNext_WaitsForTheEndOfTheOneBefore) {
  Open("a", {5});
  const Answer& next = Ask(RegisterOf(Name("a", 2), {5}));
  Run(500);
  EXPECT_FALSE(next.has_come());
  const Answer& end = Ask(EndOf("a", Name("a", 1), kCommit));
  Run(20);
  EXPECT_TRUE(end.is_ok() && next.is_ok());
  ASSERT_TRUE(Id("a").ongoing.has_value() && Id("a").completing.has_value());
  EXPECT_EQ(Id("a").ongoing->number, 2U);
  const Answer& overtakes = Ask(EndOf("a", Name("a", 2), kCommit));
  Run(500);
  EXPECT_FALSE(overtakes.has_come()) << "the one before is not completed";
  Tell({ToldOf("a", Name("a", 1), {5})});
  Run(20);
  EXPECT_TRUE(overtakes.is_ok());
}

// Its partitions wait for both: one entry is one way to the disks of a majority.
TEST_F(TransactionServerTest, WhatWaitsForAnEnd_IsDecidedWithIt_InTheSameEntry) {
  Open("a", {5});
  const Answer& next = Ask(RegisterOf(Name("a", 2), {5}));
  const Answer& later = Ask(RegisterOf(Name("a", 3), {5}));
  Run(500);
  const LogIndex before = Id("a").changed_index;
  const Answer& end = Ask(EndOf("a", Name("a", 1), kCommit));
  Run(20);
  EXPECT_TRUE(end.is_ok() && next.is_ok());
  EXPECT_EQ(Id("a").changed_index, before + 1);
  EXPECT_EQ(Id("a").ongoing->number, 2U);
  EXPECT_FALSE(later.has_come()) << "the second one is open";
}

// What comes before it has begun to wait is not missed.
TEST_F(TransactionServerTest, WhatEndsWhileTheNextIsOnItsWayToWaitForIt_LetsItOn) {
  server_->Stop();
  Make();
  raft::FakeGroup group(kShard, *shard_);
  group.Lead(Term(1));
  const auto settle = [&] {
    for (int i = 0; i < 3; ++i) {
      group.AnswerBarriers({});
      Run(1);
      group.CommitAll();
    }
  };
  Ask(InitOf("a", 1));
  settle();
  const TransactionName first = TransactionOf("a", 1, 1);
  Ask(RegisterOf(first, {5}));
  settle();
  ASSERT_TRUE(Id("a").ongoing.has_value());
  // A majority takes its time to confirm who leads.
  const Answer& next = Ask(RegisterOf(TransactionOf("a", 1, 2), {5}));
  Run(1);
  const Answer& end = Ask(EndOf("a", first, kCommit));
  Run(1);
  group.CommitAll();
  EXPECT_TRUE(end.is_ok());
  settle();
  EXPECT_TRUE(next.is_ok());
}

// Of those that wait whoever came first goes first, each time: else somebody who always comes anew
// could keep another one waiting for ever.
TEST_F(TransactionServerTest, WhoWaits_KeepsItsPlace) {
  Open("a", {5});
  Ask(EndOf("a", Name("a", 1), kCommit));
  Ask(RegisterOf(Name("a", 2), {5, 6}));
  Run(20);
  // One is completing and the next is open: whoever takes the id waits, and so does the End.
  const Answer& init = Ask(InitOf("a", 99));
  const Answer& end = Ask(EndOf("a", Name("a", 2), kCommit));
  Run(20);
  Tell({ToldOf("a", Name("a", 1), {5})});
  Run(20);
  EXPECT_EQ(end.reason(), Reason::kTransactionFenced);
  EXPECT_FALSE(init.has_come());
  Tell({ToldOf("a", Name("a", 2), {5, 6})});
  Run(20);
  EXPECT_TRUE(init.is_ok());
}

TEST_F(TransactionServerTest, WhoWaitsTooLong_IsToldForWhat_AndTheRestGoesOn) {
  Open("a", {5});
  auto request = RegisterOf(Name("a", 2), {5});
  request.set_wait_ms(1'000);
  const Answer& short_one = Ask(request);
  const Answer& usual = Ask(RegisterOf(Name("a", 2), {6}));
  request.set_wait_ms(3'600'000);
  const Answer& long_one = Ask(request);
  Run(990);
  EXPECT_FALSE(short_one.has_come());
  Run(20);
  ASSERT_TRUE(short_one.has_come());
  EXPECT_EQ(short_one.code(), Code::kUnavailable);
  EXPECT_EQ(short_one.reason(), Reason::kNone);
  EXPECT_NE(std::string(short_one.status->message()).find("transaction 1"), std::string::npos);
  Run(8'900);
  EXPECT_FALSE(usual.has_come());
  Run(100);
  EXPECT_EQ(usual.code(), Code::kUnavailable);
  Run(19'900);
  EXPECT_FALSE(long_one.has_come());
  Run(200);
  EXPECT_EQ(long_one.code(), Code::kUnavailable);
}

TEST_F(TransactionServerTest, HowManyWaitForAnId_IsBounded) {
  Open("a", {5});
  std::vector<const Answer*> waiting;
  for (uint64_t i = 0; i < 1'000; ++i) waiting.push_back(&Ask(RegisterOf(Name("a", 2), {10 + i})));
  Run(50);
  const Answer& refused = Ask(RegisterOf(Name("a", 2), {5}));
  Run(50);
  EXPECT_EQ(refused.reason(), Reason::kThrottled);
  Ask(EndOf("a", Name("a", 1), kAbort));
  Run(50);
  for (const Answer* answer : waiting) EXPECT_TRUE(answer->is_ok());
  EXPECT_EQ(Id("a").ongoing->participants.size(), 1'000U);
  const Answer& later = Ask(RegisterOf(Name("a", 3), {5}));
  Run(50);
  EXPECT_FALSE(later.has_come()) << "there is room again";
}

TEST_F(TransactionServerTest, WhoNoLongerLeads_LetsGoOfAllThatWait) {
  Open("a", {5});
  const Answer& waits = Ask(RegisterOf(Name("a", 2), {5}));
  Run(20);
  const Answer& decided = Ask(EndOf("a", Name("a", 1), kCommit));
  producers_.holds = true;
  const Answer& asks = Ask(InitOf("b", 1));
  Run(0);
  LoseLeadership();
  EXPECT_EQ(waits.reason(), Reason::kNotLeader);
  EXPECT_EQ(decided.reason(), Reason::kNotLeader);
  Run(20);
  producers_.LetGo();
  EXPECT_EQ(asks.reason(), Reason::kNotLeader);
  EXPECT_EQ(Ask(EndOf("a", Name("a", 1), kCommit)).reason(), Reason::kNotLeader);
  EXPECT_TRUE(Markers().empty());
}

// Rule 80: "OK to End means: the decision is fsynced on a majority; it survives all." Rule 61:
// "Whoever becomes ready sends the markers of everything undecided; participants leave the state
// only by acknowledgement."
TEST_F(TransactionServerTest,
       Rule80_WhatAnEndWasAnswered_OutlivesAKill_Rule61_AndItsMarkersAreSent) {
  Open("a", {5, 6});
  Open("b", {5});
  const Answer& end = Ask(EndOf("a", Name("a", 1), kCommit));
  Ask(EndOf("b", Name("b", 1), kAbort));
  while (!end.has_come()) Run(1);
  ASSERT_TRUE(end.is_ok());
  sender_.woken = 0;
  Restart();
  EXPECT_GT(sender_.woken, 0);
  const std::vector<Marker> markers = Markers();
  ASSERT_EQ(markers.size(), 2U);
  for (const Marker& marker : markers) {
    const bool is_a = marker.transactional_id == "a";
    EXPECT_EQ(marker.name, Name(marker.transactional_id, 1));
    EXPECT_EQ(marker.outcome, is_a ? kCommit : kAbort);
    EXPECT_EQ(marker.participants.size(), is_a ? 2U : 1U);
  }
  Tell({ToldOf("a", Name("a", 1), {5}), ToldOf("b", Name("b", 1), {5})});
  Run(20);
  Restart();
  ASSERT_EQ(Markers().size(), 1U);
  EXPECT_EQ(Markers()[0].participants, Participants{RaftGroupId(6)});
  const Answer& again = Ask(EndOf("a", Name("a", 1), kCommit));
  const Answer& other = Ask(EndOf("a", Name("a", 1), kAbort));
  Run(20);
  EXPECT_TRUE(again.is_ok());
  EXPECT_EQ(other.reason(), Reason::kTransactionEnded);
}

// The variant prepare_not_durable: rule 80 is what it breaks.
TEST_F(TransactionServerTest, Rule80_AnEndThatIsAnsweredBeforeItIsDurable_IsForgotten) {
  Open("a", {5});
  active_mutant = Mutant::kPrepareNotDurable;
  const Answer& end = Ask(EndOf("a", Name("a", 1), kCommit));
  EXPECT_TRUE(end.is_ok()) << "the broken variant has not stored anything yet";
  Restart();
  EXPECT_TRUE(Id("a").ongoing.has_value());
  EXPECT_TRUE(Markers().empty());
}

TEST_F(TransactionServerTest, AnEnd_IsAnsweredWhenItIsStored_AndMarkersAreOfWhatIsApplied) {
  Open("a", {5});
  Open("b", {5});
  Ask(EndOf("b", Name("b", 1), kCommit));
  Run(20);
  sender_.sent.clear();
  const Answer& end = Ask(EndOf("a", Name("a", 1), kCommit));
  EXPECT_FALSE(end.has_come());
  EXPECT_EQ(Markers().size(), 1U);
  EXPECT_TRUE(sender_.sent.empty());
  Run(20);
  EXPECT_TRUE(end.is_ok());
  EXPECT_EQ(Markers().size(), 2U);
  ASSERT_EQ(sender_.sent.size(), 1U) << "not those of before";
  EXPECT_EQ(sender_.sent[0].name, Name("a", 1));
}

// Rule 67: "The first entry wins; End is answered with the outcome."
TEST_F(TransactionServerTest, Rule67_OfATimeLimitAndAnEnd_TheFirstOneCounts) {
  Open("a", {5});
  Open("b", {5});
  shard_->Tend(std::nullopt);
  Run(kTransactionTimeMsDefault);
  const Answer& before = Ask(EndOf("b", Name("b", 1), kCommit));
  shard_->Tend(std::nullopt);
  const Answer& behind = Ask(EndOf("a", Name("a", 1), kCommit));
  Run(20);
  EXPECT_TRUE(before.is_ok());
  EXPECT_EQ(Id("b").last.outcome, kCommit);
  EXPECT_EQ(behind.reason(), Reason::kTransactionEnded);
  EXPECT_EQ(behind.status->metadata()[1].second, "time_limit");
  EXPECT_EQ(Id("a").last.outcome, kAbort);
}

// Rule 68: "A time limit ends the number, not the producer: it is told, and begins the next."
TEST_F(TransactionServerTest, Rule68_WhoTookTooLong_IsAborted_AndBeginsTheNext) {
  Open("a", {5});
  // A wall clock that jumps says nothing of it, nor does one that nobody believes.
  shard_->Tend(INT64_MAX);
  Run(kTransactionTimeMsDefault - 1);
  shard_->Tend(INT64_MAX);
  Run(20);
  EXPECT_TRUE(Id("a").ongoing.has_value());
  shard_->Tend(std::nullopt);
  Run(20);
  ASSERT_FALSE(Id("a").ongoing.has_value());
  EXPECT_EQ(sender_.sent.size(), 1U) << "who takes part is told";
  const Answer& late = Ask(RegisterOf(Name("a", 1), {6}));
  const Answer& next = Ask(RegisterOf(Name("a", 2), {6}));
  Run(20);
  EXPECT_EQ(late.reason(), Reason::kTransactionEnded);
  EXPECT_TRUE(next.is_ok());
}

// Rule 84: "Ids expire after 7 days without an open transaction."
TEST_F(TransactionServerTest, Rule84_WhatNobodyUses_IsForgotten_AndWhatIsOpenIsNot) {
  Open("a", {5});
  Open("b", {5});
  Ask(EndOf("a", Name("a", 1), kCommit));
  Ask(EndOf("b", Name("b", 1), kCommit));
  Run(20);
  Tell({ToldOf("a", Name("a", 1), {5})});
  Run(20);
  const int64_t changed = Id("a").changed_ms;
  shard_->Tend(changed + kTransactionalIdKeptMs - 1);
  Run(20);
  EXPECT_EQ(shard_->state().transactions().size(), 2U);
  shard_->Tend(changed + kTransactionalIdKeptMs);
  // Who uses it in the meantime begins anew.
  const Answer& sleeper = Ask(RegisterOf(Name("a", 2), {5}));
  Run(20);
  EXPECT_EQ(shard_->state().transactions().size(), 1U);
  EXPECT_EQ(sleeper.reason(), Reason::kUnknownProducer);
  const Answer& anew = Ask(InitOf("a", 77));
  Run(20);
  ASSERT_TRUE(anew.is_ok());
  EXPECT_NE(anew.granted.producer, Name("a", 1).producer);
}

TEST_F(TransactionServerTest, WhatManyWereTold_IsOneEntry) {
  std::vector<internal::v1::ParticipantsEnded> told;
  for (int i = 0; i < 10; ++i) {
    const std::string id = "id-" + std::to_string(i);
    Open(id, {5, 6});
    Ask(EndOf(id, Name(id, 1), kCommit));
    told.push_back(ToldOf(id, Name(id, 1), {5}));
  }
  Run(20);
  const size_t before = entries();
  const Answer& first = Tell(told);
  const Answer& second = Tell({ToldOf("id-0", Name("id-0", 1), {6})});
  Run(20);
  EXPECT_TRUE(first.is_ok() && second.is_ok());
  EXPECT_EQ(entries(), before + 1);
  EXPECT_TRUE(Id("id-0").is_idle());
  EXPECT_EQ(Markers().size(), 9U);
  const Answer& repeated = Tell(told);
  Run(20);
  EXPECT_TRUE(repeated.is_ok());
  EXPECT_EQ(entries(), before + 1);
}

TEST_F(TransactionServerTest, Markers_AreTakenAFewAtATime) {
  for (int i = 0; i < 10; ++i) {
    const std::string id = "id-" + std::to_string(i);
    Open(id, {5});
    Ask(EndOf(id, Name(id, 1), kCommit));
  }
  Run(20);
  std::set<std::string> seen;
  TransactionTable::Completing::Cursor cursor;
  for (int page = 0; page < 4; ++page) {
    for (const Marker& marker : server_->Markers(kShard, 3, &cursor)) {
      EXPECT_TRUE(seen.insert(marker.transactional_id).second);
    }
  }
  EXPECT_EQ(seen.size(), 10U);
  EXPECT_TRUE(server_->Markers(kShard, 3, &cursor).empty());
}

TEST_F(TransactionServerTest, AnAdministratorsAbort_IsToldToWhoTakesPart) {
  Open("a", {5});
  const Answer& abort = Ask(AbortOf("a", Name("a", 1)));
  Run(20);
  EXPECT_TRUE(abort.is_ok());
  ASSERT_EQ(Markers().size(), 1U);
  EXPECT_EQ(Markers()[0].reason, internal::v1::TRANSACTION_END_REASON_ADMINISTRATOR);
}

TEST_F(TransactionServerTest, Tools_AreToldWhatAMajorityHas) {
  Open("a", {5});
  std::optional<Result<internal::v1::DescribeTransactionReply>> described;
  internal::v1::DescribeTransactionRequest request;
  request.set_transactional_id("a");
  server_->Describe(kShard,
                    std::make_shared<const internal::v1::DescribeTransactionRequest>(request),
                    [&](auto reply) { described = std::move(reply); });
  std::optional<Result<internal::v1::ListTransactionsReply>> listed;
  server_->List(kShard, std::make_shared<const internal::v1::ListTransactionsRequest>(),
                [&](auto reply) { listed = std::move(reply); });
  EXPECT_FALSE(described.has_value() || listed.has_value());
  Run(20);
  ASSERT_TRUE(described.has_value() && listed.has_value());
  EXPECT_EQ((*described)->state(), internal::v1::TRANSACTION_STATE_ONGOING);
  EXPECT_EQ((*listed)->transactions_size(), 1);
}

TEST_F(TransactionServerTest, AShardThatHasNotTheSlot_SaysSo) {
  image_ = Image();
  auto created = Created(1, std::string(kCoordinatorTopic), kShard.value(), 2);
  created.mutable_topic_created()->set_kind(internal::v1::TopicCreated::KIND_COORDINATOR);
  created.mutable_topic_created()->set_slot_count(kCoordinatorSlots);
  ASSERT_TRUE(image_.Apply(created).ok());
  RaiseTo(kTransactionLevel);
  std::string its;
  std::string others;
  for (int i = 0; its.empty() || others.empty(); ++i) {
    const std::string id = "id-" + std::to_string(i);
    (SlotOf(id) % 2 == 0 ? its : others) = id;
  }
  const Answer& right = Ask(InitOf(its, 1));
  const Answer& wrong = Ask(InitOf(others, 1));
  Run(20);
  EXPECT_TRUE(right.is_ok());
  EXPECT_EQ(wrong.reason(), Reason::kNotLeader);
  EXPECT_EQ(Ask(RegisterOf(TransactionOf(others, 1, 1), {5})).reason(), Reason::kNotLeader);
  EXPECT_EQ(Ask(EndOf(others, TransactionOf(others, 1, 1), kCommit)).reason(), Reason::kNotLeader);
}

// Of level 4, or a replica of an older build would take what it does not know for damage.
TEST_F(TransactionServerTest, EntriesWithTransactions_AreOfTheirLevel_AndNoOthers) {
  Ask(InitOf("a", 1));
  Run(20);
  EXPECT_EQ(store_.groups.at(kShard).entries.back().frame.header().feature_level,
            kTransactionLevel);
  shard_->Execute({.key = "g",
                   .decide = [](const ShardState&) -> Result<internal::v1::CoordinatorRecords> {
                     internal::v1::CoordinatorRecords records;
                     auto& changed = *records.add_records()->mutable_group_changed();
                     changed.set_group("g");
                     changed.set_kind(internal::v1::GROUP_KIND_LOG);
                     changed.set_epoch(1);
                     return records;
                   },
                   .done = [](const Status&) {}});
  Run(20);
  EXPECT_EQ(store_.groups.at(kShard).entries.back().frame.header().feature_level,
            kCoordinatorLevel);
}

TEST_F(TransactionServerTest, BelowTheirLevel_ThereAreNoTransactions) {
  image_ = Image();
  auto created = Created(1, std::string(kCoordinatorTopic), kShard.value(), 1);
  created.mutable_topic_created()->set_kind(internal::v1::TopicCreated::KIND_COORDINATOR);
  created.mutable_topic_created()->set_slot_count(kCoordinatorSlots);
  ASSERT_TRUE(image_.Apply(created).ok());
  RaiseTo(kCoordinatorLevel);
  const Answer& refused = Ask(InitOf("a", 1));
  EXPECT_EQ(refused.code(), Code::kFailedPrecondition);
  EXPECT_EQ(Ask(RegisterOf(TransactionOf("a", 1, 1), {5})).code(), Code::kFailedPrecondition);
  EXPECT_EQ(Ask(EndOf("a", TransactionOf("a", 1, 1), kCommit)).code(), Code::kFailedPrecondition);
  RaiseTo(kTransactionLevel);
  const Answer& taken = Ask(InitOf("a", 1));
  Run(20);
  EXPECT_TRUE(taken.is_ok());
}

// One that is nobody's may be one that this leader does not know of yet, if it leads no more.
TEST_F(TransactionServerTest, AProducerIdThatIsNobodys_IsRefusedOnceAMajorityHasConfirmedWhoLeads) {
  const Answer& unknown = Ask(RegisterOf(TransactionOf("a", 1, 1), {5}));
  EXPECT_FALSE(unknown.has_come());
  Run(20);
  EXPECT_EQ(unknown.reason(), Reason::kUnknownProducer);
}

}  // namespace
}  // namespace millrace::broker

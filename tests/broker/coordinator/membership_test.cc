// The members of a group as records say, and what no record can say.
#include "broker/coordinator/membership.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/broker/coordinator/member_rig.h"

namespace millrace::broker {
namespace {

using internal::v1::SavedMembership;
using v1::GroupEventKind;

std::string Saved(const Membership& membership) {
  SavedMembership saved;
  membership.SaveTo(&saved);
  return saved.SerializeAsString();
}

class MembershipTest : public testing::Test {
 protected:
  template <typename Record>
  Status Apply(const Record& record) {
    return membership_.Apply(record, NextPlace());
  }
  Status Apply(const internal::v1::TargetComputed& target, uint32_t group_epoch) {
    return membership_.Apply(target, group_epoch, NextPlace());
  }
  Membership::Place NextPlace() {
    last_ = last_ + 1;
    return {.index = last_, .time_ms = static_cast<int64_t>(100 * last_.value())};
  }
  // Two members: a has 0-3 since epoch 2 and gives up 4-5, which it got in epoch 1; b has 6-7.
  void MakeTwo() {
    ASSERT_TRUE(Apply(Comes("a", 1, "one")).ok());
    ASSERT_TRUE(Apply(Comes("b", 2)).ok());
    ASSERT_TRUE(Apply(TargetOf(2, {{"a", "0-3"}, {"b", "4-7"}}), 2).ok());
    ASSERT_TRUE(Apply(Has("a", 2, {{2, Partitions("0-3")}}, {{1, Partitions("4-5")}})).ok());
    ASSERT_TRUE(Apply(Has("b", 2, {{2, Partitions("6-7")}})).ok());
  }
  // The record cannot have been decided.
  template <typename... Record>
  void ExpectRefused(Code code, const Record&... record) {
    const std::string before = Saved(membership_);
    const size_t bytes = membership_.bytes();
    EXPECT_EQ(Apply(record...).code(), code);
    EXPECT_EQ(Saved(membership_), before);
    EXPECT_EQ(membership_.bytes(), bytes);
  }

  Membership membership_;
  LogIndex last_;
};

TEST_F(MembershipTest, AMemberThatComes_HasNothing_AndTheGroupsEpoch) {
  ASSERT_TRUE(Apply(Comes("a", 7)).ok());
  const Member* member = membership_.Find("a");
  ASSERT_NE(member, nullptr);
  EXPECT_EQ(member->epoch, 7U);
  EXPECT_EQ(member->assigned_index, LogIndex(1));
  EXPECT_TRUE(member->held().empty());
  EXPECT_TRUE(member->target.empty());
  EXPECT_EQ(membership_.Find("b"), nullptr);
}

TEST_F(MembershipTest, WhatMembersHave_IsWhatTheLastRecordSays) {
  MakeTwo();
  EXPECT_EQ(ToText(membership_.Find("a")->assigned), "0-3@2");
  EXPECT_EQ(ToText(membership_.Find("a")->revoking), "4-5@1");
  EXPECT_EQ(ToText(membership_.Find("a")->held()), "4-5@1 0-3@2");
  EXPECT_EQ(ToText(membership_.held()), "0-7");
  ASSERT_TRUE(Apply(Has("a", 2, {{2, Partitions("0-3")}})).ok());
  EXPECT_EQ(ToText(membership_.held()), "0-3,6-7");
  EXPECT_EQ(membership_.Find("a")->assigned_index, last_);
  ASSERT_TRUE(Apply(Goes("b", 3)).ok());
  EXPECT_EQ(ToText(membership_.held()), "0-3");
}

TEST_F(MembershipTest, WhoSaysOtherThingsOfItself_KeepsWhatItHas) {
  MakeTwo();
  const LogIndex told = membership_.Find("a")->assigned_index;
  internal::v1::MemberChanged changed = Comes("a", 3, "one");
  changed.mutable_member()->set_rack("r2");
  ASSERT_TRUE(Apply(changed).ok());
  EXPECT_EQ(membership_.Find("a")->info.rack(), "r2");
  EXPECT_EQ(membership_.Find("a")->epoch, 2U);
  EXPECT_EQ(membership_.Find("a")->assigned_index, told);
  EXPECT_EQ(ToText(membership_.Find("a")->held()), "4-5@1 0-3@2");
}

TEST_F(MembershipTest, WhoTakesAnothersPlace_HasAllThatItHad) {
  MakeTwo();
  ASSERT_TRUE(Apply(Comes("c", 3, "one", "a")).ok());
  EXPECT_EQ(membership_.Find("a"), nullptr);
  EXPECT_EQ(membership_.FindInstance("one"), membership_.Find("c"));
  EXPECT_EQ(ToText(membership_.Find("c")->held()), "4-5@1 0-3@2");
  EXPECT_EQ(ToText(membership_.Find("c")->target), "0-3");
  EXPECT_EQ(membership_.Find("c")->epoch, 3U) << "so that what it gets next has a larger token";
  EXPECT_EQ(membership_.Find("c")->assigned_index, last_) << "it was told nothing yet";
  EXPECT_EQ(ToText(membership_.held()), "0-7");
}

TEST_F(MembershipTest, APartitionOfTwoMembers_IsRefused) {
  MakeTwo();
  ExpectRefused(Code::kDataLoss, Has("b", 2, {{2, Partitions("3,6-7")}}));
  ExpectRefused(Code::kDataLoss, Has("b", 2, {{2, Partitions("5-7")}}));
  ExpectRefused(Code::kDataLoss, Has("b", 2, {{2, Partitions("6-7")}}, {{1, Partitions("4")}}));
  EXPECT_TRUE(Apply(Has("a", 2, {{2, Partitions("0-5")}})).ok()) << "its own is no other's";
}

TEST_F(MembershipTest, APartitionThatAMemberHasTwice_IsRefused) {
  MakeTwo();
  ExpectRefused(Code::kDataLoss, Has("b", 2, {{2, Partitions("6-7")}}, {{1, Partitions("7")}}));
  ExpectRefused(Code::kDataLoss, Has("b", 2, {{1, Partitions("6-7")}, {2, Partitions("7")}}));
  internal::v1::MemberAssigned twice = Has("b", 2, {{2, Partitions("6")}});
  *twice.add_assigned() = Has("b", 2, {{2, Partitions("7")}}).assigned(0);
  ExpectRefused(Code::kDataLoss, twice);
  internal::v1::MemberAssigned nothing = Has("b", 2, {{2, Partitions("6")}});
  nothing.mutable_assigned(0)->clear_topics();
  ExpectRefused(Code::kDataLoss, nothing);
  internal::v1::MemberAssigned runs = Has("b", 2, {{2, Partitions("6")}});
  runs.mutable_assigned(0)->mutable_topics(0)->add_runs(0);
  ExpectRefused(Code::kDataLoss, runs);
}

TEST_F(MembershipTest, WhatIsSaidOfAMemberThatIsNotThere_IsRefused) {
  MakeTwo();
  ExpectRefused(Code::kDataLoss, Has("c", 2, {}));
  ExpectRefused(Code::kDataLoss, Goes("c", 3));
  ExpectRefused(Code::kDataLoss, Comes("d", 3, "", "c"));
  ExpectRefused(Code::kDataLoss, Comes("b", 3, "one", "a"));
  ExpectRefused(Code::kDataLoss, Comes("", 3));
  ExpectRefused(Code::kDataLoss, TargetOf(3, {{"a", "0"}, {"c", "1"}}), 3U);
}

TEST_F(MembershipTest, AMembersEpoch_NeverGoesBack_NorIsBehindWhatItHas) {
  MakeTwo();
  ExpectRefused(Code::kDataLoss, Has("b", 1, {{1, Partitions("6-7")}}));
  ExpectRefused(Code::kDataLoss, Has("b", 2, {{3, Partitions("6-7")}}));
  ExpectRefused(Code::kDataLoss, Has("b", 2, {}, {{3, Partitions("6-7")}}));
}

TEST_F(MembershipTest, AMemberOfAnotherStrategy_IsNotUnderstood) {
  internal::v1::MemberChanged changed = Comes("a", 1);
  changed.mutable_member()->clear_native();
  ExpectRefused(Code::kUnimplemented, changed);
  MakeTwo();
  SavedMembership saved;
  membership_.SaveTo(&saved);
  saved.mutable_members(1)->mutable_info()->clear_native();
  EXPECT_EQ(Membership::LoadFrom(saved).status().code(), Code::kUnimplemented);
}

TEST_F(MembershipTest, OfATopic_ItKnowsWhenTheGroupBeganToReadIt) {
  ASSERT_TRUE(Apply(Comes("a", 1)).ok());
  ASSERT_TRUE(Apply(TargetOf(1, {{"a", "0-3"}}, 4), 1).ok());
  ASSERT_TRUE(Apply(TargetOf(2, {{"a", "0-7"}}, 8), 1).ok());
  EXPECT_EQ(membership_.topics().at(kReadTopic),
            (SubscribedTopic{.partition_count = 8, .first_partition_count = 4}));
  internal::v1::TargetComputed without = TargetOf(3, {{"a", ""}});
  without.clear_topics();
  ASSERT_TRUE(Apply(without, 2).ok());
  EXPECT_TRUE(membership_.topics().empty());
  ASSERT_TRUE(Apply(TargetOf(4, {{"a", "0-7"}}, 8), 3).ok());
  EXPECT_EQ(membership_.topics().at(kReadTopic).first_partition_count, 8U) << "it begins anew";
}

TEST_F(MembershipTest, WhatHappened_IsTold_TheLast64) {
  MakeTwo();
  ASSERT_TRUE(Apply(Comes("a", 2, "one")).ok());  // nothing that counts
  ASSERT_TRUE(Apply(Comes("b", 3, "two")).ok());
  ASSERT_TRUE(Apply(Comes("c", 3, "one", "a")).ok());
  ASSERT_TRUE(Apply(Goes("b", 4)).ok());
  ASSERT_TRUE(Apply(TargetOf(4, {{"c", "0-7"}}), 4).ok());
  ASSERT_TRUE(Apply(TargetOf(5, {{"c", "0-7"}}), 4).ok());
  std::vector<GroupEventKind> kinds;
  for (const auto& event : membership_.events()) kinds.push_back(event.kind());
  EXPECT_EQ(kinds, (std::vector<GroupEventKind>{
                       v1::GROUP_EVENT_KIND_JOINED, v1::GROUP_EVENT_KIND_JOINED,
                       v1::GROUP_EVENT_KIND_CHANGED, v1::GROUP_EVENT_KIND_REPLACED,
                       v1::GROUP_EVENT_KIND_LEFT, v1::GROUP_EVENT_KIND_TOPICS_CHANGED}));
  EXPECT_EQ(membership_.events()[4].member_id(), "b");
  EXPECT_EQ(membership_.events()[4].instance_id(), "two");
  EXPECT_EQ(membership_.events()[5].epoch(), 5U);
  for (uint32_t epoch = 5; epoch < 200; epoch += 2) {
    ASSERT_TRUE(Apply(Comes("d", epoch)).ok());
    ASSERT_TRUE(Apply(Goes("d", epoch + 1)).ok());
  }
  EXPECT_EQ(membership_.events().size(), 64U);
  EXPECT_EQ(membership_.events().back().kind(), v1::GROUP_EVENT_KIND_LEFT);
  SavedMembership saved;
  membership_.SaveTo(&saved);
  EXPECT_EQ(membership_.bytes(), Membership::LoadFrom(saved)->bytes())
      << "what is forgotten is no load";
}

TEST_F(MembershipTest, SavedAndLoaded_ItIsTheSame_AndHoldsAsMuch) {
  MakeTwo();
  SavedMembership saved;
  membership_.SaveTo(&saved);
  const Result<Membership> loaded = Membership::LoadFrom(saved);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(Saved(*loaded), Saved(membership_));
  EXPECT_EQ(loaded->bytes(), membership_.bytes());
  EXPECT_EQ(loaded->held(), membership_.held());
}

TEST_F(MembershipTest, WhatNobodySaved_IsNotLoaded) {
  MakeTwo();
  SavedMembership saved;
  membership_.SaveTo(&saved);
  SavedMembership twice = saved;
  *twice.add_members() = saved.members(1);
  EXPECT_EQ(Membership::LoadFrom(twice).status().code(), Code::kDataLoss);
  SavedMembership shared = saved;
  Save(Holdings{{2, Partitions("5-7")}}, [&] {
    shared.mutable_members(1)->clear_assigned();
    return shared.mutable_members(1)->mutable_assigned();
  }());
  EXPECT_EQ(Membership::LoadFrom(shared).status().code(), Code::kDataLoss);
  SavedMembership both = saved;
  *both.mutable_members(1)->add_revoking() = both.members(1).assigned(0);
  EXPECT_EQ(Membership::LoadFrom(both).status().code(), Code::kDataLoss);
  SavedMembership nameless = saved;
  nameless.mutable_members(0)->mutable_info()->clear_member_id();
  EXPECT_EQ(Membership::LoadFrom(nameless).status().code(), Code::kDataLoss);
}

TEST_F(MembershipTest, ACopy_IsFrozen) {
  MakeTwo();
  const Membership copy = membership_;
  const std::string before = Saved(copy);
  ASSERT_TRUE(Apply(Has("a", 3, {{3, Partitions("4")}})).ok());
  ASSERT_TRUE(Apply(Goes("b", 4)).ok());
  EXPECT_EQ(Saved(copy), before);
  EXPECT_EQ(ToText(copy.held()), "0-7");
}

TEST(Holdings, AreSetsOfPartitionsByEpoch) {
  const Holdings holdings = {{1, Partitions("0-3")}, {4, Partitions("6-7")}};
  EXPECT_EQ(ToText(PartitionsOf(holdings)), "0-3,6-7");
  EXPECT_EQ(ToText(Intersection(holdings, Partitions("2-6"))), "2-3@1 6@4");
  EXPECT_EQ(ToText(Intersection(holdings, Partitions("2"))), "2@1") << "no epoch without any";
  EXPECT_EQ(ToText(Difference(holdings, Partitions("0-6"))), "7@4");
  EXPECT_EQ(ToText(Union(holdings, {{4, Partitions("8")}, {5, Partitions("9")}})),
            "0-3@1 6-8@4 9@5");
  EXPECT_EQ(EpochIn(holdings, {kReadTopic, PartitionId(7)}), 4U);
  EXPECT_EQ(EpochIn(holdings, {kReadTopic, PartitionId(5)}), std::nullopt);
  EXPECT_EQ(EpochIn(holdings, {TopicId(2), PartitionId(7)}), std::nullopt);
}

}  // namespace
}  // namespace millrace::broker

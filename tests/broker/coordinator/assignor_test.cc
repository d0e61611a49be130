// Assignors by example, and `range`. What holds of `uniform` whatever the group is in
// uniform_assignor_test.cc.
#include "broker/coordinator/assignor.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/broker/coordinator/assignor_rig.h"
#include "tests/support/seeds/seeds.h"

namespace millrace::broker {
namespace {

using testing::HasSubstr;

TEST(Assignors, AreFoundByTheirNames) {
  const AssignorInput input{.members = {Member("a", {1})}, .topics = {Topic(1, 3)}};
  for (const char* name : {"uniform", "range"}) {
    const Result<Assignor> assign = FindAssignor(name);
    ASSERT_TRUE(assign.ok()) << name;
    EXPECT_EQ((*assign)(input), (Assignments{{"a", {{TopicId(1), Runs(0, 3)}}}}));
  }
  const Status unknown = FindAssignor("sticky").status();
  EXPECT_EQ(unknown.code(), Code::kInvalidArgument);
  EXPECT_EQ(unknown.message(), "assignor \"sticky\" is not known; there are uniform and range");
}

TEST(Assignors, OfNobodyOrNothing_AssignNothing) {
  for (const char* name : {"uniform", "range"}) {
    const Assignor assign = *FindAssignor(name);
    EXPECT_EQ(assign({}), Assignments());
    EXPECT_EQ(assign({.members = {}, .topics = {Topic(1, 3)}}), Assignments());
    EXPECT_EQ(assign({.members = {Member("a", {1})}, .topics = {}}), (Assignments{{"a", {}}}));
    EXPECT_EQ(assign({.members = {Member("a", {})}, .topics = {Topic(1, 3)}}),
              (Assignments{{"a", {}}}));
    EXPECT_EQ(assign({.members = {Member("a", {1})}, .topics = {Topic(1, 0)}}),
              (Assignments{{"a", {}}}));
  }
}

TEST(Range, GivesEachMemberARange_WithTheRestToTheFirst) {
  const Assignments assigned =
      AssignRange({.members = {Member("c", {1, 2}), Member("a", {1, 2}), Member("b", {1})},
                   .topics = {Topic(1, 8), Topic(2, 3)}});
  EXPECT_EQ(assigned.at("a"), (Assignment{{TopicId(1), Runs(0, 3)}, {TopicId(2), Runs(0, 2)}}));
  EXPECT_EQ(assigned.at("b"), (Assignment{{TopicId(1), Runs(3, 6)}}));
  EXPECT_EQ(assigned.at("c"), (Assignment{{TopicId(1), Runs(6, 8)}, {TopicId(2), Runs(2, 3)}}));
}

TEST(Range, GivesAStaticMember_WhoComesBackUnderANewId_ItsOldPlace) {
  AssignorInput input{.members = {Member("x", {1}), Member("y", {1}), Member("a", {1})},
                      .topics = {Topic(1, 3)}};
  input.members[0].instance_id = "one";
  input.members[1].instance_id = "two";
  EXPECT_EQ(AssignRange(input).at("a"), (Assignment{{TopicId(1), Runs(2, 3)}})) << "after both";
  input.members[0].id = "z";
  EXPECT_EQ(AssignRange(input).at("z"), (Assignment{{TopicId(1), Runs(0, 1)}}));
}

TEST(Range, LinesUpTopicsOfASet_OfUnequalPartitionCounts) {
  AssignorInput input{.members = {Member("a", {1, 2}), Member("b", {1, 2})},
                      .topics = {Topic(1, 6), Topic(2, 4)}};
  EXPECT_EQ(AssignRange(input).at("b"),
            (Assignment{{TopicId(1), Runs(3, 6)}, {TopicId(2), Runs(2, 4)}}));
  input.members[0].topic_sets = {{TopicId(1), TopicId(2)}};
  EXPECT_EQ(AssignRange(input).at("b"),
            (Assignment{{TopicId(1), Runs(3, 6)}, {TopicId(2), Runs(3, 4)}}));
}

TEST(Uniform, LinesUpTopicsOfAsManyPartitions_WhileMembersComeAndGo) {
  AssignorInput input{.members = {}, .topics = {Topic(1, 12), Topic(2, 12), Topic(3, 12)}};
  const auto assign = [&input](size_t members) {
    const Assignments assigned = AssignUniform(input);
    Settle(assigned, &input);
    for (const auto& [id, assignment] : assigned) {
      EXPECT_EQ(PartitionCountOf(assignment), 36 / members);
      EXPECT_EQ(assignment.at(TopicId(1)), assignment.at(TopicId(2))) << members << " " << id;
      EXPECT_EQ(assignment.at(TopicId(1)), assignment.at(TopicId(3))) << members << " " << id;
    }
  };
  for (size_t members = 1; members <= 4; ++members) {
    input.members.push_back(Member("m" + std::to_string(members), {1, 2, 3}));
    assign(members);
  }
  for (size_t members = 3; members >= 1; --members) {
    input.members.erase(input.members.begin());
    assign(members);
  }
}

TEST(Uniform, SplitsALine_WhereBalanceTakesIt) {
  AssignorInput input{.members = {Member("a", {1, 2}), Member("b", {1, 2})},
                      .topics = {Topic(1, 3), Topic(2, 3)}};
  Settle(AssignUniform(input), &input);
  EXPECT_EQ(PartitionCountOf(input.members[0].current), 3U);
  const Assignment& first = input.members[0].current;
  EXPECT_EQ(Intersection(first.at(TopicId(1)), first.at(TopicId(2))).size(), 1U)
      << "one line of three is split";
}

TEST(Uniform, GivesWhatNobodyHas_ToWhoHasTheRestOfItsLine) {
  AssignorInput input{.members = {Member("a", {1, 2}), Member("b", {1, 2})},
                      .topics = {Topic(1, 2), Topic(2, 2)}};
  input.members[0].current = {{TopicId(1), Runs(1, 2)}};
  input.members[1].current = {{TopicId(1), Runs(0, 1)}};
  const Assignments assigned = AssignUniform(input);
  EXPECT_EQ(assigned.at("a"), (Assignment{{TopicId(1), Runs(1, 2)}, {TopicId(2), Runs(1, 2)}}));
}

TEST(Uniform, TakesOfALineThatIsSplitFirst) {
  AssignorInput input{.members = {Member("a", {1, 2, 3}), Member("b", {1, 2, 3})},
                      .topics = {Topic(1, 1), Topic(2, 1), Topic(3, 3)}};
  input.members[0].current = {{TopicId(1), Runs(0, 1)}, {TopicId(3), Runs(0, 3)}};
  input.members[1].current = {{TopicId(2), Runs(0, 1)}};
  const Assignments assigned = AssignUniform(input);
  EXPECT_EQ(assigned.at("b"), (Assignment{{TopicId(1), Runs(0, 1)}, {TopicId(2), Runs(0, 1)}}));
}

TEST(Uniform, FindsRoomForLinesFirst) {
  const Subscription all = {1, 2, 3};
  const AssignorInput input{
      .members = {Member("a", all), Member("b", all), Member("c", all), Member("d", all)},
      .topics = {Topic(1, 3), Topic(2, 3), Topic(3, 2)}};
  for (const auto& [member, assignment] : AssignUniform(input)) {
    EXPECT_EQ(PartitionCountOf(assignment), 2U);
    EXPECT_EQ(assignment.contains(TopicId(1)), assignment.contains(TopicId(2))) << member;
  }
}

TEST(Uniform, KeepsTopicsOfASetTogether_AndCountsThemAsOne) {
  AssignorInput input{.members = {Member("a", {1, 2}), Member("b", {1, 2})},
                      .topics = {Topic(1, 3), Topic(2, 3)}};
  input.members[1].topic_sets = {{TopicId(2), TopicId(1)}};
  const Assignments assigned = AssignUniform(input);
  EXPECT_EQ(WrongSets(input, assigned), "");
  EXPECT_EQ(PartitionCountOf(assigned.at("a")), 4U);
  EXPECT_EQ(PartitionCountOf(assigned.at("b")), 2U);
}

TEST(Uniform, MovesTheSmallerPart_WhenASetIsNamed) {
  AssignorInput input{.members = {Member("a", {1, 2, 3}), Member("b", {1, 2, 3})},
                      .topics = {Topic(1, 2), Topic(2, 2), Topic(3, 2)}};
  input.members[0].current = {{TopicId(1), Runs(0, 2)}, {TopicId(2), Runs(1, 2)}};
  input.members[1].current = {{TopicId(2), Runs(0, 1)}, {TopicId(3), Runs(0, 2)}};
  input.members[0].topic_sets = {{TopicId(1), TopicId(2), TopicId(3)}};
  const Assignments assigned = AssignUniform(input);
  for (const TopicId topic : {TopicId(1), TopicId(2), TopicId(3)}) {
    EXPECT_EQ(assigned.at("a").at(topic), Runs(1, 2));
    EXPECT_EQ(assigned.at("b").at(topic), Runs(0, 1));
  }
}

TEST(Uniform, PutsPartitionsIntoRacksOfTheirReplicas_ThoughOneMustGoElsewhereForAnother) {
  AssignorInput input{.members = {Member("a", {1}, "r1"), Member("b", {1}, "r2")},
                      .topics = {Topic(1, 2)}};
  input.topics[0].replica_racks = {{"r2", "r1"}, {"r1", "r3"}};
  const Assignments assigned = AssignUniform(input);
  EXPECT_EQ(assigned.at("a"), (Assignment{{TopicId(1), Runs(1, 2)}}));
  EXPECT_EQ(assigned.at("b"), (Assignment{{TopicId(1), Runs(0, 1)}}));
}

TEST(Uniform, GivesTheRest_ToTheRackWithTheReplicas) {
  AssignorInput input{
      .members = {Member("a", {1}, "r1"), Member("b", {1}, "r2"), Member("c", {1}, "r3")},
      .topics = {Topic(1, 4)}};
  input.topics[0].replica_racks = {{"r2"}, {"r2"}, {"r2"}, {"r2"}};
  EXPECT_EQ(PartitionCountOf(AssignUniform(input).at("b")), 2U);
}

TEST(Uniform, MovesNothingForItsRackAlone_ButOfWhatMustMoveWhatIsInNone) {
  AssignorInput input{.members = {Member("a", {1}, "r1")}, .topics = {Topic(1, 4)}};
  input.topics[0].replica_racks = {{"r1"}, {"r2"}, {"r2"}, {"r1"}};
  Settle(AssignUniform(input), &input);
  EXPECT_EQ(PartitionCountOf(input.members[0].current), 4U);
  input.members.push_back(Member("b", {1}, "r2"));
  Settle(AssignUniform(input), &input);
  EXPECT_EQ(input.members[1].current, (Assignment{{TopicId(1), Runs(1, 3)}}));
  input.members[0].rack = "r2";
  input.members[1].rack = "r1";
  const Assignments assigned = AssignUniform(input);
  EXPECT_EQ(assigned.at("b"), input.members[1].current);
}

TEST(Uniform, OfTwoWhoSayTheyHaveAPartition_BelievesOne_AndWhatIsGoneIsNobodys) {
  AssignorInput input{.members = {Member("a", {1}), Member("b", {1})}, .topics = {Topic(1, 2)}};
  input.members[0].current = {{TopicId(1), Runs(0, 9)}, {TopicId(7), Runs(0, 1)}};
  input.members[1].current = {{TopicId(1), Runs(1, 2)}};
  EXPECT_EQ(WrongOwners(input, AssignUniform(input)), "");
}

AssignorInput AnyGroup(Random* random) {
  AssignorInput input;
  const uint64_t topics = random->Between(1, 5);
  for (uint64_t id = 1; id <= topics; ++id) {
    input.topics.push_back(Topic(id, static_cast<uint32_t>(random->Between(1, 7))));
  }
  const bool is_set_named = random->OneIn(2);
  const uint64_t members = random->Between(1, 6);
  for (uint64_t id = 1; id <= members; ++id) {
    AssignorMember member = Member(std::to_string(id), {});
    if (random->OneIn(3)) member.instance_id = std::to_string(random->Below(100)) + "/" + member.id;
    for (uint64_t topic = 1; topic <= topics + 1; ++topic) {
      for (uint64_t times = random->Below(3); times > 0; --times) {
        member.topics.emplace_back(topic);
      }
    }
    if (is_set_named && random->OneIn(2)) {
      member.topic_sets = {{TopicId(random->Between(1, 6)), TopicId(random->Between(1, 6))}};
    }
    input.members.push_back(std::move(member));
  }
  return input;
}

// Of one topic each has one run, and they follow each other in the members' order.
std::string WrongRanges(const AssignorInput& input, const Assignments& assigned) {
  std::vector<const AssignorMember*> members;
  for (const AssignorMember& member : input.members) members.push_back(&member);
  std::sort(members.begin(), members.end(), [](const auto* a, const auto* b) {
    return std::pair(a->instance_id.empty(), a->instance_id + a->id) <
           std::pair(b->instance_id.empty(), b->instance_id + b->id);
  });
  for (const AssignorTopic& topic : input.topics) {
    uint32_t next = 0;
    for (const AssignorMember* member : members) {
      const auto runs = assigned.at(member->id).find(topic.id);
      if (runs == assigned.at(member->id).end()) continue;
      if (runs->second.run_count() != 1 || runs->second.run(0).first.value() != next) {
        return "no range in the members' order";
      }
      next = runs->second.run(0).end.value();
    }
  }
  return "";
}

// Topics that go together with no other.
std::set<TopicId> AloneIn(const AssignorInput& input) {
  std::map<TopicId, std::vector<TopicId>> sets;
  for (const auto& [topic, first] : TogetherIn(input)) sets[first].push_back(topic);
  std::set<TopicId> alone;
  for (const auto& [first, topics] : sets) {
    if (topics.size() == 1) alone.insert(first);
  }
  return alone;
}

std::string WrongSizes(const AssignorInput& input, const Assignments& assigned) {
  const std::set<TopicId> alone = AloneIn(input);
  for (const AssignorTopic& topic : input.topics) {
    if (!alone.contains(topic.id)) continue;
    const std::set<std::string> subscribers = SubscribersOf(input, topic.id);
    for (const std::string& member : subscribers) {
      const auto runs = assigned.at(member).find(topic.id);
      const size_t size = runs == assigned.at(member).end() ? 0 : runs->second.size();
      const size_t least = topic.partition_count / subscribers.size();
      if (size < least || size > least + 1) return member + " has too few or too many";
    }
  }
  return "";
}

std::string WrongLines(const AssignorInput& input, const Assignments& assigned) {
  const std::set<TopicId> alone = AloneIn(input);
  for (const AssignorTopic& a : input.topics) {
    for (const AssignorTopic& b : input.topics) {
      if (a.partition_count != b.partition_count) continue;
      if (!alone.contains(a.id) || !alone.contains(b.id)) continue;
      if (SubscribersOf(input, a.id) != SubscribersOf(input, b.id)) continue;
      for (const auto& [member, assignment] : assigned) {
        const auto of_a = assignment.find(a.id);
        const auto of_b = assignment.find(b.id);
        const auto none = assignment.end();
        if ((of_a == none) != (of_b == none) || (of_a != none && of_a->second != of_b->second)) {
          return "topics of as many partitions do not line up";
        }
      }
    }
  }
  return "";
}

TEST(RangeProperty, EachHasOneRangeOfATopic_AndTopicsLineUp) {
  sim::ExpectHolds({.count = 1000, .count_long = 100'000}, [](uint64_t seed) -> std::string {
    Random random(seed);
    const AssignorInput input = AnyGroup(&random);
    const Assignments assigned = AssignRange(input);
    for (const std::string& wrong :
         {WrongOwners(input, assigned), WrongSets(input, assigned), WrongRanges(input, assigned),
          WrongSizes(input, assigned), WrongLines(input, assigned)}) {
      if (!wrong.empty()) return wrong;
    }
    return AssignRange(Shuffled(input, &random)) == assigned ? "" : "the input's order matters";
  });
}

}  // namespace
}  // namespace millrace::broker

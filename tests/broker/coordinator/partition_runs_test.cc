// Sets of partitions are what std::set says, and have one form in messages.
#include "broker/coordinator/partition_runs.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/controller/decide.h"
#include "raft/runtime/random.h"
#include "tests/support/seeds/seeds.h"

namespace millrace::broker {
namespace {

using Field = google::protobuf::RepeatedField<uint32_t>;
using Model = std::set<uint32_t>;
using testing::HasSubstr;

PartitionRun RunOf(uint32_t first, uint32_t end) {
  return {.first = PartitionId(first), .end = PartitionId(end)};
}

PartitionRuns RunsOf(const Model& model) {
  PartitionRuns runs;
  for (const uint32_t partition : model) runs.Add(PartitionId(partition));
  return runs;
}

Model ModelOf(const PartitionRuns& runs) {
  Model model;
  for (const PartitionId partition : runs) model.insert(partition.value());
  return model;
}

Field FieldOf(const PartitionRuns& runs) {
  Field field;
  runs.AppendTo(&field);
  return field;
}

Status StatusOf(const Field& field) { return PartitionRuns::Parse(field).status(); }

TEST(PartitionRuns, WithoutAny_IsEmpty) {
  const PartitionRuns none;
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.size(), 0U);
  EXPECT_EQ(none.begin(), none.end());
  EXPECT_FALSE(none.Contains(PartitionId(0)));
  EXPECT_EQ(PartitionRuns(RunOf(4, 4)), none);
  EXPECT_EQ(FieldOf(none).size(), 0);
}

TEST(PartitionRuns, NeighboursAreOneRun_HoweverTheyCame) {
  PartitionRuns runs(RunOf(0, 3));
  runs.Add(RunOf(5, 7));
  EXPECT_EQ(runs.run_count(), 2U);
  runs.Add(PartitionId(4));
  runs.Add(PartitionId(3));
  ASSERT_EQ(runs.run_count(), 1U);
  EXPECT_EQ(runs.run(0), RunOf(0, 7));
}

TEST(PartitionRuns, ArePrinted_AsPeopleReadThem) {
  PartitionRuns runs;
  EXPECT_EQ(testing::PrintToString(runs), "none");
  for (const uint32_t partition : {11U, 7U, 0U, 1U, 2U, 8U}) runs.Add(PartitionId(partition));
  EXPECT_EQ(testing::PrintToString(runs), "0-2 7-8 11");
}

TEST(PartitionRuns, InAMessage_AreGapsAndLengths) {
  PartitionRuns runs(RunOf(0, 3));
  runs.Add(RunOf(7, 9));
  EXPECT_THAT(FieldOf(runs), testing::ElementsAre(0, 3, 4, 2));
  EXPECT_THAT(FieldOf(PartitionRuns(RunOf(2, 3))), testing::ElementsAre(2, 1));
}

TEST(PartitionRuns, OfNoSet_AreRefused_WithWhatIsWrong) {
  const auto refused = [](std::initializer_list<uint32_t> numbers) {
    const Status status = StatusOf(Field(numbers.begin(), numbers.end()));
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(refused({0, 3, 4}), HasSubstr("there are 3 numbers"));
  EXPECT_THAT(refused({1, 0}), HasSubstr("length of 0"));
  EXPECT_THAT(refused({0, 1, 0, 1}), HasSubstr("no gap"));
  EXPECT_THAT(refused({0, kPartitionCountMax + 1}), HasSubstr("beyond 10000"));
  EXPECT_THAT(refused({1, 0xFFFFFFFF}), HasSubstr("beyond 10000")) << "does not wrap";
  EXPECT_THAT(refused({0xFFFFFFFF, 1}), HasSubstr("beyond 10000"));
  EXPECT_TRUE(StatusOf(FieldOf(PartitionRuns(RunOf(0, kPartitionCountMax)))).ok());
}

TEST(AssignmentSets, HaveNoTopicWithoutPartitions) {
  const Assignment a = {{TopicId(1), PartitionRuns(RunOf(0, 4))},
                        {TopicId(2), PartitionRuns(RunOf(0, 1))}};
  const Assignment b = {{TopicId(1), PartitionRuns(RunOf(2, 6))},
                        {TopicId(3), PartitionRuns(RunOf(0, 1))}};
  EXPECT_EQ(Difference(a, b), (Assignment{{TopicId(1), PartitionRuns(RunOf(0, 2))}, *a.rbegin()}));
  EXPECT_EQ(Intersection(a, b), (Assignment{{TopicId(1), PartitionRuns(RunOf(2, 4))}}));
  EXPECT_EQ(Union(a, b),
            (Assignment{{TopicId(1), PartitionRuns(RunOf(0, 6))}, *a.rbegin(), *b.rbegin()}));
  EXPECT_EQ(Difference(a, a), Assignment());
  EXPECT_EQ(Intersection(Difference(a, b), b), Assignment());
  EXPECT_EQ(PartitionCountOf(a), 5U);
  EXPECT_TRUE(Contains(a, {TopicId(1), PartitionId(3)}));
  EXPECT_FALSE(Contains(a, {TopicId(1), PartitionId(4)}));
  EXPECT_FALSE(Contains(a, {TopicId(3), PartitionId(0)}));
}

// Both of one set, changed in the same ways.
struct Pair {
  PartitionRuns runs;
  Model model;
};

Pair RandomPair(Random* random) {
  Pair pair;
  for (uint64_t left = random->Below(12); left > 0; --left) {
    const auto first = static_cast<uint32_t>(random->Below(40));
    const auto end = first + static_cast<uint32_t>(random->Below(6));
    pair.runs.Add(RunOf(first, end));
    for (uint32_t partition = first; partition < end; ++partition) pair.model.insert(partition);
  }
  return pair;
}

std::string DifferenceOfPair(const Pair& pair, const char* what) {
  const std::string of = std::string(" of ") + what + " differ";
  if (ModelOf(pair.runs) != pair.model) return "partitions" + of;
  if (pair.runs != RunsOf(pair.model)) return "runs" + of;
  if (pair.runs.size() != pair.model.size()) return "sizes" + of;
  for (uint32_t partition = 0; partition < 50; ++partition) {
    const bool is_in = pair.runs.Contains(PartitionId(partition));
    if (is_in != pair.model.contains(partition)) return "what is in" + of;
  }
  for (size_t i = 1; i < pair.runs.run_count(); ++i) {
    if (pair.runs.run(i - 1).end >= pair.runs.run(i).first) return "two runs touch" + of;
  }
  const Result<PartitionRuns> parsed = PartitionRuns::Parse(FieldOf(pair.runs));
  if (!parsed.ok()) return std::string(parsed.status().message());
  return *parsed == pair.runs ? "" : "messages" + of;
}

std::string Play(uint64_t seed) {
  Random random(seed);
  const Pair a = RandomPair(&random);
  const Pair b = RandomPair(&random);
  Pair both{.runs = Union(a.runs, b.runs), .model = {}};
  Pair shared{.runs = Intersection(a.runs, b.runs), .model = {}};
  Pair rest{.runs = Difference(a.runs, b.runs), .model = {}};
  const auto fill = [&](auto algorithm, Model* out) {
    algorithm(a.model.begin(), a.model.end(), b.model.begin(), b.model.end(),
              std::inserter(*out, out->end()));
  };
  fill([](auto... of) { std::set_union(of...); }, &both.model);
  fill([](auto... of) { std::set_intersection(of...); }, &shared.model);
  fill([](auto... of) { std::set_difference(of...); }, &rest.model);
  for (const auto& [pair, what] :
       {std::pair(&a, "a"), {&both, "union"}, {&shared, "intersection"}, {&rest, "difference"}}) {
    const std::string wrong = DifferenceOfPair(*pair, what);
    if (!wrong.empty()) return wrong;
  }
  return "";
}

TEST(PartitionRunsProperty, AreWhatASetSays) {
  sim::ExpectHolds({.count = 2000, .count_long = 200'000}, Play);
}

// Numbers that nobody wrote: either they are a set's form, or they are refused.
TEST(PartitionRunsProperty, AnyNumbers_AreRefused_OrWrittenAgainAsTheyWere) {
  sim::ExpectHolds({.count = 2000, .count_long = 200'000}, [](uint64_t seed) -> std::string {
    Random random(seed);
    Field field;
    for (uint64_t left = random.Below(7); left > 0; --left) {
      field.Add(static_cast<uint32_t>(random.OneIn(20) ? random.Next() : random.Below(4)));
    }
    const Result<PartitionRuns> runs = PartitionRuns::Parse(field);
    if (!runs.ok()) return "";
    const Field again = FieldOf(*runs);
    const bool is_same = std::equal(again.begin(), again.end(), field.begin(), field.end());
    return is_same ? "" : "a form that no set has was taken";
  });
}

}  // namespace
}  // namespace millrace::broker

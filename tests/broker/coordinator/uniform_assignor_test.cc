// What holds of `uniform` in the life of any group: members join, leave, change what they subscribe
// to, topics come, grow and go.
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "broker/coordinator/assignor.h"
#include "tests/broker/coordinator/assignor_rig.h"
#include "tests/support/seeds/seeds.h"

namespace millrace::broker {
namespace {

class Life {
 public:
  explicit Life(uint64_t seed)
      : random_(seed), all_subscribe_to_all_(random_.OneIn(2)), has_sets_(random_.OneIn(3)) {}

  std::string Play() {
    for (int step = 0; step < 12; ++step) {
      Change();
      const std::string wrong = Assign();
      if (!wrong.empty()) return "step " + std::to_string(step) + ": " + wrong;
    }
    return "";
  }

 private:
  std::string AnyRack() { return random_.OneIn(4) ? "" : "r" + std::to_string(random_.Below(3)); }

  void AddReplicas(AssignorTopic* topic) {
    while (topic->replica_racks.size() < topic->partition_count) {
      topic->replica_racks.push_back({AnyRack(), AnyRack()});
    }
  }

  void AddTopic() {
    AssignorTopic topic = Topic(next_topic_++, static_cast<uint32_t>(random_.Between(1, 9)));
    if (random_.OneIn(2)) topic.partition_count = 6;
    AddReplicas(&topic);
    input_.topics.push_back(topic);
  }

  Subscription AnySubscription() {
    Subscription topics;
    for (uint64_t topic = 1; topic < 12; ++topic) {
      if (all_subscribe_to_all_ || random_.OneIn(2)) topics.push_back(topic);
    }
    return topics;
  }

  void Join() {
    const std::string id =
        std::to_string(random_.Below(1000)) + "." + std::to_string(next_member_++);
    AssignorMember member = Member(id, AnySubscription(), AnyRack());
    // All name them, so that they are there as long as the topics.
    if (has_sets_) member.topic_sets = {TopicIds({1, 2, 3}), TopicIds({5, 4}), TopicIds({5, 6})};
    input_.members.push_back(std::move(member));
  }

  void Change() {
    const uint64_t what = random_.Below(10);
    if (input_.topics.empty() || (what == 0 && next_topic_ < 10)) return AddTopic();
    if (input_.members.empty() || what <= 4) return Join();
    const size_t member = random_.Below(input_.members.size());
    const size_t topic = random_.Below(input_.topics.size());
    if (what <= 6) {
      input_.members.erase(input_.members.begin() + static_cast<ptrdiff_t>(member));
    } else if (what == 7) {
      input_.members[member].topics = TopicIds(AnySubscription());
    } else if (what == 8) {
      input_.topics[topic].partition_count += static_cast<uint32_t>(random_.Between(1, 4));
      AddReplicas(&input_.topics[topic]);
    } else {
      input_.topics.erase(input_.topics.begin() + static_cast<ptrdiff_t>(topic));
    }
  }

  std::string Assign() {
    Assignments before;
    for (const AssignorMember& member : input_.members) before[member.id] = member.current;
    const Assignments assigned = AssignUniform(input_);
    for (const std::string& wrong : {WrongOwners(input_, assigned), WrongSets(input_, assigned),
                                     WrongBalance(input_, assigned)}) {
      if (!wrong.empty()) return wrong;
    }
    if (AllSubscribeToTheSame(input_) && !input_.members.empty()) {
      const size_t needed = MovesNeeded(input_, before, assigned);
      const size_t moved = MovesOf(input_, before, assigned);
      if (moved != needed) {
        return std::to_string(moved) + " moved, and " + std::to_string(needed) + " must";
      }
    }
    if (AssignUniform(Shuffled(input_, &random_)) != assigned) return "the input's order matters";
    Settle(assigned, &input_);
    return AssignUniform(input_) == assigned ? "" : "something moves though nothing changed";
  }

  Random random_;
  const bool all_subscribe_to_all_;
  const bool has_sets_;
  uint64_t next_topic_ = 1;
  uint64_t next_member_ = 1;
  AssignorInput input_;
};

TEST(UniformProperty, BalancesWithAsFewMovesAsCanBe_AndThenLeavesAlone) {
  sim::ExpectHolds({.count = 500, .count_long = 50'000},
                   [](uint64_t seed) { return Life(seed).Play(); });
}

// How many of a topic's partitions can be in racks of their replicas, if members have as many as
// they have: tried along augmenting paths, a place of a member at a time.
size_t MostInRacks(const AssignorInput& input, const Assignments& assigned) {
  std::vector<std::string> places;  // the racks
  for (const AssignorMember& member : input.members) {
    places.insert(places.end(), PartitionCountOf(assigned.at(member.id)), member.rack);
  }
  const auto& racks = input.topics[0].replica_racks;
  std::vector<std::optional<size_t>> taken(places.size());
  std::vector<bool> was_tried;
  const std::function<bool(size_t)> take = [&](size_t partition) {
    for (size_t place = 0; place < places.size(); ++place) {
      const auto& of = racks[partition];
      if (was_tried[place] || std::find(of.begin(), of.end(), places[place]) == of.end()) continue;
      was_tried[place] = true;
      if (!taken[place] || take(*taken[place])) {
        taken[place] = partition;
        return true;
      }
    }
    return false;
  };
  size_t count = 0;
  for (size_t partition = 0; partition < racks.size(); ++partition) {
    was_tried.assign(places.size(), false);
    count += take(partition) ? 1 : 0;
  }
  return count;
}

size_t InRacks(const AssignorInput& input, const Assignments& assigned) {
  size_t count = 0;
  for (const AssignorMember& member : input.members) {
    for (const auto& [topic, runs] : assigned.at(member.id)) {
      for (const PartitionId partition : runs) {
        const auto& of = input.topics[0].replica_racks[partition.value()];
        count += std::find(of.begin(), of.end(), member.rack) != of.end() ? 1 : 0;
      }
    }
  }
  return count;
}

TEST(UniformProperty, FromNothing_AsManyAsCanBe_AreInRacksOfTheirReplicas) {
  sim::ExpectHolds({.count = 500, .count_long = 50'000}, [](uint64_t seed) -> std::string {
    Random random(seed);
    AssignorInput input{.members = {}, .topics = {Topic(1, 0)}};
    const uint64_t racks = random.Between(1, 6);
    const auto any_rack = [&] { return "r" + std::to_string(random.Below(racks)); };
    const uint64_t members = random.Between(1, 8);
    for (uint64_t member = 0; member < members; ++member) {
      input.members.push_back(Member(std::to_string(member), {1}, any_rack()));
    }
    AssignorTopic& topic = input.topics[0];
    topic.partition_count = static_cast<uint32_t>(random.Between(1, 20));
    for (uint32_t partition = 0; partition < topic.partition_count; ++partition) {
      topic.replica_racks.push_back({any_rack()});
      if (random.OneIn(2)) topic.replica_racks.back().push_back(any_rack());
    }
    const Assignments assigned = AssignUniform(input);
    const size_t most = MostInRacks(input, assigned);
    const size_t are = InRacks(input, assigned);
    return are == most ? "" : std::to_string(are) + " are, and " + std::to_string(most) + " can be";
  });
}

// Where lanes divide among members, none is split.
TEST(UniformProperty, FromNothing_TopicsOfAsManyPartitionsLineUp) {
  sim::ExpectHolds({.count = 300, .count_long = 10'000}, [](uint64_t seed) -> std::string {
    Random random(seed);
    const uint64_t members = random.Between(1, 6);
    AssignorInput input;
    const auto partitions = static_cast<uint32_t>(members * random.Between(1, 4));
    const uint64_t topics = random.Between(2, 5);
    Subscription all;
    for (uint64_t topic = 1; topic <= topics; ++topic) {
      input.topics.push_back(Topic(topic, partitions));
      all.push_back(topic);
    }
    for (uint64_t member = 0; member < members; ++member) {
      input.members.push_back(Member(std::to_string(member), all));
    }
    for (const auto& [member, assignment] : AssignUniform(input)) {
      for (const auto& [topic, runs] : assignment) {
        if (runs != assignment.begin()->second) return member + "'s do not line up";
      }
    }
    return "";
  });
}

}  // namespace
}  // namespace millrace::broker

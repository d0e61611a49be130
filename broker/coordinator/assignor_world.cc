#include "broker/coordinator/assignor_world.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <unordered_map>
#include <utility>

#include <glog/logging.h>

namespace millrace::broker {
namespace {

template <typename T>
std::vector<const T*> SortedById(const std::vector<T>& items) {
  std::vector<const T*> sorted;
  sorted.reserve(items.size());
  for (const T& item : items) sorted.push_back(&item);
  std::sort(sorted.begin(), sorted.end(), [](const T* a, const T* b) { return a->id < b->id; });
  for (size_t i = 1; i < sorted.size(); ++i) CHECK(sorted[i - 1]->id != sorted[i]->id);
  return sorted;
}

// Gathers topics into classes and sets, each topic by its place among all topics by id.
class Gathering {
 public:
  Gathering(const AssignorInput& input, AssignorWorld* world)
      : topics_(SortedById(input.topics)), world_(*world) {
    world_.members = SortedById(input.members);
    for (size_t i = 0; i < topics_.size(); ++i) places_.emplace(topics_[i]->id, i);
  }

  void Run() {
    FindClasses();
    leaders_.resize(topics_.size());
    std::iota(leaders_.begin(), leaders_.end(), size_t{0});
    for (const AssignorMember* member : world_.members) {
      for (const std::vector<TopicId>& set : member->topic_sets) Join(set);
    }
    FindSets();
  }

 private:
  static constexpr size_t kNoClass = SIZE_MAX;

  void FindClasses() {
    std::vector<std::vector<size_t>> subscribers(topics_.size());
    for (size_t member = 0; member < world_.members.size(); ++member) {
      for (const TopicId id : world_.members[member]->topics) {
        const auto place = places_.find(id);
        if (place == places_.end()) continue;
        std::vector<size_t>& of_topic = subscribers[place->second];
        if (of_topic.empty() || of_topic.back() != member) of_topic.push_back(member);
      }
    }
    // By how many they are, then by who.
    std::map<std::pair<size_t, std::vector<size_t>>, std::vector<size_t>> topics_of;
    for (size_t topic = 0; topic < topics_.size(); ++topic) {
      std::vector<size_t>& members = subscribers[topic];
      if (members.empty()) continue;
      const size_t count = members.size();
      topics_of[{count, std::move(members)}].push_back(topic);
    }
    class_of_.assign(topics_.size(), kNoClass);
    for (auto& [key, topics] : topics_of) {
      for (const size_t topic : topics) class_of_[topic] = world_.classes.size();
      world_.classes.push_back({.members = key.second, .sets = {}});
    }
  }

  size_t LeaderOf(size_t topic) {
    while (leaders_[topic] != topic) topic = leaders_[topic] = leaders_[leaders_[topic]];
    return topic;
  }

  // The set's topics of one class go together from now on, with all that goes with one of them.
  void Join(const std::vector<TopicId>& set) {
    std::map<size_t, size_t> first_of_class;
    for (const TopicId id : set) {
      const auto place = places_.find(id);
      if (place == places_.end() || class_of_[place->second] == kNoClass) continue;
      const auto [first, is_first] =
          first_of_class.emplace(class_of_[place->second], place->second);
      if (is_first) continue;
      const size_t a = LeaderOf(first->second);
      const size_t b = LeaderOf(place->second);
      leaders_[std::max(a, b)] = std::min(a, b);
    }
  }

  void FindSets() {
    std::vector<size_t> set_of(topics_.size());
    for (size_t topic = 0; topic < topics_.size(); ++topic) {
      if (class_of_[topic] == kNoClass) continue;
      std::vector<TopicSet>& sets = world_.classes[class_of_[topic]].sets;
      const size_t leader = LeaderOf(topic);
      if (leader == topic) {  // which has the smallest id of its set, and comes first
        set_of[topic] = sets.size();
        sets.emplace_back();
      }
      TopicSet& set = sets[set_of[leader]];
      set.topics.push_back(topics_[topic]);
      set.width = std::max(set.width, topics_[topic]->partition_count);
    }
  }

  std::vector<const AssignorTopic*> topics_;    // by id
  std::unordered_map<TopicId, size_t> places_;  // for finding alone
  std::vector<size_t> class_of_;                // by topic
  std::vector<size_t> leaders_;  // by topic: one that it goes together with, or itself
  AssignorWorld& world_;
};

}  // namespace

AssignorWorld WorldOf(const AssignorInput& input) {
  AssignorWorld world;
  Gathering(input, &world).Run();
  return world;
}

void GivePartitions(const TopicSet& set, PartitionRun run, Assignment* assignment) {
  for (const AssignorTopic* topic : set.topics) {
    const PartitionId end = std::min(run.end, PartitionId(topic->partition_count));
    if (run.first < end) (*assignment)[topic->id].Add({.first = run.first, .end = end});
  }
}

}  // namespace millrace::broker

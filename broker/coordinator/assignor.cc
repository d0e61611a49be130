#include "broker/coordinator/assignor.h"

#include <algorithm>
#include <array>
#include <tuple>

#include <glog/logging.h>

#include "broker/coordinator/assignor_world.h"

namespace millrace::broker {
namespace {

struct Known {
  std::string_view name;
  Assignments (*assign)(const AssignorInput&);
};
constexpr std::array<Known, 2> kKnown = {{{"uniform", AssignUniform}, {"range", AssignRange}}};

auto PlaceInRange(const AssignorMember& member) {
  return std::tuple(member.instance_id.empty(), std::string_view(member.instance_id),
                    std::string_view(member.id));
}

// As many to each, one more to the first ones if they do not divide.
void SplitInRanges(const TopicSet& set, const std::vector<Assignment*>& members) {
  uint32_t first = 0;
  for (size_t i = 0; i < members.size(); ++i) {
    const size_t extra = i < set.width % members.size() ? 1 : 0;
    const auto end = static_cast<uint32_t>(first + set.width / members.size() + extra);
    GivePartitions(set, {.first = PartitionId(first), .end = PartitionId(end)}, members[i]);
    first = end;
  }
  CHECK_EQ(first, set.width);
}

}  // namespace

Result<Assignor> FindAssignor(std::string_view name) {
  std::string names;
  for (const Known& known : kKnown) {
    if (known.name == name) return Assignor(known.assign);
    names += (names.empty() ? "" : " and ") + std::string(known.name);
  }
  return InvalidArgument("assignor \"" + std::string(name) + "\" is not known; there are " + names);
}

Assignments AssignRange(const AssignorInput& input) {
  const AssignorWorld world = WorldOf(input);
  Assignments assignments;
  for (const AssignorMember* member : world.members) assignments[member->id];
  for (const TopicClass& topics : world.classes) {
    std::vector<const AssignorMember*> members;
    members.reserve(topics.members.size());
    for (const size_t member : topics.members) members.push_back(world.members[member]);
    std::sort(members.begin(), members.end(), [](const AssignorMember* a, const AssignorMember* b) {
      return PlaceInRange(*a) < PlaceInRange(*b);
    });
    std::vector<Assignment*> given;
    given.reserve(members.size());
    for (const AssignorMember* member : members) given.push_back(&assignments[member->id]);
    for (const TopicSet& set : topics.sets) SplitInRanges(set, given);
  }
  return assignments;
}

}  // namespace millrace::broker

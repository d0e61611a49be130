// The assignor `uniform`: shares first, which are balanced and keep the most (fair_shares.h), then
// which units make them up (unit_placement.h).
#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "broker/coordinator/assignor.h"
#include "broker/coordinator/assignor_world.h"
#include "broker/coordinator/fair_shares.h"
#include "broker/coordinator/unit_placement.h"

namespace millrace::broker {
namespace {

// Racks in which there are members; no others matter.
class RackNumbers {
 public:
  explicit RackNumbers(const AssignorWorld& world) {
    for (const AssignorMember* member : world.members) {
      if (!member->rack.empty()) numbers_.emplace(member->rack, 0);
    }
    RackNumber next = 0;
    for (auto& [rack, number] : numbers_) number = next++;
  }

  std::optional<RackNumber> Find(std::string_view rack) const {
    const auto number = numbers_.find(rack);
    return number == numbers_.end() ? std::nullopt : std::optional(number->second);
  }

  void AddOf(const AssignorTopic& topic, uint32_t partition, std::vector<RackNumber>* racks) const {
    if (numbers_.empty() || partition >= topic.replica_racks.size()) return;
    std::vector<RackNumber> of_partition;
    for (const std::string& rack : topic.replica_racks[partition]) {
      if (const auto number = Find(rack)) of_partition.push_back(*number);
    }
    std::sort(of_partition.begin(), of_partition.end());
    const auto end = std::unique(of_partition.begin(), of_partition.end());
    racks->insert(racks->end(), of_partition.begin(), end);
  }

 private:
  std::map<std::string_view, RackNumber> numbers_;
};

// Units of a class: each set's in turn, by number.
struct ClassUnits {
  std::vector<PlacedUnit> units;
  std::vector<size_t> first_of_set;
};

ClassUnits UnitsOf(const TopicClass& topics, const RackNumbers& racks) {
  ClassUnits of_class;
  for (const TopicSet& set : topics.sets) {
    of_class.first_of_set.push_back(of_class.units.size());
    for (uint32_t number = 0; number < set.width; ++number) {
      PlacedUnit unit{.width = set.width, .number = number, .racks = {}, .owner = {}};
      for (const AssignorTopic* topic : set.topics) {
        if (number < topic->partition_count) racks.AddOf(*topic, number, &unit.racks);
      }
      of_class.units.push_back(std::move(unit));
    }
  }
  return of_class;
}

std::map<TopicId, size_t> SetsByTopic(const TopicClass& topics) {
  std::map<TopicId, size_t> sets;
  for (size_t set = 0; set < topics.sets.size(); ++set) {
    for (const AssignorTopic* topic : topics.sets[set].topics) sets.emplace(topic->id, set);
  }
  return sets;
}

// Who has the units of a class: of several who have parts of one, or say so, the one with the most,
// and of those the first.
void FindOwners(const AssignorWorld& world, const TopicClass& topics, ClassUnits* of_class) {
  struct Claim {
    size_t unit;
    size_t place;
    auto operator<=>(const Claim&) const = default;
  };
  std::vector<Claim> claims;
  const std::map<TopicId, size_t> sets = SetsByTopic(topics);
  for (size_t place = 0; place < topics.members.size(); ++place) {
    for (const auto& [topic, held] : world.members[topics.members[place]]->current) {
      const auto set = sets.find(topic);
      if (set == sets.end()) continue;
      for (const PartitionId partition : held) {
        if (partition.value() >= topics.sets[set->second].width) break;
        claims.push_back({of_class->first_of_set[set->second] + partition.value(), place});
      }
    }
  }
  std::sort(claims.begin(), claims.end());
  size_t most = 0;
  for (size_t i = 0, end = 0; i < claims.size(); i = end) {
    while (end < claims.size() && claims[end] == claims[i]) ++end;
    const bool is_first = i == 0 || claims[i - 1].unit != claims[i].unit;
    if (!is_first && end - i <= most) continue;
    most = end - i;
    of_class->units[claims[i].unit].owner = claims[i].place;
  }
}

// Members of racks for which there is more to get, by member, are first.
std::vector<size_t> PreferenceOf(const std::vector<std::optional<RackNumber>>& racks,
                                 const std::vector<PlacedUnit>& units) {
  std::map<RackNumber, double> wanted;
  for (const PlacedUnit& unit : units) {
    if (unit.owner) continue;
    for (const RackNumber rack : unit.racks) {
      wanted[rack] += 1.0 / static_cast<double>(unit.racks.size());
    }
  }
  std::map<RackNumber, size_t> members;
  for (const std::optional<RackNumber>& rack : racks) {
    if (rack) ++members[*rack];
  }
  std::vector<std::pair<double, size_t>> order;
  for (size_t place = 0; place < racks.size(); ++place) {
    const double want =
        racks[place] ? wanted[*racks[place]] / static_cast<double>(members[*racks[place]]) : 0;
    order.emplace_back(-want, place);
  }
  std::sort(order.begin(), order.end());
  std::vector<size_t> preference;
  preference.reserve(order.size());
  for (const auto& [want, place] : order) preference.push_back(place);
  return preference;
}

class Uniform {
 public:
  explicit Uniform(const AssignorInput& input) : world_(WorldOf(input)), racks_(world_) {
    for (const AssignorMember* member : world_.members) {
      rack_of_.push_back(racks_.Find(member->rack));
      given_.push_back(&assignments_[member->id]);
    }
  }

  Assignments Run() && {
    std::vector<ShareClass> share_classes;
    for (const TopicClass& topics : world_.classes) {
      units_.push_back(UnitsOf(topics, racks_));
      FindOwners(world_, topics, &units_.back());
      share_classes.push_back(ShareClassOf(topics, units_.back().units));
    }
    const auto shares = FairShares(world_.members.size(), share_classes);
    for (size_t which = 0; which < world_.classes.size(); ++which) {
      const TopicClass& topics = world_.classes[which];
      std::vector<PlacedMember> members;
      members.reserve(topics.members.size());
      for (size_t place = 0; place < topics.members.size(); ++place) {
        members.push_back({.share = shares[which][place], .rack = rack_of_[topics.members[place]]});
      }
      PlaceUnits(members, &units_[which].units);
      Give(topics, units_[which]);
    }
    return std::move(assignments_);
  }

 private:
  ShareClass ShareClassOf(const TopicClass& topics, const std::vector<PlacedUnit>& units) const {
    std::vector<std::optional<RackNumber>> racks;
    racks.reserve(topics.members.size());
    for (const size_t member : topics.members) racks.push_back(rack_of_[member]);
    ShareClass shared{.members = topics.members,
                      .held = std::vector<size_t>(topics.members.size()),
                      .preference = PreferenceOf(racks, units)};
    for (const PlacedUnit& unit : units) ++(unit.owner ? shared.held[*unit.owner] : shared.unowned);
    return shared;
  }

  void Give(const TopicClass& topics, const ClassUnits& of_class) {
    for (size_t set = 0; set < topics.sets.size(); ++set) {
      for (uint32_t number = 0; number < topics.sets[set].width; ++number) {
        const PlacedUnit& unit = of_class.units[of_class.first_of_set[set] + number];
        GivePartitions(topics.sets[set],
                       {.first = PartitionId(number), .end = PartitionId(number + 1)},
                       given_[topics.members[*unit.owner]]);
      }
    }
  }

  const AssignorWorld world_;
  const RackNumbers racks_;
  std::vector<std::optional<RackNumber>> rack_of_;  // by member
  std::vector<ClassUnits> units_;                   // by class
  Assignments assignments_;
  std::vector<Assignment*> given_;  // by member
};

}  // namespace

Assignments AssignUniform(const AssignorInput& input) { return Uniform(input).Run(); }

}  // namespace millrace::broker

// Which of a class's units each member is to have, once it is settled how many. A unit is what has
// one owner: a partition, or those of one number of topics that go together. Members keep what they
// have within their share; the rest goes where units of its lane are, in one piece if there is room
// for it, and to a rack of its replicas.
//
// Pure; any thread.
//
//   PlaceUnits(members, &units);
//   units[0].owner  // who has it now
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace millrace::broker {

using RackNumber = uint32_t;

struct PlacedMember {
  size_t share = 0;                // units
  std::optional<RackNumber> rack;  // nullopt: not known
};

struct PlacedUnit {
  // Units of one lane would best be together: those of one number, of topics of as many partitions.
  uint32_t width = 0;
  uint32_t number = 0;
  std::vector<RackNumber> racks;  // of replicas; one as often as it has more of the unit
  std::optional<size_t> owner;    // by place among the members
};

// Pre: shares add up to the units. Post: each unit has an owner, and each member its share.
void PlaceUnits(const std::vector<PlacedMember>& members, std::vector<PlacedUnit>* units);

}  // namespace millrace::broker

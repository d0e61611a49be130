// How members of a group come from what they have to what they are to have, a step at a time
// (incremental rebalancing: KIP-848, cwiki.apache.org/confluence/display/KAFKA/KIP-848):
//
//   what is not to be its own any more    assigned -> revoking, until the member says that it let go
//   then                                  what is to be its own and nobody else's   -> assigned
//
// So who keeps a partition hears of nothing, and a partition has a new owner only by a record
// behind the one that took it from the old one. After every decision each member is as far as it
// can be, whoever asked.
//
// Pure.
//
//   if (auto step = NextStep(membership, staged, member, {.owned = owned})) { ... Apply(*step) ... }
//   Advance("g", place, staged, &membership, &records);
#pragma once

#include <optional>
#include <string>

#include "broker/coordinator/membership.h"
#include "broker/coordinator/partition_runs.h"
#include "millrace/internal/v1/coordinator.pb.h"

namespace millrace::broker {

// Partitions of which a transaction that is open has staged offsets: nobody gets them before it is
// known what counts.
using Staged = Assignment;

// What a member says of what it owns.
struct MemberSays {
  // It has let go of all else that it was told to give up. None: it says nothing.
  std::optional<Assignment> owned;
  // It owns nothing, whatever it had.
  bool is_fresh = false;
};

// None if the member is as far as it can be.
std::optional<internal::v1::MemberAssigned> NextStep(const Membership& membership,
                                                     const Staged& staged, const Member& member,
                                                     const MemberSays& says);

// Adds to `records` the next step of each member, and applies them.
void Advance(const std::string& group, const Membership::Place& place, const Staged& staged,
             Membership* membership, internal::v1::CoordinatorRecords* records);

}  // namespace millrace::broker

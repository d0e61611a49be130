#include "broker/coordinator/reconcile.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "proto/base/mutants.h"

namespace millrace::broker {

using internal::v1::MemberAssigned;

std::optional<MemberAssigned> NextStep(const Membership& membership, const Staged& staged,
                                       const Member& member, const MemberSays& says) {
  const Holdings had = says.is_fresh ? Holdings() : member.assigned;
  Holdings revoking = says.is_fresh ? Holdings() : member.revoking;
  // Whoever is away has stopped.
  if (member.info.is_away()) revoking.clear();
  if (says.owned.has_value()) revoking = Intersection(revoking, *says.owned);
  Holdings assigned = Intersection(had, member.target);
  if (!member.info.is_away()) revoking = Union(revoking, Difference(had, member.target));
  if (MILLRACE_MUTANT(kAssignBeforeRelease)) revoking.clear();
  uint32_t epoch = member.epoch;
  if (revoking.empty()) {
    epoch = std::max(epoch, membership.target_epoch());
    const Assignment of_others = Difference(membership.held(), PartitionsOf(member.held()));
    Assignment free = Difference(Difference(member.target, PartitionsOf(assigned)), of_others);
    if (!MILLRACE_MUTANT(kStagedVisibleEarly)) free = Difference(free, staged);
    if (!free.empty()) assigned = Union(assigned, Holdings{{epoch, std::move(free)}});
  }
  const bool is_same =
      epoch == member.epoch && assigned == member.assigned && revoking == member.revoking;
  if (is_same) return std::nullopt;
  MemberAssigned step;
  step.set_member_id(member.info.member_id());
  step.set_member_epoch(epoch);
  Save(assigned, step.mutable_assigned());
  Save(revoking, step.mutable_revoking());
  return step;
}

void Advance(const std::string& group, const Membership::Place& place, const Staged& staged,
             Membership* membership, internal::v1::CoordinatorRecords* records) {
  std::vector<std::string> members;
  for (const auto& [id, member] : membership->members()) members.push_back(id);
  // Whoever is away lets go at once, and somebody before it in order may wait for that: until
  // nobody moves any more.
  for (bool has_moved = true; has_moved;) {
    has_moved = false;
    for (const std::string& id : members) {
      const Member& member = *membership->Find(id);
      std::optional<MemberAssigned> step = NextStep(*membership, staged, member, {});
      if (!step.has_value()) continue;
      has_moved = has_moved || member.info.is_away();
      step->set_group(group);
      const Status applied = membership->Apply(*step, place);
      CHECK(applied.ok()) << applied;  // it was decided on this very state
      *records->add_records()->mutable_member_assigned() = *std::move(step);
    }
  }
}

}  // namespace millrace::broker

// Who of a group's members is to have which partitions: an assignor is a pure function of members
// and topics. The coordinator asks one by its name when members, subscriptions or topics change;
// what it answers goes into the log, so that versions of Millrace may assign differently.
//
// Each partition that somebody subscribes to gets one owner, who subscribes to it. The order of the
// input does not matter.
//
// `uniform` gives everybody as much, and moves little. Its aims, the first one first:
//   1. Members are balanced: within one if they subscribe to the same, else as evenly as
//      subscriptions allow.
//   2. Few partitions move: no more than that takes, if members subscribe to the same.
//   3. Topics of as many partitions line up: partition p of both goes to the same member.
//   4. A partition goes to a member in a rack of one of its replicas. None moves for that alone.
//
// `range` splits each topic into ranges, in the members' order. Topics of as many partitions that
// the same members subscribe to line up always. It minds neither what members have nor racks:
// either would break the lines.
//
// Who needs topics to line up names them as a set: in both assignors they do then, as far as the
// same members subscribe to them, whatever that moves. In `uniform` what goes together counts as
// one.
//
// Pure; any thread. 10,000 partitions over 1,000 members take tens of milliseconds, so that large
// groups are not for the shard's.
//
//   ASSIGN_OR_RETURN(const Assignor assign, FindAssignor("uniform"));
//   const Assignments targets = assign({.members = members, .topics = topics});
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "broker/coordinator/partition_runs.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

struct AssignorMember {
  std::string id;
  // Of a static member. `range` goes by it first, so that one who comes back under a new id has its
  // old place. Empty: none.
  std::string instance_id;
  std::string rack;  // empty: not known
  // What it subscribes to. Topics that do not exist are no matter.
  std::vector<TopicId> topics;
  // Topics of one set go together, also for members that do not name it.
  std::vector<std::vector<TopicId>> topic_sets;
  Assignment current;  // what it has or was to have
};

struct AssignorTopic {
  TopicId id;
  uint32_t partition_count = 0;
  // By partition: where its replicas are. Partitions past the end: not known.
  std::vector<std::vector<std::string>> replica_racks;
};

struct AssignorInput {
  std::vector<AssignorMember> members;  // no two of one id
  std::vector<AssignorTopic> topics;    // no two of one id
};

using Assignments = std::map<std::string, Assignment>;  // by member id, everybody's
using Assignor = std::function<Assignments(const AssignorInput& input)>;

// INVALID_ARGUMENT that names those there are.
Result<Assignor> FindAssignor(std::string_view name);

Assignments AssignUniform(const AssignorInput& input);
Assignments AssignRange(const AssignorInput& input);

}  // namespace millrace::broker

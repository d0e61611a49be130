// The members of a group as a shard of the coordinator keeps them: who they are, what each is to
// have (its target), and what it has. Changed by Apply alone.
//
//   what it is to have   target            computed for an epoch of the group
//   what it has          assigned          and since which epoch
//   what it gives up     revoking          it was told to; nobody else has it until it says so
//
// A partition is in `assigned` or `revoking` of one member at most: whoever takes the last step of
// this state has a partition, and nobody else.
//
// A value whose copies share the members that neither changes; any thread.
//
//   Membership ahead = *group.membership;
//   RETURN_IF_ERROR(ahead.Apply(member_assigned, index));
//   if (const Member* member = ahead.Find("m-1")) ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>

#include "broker/coordinator/holdings.h"
#include "broker/coordinator/partition_runs.h"
#include "millrace/internal/v1/coordinator.pb.h"
#include "proto/base/copy_on_write.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

struct Member {
  internal::v1::MemberInfo info;
  uint32_t epoch = 0;
  // The entry that changed last what it has.
  LogIndex assigned_index;
  Assignment target;
  Holdings assigned;
  Holdings revoking;

  // Both: what nobody else has.
  Holdings held() const { return Union(assigned, revoking); }
};

// A topic to which members subscribe, when the target was computed.
struct SubscribedTopic {
  uint32_t partition_count = 0;
  uint32_t first_partition_count = 0;  // when the group began to read it
  bool operator==(const SubscribedTopic&) const = default;
};

class Membership {
 public:
  using Members = std::map<std::string, CopyOnWrite<Member>, std::less<>>;
  // The entry that a record stands in.
  struct Place {
    LogIndex index;
    int64_t time_ms = 0;
  };

  bool empty() const { return members_.empty(); }
  // It has no members, and never had.
  bool is_trivial() const { return bytes_ == 0; }
  const Members& members() const { return members_; }
  // Null if there is none.
  const Member* Find(std::string_view member_id) const;
  const Member* FindInstance(std::string_view instance_id) const;
  // Of the group when the target was computed; 0: never.
  uint32_t target_epoch() const { return target_epoch_; }
  const std::string& assignor() const { return assignor_; }
  const std::map<TopicId, SubscribedTopic>& topics() const { return topics_; }
  // The newest, at most 64; the oldest first.
  const std::deque<v1::GroupEvent>& events() const { return events_; }
  // What some member has: assigned or revoking.
  const Assignment& held() const { return held_; }
  // What it holds in memory, about.
  size_t bytes() const { return bytes_; }

  // DATA_LOSS, and nothing is changed, if it cannot have been decided. Whether the group's epoch
  // follows is the caller's.
  Status Apply(const internal::v1::MemberChanged& changed, const Place& place);
  Status Apply(const internal::v1::MemberRemoved& removed, const Place& place);
  // `group_epoch`: before it.
  Status Apply(const internal::v1::TargetComputed& target, uint32_t group_epoch,
               const Place& place);
  Status Apply(const internal::v1::MemberAssigned& assigned, const Place& place);

  void SaveTo(internal::v1::SavedMembership* saved) const;
  static Result<Membership> LoadFrom(const internal::v1::SavedMembership& saved);

 private:
  // Calls `change` with the member, and keeps what is told of all.
  template <typename Change>
  void ChangeMember(const std::string& member_id, Change change);
  void Erase(std::string_view member_id);
  void AddEvent(v1::GroupEventKind kind, uint32_t epoch, const Place& place,
                const internal::v1::MemberInfo* member);

  Members members_;
  uint32_t target_epoch_ = 0;
  std::string assignor_;
  std::map<TopicId, SubscribedTopic> topics_;
  std::deque<v1::GroupEvent> events_;
  Assignment held_;
  size_t bytes_ = 0;
};

// Whether the two say the same of a member's wishes, on which a target rests.
bool WishTheSame(const internal::v1::MemberInfo& a, const internal::v1::MemberInfo& b);

}  // namespace millrace::broker

// What a shard of the coordinator has applied: its groups and transactional ids, by slot and name.
// Changed by Apply alone, so that every replica that applied the same records has the same state;
// saved and loaded whole, it goes on as if nothing had happened.
//
// A value whose copies share what neither changes, down to the single group: a copy of a state of
// millions of offsets takes microseconds, and may be read on another thread. Otherwise on the
// shard's thread.
//
//   RETURN_IF_ERROR(state.Apply(record, {.index = entry.index, .time_ms = entry_time}));
//   const ShardState view = state;       // frozen
//   view.SaveTo(&message);               // on any thread
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "broker/controller/transaction_name.h"
#include "broker/coordinator/group.h"
#include "broker/coordinator/membership.h"
#include "broker/coordinator/slot_map.h"
#include "broker/coordinator/transaction_table.h"
#include "millrace/internal/v1/coordinator.pb.h"
#include "proto/base/copy_on_write.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

// The first feature level of a cluster that has the record.
uint8_t LevelOf(const internal::v1::CoordinatorRecord& record);
// The transactional id that it changes; null if none.
const std::string* TransactionalIdIn(const internal::v1::CoordinatorRecord& record);
// The group that a member is gone from, or has another in its place; null if none is.
const std::string* MemberOutOf(const internal::v1::CoordinatorRecord& record);

class ShardState {
 public:
  using Place = Membership::Place;
  using Groups = SlotMap<CopyOnWrite<Group>>;
  using Cursor = Groups::Cursor;
  // By name, how many producers.
  using FencingGroups = SlotMap<size_t>;

  // Not ok, and nothing is changed: UNIMPLEMENTED if this version does not know the record,
  // DATA_LOSS if it cannot have been decided.
  Status Apply(const internal::v1::CoordinatorRecord& record, const Place& place);

  // Null if there is none.
  const Group* Find(std::string_view group) const;
  size_t group_count() const { return groups_.size(); }
  // No group that is gone had a higher epoch. One that comes begins there, so that epochs of
  // members and tokens of partitions do not go back where a group is deleted and made anew.
  uint32_t epoch_floor() const { return epoch_floor_; }
  const TransactionTable& transactions() const { return transactions_; }
  // Groups in which the transaction has staged offsets.
  std::vector<std::string> GroupsStagedBy(const TransactionName& name) const;
  // Groups in which a producer is to be fenced.
  const FencingGroups& fencing() const { return fencing_; }
  // What it holds in memory, about.
  uint64_t bytes() const { return bytes_ + transactions_.bytes(); }

  // The group behind the cursor, which moves to it; null at the end.
  const Group* Next(Cursor* cursor) const;

  // Everything that Apply rests on.
  void SaveTo(internal::v1::CoordinatorState* saved) const;
  // DATA_LOSS if it is none that SaveTo made, UNIMPLEMENTED if a later version's did.
  static Result<ShardState> LoadFrom(const internal::v1::CoordinatorState& saved);

 private:
  // Made where there is none.
  Group& Mutable(const std::string& name, const Place& place);
  void Erase(const std::string& name);
  // Calls `change` with the group, and keeps the sum of bytes.
  template <typename Change>
  void ChangeGroup(const std::string& name, const Place& place, Change change);
  // The same, where what is found by other ways than the name may change.
  template <typename Change>
  void ChangeIndexed(const std::string& name, const Place& place, Change change);
  void Index(const std::string& name, const Group& group);
  void Unindex(const std::string& name, const Group& group);
  Status ApplyCommitted(const internal::v1::OffsetsCommitted& committed, const Place& place);
  Status ApplyRemoved(const internal::v1::OffsetsRemoved& removed, const Place& place);
  Status ApplyEnded(const internal::v1::StagedOffsetsEnded& ended, const Place& place);
  Status ApplyFenced(const internal::v1::ProducerFenced& fenced, const Place& place);
  Status ApplyGroup(const internal::v1::GroupChanged& changed, const Place& place);
  Status ApplyGroupRemoved(const internal::v1::GroupRemoved& removed);
  Status ApplyMember(const internal::v1::MemberChanged& changed, const Place& place);
  Status ApplyMember(const internal::v1::MemberAssigned& assigned, const Place& place);
  // MemberRemoved, TargetComputed.
  template <typename Record>
  Status ApplyMembers(const Record& record, const Place& place);

  // Who has staged something, by producer.
  using Staged = SlotMap<std::set<std::pair<TransactionName, std::string>>, ProducerId>;

  Groups groups_;
  Staged staged_;
  FencingGroups fencing_;
  uint32_t epoch_floor_ = 0;
  uint64_t bytes_ = 0;  // of the groups
  TransactionTable transactions_;
};

}  // namespace millrace::broker

// The transactional ids of a shard of the coordinator, by slot and name: a part of ShardState, and
// changed by Apply alone. What is found by other ways than the name follows from them, and is not
// saved.
//
// A value whose copies share what neither changes; otherwise on the shard's thread.
//
//   RETURN_IF_ERROR(table.Apply(record.transaction_changed(), place));
//   if (const TransactionalId* id = table.Find("payments")) ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "broker/coordinator/membership.h"
#include "broker/coordinator/slot_map.h"
#include "broker/coordinator/transactional_id.h"
#include "millrace/internal/v1/coordinator.pb.h"
#include "proto/base/copy_on_write.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

class TransactionTable {
 public:
  using Place = Membership::Place;
  using Ids = SlotMap<CopyOnWrite<TransactionalId>>;
  using Cursor = Ids::Cursor;
  // By transactional id: the number of the ongoing one.
  using Ongoing = SlotMap<uint64_t>;
  // The number of the completing one.
  using Completing = SlotMap<uint64_t>;

  // Not ok, and nothing is changed: UNIMPLEMENTED if this version does not know what it says,
  // DATA_LOSS if it cannot have been decided.
  Status Apply(const internal::v1::TransactionalIdChanged& changed, const Place& place);
  Status Apply(const internal::v1::TransactionalIdRemoved& removed);
  Status Apply(const internal::v1::TransactionChanged& changed, const Place& place);
  // What is not completing, or not any more, is passed over.
  Status Apply(const internal::v1::ParticipantsEnded& ended, const Place& place);

  // Null if there is none.
  const TransactionalId* Find(std::string_view name) const;
  // The transactional id whose producer id it is, or was of what is completing; null if there is
  // none.
  const std::string* FindByProducer(ProducerId producer) const { return producers_.Find(producer); }
  const TransactionalId* Next(Cursor* cursor) const;
  const Ongoing& ongoing() const { return ongoing_; }
  const Completing& completing() const { return completing_; }
  size_t size() const { return ids_.size(); }
  // What they hold in memory, about.
  uint64_t bytes() const { return bytes_; }

  // In the fields that are its own.
  void SaveTo(internal::v1::CoordinatorState* saved) const;
  static Result<TransactionTable> LoadFrom(const internal::v1::CoordinatorState& saved);

 private:
  // Calls `change` with the id, made where there is none, and keeps all that follows from it.
  template <typename Change>
  void ChangeId(const std::string& name, Change change);
  void Index(const std::string& name, const TransactionalId& id);
  void Unindex(const std::string& name, const TransactionalId& id);
  Status CheckFollows(const internal::v1::TransactionalIdChanged& changed) const;
  Status CheckFollows(const internal::v1::TransactionChanged& changed) const;

  Ids ids_;
  SlotMap<std::string, ProducerId> producers_;
  Ongoing ongoing_;
  Completing completing_;
  uint64_t bytes_ = 0;
};

}  // namespace millrace::broker

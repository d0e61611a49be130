// A transactional id as a shard of the coordinator keeps it: who may use it, what of it is open,
// and how what was open last has ended (docs/adr/0018-transactions.md).
//
//   ongoing      its producer writes; at most one
//   completing   it is decided, durably, and participants are being told; at most one
//   last         the newest that is decided; the one that is completing, or one that has ended
//
// A value; any thread.
//
//   if (id.ongoing.has_value() && id.ongoing->number == name.number) ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "broker/controller/transaction_name.h"
#include "millrace/internal/v1/coordinator.pb.h"
#include "millrace/internal/v1/transaction_marker.pb.h"
#include "millrace/v1/transaction.pb.h"
#include "proto/base/ids.h"

namespace millrace::broker {

using internal::v1::TransactionEndReason;
using internal::v1::TransactionOutcome;

TransactionName NameFrom(const internal::v1::TransactionName& name);
TransactionName NameFrom(const v1::TransactionName& name);
void Fill(const TransactionName& name, internal::v1::TransactionName* out);

// Raft groups that take part: ascending, none twice.
using Participants = std::vector<RaftGroupId>;
// Those of both.
Participants Union(const Participants& one, const Participants& other);
// Those of the one that the other lacks.
Participants Difference(const Participants& one, const Participants& other);
Participants ParticipantsFrom(const google::protobuf::RepeatedField<uint64_t>& groups);
void Fill(const Participants& participants, google::protobuf::RepeatedField<uint64_t>* out);

struct TransactionalId {
  struct Decided {
    uint64_t number = 0;  // 0: none of the epoch
    TransactionOutcome outcome{};
    TransactionEndReason reason{};
    bool operator==(const Decided&) const = default;
  };
  struct Ongoing {
    uint64_t number = 0;
    int64_t since_ms = 0;
    Participants participants;
    bool is_abort_only = false;
    bool operator==(const Ongoing&) const = default;
  };
  struct Completing {
    TransactionName name;  // of an older epoch, or producer id, if it was fenced
    TransactionOutcome outcome{};
    TransactionEndReason reason{};
    Participants participants;  // that are still to be told; never empty
    bool operator==(const Completing&) const = default;
  };

  ProducerId producer;
  uint32_t epoch = 0;
  uint32_t time_limit_ms = 0;
  uint64_t request_id = 0;  // that got this epoch
  // The entry that changed anything of it last, and its time.
  LogIndex changed_index;
  int64_t changed_ms = 0;
  Decided last;
  std::optional<Ongoing> ongoing;
  std::optional<Completing> completing;

  bool is_idle() const { return !ongoing.has_value() && !completing.has_value(); }
  // What it holds in memory, about.
  size_t bytes() const;
  bool operator==(const TransactionalId&) const = default;
};

void Save(const std::string& name, const TransactionalId& id,
          internal::v1::SavedTransactionalId* out);
TransactionalId LoadTransactionalId(const internal::v1::SavedTransactionalId& saved);

}  // namespace millrace::broker

// What transactions need of the rest of a broker.
//
// Called on the shard's thread, where what they say comes back as well.
//
//   producers.Take(SlotOf(id), [](Result<ProducerId> producer) { ... });
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "broker/coordinator/transactional_id.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

// Gives producer ids of a slot away: those whose number modulo 1,024 it is.
class SlotProducers {
 public:
  using Done = MoveFunction<void(Result<ProducerId>)>;

  virtual ~SlotProducers() = default;
  // One that nobody ever had. UNAVAILABLE while it cannot be had. `done` may be called at once.
  virtual void Take(uint32_t slot, Done done) = 0;
};

// A transaction that is decided, durably, and those that have not been told yet.
struct Marker {
  std::string transactional_id;
  TransactionName name;
  TransactionOutcome outcome{};
  TransactionEndReason reason{};
  Participants participants;
};

// Tells participants how transactions ended (TransactionServer::Markers), and the shard who has it
// (TransactionServer::Ended).
class MarkerSender {
 public:
  virtual ~MarkerSender() = default;
  // These of the shard, which is led here, are decided, or fewer have not been told: not all that
  // there are, which may be many. It is not to call back from it.
  virtual void Send(RaftGroupId shard, std::vector<Marker> markers) = 0;
  // All that the shard has. Neither from this.
  virtual void Wake(RaftGroupId shard) = 0;
};

}  // namespace millrace::broker

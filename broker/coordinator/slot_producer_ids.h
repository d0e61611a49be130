// Gives producer ids of transactions away, by slot: from blocks of 1,024 numbers that the
// controller gave this broker, each of which has one number for each slot. One block is asked for
// at a time, for all who wait. What is never given of a block is nobody's for ever; there are 2^30
// of them.
//
// Owned by the Node, on the shard's thread. `done` is called once, unless this ends before.
//
//   SlotProducerIds ids({.image = image, .allocate = [&](auto done) {
//     controllers.AllocateProducerIds({.timeout = 5s}, std::move(done));
//   }});
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>

#include "broker/controller/image.h"
#include "broker/controller/producer_id.h"
#include "broker/coordinator/transaction_ports.h"
#include "millrace/internal/v1/forward.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

class SlotProducerIds final : public SlotProducers {
 public:
  using Allocated = MoveFunction<void(Result<internal::v1::AllocateProducerIdsReply>)>;
  struct Environment {
    const Image& image;  // outlives this
    // Has the controller give this broker a block.
    std::function<void(Allocated)> allocate;
  };

  explicit SlotProducerIds(Environment environment) : environment_(std::move(environment)) {}

  // UNAVAILABLE while none can be had; RESOURCE_EXHAUSTED (THROTTLED) if too many wait.
  void Take(uint32_t slot, Done done) override;

 private:
  struct Block {
    uint64_t first = 0;
    uint64_t end = 0;
    std::bitset<kProducerIdBlock> given;  // by slot
  };
  struct Waiting {
    uint32_t slot = 0;
    Done done;
  };

  // Of the oldest block that has one.
  std::optional<uint64_t> NextNumber(uint32_t slot);
  void Give(uint64_t number, Done done);
  void Allocate();
  void OnAllocated(const Result<internal::v1::AllocateProducerIdsReply>& block);

  Environment environment_;
  std::deque<Block> blocks_;  // the oldest first
  std::deque<Waiting> waiting_;
  bool is_allocating_ = false;
  Lifetime lifetime_;
};

}  // namespace millrace::broker

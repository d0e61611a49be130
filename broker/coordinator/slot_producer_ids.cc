#include "broker/coordinator/slot_producer_ids.h"

#include <string>
#include <utility>

namespace millrace::broker {

using internal::v1::AllocateProducerIdsReply;

namespace {

// Blocks of which something is left: where one slot asks for more than others, older ones go.
constexpr size_t kBlocksMax = 1'000;
constexpr size_t kWaitingMax = 10'000;
constexpr int64_t kThrottledRetryMs = 50;

}  // namespace

void SlotProducerIds::Take(uint32_t slot, Done done) {
  if (const auto number = NextNumber(slot)) return Give(*number, std::move(done));
  if (waiting_.size() >= kWaitingMax) {
    return done(
        ResourceExhausted("too many transactional ids wait for a producer id", Reason::kThrottled)
            .RetryAfterMs(kThrottledRetryMs));
  }
  waiting_.push_back({.slot = slot, .done = std::move(done)});
  Allocate();
}

std::optional<uint64_t> SlotProducerIds::NextNumber(uint32_t slot) {
  std::optional<uint64_t> next;
  for (Block& block : blocks_) {
    if (block.given[slot]) continue;
    block.given.set(slot);
    // The block's numbers need not begin with slot 0.
    const uint64_t begins_at = block.first % kProducerIdBlock;
    const uint64_t number = block.first + (slot + kProducerIdBlock - begins_at) % kProducerIdBlock;
    if (number >= block.end) continue;
    next = number;
    break;
  }
  while (!blocks_.empty() && blocks_.front().given.all()) blocks_.pop_front();
  return next;
}

void SlotProducerIds::Give(uint64_t number, Done done) {
  // The numbers may have come before the key, which the controller's log brings.
  const std::string& key = environment_.image.producer_id_key();
  if (key.empty()) return done(CheckProducerId(key, ProducerId()));
  done(MarkProducer(key, number));
}

void SlotProducerIds::Allocate() {
  if (std::exchange(is_allocating_, true)) return;
  environment_.allocate(lifetime_.Guard(
      [this](const Result<AllocateProducerIdsReply>& block) { OnAllocated(block); }));
}

void SlotProducerIds::OnAllocated(const Result<AllocateProducerIdsReply>& block) {
  is_allocating_ = false;
  std::deque<Waiting> waiting = std::exchange(waiting_, {});
  if (!block.ok()) {
    for (Waiting& one : waiting) one.done(block.status());
    return;
  }
  blocks_.push_back({.first = block->first(), .end = block->end(), .given = {}});
  if (blocks_.size() > kBlocksMax) blocks_.pop_front();
  // Of those of one slot the first gets one, and the others wait for the next block.
  for (Waiting& one : waiting) Take(one.slot, std::move(one.done));
}

}  // namespace millrace::broker

#include "millrace/consumer.h"

#include <utility>

#include "client/api/consumer_core.h"

namespace millrace {

Consumer::Consumer(std::unique_ptr<internal::ConsumerCore> core) : core_(std::move(core)) {}
Consumer::~Consumer() = default;

Result<Records> Consumer::Poll(std::chrono::milliseconds timeout) { return core_->Poll(timeout); }

bool Consumer::at_end() const { return core_->at_end(); }

std::optional<int64_t> Consumer::position(uint32_t partition) const {
  return core_->position(partition);
}

Status Consumer::Assign(uint32_t partition, const Position& start) {
  return core_->Assign(partition, start);
}

Status Consumer::Seek(uint32_t partition, const Position& position) {
  return core_->Seek(partition, position);
}

Status Consumer::Pause(uint32_t partition) { return core_->Pause(partition); }

Status Consumer::Resume(uint32_t partition) { return core_->Resume(partition); }

uint32_t Consumer::partition_count() const { return core_->partition_count(); }

}  // namespace millrace

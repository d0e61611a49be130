#include "millrace/consumer.h"

#include <utility>

#include "client/api/consumer_handle.h"

namespace millrace {

Consumer::Consumer(std::unique_ptr<internal::ConsumerHandle> handle) : handle_(std::move(handle)) {}
Consumer::~Consumer() = default;

Result<Records> Consumer::Poll(std::chrono::milliseconds timeout) { return handle_->Poll(timeout); }

bool Consumer::at_end() const { return handle_->at_end(); }

std::optional<int64_t> Consumer::position(uint32_t partition) const {
  return handle_->position(partition);
}

Status Consumer::Assign(uint32_t partition, const Position& start) {
  return handle_->Assign(partition, start);
}

Status Consumer::Seek(uint32_t partition, const Position& position) {
  return handle_->Seek(partition, position);
}

Status Consumer::Pause(uint32_t partition) { return handle_->Pause(partition); }

Status Consumer::Resume(uint32_t partition) { return handle_->Resume(partition); }

uint32_t Consumer::partition_count() const { return handle_->partition_count(); }

}  // namespace millrace

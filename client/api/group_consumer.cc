#include "millrace/group_consumer.h"

#include <utility>

#include "client/api/group_consumer_handle.h"

namespace millrace {

GroupConsumer::GroupConsumer(std::unique_ptr<internal::GroupConsumerHandle> handle)
    : handle_(std::move(handle)) {}
GroupConsumer::~GroupConsumer() = default;

Result<Records> GroupConsumer::Poll(std::chrono::milliseconds timeout) {
  return handle_->Poll(timeout);
}

Status GroupConsumer::Commit(std::chrono::milliseconds timeout) { return handle_->Commit(timeout); }

Status GroupConsumer::Commit(const std::vector<PartitionOffset>& offsets,
                             std::chrono::milliseconds timeout) {
  return handle_->Commit(offsets, timeout);
}

Status GroupConsumer::Rewind(std::chrono::milliseconds timeout) { return handle_->Rewind(timeout); }

std::vector<AssignedPartition> GroupConsumer::assignment() const { return handle_->assignment(); }

std::optional<int64_t> GroupConsumer::position(const std::string& topic, uint32_t partition) const {
  return handle_->position(topic, partition);
}

Status GroupConsumer::Seek(const std::string& topic, uint32_t partition, const Position& position) {
  return handle_->Seek(topic, partition, position);
}

Status GroupConsumer::Pause(const std::string& topic, uint32_t partition) {
  return handle_->Pause(topic, partition);
}

Status GroupConsumer::Resume(const std::string& topic, uint32_t partition) {
  return handle_->Resume(topic, partition);
}

Status GroupConsumer::Close(std::chrono::milliseconds timeout) { return handle_->Close(timeout); }

}  // namespace millrace

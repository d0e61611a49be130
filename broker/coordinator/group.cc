#include "broker/coordinator/group.h"

#include <algorithm>
#include <utility>

namespace millrace::broker {
namespace {

// What a node of a map costs beside what it holds.
constexpr size_t kNodeBytes = 64;

auto PlaceOf(auto& offsets, PartitionId partition) {
  return std::ranges::lower_bound(offsets, partition, {}, &CommittedOffset::partition);
}

}  // namespace

const CommittedOffset* TopicOffsets::Find(PartitionId partition) const {
  const auto found = PlaceOf(offsets_, partition);
  return found == offsets_.end() || found->partition != partition ? nullptr : &*found;
}

const std::string& TopicOffsets::MetadataOf(PartitionId partition) const {
  static const std::string kNone;
  const auto found = metadata_.find(partition);
  return found == metadata_.end() ? kNone : found->second;
}

void TopicOffsets::Commit(const CommittedOffset& committed, std::string metadata) {
  const auto place = PlaceOf(offsets_, committed.partition);
  if (place != offsets_.end() && place->partition == committed.partition) {
    *place = committed;
  } else {
    // A vector would double: half of what millions take would be empty.
    const auto position = place - offsets_.begin();
    const size_t size = offsets_.size();
    if (size == offsets_.capacity()) offsets_.reserve(size + 1 + size / 8);
    offsets_.insert(offsets_.begin() + position, committed);
  }
  SetMetadata(committed.partition, std::move(metadata));
}

void TopicOffsets::SetMetadata(PartitionId partition, std::string metadata) {
  if (const auto old = metadata_.find(partition); old != metadata_.end()) {
    metadata_bytes_ -= old->second.size() + kNodeBytes;
    metadata_.erase(old);
  }
  if (metadata.empty()) return;
  metadata_bytes_ += metadata.size() + kNodeBytes;
  metadata_.emplace(partition, std::move(metadata));
}

void TopicOffsets::Remove(PartitionId partition, LogIndex up_to) {
  const auto found = PlaceOf(offsets_, partition);
  if (found == offsets_.end() || found->partition != partition || found->index > up_to) return;
  offsets_.erase(found);
  SetMetadata(partition, "");
}

void TopicOffsets::RemoveAll(LogIndex up_to) {
  std::erase_if(offsets_, [this, up_to](const CommittedOffset& committed) {
    if (committed.index > up_to) return false;
    SetMetadata(committed.partition, "");
    return true;
  });
}

size_t TopicOffsets::bytes() const {
  return offsets_.capacity() * sizeof(CommittedOffset) + metadata_bytes_;
}

const CommittedOffset* Group::FindOffset(const TopicPartition& partition) const {
  const auto topic = offsets.find(partition.topic);
  return topic == offsets.end() ? nullptr : topic->second.Find(partition.partition);
}

size_t Group::offset_count() const {
  size_t count = 0;
  for (const auto& [topic, committed] : offsets) count += committed.all().size();
  return count;
}

LogIndex Group::newest_index() const {
  LogIndex newest = changed_index;
  for (const auto& [topic, committed] : offsets) {
    for (const CommittedOffset& one : committed.all()) newest = std::max(newest, one.index);
  }
  return newest;
}

size_t Group::bytes() const {
  size_t bytes = sizeof(Group) + kNodeBytes + membership->bytes();
  for (const auto& [topic, committed] : offsets) {
    bytes += sizeof(TopicOffsets) + kNodeBytes + committed.bytes();
  }
  return bytes;
}

}  // namespace millrace::broker

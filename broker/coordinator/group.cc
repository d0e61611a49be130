#include "broker/coordinator/group.h"

#include <algorithm>
#include <utility>

namespace millrace::broker {
namespace {

// What a node of a map costs beside what it holds.
constexpr size_t kNodeBytes = 64;

LogIndex NewestIndex(const OffsetsByTopic& offsets) {
  LogIndex newest;
  for (const auto& [topic, committed] : offsets) {
    for (const CommittedOffset& one : committed.all()) newest = std::max(newest, one.index);
  }
  return newest;
}

size_t BytesOf(const OffsetsByTopic& offsets) {
  size_t bytes = 0;
  for (const auto& [topic, committed] : offsets) {
    bytes += sizeof(TopicOffsets) + kNodeBytes + committed.bytes();
  }
  return bytes;
}

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

void TopicOffsets::Merge(const TopicOffsets& later) {
  for (const CommittedOffset& one : later.all()) {
    const CommittedOffset* known = Find(one.partition);
    if (known != nullptr && known->index >= one.index) continue;
    Commit(one, later.MetadataOf(one.partition));
  }
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

ToBeFenced FencedFrom(const v1::MemberProducer& producer) {
  return {.transactional_id = producer.transactional_id(),
          .producer = ProducerId(producer.producer_id()),
          .epoch = producer.producer_epoch()};
}

void Fill(const ToBeFenced& fenced, v1::MemberProducer* out) {
  out->set_transactional_id(fenced.transactional_id);
  out->set_producer_id(fenced.producer.value());
  out->set_producer_epoch(fenced.epoch);
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

bool Group::IsStaged(const TopicPartition& partition) const {
  return std::ranges::any_of(staged, [&partition](const auto& of_one) {
    const auto topic = of_one.second.find(partition.topic);
    return topic != of_one.second.end() && topic->second.Find(partition.partition) != nullptr;
  });
}

Assignment Group::StagedPartitions() const {
  Assignment partitions;
  for (const auto& [name, of_one] : staged) {
    for (const auto& [topic, its] : of_one) {
      for (const CommittedOffset& one : its.all()) partitions[topic].Add(one.partition);
    }
  }
  return partitions;
}

LogIndex Group::newest_index() const {
  LogIndex newest = std::max(changed_index, NewestIndex(offsets));
  for (const auto& [name, of_one] : staged) newest = std::max(newest, NewestIndex(of_one));
  return newest;
}

size_t Group::bytes() const {
  size_t bytes = sizeof(Group) + kNodeBytes + membership->bytes() + BytesOf(offsets);
  for (const auto& [name, of_one] : staged) {
    bytes += sizeof(TransactionName) + kNodeBytes + BytesOf(of_one);
  }
  for (const ToBeFenced& one : to_be_fenced) {
    bytes += sizeof(ToBeFenced) + kNodeBytes + one.transactional_id.size();
  }
  return bytes;
}

}  // namespace millrace::broker

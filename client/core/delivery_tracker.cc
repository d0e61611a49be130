#include "client/core/delivery_tracker.h"

#include <utility>

#include <glog/logging.h>

namespace millrace::client {

void DeliveryTracker::Sent(PartitionId partition, DeliveryCallback on_delivery) {
  CHECK_LT(partition.value(), partitions_.size());
  Partition& to = partitions_[partition.value()];
  if (on_delivery) to.waiting.push_back({.number = to.sent, .on_delivery = std::move(on_delivery)});
  ++to.sent;
}

void DeliveryTracker::Answer(const DeliveryReport& report, const LifeWatch& life) {
  Partition& from = partitions_[report.partition.partition.value()];
  const uint64_t first = from.answered;
  from.answered += report.record_count;
  CHECK_LE(from.answered, from.sent);
  const uint64_t end = from.answered;
  Delivery delivery{.status = report.status,
                    .partition = report.partition.partition.value(),
                    .append_time_ms = report.append_time_ms,
                    .may_be_stored = report.may_be_stored};
  while (life && !from.waiting.empty() && from.waiting.front().number < end) {
    const Waiting waiting = std::move(from.waiting.front());
    from.waiting.pop_front();
    if (report.base_offset >= Offset(0)) {
      delivery.offset = report.base_offset.value() + static_cast<int64_t>(waiting.number - first);
    }
    waiting.on_delivery(delivery);
  }
}

std::vector<uint64_t> DeliveryTracker::sent() const {
  std::vector<uint64_t> sent;
  sent.reserve(partitions_.size());
  for (const Partition& partition : partitions_) sent.push_back(partition.sent);
  return sent;
}

bool DeliveryTracker::HasAnswered(const std::vector<uint64_t>& sent) const {
  CHECK_EQ(sent.size(), partitions_.size());
  for (size_t i = 0; i < partitions_.size(); ++i) {
    if (partitions_[i].answered < sent[i]) return false;
  }
  return true;
}

}  // namespace millrace::client

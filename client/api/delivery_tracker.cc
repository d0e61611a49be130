#include "client/api/delivery_tracker.h"

#include <utility>

#include <glog/logging.h>

#include "client/core/error.h"

namespace millrace::internal {

void DeliveryTracker::Grow(uint32_t partition_count) {
  CHECK_GE(partition_count, partitions_.size());
  partitions_.resize(partition_count);
}

void DeliveryTracker::Sent(PartitionId partition, DeliveryCallback on_delivery) {
  CHECK_LT(partition.value(), partitions_.size());
  Partition& to = partitions_[partition.value()];
  if (on_delivery) to.waiting.push_back({.number = to.sent, .on_delivery = std::move(on_delivery)});
  ++to.sent;
}

void DeliveryTracker::Answer(const client::DeliveryReport& report) {
  Partition& from = partitions_[report.partition.partition.value()];
  const uint64_t first = from.answered;
  from.answered += report.record_count;
  CHECK_LE(from.answered, from.sent);
  const uint64_t end = from.answered;
  Delivery delivery{.status = report.status,
                    .partition = report.partition.partition.value(),
                    .append_time_ms = report.append_time_ms,
                    .may_be_stored = report.may_be_stored};
  if (const auto moved = client::MovedEndOf(report.status)) delivery.end_offset = moved->value();
  while (!from.waiting.empty() && from.waiting.front().number < end) {
    const Waiting waiting = std::move(from.waiting.front());
    from.waiting.pop_front();
    if (report.base_offset >= Offset(0)) {
      delivery.offset = report.base_offset.value() + static_cast<int64_t>(waiting.number - first);
    }
    waiting.on_delivery(delivery);
  }
}

}  // namespace millrace::internal

#include "tests/simulation/core/disk.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <glog/logging.h>

namespace millrace::simulation::core {

bool DiskImage::Holds(const raft::core::Entry& entry) const {
  if (entry.index > last_index()) return false;
  const raft::core::Entry& ours = entries[entry.index.value() - 1];
  return ours.term == entry.term && ours.chain == entry.chain;
}

void SimDisk::Write(raft::core::StorageWrite write, OnDurable on_durable) {
  pending_.push_back({std::move(write), std::move(on_durable)});
  if (!is_syncing_) StartSync();
}

int64_t SimDisk::SyncTime() {
  if (is_slow_ && random_.OneIn(4)) return static_cast<int64_t>(random_.Between(5'000, 900'000));
  return static_cast<int64_t>(random_.Between(100, 2'500));
}

void SimDisk::StartSync() {
  is_syncing_ = true;
  const size_t count = random_.Between(1, pending_.size());
  queue_->After(SyncTime(), [this, count, boot = boot_] {
    if (boot == boot_) FinishSync(count);
  });
}

void SimDisk::FinishSync(size_t count) {
  // The notice crosses from the disk's thread to the shard's, which may have moved on by then; a
  // later sync's notice may even overtake it.
  const int64_t notice_us = static_cast<int64_t>(random_.Between(10, is_slow_ ? 60'000 : 500));
  std::vector<Pending> synced;
  for (; count > 0; --count) {
    Apply(pending_.front().write, std::numeric_limits<size_t>::max());
    synced.push_back(std::move(pending_.front()));
    pending_.pop_front();
  }
  is_syncing_ = false;
  queue_->After(notice_us, [this, boot = boot_, synced = std::move(synced)] {
    for (const Pending& done : synced) {
      if (boot == boot_) done.on_durable(done.write.durable_point);
    }
    if (boot == boot_ && !is_syncing_ && !pending_.empty()) StartSync();
  });
}

void SimDisk::Apply(const raft::core::StorageWrite& write, size_t entries_max) {
  if (write.hard_state) image_.hard_state = *write.hard_state;
  image_.epoch = write.epoch;
  if (write.truncate_from && *write.truncate_from <= image_.last_index()) {
    image_.entries.resize(write.truncate_from->value() - 1);
  }
  for (const raft::core::Entry& entry : write.entries) {
    if (entries_max-- == 0) return;
    CHECK_EQ(entry.index, image_.last_index() + 1) << "a write leaves a gap";
    image_.entries.push_back(entry);
  }
}

void SimDisk::Crash() {
  ++boot_;
  is_syncing_ = false;
  size_t kept = random_.Below(pending_.size() + 1);
  for (; kept > 0; --kept) {
    Apply(pending_.front().write, std::numeric_limits<size_t>::max());
    pending_.pop_front();
  }
  if (!pending_.empty() && random_.OneIn(2)) {
    const raft::core::StorageWrite& torn = pending_.front().write;
    Apply(torn, random_.Below(torn.entries.size() + 1));
  }
  pending_.clear();
}

void SimDisk::MoveToSegments(LogIndex index) {
  CHECK_LE(index, image_.last_index());
  image_.segment_end = std::max(image_.segment_end, index);
}

}  // namespace millrace::simulation::core

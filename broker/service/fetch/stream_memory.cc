#include "broker/service/fetch/stream_memory.h"

#include <algorithm>

#include <glog/logging.h>

namespace millrace::broker {

StreamMemory::~StreamMemory() {
  if (waiter_.has_value()) budget_->CancelWait(*waiter_);
}

bool StreamMemory::HasRoom() const { return held() < std::min(kBytesMax, budget_->Allowance()); }

bool StreamMemory::MayHoldMore() {
  if (held() > 0) return HasRoom();
  // Clients that never read anything cannot take the last quarter.
  const uint64_t needed = kReadBytesMax + (has_taken_all_ ? 0 : budget_->bytes_max() / 4);
  if (budget_->free() >= needed) return true;
  if (!waiter_.has_value()) {
    waiter_ = budget_->Wait(needed, [this] {
      waiter_.reset();
      resume_();
    });
  }
  return false;
}

MemoryHold StreamMemory::BeginRead(bool is_behind) {
  if (!is_behind) return {};
  reserved_bytes_ += kReadBytesMax;
  return MemoryHold(*budget_, kReadBytesMax);
}

void StreamMemory::EndRead(const MemoryHold& reserved) {
  CHECK_LE(reserved.bytes(), reserved_bytes_);
  reserved_bytes_ -= reserved.bytes();
}

}  // namespace millrace::broker

// Numbers by which a broker knows the answers of its peers. None is used twice, nor one that was
// used before the broker started last: what was asked by its former life may be answered to this
// one.
//
// One thread.
//
//   RequestIds ids(boot_epoch);
//   message.set_request_id(ids.Next());
#pragma once

#include <cstdint>

#include "proto/base/ids.h"

namespace millrace::raft {

class RequestIds {
 public:
  explicit RequestIds(BootEpoch boot_epoch) : next_((boot_epoch.value() << kBits) + 1) {}
  uint64_t Next() { return next_++; }

 private:
  static constexpr int kBits = 40;  // twelve days of a million a second

  uint64_t next_;
};

}  // namespace millrace::raft

// What a client tells of a cluster that does not answer, while it goes on trying.
//
// A value; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "millrace/status.h"

namespace millrace {

// A call, a producer or a consumer has been in vain for a second and more.
struct Outage {
  // HOST:PORT of the broker that was tried last; empty if there is none to try, since a partition
  // has no leader.
  std::string address = {};
  // Why that failed.
  Status status = {};
  // The partition that is not read or written; without a topic it is a call, and others may do
  // better.
  std::string topic = {};
  uint32_t partition = 0;
  // Since it last worked, or began.
  std::chrono::milliseconds lasts{0};
};

}  // namespace millrace

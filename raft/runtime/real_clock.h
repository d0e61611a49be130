// The operating system's clocks: the one place of production code that reads them.
//
// Stateless; any thread.
//
//   RealClock clock;
//   Serve(clock);
#pragma once

#include "raft/runtime/clock.h"

namespace millrace {

class RealClock final : public Clock {
 public:
  MonotonicTime Now() const override;
  int64_t WallMs() const override;
};

}  // namespace millrace

// Something that an object has under way over many callbacks, and waits in between: a repair, a
// pass. When it ends, and when its owner does, what it waits for does nothing any more.
//
// Part of the thing, which callbacks hold by shared_ptr, so that it may end while they are under
// way. On the owner's thread.
//
//   const auto repair = std::make_shared<Repair>(executor, lifetime_);
//   store.Read(index, repair->errand.While([this, repair](Result<Entry> entry) { ... }));
//   repair->errand.After(kPause, [this, repair] { Read(repair); });
//   repair->errand.End();
#pragma once

#include <utility>

#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"

namespace millrace {

class Errand {
 public:
  // `executor` outlives this. `owner` may end first.
  Errand(Executor& executor, const Lifetime& owner) : executor_(&executor), owner_(owner.watch()) {}

  // `function`, but that it does nothing once this or its owner has ended.
  template <typename F>
  auto While(F function) const {
    return lifetime_.Guard(
        [owner = owner_, function = std::move(function)]<typename... Args>(Args&&... args) mutable {
          if (owner) function(std::forward<Args>(args)...);
        });
  }
  // The same after a while; what was to be done after another one is not.
  template <typename F>
  void After(Duration wait, F function) {
    StopWaiting();
    timer_ = executor_->RunAfter(wait, While(std::move(function)));
  }
  void StopWaiting() { executor_->Cancel(timer_); }
  void End() {
    StopWaiting();
    lifetime_.End();
  }

 private:
  Executor* executor_;
  LifeWatch owner_;
  TimerId timer_;
  Lifetime lifetime_;
};

}  // namespace millrace

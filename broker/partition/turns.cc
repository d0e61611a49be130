#include "broker/partition/turns.h"

#include <glog/logging.h>

namespace millrace::broker {

void Turns::Take(MoveFunction<void(Turn)> start) {
  waiting_.push_back(std::move(start));
  StartNext();
}

void Turns::Turn::End() {
  const std::shared_ptr<Turns*> held = std::exchange(turns_, nullptr);
  if (held == nullptr || *held == nullptr) return;
  Turns& turns = **held;
  CHECK_GT(turns.running_, 0u);
  --turns.running_;
  turns.StartNext();
}

void Turns::StartNext() {
  // A turn that ends at once, or work that takes another, is seen by the loop that began it.
  if (is_starting_) return;
  is_starting_ = true;
  while (running_ < running_max_ && !waiting_.empty()) {
    MoveFunction<void(Turn)> start = std::move(waiting_.front());
    waiting_.pop_front();
    ++running_;
    start(Turn(self_));
  }
  is_starting_ = false;
}

}  // namespace millrace::broker

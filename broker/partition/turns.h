// Lets a few pieces of work run at a time. The others wait their turn, in order, and hold nothing
// meanwhile but what is in their closures.
//
// Owned by the Node, on the shard's thread. A Turn may outlive it.
//
//   if (!turns.MayWait()) return Refuse();
//   turns.Take([](Turns::Turn turn) { ... turn.End(); });    // or the turn goes
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <utility>

#include "raft/runtime/task.h"

namespace millrace::broker {

class Turns {
 public:
  class Turn {
   public:
    explicit Turn(std::shared_ptr<Turns*> turns) : turns_(std::move(turns)) {}
    ~Turn() { End(); }
    Turn(Turn&&) noexcept = default;
    Turn& operator=(Turn&&) = delete;
    // The next one begins, at the latest now.
    void End();

   private:
    std::shared_ptr<Turns*> turns_;  // what it points at is null once the Turns are gone
  };

  Turns(size_t running_max, size_t waiting_max)
      : running_max_(running_max), waiting_max_(waiting_max) {}
  ~Turns() { *self_ = nullptr; }
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

  // Whether one more may wait, if there is no turn for it at once. Whoever takes one looks first.
  bool MayWait() const { return running_ < running_max_ || waiting_.size() < waiting_max_; }
  // Calls `start` once it is its turn, at once if one is free.
  void Take(MoveFunction<void(Turn)> start);

 private:
  void StartNext();

  const size_t running_max_;
  const size_t waiting_max_;
  size_t running_ = 0;
  bool is_starting_ = false;
  std::deque<MoveFunction<void(Turn)>> waiting_;
  // Shared with the turns alone.
  std::shared_ptr<Turns*> self_ = std::make_shared<Turns*>(this);
};

}  // namespace millrace::broker

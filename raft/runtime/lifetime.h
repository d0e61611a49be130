// Whether an object is still there, for callbacks that may come after it: a completion that was
// asked for, a timer, a task that was posted.
//
// A member of the object, the last one, so that it ends before all others. On the object's thread,
// and so are the callbacks: this orders nothing between threads. Guards and watches may be made,
// copied and destroyed on any.
//
//   store.Read(index, lifetime_.Guard([this](Result<Entry> entry) { OnRead(std::move(entry)); }));
//   store.Read(index, [this, life = lifetime_.watch(), done](Result<Entry> entry) {
//     done(life ? Take(std::move(entry)) : Status(NotFound("it is gone")));
//   });
#pragma once

#include <memory>
#include <utility>

namespace millrace {

// Tells of a Lifetime, and may outlive it.
class LifeWatch {
 public:
  // Whether the object is there.
  explicit operator bool() const { return *is_alive_; }

 private:
  friend class Lifetime;
  explicit LifeWatch(std::shared_ptr<const bool> is_alive) : is_alive_(std::move(is_alive)) {}

  std::shared_ptr<const bool> is_alive_;
};

class Lifetime {
 public:
  Lifetime() = default;
  ~Lifetime() { End(); }
  Lifetime(const Lifetime&) = delete;
  Lifetime& operator=(const Lifetime&) = delete;

  // Ends it before the object is destroyed: one that has stopped hears no more. After that the
  // object may be destroyed on another thread.
  void End() {
    if (*is_alive_) *is_alive_ = false;
  }
  bool has_ended() const { return !*is_alive_; }

  LifeWatch watch() const { return LifeWatch(is_alive_); }
  // `function`, but that it does nothing once this has ended.
  template <typename F>
  auto Guard(F function) const {
    return
        [life = watch(), function = std::move(function)]<typename... Args>(Args&&... args) mutable {
          if (life) function(std::forward<Args>(args)...);
        };
  }

 private:
  const std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace

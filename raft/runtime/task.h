// A piece of work to run once: a move-only std::function<void()>, so that it may own what it uses.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace millrace {

// A move-only callable. Pre of a call: it holds something. Any thread.
template <typename Signature>
class MoveFunction;

template <typename R, typename... Args>
class MoveFunction<R(Args...)> {
 public:
  MoveFunction() = default;
  template <typename F>
    requires(!std::is_same_v<std::decay_t<F>, MoveFunction>)
  MoveFunction(F&& function)  // NOLINT(google-explicit-constructor)
      : callable_(std::make_unique<Holder<std::decay_t<F>>>(std::forward<F>(function))) {}

  R operator()(Args... args) { return callable_->Call(std::forward<Args>(args)...); }
  explicit operator bool() const { return callable_ != nullptr; }

 private:
  struct Callable {
    virtual ~Callable() = default;
    virtual R Call(Args... args) = 0;
  };
  template <typename F>
  struct Holder final : Callable {
    explicit Holder(F f) : function(std::move(f)) {}
    R Call(Args... args) override { return function(std::forward<Args>(args)...); }
    F function;
  };
  std::unique_ptr<Callable> callable_;
};

using Task = MoveFunction<void()>;

}  // namespace millrace

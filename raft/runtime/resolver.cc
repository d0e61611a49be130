#include "raft/runtime/resolver.h"

#include <utility>

#include "raft/runtime/run_on.h"

namespace millrace {

Resolver::~Resolver() {
  {
    const std::lock_guard lock(mu_);
    is_stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Resolver::Resolve(const Endpoint& endpoint, Callback done) {
  if (!thread_.joinable()) thread_ = std::thread([this] { RunThread(); });
  {
    const std::lock_guard lock(mu_);
    requests_.push_back({endpoint, std::move(done)});
  }
  changed_.notify_one();
}

void Resolver::RunThread() {
  for (;;) {
    Request request;
    {
      std::unique_lock lock(mu_);
      changed_.wait(lock, [this] { return is_stopping_ || !requests_.empty(); });
      if (is_stopping_) return;
      request = std::move(requests_.front());
      requests_.pop_front();
    }
    RunOn(*executor_, std::move(request.done))(ResolveBlocking(request.endpoint));
  }
}

}  // namespace millrace

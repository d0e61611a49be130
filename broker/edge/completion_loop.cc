#include "broker/edge/completion_loop.h"

#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <pthread.h>

namespace millrace::broker::edge {

class CompletionLoop::Mailbox : public std::enable_shared_from_this<Mailbox> {
 public:
  explicit Mailbox(Executor& shard) : shard_(&shard) {}

  // Any thread.
  void Put(Completion* completion, bool ok) {
    bool must_post = false;
    {
      const std::lock_guard lock(mu_);
      polled_.push_back({completion, ok});
      must_post = !std::exchange(is_posted_, true);
    }
    arrived_.notify_one();
    if (!must_post) return;
    shard_->Post([mailbox = shared_from_this()] { mailbox->Drain(); });
  }

  // Waits until there is something to drain, or `time_max` is over.
  bool Wait(std::chrono::milliseconds time_max) {
    std::unique_lock lock(mu_);
    return arrived_.wait_for(lock, time_max, [this] { return !polled_.empty(); });
  }

  // Shard thread.
  void Drain() {
    CHECK(!is_draining_) << "a completion waits for completions";
    {
      const std::lock_guard lock(mu_);
      is_posted_ = false;
      handled_.swap(polled_);
    }
    is_draining_ = true;
    for (const Polled& polled : handled_) polled.completion->OnCompleted(polled.ok);
    handled_.clear();
    is_draining_ = false;
  }

 private:
  struct Polled {
    Completion* completion;
    bool ok;
  };

  Executor* shard_;
  std::vector<Polled> handled_;  // shard thread
  bool is_draining_ = false;     // shard thread

  std::mutex mu_;
  std::condition_variable arrived_;
  std::vector<Polled> polled_;  // guarded by mu_
  bool is_posted_ = false;      // guarded by mu_: a drain is on its way to the shard
};

CompletionLoop::CompletionLoop(std::unique_ptr<grpc::ServerCompletionQueue> queue, Executor& shard)
    : queue_(std::move(queue)), mailbox_(std::make_shared<Mailbox>(shard)) {}

CompletionLoop::~CompletionLoop() {
  CHECK(!poller_.joinable()) << "a CompletionLoop is destroyed without Stop()";
}

void CompletionLoop::Start() {
  poller_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "grpc-poller");
    Poll();
  });
}

void CompletionLoop::Poll() {
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) {
    auto* completion = static_cast<Completion*>(tag);
    completion->OnPolled(ok);
    mailbox_->Put(completion, ok);
  }
}

bool CompletionLoop::PumpUntil(const std::function<bool()>& is_done,
                               std::chrono::milliseconds time_max) {
  const auto deadline = std::chrono::steady_clock::now() + time_max;
  while (!is_done()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0 || !mailbox_->Wait(left)) return is_done();
    mailbox_->Drain();
  }
  return true;
}

void CompletionLoop::Stop() {
  queue_->Shutdown();
  if (poller_.joinable()) {
    poller_.join();
    return;
  }
  // Never started: gRPC wants the queue emptied all the same.
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) {
  }
}

}  // namespace millrace::broker::edge

// Carries completions from a gRPC completion queue to the shard. One thread of its own polls the
// queue; what it finds while the shard has not run yet goes there together, as one posted task,
// since waking the shard costs more than most completions do.
//
// Owned by GrpcEdge. Everything on the shard's thread, but for Completion::OnPolled.
//
//   CompletionLoop loop(builder.AddCompletionQueue(), shard);
//   loop.Start();
//   stream.Read(&buffer, &read_completion);   // read_completion.OnCompleted(ok) on the shard
//   loop.Stop();
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include <grpcpp/server_builder.h>

#include "raft/runtime/executor.h"

namespace millrace::broker::edge {

// What a gRPC operation reports to; its address is the operation's tag. Lives until it has
// reported.
class Completion {
 public:
  virtual ~Completion() = default;
  // On the poller's thread, before OnCompleted: for copies that the shard need not wait for.
  virtual void OnPolled([[maybe_unused]] bool ok) {}
  // On the shard's thread. May destroy the completion.
  virtual void OnCompleted(bool ok) = 0;
};

// A Completion that calls a method of its owner.
template <typename Owner, void (Owner::*method)(bool)>
class CompletionOf : public Completion {
 public:
  explicit CompletionOf(Owner* owner) : owner_(owner) {}
  void OnCompleted(bool ok) override { (owner_->*method)(ok); }

 protected:
  Owner* owner_;
};

class CompletionLoop {
 public:
  CompletionLoop(std::unique_ptr<grpc::ServerCompletionQueue> queue, Executor& shard);
  // Pre: Stop() was called, if Start() was.
  ~CompletionLoop();
  CompletionLoop(const CompletionLoop&) = delete;
  CompletionLoop& operator=(const CompletionLoop&) = delete;

  grpc::ServerCompletionQueue* queue() { return queue_.get(); }

  void Start();

  // Handles completions here and now, not waiting for the executor, until `is_done()` (true is
  // returned) or `time_max` is over (false). Not from within a completion.
  bool PumpUntil(const std::function<bool()>& is_done, std::chrono::milliseconds time_max);

  // Shuts the queue down and waits for the thread. Pre: no operation is under way.
  void Stop();

 private:
  class Mailbox;

  void Poll();

  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  // Shared with the tasks posted to the shard, which may outlive the loop.
  std::shared_ptr<Mailbox> mailbox_;
  std::thread poller_;
};

}  // namespace millrace::broker::edge

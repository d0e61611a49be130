// The real Executor: one thread's run loop over epoll. A turn runs what was posted, the timers that
// are due and the sockets that are ready, then sends what the turn has queued. Threads that post
// wake it through an eventfd, with one write for each time it sleeps, however many they post.
//
// Owned by whoever runs it: a LoopThread, or main. Post and Stop may be called from any thread, the
// rest on the loop's own; before Run and after it, any one thread counts as the loop's. Sockets
// (TcpNetwork) hang onto it as EventSources, and are gone before it is.
//
//   EventLoop loop;
//   TcpNetwork network(loop);
//   loop.Post([&] { Start(network); });
//   loop.Run();   // until someone calls loop.Stop()
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "raft/runtime/executor.h"
#include "raft/runtime/real_clock.h"
#include "raft/runtime/timer_queue.h"

namespace millrace {

// A file descriptor's owner, for the sockets of this folder.
class EventSource {
 public:
  virtual ~EventSource() = default;
  // With epoll's event bits. May unregister and destroy the source.
  virtual void OnEvents(uint32_t events) = 0;
  // The turn ends in which RequestTurnEnd was called. May unregister and destroy the source.
  virtual void OnTurnEnd() {}
};

using SourceId = StrongId<struct SourceIdTag, uint64_t>;

class EventLoop final : public Executor {
 public:
  EventLoop();
  ~EventLoop() override;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Runs until Stop, then destroys what was not run. Once.
  void Run();
  // Makes Run return after the turn in progress. Any thread; may be called before Run.
  void Stop();

  void Post(Task task) override;
  TimerId RunAfter(Duration delay, Task task) override;
  void Cancel(TimerId timer) override;
  bool IsOwnerThread() const override;

  // `source` hears of `events` on `fd` until Unregister; it stays the owner of both.
  SourceId Register(int fd, uint32_t events, EventSource* source);
  void SetEvents(SourceId id, int fd, uint32_t events);
  void Unregister(SourceId id, int fd);
  // What a source asks after a callback that may have destroyed it.
  bool IsRegistered(SourceId id) const { return sources_.contains(id.value()); }
  void RequestTurnEnd(SourceId id) { turn_end_.push_back(id.value()); }

  // Memory to read into, shared by all sources; valid until the callback that reads returns.
  std::vector<char>& read_buffer() { return read_buffer_; }
  // How often a sleeping loop was woken by another thread.
  uint64_t wake_count() const { return wake_count_.load(std::memory_order_relaxed); }

 private:
  void RunPosted();
  void RunTimers();
  void RunTurnEnd();
  void WaitAndDispatch();
  // How long epoll may sleep; marks the loop asleep if that is not zero.
  std::optional<Duration> PrepareSleep();
  void Wake();
  void DestroyPending();

  const RealClock clock_;
  int epoll_fd_;
  int wake_fd_;
  std::atomic<std::thread::id> owner_{};  // none while the loop does not run
  std::atomic<uint64_t> wake_count_{0};
  TimerQueue timers_;
  uint64_t next_source_ = 1;
  std::unordered_map<uint64_t, EventSource*> sources_;  // looked up by id, never iterated
  std::vector<uint64_t> turn_end_;
  std::vector<char> read_buffer_;

  std::mutex mu_;
  std::vector<Task> posted_;  // guarded by mu_
  bool is_asleep_ = false;    // guarded by mu_: the next post must write to wake_fd_
  bool is_stopping_ = false;  // guarded by mu_
  bool is_finished_ = false;  // guarded by mu_: what is posted now is destroyed
};

}  // namespace millrace

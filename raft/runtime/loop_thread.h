// A thread that runs one EventLoop: a shard, or a serial executor without sockets such as the
// journal's.
//
// Owned by main's wiring; made and stopped there, in reverse order of start.
//
//   LoopThread journal("journal");
//   journal.executor().Post([] { ... });
//   journal.Stop();   // waits; what was posted and did not run is destroyed
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "raft/runtime/event_loop.h"

namespace millrace {

class LoopThread {
 public:
  // Starts the thread; `name` shows in the operating system's tools, cut to 15 characters.
  explicit LoopThread(const std::string& name);
  // Stops it if Stop was not called.
  ~LoopThread();
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  EventLoop& loop() { return loop_; }
  Executor& executor() { return loop_; }
  // Runs `task` on the thread and waits for its end: for starting and stopping what lives there.
  // Pre: not on the thread itself, and it is not stopped.
  void RunAndWait(Task task);
  // Waits for the turn in progress and for the thread's end; again without effect. Not on the
  // thread.
  void Stop();

 private:
  EventLoop loop_;
  std::thread thread_;
};

// Several of them that are alike, for what waits for the operating system.
class LoopThreads {
 public:
  LoopThreads(size_t count, const std::string& name);
  std::vector<Executor*> executors();
  void Stop();

 private:
  std::deque<LoopThread> threads_;
};

}  // namespace millrace

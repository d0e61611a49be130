#include "raft/runtime/loop_thread.h"

#include <future>
#include <utility>

#include <glog/logging.h>
#include <pthread.h>

namespace millrace {

LoopThread::LoopThread(const std::string& name) : thread_([this] { loop_.Run(); }) {
  constexpr size_t kNameSizeMax = 15;  // Linux's limit
  pthread_setname_np(thread_.native_handle(), name.substr(0, kNameSizeMax).c_str());
}

LoopThread::~LoopThread() { Stop(); }

void LoopThread::RunAndWait(Task task) {
  CHECK(thread_.joinable()) << "the thread is stopped";
  CHECK(thread_.get_id() != std::this_thread::get_id()) << "the thread would wait for itself";
  std::promise<void> done;
  loop_.Post([&] {
    task();
    done.set_value();
  });
  done.get_future().wait();
}

void LoopThread::Stop() {
  if (!thread_.joinable()) return;
  CHECK(thread_.get_id() != std::this_thread::get_id()) << "the thread would wait for itself";
  loop_.Stop();
  thread_.join();
}

LoopThreads::LoopThreads(size_t count, const std::string& name) {
  while (threads_.size() < count) threads_.emplace_back(name);
}

std::vector<Executor*> LoopThreads::executors() {
  std::vector<Executor*> executors;
  executors.reserve(threads_.size());
  for (LoopThread& thread : threads_) executors.push_back(&thread.executor());
  return executors;
}

void LoopThreads::Stop() {
  for (LoopThread& thread : threads_) thread.Stop();
}

}  // namespace millrace

#include "raft/runtime/event_loop.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include <glog/logging.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace millrace {
namespace {

constexpr size_t kReadBufferSize = size_t{256} << 10;
constexpr int kEventsAtOnce = 64;
constexpr uint64_t kWakeSource = 0;

// Sleeps to the microsecond where the kernel can, else to the millisecond, rounded up.
int WaitForEvents(int epoll_fd, epoll_event* events, std::optional<Duration> timeout) {
  static std::atomic<bool> has_pwait2{true};
  if (has_pwait2.load(std::memory_order_relaxed)) {
    timespec span{};
    if (timeout) {
      span.tv_sec = timeout->count() / 1'000'000;
      span.tv_nsec = timeout->count() % 1'000'000 * 1000;
    }
    const int count =
        epoll_pwait2(epoll_fd, events, kEventsAtOnce, timeout ? &span : nullptr, nullptr);
    if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return count;
    has_pwait2.store(false, std::memory_order_relaxed);
  }
  int timeout_ms = -1;
  if (timeout) {
    const auto limit = Duration(std::chrono::hours(1));
    timeout_ms = static_cast<int>((std::min(*timeout, limit).count() + 999) / 1000);
  }
  return epoll_wait(epoll_fd, events, kEventsAtOnce, timeout_ms);
}

}  // namespace

EventLoop::EventLoop()
    : epoll_fd_(epoll_create1(EPOLL_CLOEXEC)),
      wake_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      read_buffer_(kReadBufferSize) {
  PCHECK(epoll_fd_ >= 0) << "epoll_create1";
  PCHECK(wake_fd_ >= 0) << "eventfd";
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWakeSource;
  PCHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, wake_fd_, &event) == 0) << "epoll_ctl add eventfd";
}

EventLoop::~EventLoop() {
  CHECK(owner_.load() == std::thread::id()) << "the loop is destroyed while it runs";
  DestroyPending();
  CHECK(sources_.empty()) << sources_.size() << " sockets outlive their loop";
  close(wake_fd_);
  close(epoll_fd_);
}

void EventLoop::Run() {
  CHECK(owner_.load() == std::thread::id()) << "the loop runs already";
  owner_.store(std::this_thread::get_id());
  for (;;) {
    RunPosted();
    RunTimers();
    RunTurnEnd();
    {
      const std::lock_guard lock(mu_);
      if (is_stopping_) break;
    }
    WaitAndDispatch();
    RunTurnEnd();
  }
  DestroyPending();
  owner_.store(std::thread::id());
}

void EventLoop::Stop() {
  bool must_wake = false;
  {
    const std::lock_guard lock(mu_);
    is_stopping_ = true;
    must_wake = std::exchange(is_asleep_, false);
  }
  if (must_wake) Wake();
}

void EventLoop::Post(Task task) {
  bool must_wake = false;
  {
    const std::lock_guard lock(mu_);
    if (!is_finished_) {
      posted_.push_back(std::move(task));
      must_wake = std::exchange(is_asleep_, false);
    }
  }
  if (must_wake) Wake();
}

void EventLoop::Wake() {
  wake_count_.fetch_add(1, std::memory_order_relaxed);
  const uint64_t one = 1;
  const ssize_t written = write(wake_fd_, &one, sizeof(one));
  PCHECK(written == sizeof(one) || errno == EAGAIN) << "write to eventfd";
}

TimerId EventLoop::RunAfter(Duration delay, Task task) {
  DCHECK(IsOwnerThread()) << "a timer set off the loop's thread";
  return timers_.Add(clock_.Now() + std::max(delay, Duration(0)), std::move(task));
}

void EventLoop::Cancel(TimerId timer) {
  DCHECK(IsOwnerThread()) << "a timer cancelled off the loop's thread";
  timers_.Cancel(timer);
}

bool EventLoop::IsOwnerThread() const {
  const std::thread::id owner = owner_.load(std::memory_order_relaxed);
  return owner == std::thread::id() || owner == std::this_thread::get_id();
}

SourceId EventLoop::Register(int fd, uint32_t events, EventSource* source) {
  DCHECK(IsOwnerThread());
  CHECK(source != nullptr);
  const SourceId id(next_source_++);
  epoll_event event{};
  event.events = events;
  event.data.u64 = id.value();
  PCHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) == 0) << "epoll_ctl add " << fd;
  sources_.emplace(id.value(), source);
  return id;
}

void EventLoop::SetEvents(SourceId id, int fd, uint32_t events) {
  DCHECK(IsOwnerThread());
  CHECK(IsRegistered(id));
  epoll_event event{};
  event.events = events;
  event.data.u64 = id.value();
  PCHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) == 0) << "epoll_ctl mod " << fd;
}

void EventLoop::Unregister(SourceId id, int fd) {
  DCHECK(IsOwnerThread());
  CHECK_EQ(sources_.erase(id.value()), 1u);
  PCHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr) == 0) << "epoll_ctl del " << fd;
}

void EventLoop::RunPosted() {
  std::vector<Task> posted;
  {
    const std::lock_guard lock(mu_);
    is_asleep_ = false;
    posted.swap(posted_);
  }
  for (Task& task : posted) {
    Task running = std::move(task);  // Destroyed before the next one runs.
    running();
  }
}

// Timers that a timer sets for now wait for the next turn, so that sockets get theirs.
void EventLoop::RunTimers() {
  if (!timers_.NextDeadline()) return;
  const MonotonicTime now = clock_.Now();
  for (size_t left = kEventsAtOnce; left > 0; --left) {
    Task task = timers_.TakeDue(now);
    if (!task) return;
    task();
  }
}

// What a source queues from here waits for the next turn, so that one which always has more does
// not keep the loop.
void EventLoop::RunTurnEnd() {
  const std::vector<uint64_t> ending = std::exchange(turn_end_, {});
  for (const uint64_t id : ending) {
    const auto source = sources_.find(id);
    if (source != sources_.end()) source->second->OnTurnEnd();
  }
}

std::optional<Duration> EventLoop::PrepareSleep() {
  if (!turn_end_.empty()) return Duration(0);
  std::optional<Duration> timeout;
  if (const std::optional<MonotonicTime> deadline = timers_.NextDeadline()) {
    timeout = TimeLeft(clock_, *deadline);
  }
  const std::lock_guard lock(mu_);
  if (!posted_.empty() || is_stopping_) return Duration(0);
  is_asleep_ = timeout != Duration(0);
  return timeout;
}

void EventLoop::WaitAndDispatch() {
  std::array<epoll_event, kEventsAtOnce> events;
  const int count = WaitForEvents(epoll_fd_, events.data(), PrepareSleep());
  if (count < 0) {
    PCHECK(errno == EINTR) << "epoll_wait";
    return;
  }
  for (int at = 0; at < count; ++at) {
    const epoll_event& event = events[static_cast<size_t>(at)];
    if (event.data.u64 == kWakeSource) {
      uint64_t writes = 0;
      PCHECK(read(wake_fd_, &writes, sizeof(writes)) > 0 || errno == EAGAIN) << "read eventfd";
      continue;
    }
    // An earlier event of this batch may have closed it.
    const auto source = sources_.find(event.data.u64);
    if (source != sources_.end()) source->second->OnEvents(event.events);
  }
}

void EventLoop::DestroyPending() {
  std::vector<Task> posted;
  {
    const std::lock_guard lock(mu_);
    is_finished_ = true;
    posted.swap(posted_);
  }
  posted.clear();
  timers_.TakeAll();
}

}  // namespace millrace

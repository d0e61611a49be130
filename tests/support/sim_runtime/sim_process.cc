#include "tests/support/sim_runtime/sim_process.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "tests/support/sim_runtime/sim_fabric.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::sim {

void SimExecutor::Post(Task task) {
  if (!process_->is_alive_) return;
  posted_.push_back(std::move(task));
  if (!has_turn_) ScheduleTurn();
}

void SimExecutor::ScheduleTurn() {
  has_turn_ = true;
  const auto delay_max = static_cast<uint64_t>(world_->options_.dispatch_delay_max.count());
  const Duration delay(world_->tie_random_.Between(0, delay_max));
  world_->Schedule(world_->now_ + delay, process_, process_->life_, 0);
}

TimerId SimExecutor::RunAfter(Duration delay, Task task) {
  CHECK(IsOwnerThread()) << process_->name_ << ": a timer set by another process";
  const int64_t rate = SimClock::kMillion + process_->clock_.drift_ppm_;
  // What is due after longer than any run never is.
  const int64_t asked = std::min(delay, Duration(std::chrono::hours(24 * 365))).count();
  const int64_t whole = asked / rate * SimClock::kMillion;
  const int64_t rest = asked % rate * SimClock::kMillion / rate;
  return Plan(Duration(whole + rest), std::move(task));
}

TimerId SimExecutor::Plan(Duration delay, Task task) {
  if (!process_->is_alive_) return TimerId();
  const uint64_t id = next_timer_++;
  timers_.emplace(id, std::move(task));
  world_->Schedule(world_->now_ + std::max(delay, Duration(0)), process_, process_->life_, id);
  return TimerId(id);
}

void SimExecutor::Cancel(TimerId timer) {
  auto found = timers_.extract(timer.value());  // The task dies after the map is whole again.
}

bool SimExecutor::IsOwnerThread() const {
  return world_->running_ == nullptr || world_->running_ == process_;
}

// A turn runs what was posted before it began, as the real loop does.
void SimExecutor::RunTurn() {
  has_turn_ = false;
  const uint64_t life = process_->life_;
  for (size_t left = posted_.size(); left > 0 && process_->life_ == life; --left) {
    if (!process_->is_alive_) return;
    if (process_->is_paused_) break;
    Task task = std::move(posted_.front());
    posted_.pop_front();
    task();
  }
  if (!posted_.empty() && !has_turn_) ScheduleTurn();
}

void SimExecutor::RunTimer(uint64_t id) {
  auto found = timers_.extract(id);
  if (!found.empty()) found.mapped()();
}

void SimExecutor::Clear() {
  // Moved out first: a task's destructor may cancel a timer or post.
  const std::deque<Task> posted = std::exchange(posted_, {});
  const std::map<uint64_t, Task> timers = std::exchange(timers_, {});
  has_turn_ = false;
}

Duration SimClock::Elapsed() const {
  const int64_t since = (world_->elapsed() - drift_from_).count();
  return elapsed_then_ + Duration(since + since * drift_ppm_ / kMillion);
}

void SimClock::SetDrift(int64_t parts_per_million) {
  CHECK_GT(parts_per_million, -kMillion);
  elapsed_then_ = Elapsed();
  drift_from_ = world_->elapsed();
  drift_ppm_ = parts_per_million;
}

MonotonicTime SimClock::Now() const { return origin_ + Elapsed(); }

int64_t SimClock::WallMs() const {
  return wall_origin_ms_ + wall_offset_ms_ + Elapsed().count() / 1000;
}

Result<std::unique_ptr<Listener>> SimNetwork::Listen(const Endpoint& endpoint,
                                                     AcceptHandler on_accept) {
  return fabric_->Listen(*process_, endpoint, std::move(on_accept));
}

void SimNetwork::Connect(const Endpoint& endpoint, Duration timeout, ConnectHandler done) {
  fabric_->Connect(*process_, endpoint, timeout, std::move(done));
}

SimProcess::SimProcess(SimWorld& world, SimFabric& fabric, std::string name, uint64_t ordinal)
    : world_(&world),
      fabric_(&fabric),
      name_(std::move(name)),
      ordinal_(ordinal),
      random_(world.Fork()),
      executor_(world, *this),
      clock_(world, Duration(random_.Below(1'000'000'000)), world.options_.wall_origin_ms),
      network_(fabric, *this) {}

void SimProcess::Kill() {
  CHECK(is_alive_) << name_ << " is dead already";
  is_alive_ = false;
  is_paused_ = false;
  deferred_.clear();
  world_->Trace(0xDEAD);
  fabric_->OnKilled(*this);
  executor_.Clear();
}

void SimProcess::Restart() {
  CHECK(!is_alive_) << name_ << " still runs";
  is_alive_ = true;
  ++life_;
  world_->Trace(0xB007);
}

void SimProcess::Pause() { is_paused_ = is_alive_; }

void SimProcess::Resume() {
  if (!is_paused_) return;
  is_paused_ = false;
  // In the order in which they fell due: a connection made meanwhile is there before its bytes.
  Duration at = world_->now_;
  for (const uint64_t id : std::exchange(deferred_, {})) {
    world_->Schedule(at, this, life_, id);
    at += Duration(1);
  }
}

}  // namespace millrace::sim

// One simulated process: an Executor, a Clock and a Network that belong together and die together.
//
// Made by SimWorld::AddProcess and owned by it; one thread, the world's.
//
//   process.Kill();     // all tasks and timers are destroyed unrun; peers see its connections reset
//   process.Restart();  // the same host comes back, with nothing listening and nothing planned
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/network.h"
#include "raft/runtime/random.h"

namespace millrace::sim {

class SimFabric;
class SimProcess;
class SimWorld;

// Runs posted tasks in order, a little later than they were posted; timers when they are due.
class SimExecutor final : public Executor {
 public:
  SimExecutor(SimWorld& world, SimProcess& process) : world_(&world), process_(&process) {}

  void Post(Task task) override;
  TimerId RunAfter(Duration delay, Task task) override;
  void Cancel(TimerId timer) override;
  // True between events too, so that a test may call into the process's objects.
  bool IsOwnerThread() const override;

 private:
  friend class SimFabric;
  friend class SimProcess;
  friend class SimWorld;

  // RunAfter, from whichever process is running: how one process's bytes reach another.
  TimerId Plan(Duration delay, Task task);
  void RunTurn();
  void RunTimer(uint64_t id);
  void Clear();
  void ScheduleTurn();

  SimWorld* world_;
  SimProcess* process_;
  std::deque<Task> posted_;
  bool has_turn_ = false;
  std::map<uint64_t, Task> timers_;
  uint64_t next_timer_ = 1;  // never restarts: a timer of an earlier life is nobody's
};

class SimClock final : public Clock {
 public:
  SimClock(const SimWorld& world, Duration origin, int64_t wall_origin_ms)
      : world_(&world), origin_(origin), wall_origin_ms_(wall_origin_ms) {}
  MonotonicTime Now() const override;
  int64_t WallMs() const override;

 private:
  friend class SimProcess;
  friend class SimExecutor;
  static constexpr int64_t kMillion = 1'000'000;
  // The process's own idea of how much time has passed.
  Duration Elapsed() const;
  void SetDrift(int64_t parts_per_million);

  const SimWorld* world_;
  Duration drift_from_{0};  // when the drift last changed, and what had passed for it by then
  Duration elapsed_then_{0};
  int64_t drift_ppm_ = 0;
  Duration
      origin_;  // drawn a process, so that no one compares two processes' readings and gets away
  int64_t wall_origin_ms_;
  int64_t wall_offset_ms_ = 0;
};

// A process's view of the fabric between all of them.
class SimNetwork final : public Network {
 public:
  SimNetwork(SimFabric& fabric, SimProcess& process) : fabric_(&fabric), process_(&process) {}
  Result<std::unique_ptr<Listener>> Listen(const Endpoint& endpoint,
                                           AcceptHandler on_accept) override;
  void Connect(const Endpoint& endpoint, Duration timeout, ConnectHandler done) override;

 private:
  SimFabric* fabric_;
  SimProcess* process_;
};

class SimProcess {
 public:
  SimProcess(SimWorld& world, SimFabric& fabric, std::string name, uint64_t ordinal);
  SimProcess(const SimProcess&) = delete;
  SimProcess& operator=(const SimProcess&) = delete;

  const std::string& name() const { return name_; }
  Executor& executor() { return executor_; }
  const Clock& clock() const { return clock_; }
  Network& network() { return network_; }
  Random Fork() { return random_.Fork(); }

  bool is_alive() const { return is_alive_; }
  bool is_paused() const { return is_paused_; }
  // Counts the process's lives; 1 and up.
  uint64_t life() const { return life_; }

  // May be called by what runs in the process: that finishes, and nothing after it runs. Pre:
  // alive.
  void Kill();
  // Pre: not alive, and what used the process in its last life is gone.
  void Restart();
  // Nothing runs until Resume; what falls due meanwhile then runs at once. Time goes on.
  void Pause();
  void Resume();
  // Moves the wall clock, forth or back, from now on.
  void SetWallOffset(int64_t milliseconds) { clock_.wall_offset_ms_ = milliseconds; }
  // Its clocks and timers run so many parts in a million too fast, or too slow, from now on.
  void SetDrift(int64_t parts_per_million) { clock_.SetDrift(parts_per_million); }

 private:
  friend class SimExecutor;
  friend class SimWorld;
  friend class SimFabric;

  SimWorld* world_;
  SimFabric* fabric_;
  std::string name_;
  uint64_t ordinal_;
  Random random_;
  bool is_alive_ = true;
  bool is_paused_ = false;
  uint64_t life_ = 1;
  std::vector<uint64_t> deferred_;  // event ids that fell due while paused
  SimExecutor executor_;
  SimClock clock_;
  SimNetwork network_;
};

}  // namespace millrace::sim

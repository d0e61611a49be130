// A whole world in one thread: simulated time, processes and the network between them, all from one
// seed. The same seed and the same calls give the same run, event for event, which trace_hash()
// proves. It is the ground of every simulation: production code is handed a process's Executor,
// Clock and Network and cannot tell.
//
// Events are ordered by (time, a draw from the seed): what happens at the same instant happens in
// an order that differs from seed to seed. No real clock is read and nothing waits; an hour without
// events costs nothing. Files are somebody else's (tests/support/sim_file): a simulated disk is a
// process's Executor::RunAfter.
//
// One thread. The world outlives whatever uses its processes.
//
//   SimWorld world(seed);
//   SimProcess& one = world.AddProcess("broker1");          // reached by others as host "broker1"
//   Broker broker(one.executor(), one.clock(), one.network(), one.Fork());
//   world.RunFor(1s);
//   world.Partition("broker1", "broker2");                  // both ways, streams stall
//   one.Kill();                                             // nothing of it runs any more
//   broker.reset();                                         // then its objects go
//   one.Restart();                                          // then it may start again
//   CHECK(world.RunUntil([&] { return HasLeader(); }, 5s));
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "raft/runtime/random.h"
#include "tests/support/sim_runtime/sim_fabric.h"
#include "tests/support/sim_runtime/sim_process.h"

namespace millrace::sim {

struct SimOptions {
  // The wall clock of a process without an offset when the world begins, in ms since 1970.
  int64_t wall_origin_ms = 1'750'000'000'000;
  // How long a process takes at most from a posted task to running it.
  Duration dispatch_delay_max{20};
  LinkOptions link;
};

class SimWorld {
 public:
  explicit SimWorld(uint64_t seed, const SimOptions& options = {});
  ~SimWorld();
  SimWorld(const SimWorld&) = delete;
  SimWorld& operator=(const SimWorld&) = delete;

  // A process that is running, alone on the host `name`. Pre: the name is new.
  SimProcess& AddProcess(const std::string& name);
  SimProcess& process(const std::string& name);

  // Time since the world began.
  Duration elapsed() const { return now_; }
  // Runs everything that is due within the next `span`, and leaves the time there.
  void RunFor(Duration span);
  // Runs until `predicate` holds, asked after each event; false if `limit` passed first.
  bool RunUntil(const std::function<bool()>& predicate, Duration limit);
  // Runs the next event; false if there is none.
  bool Step();
  // Runs `task` in `delay`, in no process: for what a test does to the world.
  void After(Duration delay, Task task);

  // Bytes from `from` to `to` stay on the way (and back, unless one_way), and connects time out.
  // Streams stall without an error, as they do when a cable is pulled.
  void Partition(const std::string& from, const std::string& to, bool one_way = false);
  // Ends a partition both ways. Each stalled stream goes on, or is reset, as the seed says.
  void Heal(const std::string& a, const std::string& b);
  void HealAll();
  // Resets every connection between the two, some of the bytes in flight lost, in mid-frame too.
  size_t BreakConnections(const std::string& a, const std::string& b);
  // Sets what the link between the two is like, both ways, from now on.
  void SetLink(const std::string& a, const std::string& b, const LinkOptions& options);

  // An independent generator for a concern of the test's.
  Random Fork() { return random_.Fork(); }
  // A digest of every event so far. Trace adds what a test wants in it.
  uint64_t trace_hash() const { return trace_hash_; }
  void Trace(uint64_t value);
  uint64_t events_run() const { return events_run_; }

 private:
  friend class SimProcess;
  friend class SimExecutor;
  friend class SimFabric;

  // A moment at which `process` (or the world, if null) has something to run.
  struct Event {
    Duration at;
    uint64_t tie;
    uint64_t sequence;
    SimProcess* process;
    uint64_t life;  // of the process when this was planned: what was planned for a dead one is void
    uint64_t id;    // the timer; 0 for a turn of the queue of posted tasks
  };
  struct Later {
    bool operator()(const Event& a, const Event& b) const;
  };

  void Schedule(Duration at, SimProcess* process, uint64_t life, uint64_t id);
  void Run(const Event& event);

  SimOptions options_;
  Random random_;
  Random tie_random_;
  Duration now_{0};
  uint64_t next_sequence_ = 1;
  uint64_t next_task_ = 1;
  uint64_t events_run_ = 0;
  uint64_t trace_hash_ = 0x6D696C6C72616365;
  std::vector<Event> heap_;
  std::map<uint64_t, Task> tasks_;  // the world's own, by id
  SimProcess* running_ = nullptr;
  std::map<std::string, std::unique_ptr<SimProcess>> processes_;
  SimFabric fabric_;
};

}  // namespace millrace::sim

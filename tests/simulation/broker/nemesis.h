// Makes trouble: each class of faults that the seed's swarm has on strikes at its own pace, from a
// stream of chance of its own, and ends by itself. A broker that dies is started again, as a
// supervisor would.
//
// Owned by a run, for its chaos; one thread.
//
//   Nemesis nemesis(world, cluster, swarm, seed, {.before_loss = ..., .clients = ...});
//   nemesis.Start();
//   world.RunFor(20s);
//   nemesis.Stop();      // nothing new; then Heal ends what is under way
//   nemesis.Heal();
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/swarm.h"

namespace millrace::sim {

class Nemesis {
 public:
  struct Environment {
    // Durable state is about to be taken away or damaged: what is promised is checked first.
    std::function<void()> before_loss;
    // The broker's disk is about to be damaged for good.
    std::function<void(size_t)> on_damage;
    // Processes of producers and consumers, by name.
    std::vector<std::string> clients;
    std::function<void(const std::string&)> note;
  };
  struct Counts {
    uint64_t kills = 0;
    uint64_t power_losses = 0;
    uint64_t partitions = 0;
    uint64_t faults = 0;
  };

  Nemesis(SimWorld& world, SimCluster& cluster, const Swarm& swarm, uint64_t seed,
          Environment environment);

  void Start();
  void Stop() { is_on_ = false; }
  // Ends all faults and starts every broker that is down. Damage stays.
  void Heal();
  void Kill(size_t broker, bool power_loss);
  // Records were deleted: a broker may die while it drops them.
  void OnDeletion();
  const Counts& counts() const { return counts_; }
  // Brokers whose data may be damaged for good, by a fault of this run.
  bool is_damaged(size_t broker) const { return damaged_.contains(broker); }
  const std::set<size_t>& damaged() const { return damaged_; }
  bool has_rotted_segments() const { return has_rotted_segments_; }

 private:
  using Fault = void (Nemesis::*)(Random&);
  struct Class {
    FaultClass fault;
    Fault strike;
    Random random;
    uint64_t pace_ms = 0;
  };

  void Arm(size_t at);
  // Draws from a skewed range: mostly short, now and then up to `high_ms`.
  static Duration Span(Random& random, uint64_t low_ms, uint64_t high_ms);
  size_t Anyone(Random& random) { return random.Below(cluster_.size()); }
  // Runs `end` later, unless everything was healed by then.
  void Later(Duration delay, std::function<void()> end);
  void OnDeath(size_t broker, const Status& why);
  void RestartLater(size_t broker, Duration delay);
  void Note(const std::string& text) const { environment_.note(text); }

  void KillOne(Random& random);
  // Tells it to stop, and kills it after a while, as those do that run it.
  void StopOne(size_t broker, Duration grace, Duration down);
  void CutPower(Random& random);
  void CrashInside(Random& random);
  void CrashWithin(Random& random, uint64_t operations_max);
  void Partition(Random& random);
  void Bridge(Random& random);
  void Reset(Random& random);
  void SlowLink(Random& random);
  void SlowDisk(Random& random);
  void Stall(Random& random);
  // From now on so many bytes more can be written there.
  void LeaveRoom(size_t broker, uint64_t bytes);
  void FillDisk(Random& random);
  void FillAllDisks(Random& random);
  void LookWhetherAllAreFull() const;
  void FailJournal(Random& random);
  void FailForAWhile(Random& random);
  void DamageDisk(Random& random);
  void Rot(Random& random, size_t broker);
  void RotSegments(Random& random);
  // Its disk is about to be damaged, in a way that may last.
  void MarkDamaged(size_t broker);
  void Pause(Random& random);
  void PauseClient(Random& random);
  void ShiftClock(Random& random);
  void ThrowClockOff(Random& random);

  SimWorld& world_;
  SimCluster& cluster_;
  const Swarm swarm_;
  const Environment environment_;
  Random restarts_;
  Random drops_;
  std::vector<Class> classes_;
  std::set<size_t> restarting_;
  std::set<size_t> damaged_;
  bool has_rotted_segments_ = false;
  Counts counts_;
  bool is_on_ = false;
  uint64_t round_ = 1;  // grows when everything is healed
};

}  // namespace millrace::sim

#include "tests/simulation/core/cluster.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <numeric>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/simulation/core/nemesis.h"
#include "tests/simulation/core/network.h"
#include "tests/simulation/core/replica.h"
#include "tests/simulation/core/workload.h"

namespace millrace::simulation::core {
namespace {

constexpr int64_t kChaosUs = 20'000'000;
// Many election timeouts (0.3 to 0.6 s), so that bad luck alone never fails a healthy cluster.
constexpr int64_t kRecoveryUsMax = 15'000'000;

class Cluster {
 public:
  explicit Cluster(uint64_t seed);

  Outcome Run();

 private:
  static std::vector<std::unique_ptr<SimReplica>> MakeReplicas(uint32_t count, World* world,
                                                               Random random);
  static std::vector<const DiskImage*> Images(
      const std::vector<std::unique_ptr<SimReplica>>& replicas);

  // Lets the world run for `span_us`, or until `is_done`; true if it came to that.
  bool RunFor(int64_t span_us, const std::function<bool()>& is_done);
  void BootAll();
  void HealMajority();
  // Nothing reaches `one` any more, nor does it reach the others if it is mute.
  void Isolate(size_t one, bool is_mute_too);
  bool MajorityProgresses();
  bool HaveAllConverged() const;
  std::string DescribeReplicas() const;

  Random random_;  // the order of these members is the order in which they fork from the seed
  Swarm swarm_;
  World world_;
  std::vector<std::unique_ptr<SimReplica>> replicas_;
  Oracle oracle_;
  SimNetwork network_;
  Nemesis nemesis_;
  Workload workload_;
};

Cluster::Cluster(uint64_t seed)
    : random_(seed),
      swarm_(Swarm::Draw(random_.Fork())),
      replicas_(MakeReplicas(swarm_.voters, &world_, random_.Fork())),
      oracle_(Images(replicas_)),
      network_(&world_.queue, random_.Fork(), swarm_,
               {.deliver =
                    [this](size_t from, size_t to, raft::core::Message message) {
                      replicas_[to]->Receive(from, std::move(message));
                    },
                .connected = [this](size_t at, size_t peer) { replicas_[at]->PeerConnected(peer); },
                .disconnected = [this](size_t at,
                                       size_t peer) { replicas_[at]->PeerDisconnected(peer); }}),
      nemesis_(&world_, swarm_, random_.Fork(), &replicas_),
      workload_(&world_.queue, swarm_, random_.Fork(), &replicas_) {
  world_.oracle = &oracle_;
  world_.network = &network_;
  world_.voters = swarm_.voters;
}

std::vector<std::unique_ptr<SimReplica>> Cluster::MakeReplicas(uint32_t count, World* world,
                                                               Random random) {
  std::vector<std::unique_ptr<SimReplica>> replicas;
  for (size_t at = 0; at < count; ++at) {
    replicas.push_back(std::make_unique<SimReplica>(at, world, random.Fork()));
  }
  return replicas;
}

std::vector<const DiskImage*> Cluster::Images(
    const std::vector<std::unique_ptr<SimReplica>>& replicas) {
  std::vector<const DiskImage*> images;
  for (const auto& replica : replicas) images.push_back(&replica->image());
  return images;
}

bool Cluster::RunFor(int64_t span_us, const std::function<bool()>& is_done) {
  const int64_t end_us = world_.queue.now_us() + span_us;
  while (oracle_.ok() && world_.queue.RunNext(end_us)) {
    if (is_done()) return true;
  }
  return false;
}

void Cluster::BootAll() {
  for (auto& replica : replicas_) {
    replica->disk().set_slow(false);
    replica->PauseUntil(0);
    if (!replica->is_up()) replica->Boot();
  }
}

void Cluster::HealMajority() {
  nemesis_.Stop();
  network_.StopFaults();
  network_.HealAll();
  BootAll();
  std::vector<size_t> order(replicas_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t at = order.size() - 1; at > 0; --at) {
    std::swap(order[at], order[random_.Below(at + 1)]);
  }
  // As many as may fail do.
  const uint64_t failure = random_.Below(3);
  for (size_t at = 0; at < (order.size() - 1) / 2; ++at) {
    if (failure == 0) {
      replicas_[order[at]]->Crash();
    } else {
      Isolate(order[at], failure == 1);
    }
  }
}

void Cluster::Isolate(size_t one, bool is_mute_too) {
  for (size_t other = 0; other < replicas_.size(); ++other) {
    network_.CutLink(other, one);
    if (is_mute_too) network_.CutLink(one, other);
  }
}

bool Cluster::MajorityProgresses() {
  // Some entry that was proposed from now on: more than all that any log holds.
  LogIndex target;
  for (const auto& replica : replicas_) {
    if (replica->is_up()) target = std::max(target, replica->raft().log().last_index());
  }
  return RunFor(kRecoveryUsMax, [this, target] { return oracle_.committed() > target; });
}

bool Cluster::HaveAllConverged() const {
  return std::all_of(replicas_.begin(), replicas_.end(), [this](const auto& replica) {
    const raft::core::Raft& raft = replica->raft();
    return raft.commit_index() == oracle_.committed() &&
           raft.log().last_index() == oracle_.committed() &&
           raft.log().last_chain() == oracle_.committed_chain();
  });
}

std::string Cluster::DescribeReplicas() const {
  std::ostringstream out;
  for (const auto& replica : replicas_) {
    if (!replica->is_up()) continue;
    const raft::core::Raft& raft = replica->raft();
    const raft::core::Log& log = raft.log();
    out << "\n  " << (raft.is_leader() ? "leader" : "other") << " term=" << raft.term()
        << " begin=" << log.begin().index << " tail_after=" << log.prefix().index
        << " commit=" << raft.commit_index() << " last=" << log.last_index() << "@"
        << log.last_term();
  }
  return out.str();
}

Outcome Cluster::Run() {
  BootAll();
  nemesis_.Start();
  workload_.Start();
  RunFor(kChaosUs, [] { return false; });
  if (oracle_.ok()) {
    HealMajority();
    if (!MajorityProgresses()) {
      oracle_.Report("no progress", "a healthy majority committed nothing in 15 s");
    }
  }
  if (oracle_.ok()) {
    network_.HealAll();
    BootAll();
    workload_.Stop();
    if (!RunFor(kRecoveryUsMax, [this] { return HaveAllConverged(); })) {
      oracle_.Report("no convergence",
                     "healthy replicas differ after 15 s without load:" + DescribeReplicas());
    }
  }
  world_.statistics.Count("committed entries", oracle_.committed().value());
  return {.anomaly = oracle_.anomaly(),
          .statistics = world_.statistics,
          .swarm = swarm_,
          .simulated_us = world_.queue.now_us()};
}

}  // namespace

Outcome Simulate(uint64_t seed) { return Cluster(seed).Run(); }

}  // namespace millrace::simulation::core

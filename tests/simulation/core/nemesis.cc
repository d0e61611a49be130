#include "tests/simulation/core/nemesis.h"

#include <utility>

namespace millrace::simulation::core {

Nemesis::Nemesis(World* world, const Swarm& swarm, Random random,
                 std::vector<std::unique_ptr<SimReplica>>* replicas)
    : world_(world), random_(random), replicas_(*replicas), interval_us_(swarm.fault_interval_us) {
  const std::pair<bool, Fault> classes[] = {{swarm.crashes, &Nemesis::CrashOne},
                                            {swarm.power_cuts, &Nemesis::CutPower},
                                            {swarm.partitions, &Nemesis::Partition},
                                            {swarm.one_way_cuts, &Nemesis::CutOneWay},
                                            {swarm.bridges, &Nemesis::Bridge},
                                            {swarm.broken_connections, &Nemesis::BreakConnection},
                                            {swarm.pauses, &Nemesis::Pause},
                                            {swarm.slow_disks, &Nemesis::SlowDisk},
                                            {swarm.host_commands, &Nemesis::CommandHost},
                                            {swarm.trims, &Nemesis::Trim}};
  for (const auto& [is_on, fault] : classes) {
    if (is_on) faults_.push_back(fault);
  }
}

void Nemesis::Start() {
  is_on_ = true;
  if (!faults_.empty()) ScheduleNext();
}

void Nemesis::ScheduleNext() {
  world_->queue.After(Span(1, 2 * static_cast<uint64_t>(interval_us_)), [this] {
    if (!is_on_) return;
    (this->*faults_[random_.Below(faults_.size())])();
    ScheduleNext();
  });
}

int64_t Nemesis::Span(uint64_t low_us, uint64_t high_us) {
  return static_cast<int64_t>(random_.Between(low_us, high_us));
}

void Nemesis::Until(int64_t span_us, std::function<void()> end) {
  world_->queue.After(span_us, [this, end = std::move(end)] {
    if (is_on_) end();
  });
}

void Nemesis::CrashFor(size_t at, int64_t span_us) {
  SimReplica* replica = replicas_[at].get();
  if (!replica->is_up()) return;
  replica->Crash();
  // A killed process closes its connections; a machine without power does not.
  if (random_.OneIn(2)) {
    for (size_t peer = 0; peer < replicas_.size(); ++peer) {
      if (peer != at) world_->network->BreakConnection(at, peer);
    }
  }
  Until(span_us, [replica] {
    if (!replica->is_up()) replica->Boot();
  });
}

void Nemesis::CrashOne() { CrashFor(Anyone(), Span(20'000, 3'000'000)); }

void Nemesis::CutPower() {
  world_->statistics.Count("power cuts");
  for (size_t at = 0; at < replicas_.size(); ++at) CrashFor(at, Span(10'000, 1'000'000));
}

void Nemesis::Cut(const std::function<bool(size_t, size_t)>& is_cut) {
  world_->statistics.Count("cuts");
  for (size_t from = 0; from < replicas_.size(); ++from) {
    for (size_t to = 0; to < replicas_.size(); ++to) {
      if (from != to && is_cut(from, to)) world_->network->CutLink(from, to);
    }
  }
  Until(Span(100'000, 4'000'000), [this] { world_->network->HealAll(); });
}

void Nemesis::Partition() {
  const uint64_t sides = random_.Next();
  Cut([sides](size_t a, size_t b) { return (sides >> a & 1) != (sides >> b & 1); });
}

void Nemesis::CutOneWay() {
  const size_t one = Anyone();
  const uint64_t others = random_.Next();
  const bool is_deaf = random_.OneIn(2);
  Cut([=](size_t from, size_t to) {
    if ((is_deaf ? to : from) != one) return false;
    return (others >> (is_deaf ? from : to) & 1) != 0;
  });
}

void Nemesis::Bridge() {
  const uint64_t sides = random_.Next();
  const size_t bridge = Anyone();
  Cut([=](size_t a, size_t b) {
    return a != bridge && b != bridge && (sides >> a & 1) != (sides >> b & 1);
  });
}

void Nemesis::BreakConnection() {
  const size_t a = Anyone();
  const size_t b = Anyone();
  if (a == b) return;
  world_->statistics.Count("broken connections");
  world_->network->BreakConnection(a, b);
}

void Nemesis::Pause() {
  world_->statistics.Count("pauses");
  replicas_[Anyone()]->PauseUntil(world_->queue.now_us() + Span(20'000, 2'000'000));
}

void Nemesis::SlowDisk() {
  world_->statistics.Count("slow disks");
  SimReplica* replica = replicas_[Anyone()].get();
  replica->disk().set_slow(true);
  Until(Span(200'000, 5'000'000), [replica] { replica->disk().set_slow(false); });
}

void Nemesis::CommandHost() {
  SimReplica* replica = replicas_[Anyone()].get();
  if (random_.OneIn(2)) {
    replica->Campaign();
  } else {
    replica->StepDown();
  }
}

void Nemesis::Trim() {
  SimReplica& replica = *replicas_[Anyone()];
  replica.TrimTail();
  if (random_.OneIn(2)) replica.MoveBegin();
}

}  // namespace millrace::simulation::core

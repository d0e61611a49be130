#include "tests/support/sim_runtime/sim_world.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include <glog/logging.h>

namespace millrace::sim {

bool SimWorld::Later::operator()(const Event& a, const Event& b) const {
  return std::tie(a.at, a.tie, a.sequence) > std::tie(b.at, b.tie, b.sequence);
}

SimWorld::SimWorld(uint64_t seed, const SimOptions& options)
    : options_(options),
      random_(seed),
      tie_random_(random_.Fork()),
      fabric_(*this, options.link, random_.Fork()) {}

SimWorld::~SimWorld() {
  // Tasks own objects that reach for the fabric and for other processes when they go.
  for (auto& [name, process] : processes_) {
    if (process->is_alive()) process->Kill();
  }
  tasks_.clear();
}

SimProcess& SimWorld::AddProcess(const std::string& name) {
  const uint64_t ordinal = processes_.size() + 1;
  auto process = std::make_unique<SimProcess>(*this, fabric_, name, ordinal);
  const auto [at, is_new] = processes_.emplace(name, std::move(process));
  CHECK(is_new) << "two processes named " << name;
  return *at->second;
}

SimProcess& SimWorld::process(const std::string& name) {
  const auto found = processes_.find(name);
  CHECK(found != processes_.end()) << "no process named " << name;
  return *found->second;
}

void SimWorld::RunFor(Duration span) {
  const Duration end = now_ + span;
  while (!heap_.empty() && heap_.front().at <= end) Step();
  now_ = end;
}

bool SimWorld::RunUntil(const std::function<bool()>& predicate, Duration limit) {
  const Duration end = now_ + limit;
  while (!predicate()) {
    if (heap_.empty() || heap_.front().at > end) {
      now_ = end;
      return false;
    }
    Step();
  }
  return true;
}

bool SimWorld::Step() {
  if (heap_.empty()) return false;
  std::pop_heap(heap_.begin(), heap_.end(), Later());
  const Event event = heap_.back();
  heap_.pop_back();
  CHECK(event.at >= now_) << "time went back";
  now_ = event.at;
  Run(event);
  return true;
}

void SimWorld::Run(const Event& event) {
  CHECK(running_ == nullptr) << "the world was run from within";
  if (event.process == nullptr) {
    auto task = tasks_.extract(event.id);
    Trace(event.id);
    ++events_run_;
    task.mapped()();
    return;
  }
  SimProcess& process = *event.process;
  if (!process.is_alive() || process.life() != event.life) return;
  if (process.is_paused()) {
    process.deferred_.push_back(event.id);
    return;
  }
  Trace(event.id ^ process.ordinal_ << 48);
  Trace(static_cast<uint64_t>(now_.count()));
  ++events_run_;
  running_ = &process;
  if (event.id == 0) {
    process.executor_.RunTurn();
  } else {
    process.executor_.RunTimer(event.id);
  }
  running_ = nullptr;
}

void SimWorld::After(Duration delay, Task task) {
  CHECK_GE(delay.count(), 0) << "planned for a time that has passed";
  const uint64_t id = next_task_++;
  tasks_.emplace(id, std::move(task));
  Schedule(now_ + delay, nullptr, 0, id);
}

void SimWorld::Schedule(Duration at, SimProcess* process, uint64_t life, uint64_t id) {
  heap_.push_back({.at = at,
                   .tie = tie_random_.Next(),
                   .sequence = next_sequence_++,
                   .process = process,
                   .life = life,
                   .id = id});
  std::push_heap(heap_.begin(), heap_.end(), Later());
}

void SimWorld::Trace(uint64_t value) {
  trace_hash_ = (trace_hash_ ^ value) * 0x9E3779B97F4A7C15;
  trace_hash_ ^= trace_hash_ >> 29;
}

void SimWorld::Partition(const std::string& from, const std::string& to, bool one_way) {
  fabric_.Partition(from, to);
  if (!one_way) fabric_.Partition(to, from);
}

void SimWorld::Heal(const std::string& a, const std::string& b) { fabric_.Heal(a, b); }

void SimWorld::HealAll() { fabric_.HealAll(); }

size_t SimWorld::BreakConnections(const std::string& a, const std::string& b) {
  return fabric_.BreakConnections(a, b);
}

void SimWorld::SetLink(const std::string& a, const std::string& b, const LinkOptions& options) {
  fabric_.SetLink(a, b, options);
}

}  // namespace millrace::sim

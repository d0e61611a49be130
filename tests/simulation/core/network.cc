#include "tests/simulation/core/network.h"

#include <algorithm>
#include <utility>

namespace millrace::simulation::core {

SimNetwork::SimNetwork(EventQueue* queue, Random random, const Swarm& swarm, Listener listener)
    : queue_(queue),
      random_(random),
      swarm_(swarm),
      listener_(std::move(listener)),
      voters_(swarm.voters),
      links_(voters_ * voters_) {}

void SimNetwork::Send(size_t from, size_t to, raft::core::Message message) {
  if (Happens(swarm_.drop_one_in)) return;
  if (Happens(swarm_.duplicate_one_in)) Post(from, to, message);
  Post(from, to, std::move(message));
}

void SimNetwork::Post(size_t from, size_t to, raft::core::Message message) {
  Link& way = link(from, to);
  if (way.is_cut) return;
  const int64_t latency =
      static_cast<int64_t>(random_.Between(100, static_cast<uint64_t>(swarm_.latency_us_max)));
  int64_t arrival = queue_->now_us() + latency;
  if (Happens(swarm_.reorder_one_in)) {
    arrival += static_cast<int64_t>(random_.Below(400'000));
  } else {
    arrival = std::max(arrival, way.last_arrival_us);
    way.last_arrival_us = arrival;
  }
  queue_->At(arrival,
             [this, from, to, connection = way.connection, m = std::move(message)]() mutable {
               const Link& now = link(from, to);
               if (now.is_cut || now.connection != connection) return;
               listener_.deliver(from, to, std::move(m));
             });
}

void SimNetwork::HealAll() {
  for (size_t a = 0; a < voters_; ++a) {
    for (size_t b = a + 1; b < voters_; ++b) {
      const bool was_cut = std::exchange(link(a, b).is_cut, false);
      if (std::exchange(link(b, a).is_cut, false) || was_cut) Connect(a, b);
    }
  }
}

void SimNetwork::Connect(size_t a, size_t b) {
  for (const auto& [at, peer] : {std::pair(a, b), std::pair(b, a)}) {
    queue_->After(static_cast<int64_t>(random_.Below(5'000)),
                  [this, at = at, peer = peer] { listener_.connected(at, peer); });
  }
}

void SimNetwork::BreakConnection(size_t a, size_t b) {
  for (Link* way : {&link(a, b), &link(b, a)}) {
    ++way->connection;
    way->last_arrival_us = 0;
  }
  for (const auto& [at, peer] : {std::pair(a, b), std::pair(b, a)}) {
    queue_->After(static_cast<int64_t>(random_.Below(5'000)),
                  [this, at = at, peer = peer] { listener_.disconnected(at, peer); });
  }
  queue_->After(5'000 + static_cast<int64_t>(random_.Below(200'000)), [this, a, b] {
    if (!link(a, b).is_cut && !link(b, a).is_cut) Connect(a, b);
  });
}

}  // namespace millrace::simulation::core

#include "tests/simulation/core/network.h"

#include <algorithm>
#include <utility>

namespace millrace::simulation::core {

SimNetwork::SimNetwork(EventQueue* queue, Random random, const Swarm& swarm, Deliver deliver,
                       Disconnected disconnected)
    : queue_(queue),
      random_(random),
      swarm_(swarm),
      deliver_(std::move(deliver)),
      disconnected_(std::move(disconnected)),
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
               deliver_(from, to, std::move(m));
             });
}

void SimNetwork::HealAll() {
  for (Link& way : links_) way.is_cut = false;
}

void SimNetwork::BreakConnection(size_t a, size_t b) {
  for (Link* way : {&link(a, b), &link(b, a)}) {
    ++way->connection;
    way->last_arrival_us = 0;
  }
  queue_->After(static_cast<int64_t>(random_.Below(5'000)), [this, a, b] { disconnected_(a, b); });
  queue_->After(static_cast<int64_t>(random_.Below(5'000)), [this, a, b] { disconnected_(b, a); });
}

}  // namespace millrace::simulation::core

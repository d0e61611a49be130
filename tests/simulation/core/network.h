// The network between replicas: every directed link delays its messages and keeps their order, but
// for the faults: a link may be cut in one direction or both, drop, repeat or reorder, and a
// connection may break, which loses what is under way; both ends notice that, and that a new one
// stands.
//
// Owned by Cluster.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "raft/core/message.h"
#include "raft/runtime/random.h"
#include "tests/simulation/core/event_queue.h"
#include "tests/simulation/core/swarm.h"

namespace millrace::simulation::core {

class SimNetwork {
 public:
  struct Listener {
    std::function<void(size_t from, size_t to, raft::core::Message)> deliver;
    std::function<void(size_t at, size_t peer)> connected;
    std::function<void(size_t at, size_t peer)> disconnected;
  };

  SimNetwork(EventQueue* queue, Random random, const Swarm& swarm, Listener listener);

  void Send(size_t from, size_t to, raft::core::Message message);

  void CutLink(size_t from, size_t to) { link(from, to).is_cut = true; }
  // New connections stand where links were cut.
  void HealAll();
  // Loses what is under way between two; both ends notice after a moment, and connect again unless
  // a link between them is cut by then.
  void BreakConnection(size_t a, size_t b);
  // From now on every message arrives, once and in order.
  void StopFaults() { faults_ = false; }

 private:
  struct Link {
    bool is_cut = false;
    int64_t last_arrival_us = 0;
    uint64_t connection = 0;
  };

  Link& link(size_t from, size_t to) { return links_[from * voters_ + to]; }
  bool Happens(uint32_t one_in) { return faults_ && one_in != 0 && random_.OneIn(one_in); }
  void Post(size_t from, size_t to, raft::core::Message message);
  // Tells both, each after a moment.
  void Connect(size_t a, size_t b);

  EventQueue* queue_;
  Random random_;
  const Swarm& swarm_;
  Listener listener_;
  size_t voters_;
  std::vector<Link> links_;
  bool faults_ = true;
};

}  // namespace millrace::simulation::core

// The network between replicas: every directed link delays its messages and keeps their order, but
// for the faults: a link may be cut in one direction or both, drop, repeat or reorder, and a
// connection may break, which loses what is under way and is noticed at both ends.
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
  // `deliver` is given what arrives; `disconnected` an end and the peer that it lost.
  using Deliver = std::function<void(size_t from, size_t to, raft::core::Message)>;
  using Disconnected = std::function<void(size_t at, size_t peer)>;

  SimNetwork(EventQueue* queue, Random random, const Swarm& swarm, Deliver deliver,
             Disconnected disconnected);

  void Send(size_t from, size_t to, raft::core::Message message);

  void CutLink(size_t from, size_t to) { link(from, to).is_cut = true; }
  void HealAll();
  // Loses what is under way between two; both ends notice after a moment.
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

  EventQueue* queue_;
  Random random_;
  const Swarm& swarm_;
  Deliver deliver_;
  Disconnected disconnected_;
  size_t voters_;
  std::vector<Link> links_;
  bool faults_ = true;
};

}  // namespace millrace::simulation::core

// One simulated replica: a real core, a disk that outlives crashes, and the host's part in between:
// it carries out every Ready at once, and seals no-ops and proposals.
//
// Owned by Cluster. Tells the oracle of everything it appends, sends and commits.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "raft/core/raft.h"
#include "raft/runtime/random.h"
#include "tests/simulation/core/disk.h"
#include "tests/simulation/core/event_queue.h"
#include "tests/simulation/core/network.h"
#include "tests/simulation/core/oracle.h"
#include "tests/simulation/core/statistics.h"

namespace millrace::simulation::core {

// What all replicas of a run share.
struct World {
  EventQueue queue;
  Statistics statistics;
  Oracle* oracle = nullptr;
  SimNetwork* network = nullptr;
  uint32_t voters = 0;
};

// The voter at place `at`, 0 and up.
Voter VoterAt(size_t at);

class SimReplica {
 public:
  static constexpr int64_t kTickUs = 25'000;

  SimReplica(size_t place, World* world, Random random);

  const Voter& self() const { return self_; }
  const DiskImage& image() const { return disk_.image(); }
  SimDisk& disk() { return disk_; }
  bool is_up() const { return raft_ != nullptr; }
  // Pre: is_up().
  const raft::core::Raft& raft() const { return *raft_; }
  bool is_leader() const { return is_up() && raft_->is_leader(); }

  void Boot();
  void Crash();
  // Stands still until then: what happens meanwhile is noticed afterwards, in order.
  void PauseUntil(int64_t time_us) { paused_until_us_ = time_us; }

  void Receive(size_t from, raft::core::Message message);
  void PeerConnected(size_t peer);
  void PeerDisconnected(size_t peer);
  // Appends a command of `bytes` bytes if it leads and may; true if it did.
  bool Propose(size_t bytes);
  void Read();
  void Campaign();
  void StepDown();
  // Moves what is committed and durable to segments, and lets the tail go.
  void TrimTail();
  // Drops entries that every replica has and that are in segments here.
  void MoveBegin();

 private:
  // Runs `input` now, or once the pause is over; never in a later boot.
  void Do(std::function<void()> input);
  void ScheduleTick();
  void Pump();
  void CarryOut(raft::core::Ready ready);
  void ReadForPeer(const raft::core::EntriesWanted& wanted);
  void ProposeSealed(raft::core::EntryType type, size_t bytes);
  void Observe(const raft::core::Ready& ready);

  const size_t place_;
  const Voter self_;
  World* world_;
  Random random_;
  SimDisk disk_;
  std::unique_ptr<raft::core::Raft> raft_;
  uint64_t boot_ = 0;
  int64_t paused_until_us_ = 0;
  int64_t tick_us_ = kTickUs;               // its clock runs a little fast or slow
  std::deque<std::function<void()>> held_;  // inputs of the time it stood still
  bool is_resuming_ = false;
  LogIndex commit_seen_;
  uint64_t next_read_ = 0;
  std::map<uint64_t, LogIndex> reads_;  // committed anywhere when the read was asked for
};

}  // namespace millrace::simulation::core

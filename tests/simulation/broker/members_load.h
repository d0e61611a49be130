// Members of groups that share the topic, at any broker, while the run goes on: they join, work on
// what they are given, commit, give up what they are told to, go, die, fall silent and come back.
//
// No two work on a partition at the same time, but for one that was taken out and has not heard of
// it yet. What a former owner was told is committed lies before what the next one was handed. After
// everything healed each partition has one who works on it.
//
// Owned by a run; one thread. Makes nothing before Start.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "raft/runtime/random.h"
#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/history.h"
#include "tests/simulation/broker/sim_connector.h"

namespace millrace::sim {

class MembersLoad {
 public:
  // `ends`: of the topic's partitions, none lower than what was told before.
  MembersLoad(SimWorld& world, SimCluster& cluster, History& history, Random random,
              std::function<std::vector<Offset>()> ends);
  ~MembersLoad();

  void Start();
  // Nobody goes, dies or falls silent any more.
  void Stop() { is_stopped_ = true; }
  // Whether each partition has one who works on it. Pre: it stopped.
  bool IsSettled();

 private:
  class Member;

  // A partition as a group works on it.
  struct Work {
    std::map<uint32_t, const Member*> owners;  // by token, whoever was handed it
    std::map<uint32_t, int64_t> handed;        // by token, the offset
    std::map<uint32_t, int64_t> acknowledged;  // by token, the largest
    std::map<Member*, uint32_t> working;       // and with which token
  };
  struct Shared {
    std::string name;
    std::map<uint32_t, Work> partitions;
    std::vector<std::unique_ptr<Member>> members;
  };

  void OnHanded(Member* member, uint32_t partition, uint32_t token, int64_t offset);
  void OnAcknowledged(const Member& member, uint32_t partition, uint32_t token, int64_t offset);
  void CheckOffsets(const Shared& group, uint32_t partition);

  SimWorld& world_;
  SimCluster& cluster_;
  History& history_;
  Random random_;
  std::function<std::vector<Offset>()> ends_;
  SimProcess& process_;
  SimConnector connector_;
  std::vector<Shared> groups_;
  bool is_stopped_ = false;
};

}  // namespace millrace::sim

// Processes that read the topic together as a group, by the client's own GroupConsumer: each takes
// what comes, works on it for a while, and marks it as done. They leave, die, stand still and come
// back.
//
// Nobody is handed a partition behind what the group has worked on; whoever has one reads it in
// order, every record. After everything healed all of it has been worked on.
//
// Owned by a run; one thread. Makes nothing before Start.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "client/core/group_consumer.h"
#include "raft/runtime/random.h"
#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/history.h"
#include "tests/simulation/broker/sim_connector.h"

namespace millrace::sim {

class ReadersLoad {
 public:
  ReadersLoad(SimWorld& world, SimCluster& cluster, History& history, Random random);
  ~ReadersLoad();

  // `may_lose`: records of the topic go before everybody has read them.
  void Start(bool may_lose);
  // Nobody goes, dies or stands still any more.
  void Stop();
  // Whether all of the topic up to these ends has been worked on. Pre: it stopped.
  bool HasWorkedOn(const std::vector<Offset>& ends) const;

 private:
  class Reader;

  void OnBegins(const std::string& name, const TopicPartition& partition, Offset offset);
  void OnWorkedOn(const TopicPartition& partition, Offset end);

  SimWorld& world_;
  SimCluster& cluster_;
  History& history_;
  Random random_;
  bool may_lose_ = false;
  bool is_stopped_ = false;
  std::vector<std::unique_ptr<Reader>> readers_;
  std::map<TopicPartition, Offset> worked_on_;  // all that lies before
};

}  // namespace millrace::sim

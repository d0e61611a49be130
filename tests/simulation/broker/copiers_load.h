// Processes that share the ledger (TransactionsLoad) as a group and copy it to another topic, each
// batch in a transaction with the offset up to which it was read: by the client's own GroupConsumer
// and ProducerDriver. They leave, die, stand still and come back, with whatever is open then.
//
// Every record that is committed in the ledger is copied exactly once, and nothing else.
//
// Owned by a run; one thread. Makes nothing before Start. Needs a coordinator.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "raft/runtime/random.h"
#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/history.h"
#include "tests/simulation/broker/sim_connector.h"

namespace millrace::sim {

class CopiersLoad {
 public:
  // A record by its partition and offset.
  using Records = std::set<std::pair<uint32_t, int64_t>>;
  static const char* topic() { return "copies"; }

  CopiersLoad(SimWorld& world, SimCluster& cluster, History& history, Random random);
  ~CopiersLoad();

  void Start();
  // Nobody goes, dies or stands still any more.
  void Stop();
  bool is_there() const { return !copiers_.empty(); }
  // Whether all of these were copied. Pre: it stopped, and they are all that there are.
  bool HasCopied(const Records& ledger) const;
  // Holds what was copied against what there was.
  void Check(const Records& ledger);

 private:
  class Copier;
  class Reader;

  void Create();
  void OnCopied(uint32_t partition, int64_t offset);

  SimWorld& world_;
  SimCluster& cluster_;
  History& history_;
  Random random_;
  std::unique_ptr<SimClient> own_;
  std::vector<std::unique_ptr<Copier>> copiers_;
  std::unique_ptr<Reader> reader_;
  Records copied_;
  bool is_stopped_ = false;
};

}  // namespace millrace::sim

// Producers of transactions, by their protocol alone: they write to partitions of one topic, commit
// and abort, begin the next one before that is answered, come late, die with one open and come back
// under the same transactional id, and their former lives go on for a while.
//
// Whatever was committed is read, whole and once; what was aborted never is, and neither is
// anything whose producer did not ask to commit it. In a partition a producer's transactions are in
// their order. Nothing stays open.
//
// Owned by a run; one thread. Makes nothing before Start. Needs a coordinator.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "raft/runtime/random.h"
#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/history.h"
#include "tests/simulation/broker/sim_connector.h"

namespace millrace::sim {

class TransactionActor;

// What is known of a transaction from outside.
struct SeenTransaction {
  std::map<uint32_t, uint64_t> stored;  // records by partition, as was acknowledged
  bool may_be_committed = false;        // its producer asked for it
  std::optional<bool> is_committed;     // as somebody was told
};

class TransactionsLoad {
 public:
  static constexpr uint32_t kPartitions = 3;
  static const char* topic() { return "ledger"; }
  // Which producer's, and which of its transactions, over all its lives.
  using Name = std::pair<uint32_t, uint64_t>;

  TransactionsLoad(SimWorld& world, SimCluster& cluster, History& history, Random random);
  ~TransactionsLoad();

  void Start();
  // No more begin; `done` once all is answered.
  void Stop(MoveFunction<void()> done);
  // Begins to read all of it. Pre: it stopped. `ends` are the high watermarks of its partitions.
  void ReadBack(const std::vector<Offset>& ends);
  bool HasRead() const;
  // What was read back, by partition and offset. Pre: HasRead.
  const std::set<std::pair<uint32_t, int64_t>>& read_back() const;
  // Holds what was read against what was told. Pre: HasRead.
  void Check();
  // Whether the topic was there, for certain, when this stopped.
  bool is_there() const { return !actors_.empty(); }

  // For the actors.
  SimWorld& world() { return world_; }
  SimCluster& cluster() { return cluster_; }
  bool is_stopped() const { return is_stopped_; }
  SeenTransaction& Of(const Name& name) { return transactions_[name]; }
  void Saw(const std::string& what) { history_.SawTransaction(what); }
  void OnIdle();

 private:
  class Reader;

  void Create();
  void OnRead(const std::string& reader, const Name& name);

  SimWorld& world_;
  SimCluster& cluster_;
  History& history_;
  Random random_;
  std::unique_ptr<SimClient> own_;
  std::vector<std::unique_ptr<TransactionActor>> actors_;
  std::map<Name, SeenTransaction> transactions_;
  std::unique_ptr<Reader> follower_;
  std::unique_ptr<Reader> last_;
  bool is_stopped_ = false;
  size_t busy_ = 0;  // actors that have not stopped
  MoveFunction<void()> done_;
};

std::string TextOf(const TransactionsLoad::Name& name);

}  // namespace millrace::sim

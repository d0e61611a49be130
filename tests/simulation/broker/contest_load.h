// Writers that contend for one topic: each appends what it has to say where it believes that a
// partition's log ends, or not at all, as who holds a lock or a counter in a log does; mostly one
// record at a time, now and then several that rest on each other, and some that go anywhere. No
// two may be told that they were the first at one offset, who was is there, and nothing is
// stored of which its writer was told that it certainly is not.
//
// Owned by a run; one thread. Makes nothing before Start.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "raft/runtime/random.h"
#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/history.h"
#include "tests/simulation/broker/sim_connector.h"
#include "tests/simulation/broker/workload.h"

namespace millrace::sim {

class ContestLoad {
 public:
  static constexpr uint32_t kPartitions = 2;
  static const char* topic() { return "contest"; }

  ContestLoad(SimWorld& world, SimCluster& cluster, History& history, Random random);
  ~ContestLoad();

  void Start();
  // Writes no more; `done` once all is answered.
  void Stop(MoveFunction<void()> done);
  // Begins to read all of it. Pre: it stopped.
  void ReadBack();
  // Pre: ReadBack. `ends` are the high watermarks of the topic's partitions.
  bool HasRead(const std::vector<Offset>& ends) const { return reader_->HasReached(ends); }
  // Whether it was there, for certain, when this stopped.
  bool is_there() const { return !writers_.empty(); }

 private:
  class Writer;

  void Create();
  // A writer was told that its value is where it wanted it.
  void OnWon(uint32_t partition, Offset at, ValueId value);
  void OnFlushed();

  SimWorld& world_;
  SimCluster& cluster_;
  History& history_;
  Random random_;
  std::unique_ptr<SimClient> own_;
  std::vector<std::unique_ptr<Writer>> writers_;
  std::map<std::pair<uint32_t, Offset>, ValueId> winners_;
  std::unique_ptr<SimConsumer> reader_;
  bool is_stopped_ = false;
  size_t writing_ = 0;  // writers that are not flushed
  MoveFunction<void()> done_;
};

}  // namespace millrace::sim

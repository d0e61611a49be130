// Creates a topic, writes to it, deletes it and creates it again under the same name, as long as a
// run's chaos lasts. What the last incarnation acknowledged must be there in the end, and nothing
// of an earlier one.
//
// Owned by a run; one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "client/core/client.h"
#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/history.h"
#include "tests/simulation/broker/workload.h"

namespace millrace::sim {

class TopicChurn {
 public:
  static constexpr uint32_t kPartitions = 2;

  TopicChurn(SimWorld& world, SimCluster& cluster, History& history, Random random);
  ~TopicChurn();

  void Start() { Create(); }
  // The topic stays as it is; `done` once its producer, if any, was answered.
  void Stop(MoveFunction<void()> done);
  // Begins to read the last incarnation from its start. Pre: it stopped.
  void ReadBack();
  // Pre: ReadBack. `ends` are the high watermarks of the topic's partitions.
  bool HasRead(const std::vector<Offset>& ends) const { return reader_->HasReached(ends); }
  // Whether the topic was there, for certain, when this stopped.
  bool is_there() const { return producer_ != nullptr; }
  uint64_t incarnations() const { return incarnation_; }
  static const char* topic() { return "churn"; }

 private:
  void Create();
  void Write();
  void Delete();
  void Again(void (TopicChurn::*step)());
  void DropProducer();
  uint32_t HistoryBase() const { return static_cast<uint32_t>(1000 + incarnation_ * kPartitions); }

  SimWorld& world_;
  SimCluster& cluster_;
  History& history_;
  Random random_;
  SimClient own_;
  std::unique_ptr<SimProducer> producer_;
  std::unique_ptr<SimConsumer> reader_;
  uint64_t incarnation_ = 0;
  bool is_stopped_ = false;
};

}  // namespace millrace::sim

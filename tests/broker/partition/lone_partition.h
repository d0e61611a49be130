// A partition over a store in memory and a group whose fate the test decides, with all that it
// takes.
//
// A test's fixture inherits it; one thread.
//
//   class MyTest : public testing::Test, protected LonePartition { ... };
//   group_.Lead(Term(1));
//   partition_.Produce(...);
#pragma once

#include "broker/controller/image.h"
#include "broker/partition/batch_worker.h"
#include "broker/partition/partition.h"
#include "broker/partition/producer_memory.h"
#include "broker/partition/turns.h"
#include "tests/broker/partition/hand_registrar.h"
#include "tests/raft/host/fake_group.h"
#include "tests/raft/host/memory_log_store.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {

class LonePartition {
 protected:
  explicit LonePartition(RaftGroupId group)
      : partition_(group, {TopicId(1), PartitionId(0)},
                   {store_, process_.clock(), batches_, lookups_, image_, producers_, registrar_}),
        group_(group, partition_) {}

  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("broker");
  raft::MemoryLogStore store_{process_.executor()};
  BatchWorker batches_{process_.executor(), process_.executor()};
  Turns lookups_{1, 1};
  Image image_;
  ProducerMemory producers_{{}};
  HandRegistrar registrar_;
  Partition partition_;
  raft::FakeGroup group_;
};

}  // namespace millrace::broker

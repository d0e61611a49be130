// A cluster and one topic of one partition with three replicas, which a client writes to and
// deletes from one call after the other: for a test that wants one course of events, not many.
//
// Owned by a test; one thread. Every step waits for its outcome and CHECKs that it came.
//
//   TopicRig rig(/*seed=*/7);
//   rig.Produce(20, 10'000);
//   rig.DeleteAll();
//   rig.world().RunFor(std::chrono::seconds(30));
//   EXPECT_LT(rig.BytesOnDisk(1), 64u << 10);
#pragma once

#include <cstdint>

#include "client/core/client.h"
#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/sim_connector.h"

namespace millrace::sim {

class TopicRig {
 public:
  // Once it is made every broker of the cluster serves, and the topic is there.
  explicit TopicRig(uint64_t seed, const ClusterOptions& options = {});

  SimWorld& world() { return world_; }
  SimCluster& cluster() { return cluster_; }
  // So many records of so many bytes, each in a batch of its own.
  void Produce(size_t records, size_t bytes);
  // Records below `before`; the high watermark: all.
  void DeleteTo(Offset before);
  void DeleteAll() { DeleteTo(high_watermark()); }
  Offset high_watermark();

  RaftGroupId group() const { return group_; }
  // Of the partition; waits until there is one that serves.
  size_t Leader();
  bool Leads(size_t broker);
  // Whoever leads is killed and started again, until it is that broker.
  void MakeLead(size_t broker);
  // In files of the partition.
  uint64_t BytesOnDisk(size_t broker);

 private:
  bool IsReady(size_t broker);
  // Waits for the answer.
  template <typename Response, typename Request>
  Response Call(const client::Client::Method& method, const Request& request);

  SimWorld world_;
  SimCluster cluster_;
  SimClient own_;
  RaftGroupId group_;
};

}  // namespace millrace::sim

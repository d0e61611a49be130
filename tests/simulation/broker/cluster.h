// A simulated cluster of whole brokers: everything above the gRPC edge is the product's code, with
// the real journal, segments, peers' wire and services, on simulated disks, clocks and links.
//
// One thread. A broker that dies loses its objects; its disk stays and may lose what was not
// synced.
//
//   SimCluster cluster(world, {.brokers = 3});
//   cluster.StartAll();
//   cluster.Kill(1, /*power_loss=*/true);
//   cluster.Start(1);
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "broker/node/broker.h"
#include "storage/file/bounded_files.h"
#include "tests/simulation/broker/sim_connector.h"
#include "tests/support/sim_file/sim_disk.h"
#include "tests/support/sim_file/sim_file_system.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::sim {

struct ClusterOptions {
  size_t brokers = 3;
  uint64_t journal_file_bytes = 1 << 20;
  uint64_t large_write_bytes = 64 << 10;
  uint64_t segment_bytes = 256 << 10;
  uint64_t controller_segment_bytes = 256 << 10;
  uint64_t tail_bytes_max = 256 << 10;
  uint64_t free_bytes_min = 8 << 20;
  size_t segment_files_max = 3;  // fewer than a broker has partitions
  uint64_t client_memory_bytes_max = uint64_t{256} << 20;
  uint32_t coordinator_shards = 2;
  broker::CoordinatorLimits coordinator;
};

class SimCluster {
 public:
  SimCluster(SimWorld& world, const ClusterOptions& options);
  ~SimCluster();

  size_t size() const { return brokers_.size(); }
  const ClusterOptions& options() const { return options_; }
  void Start(size_t broker);
  void StartAll();
  // Told when a broker ended by itself: its disk failed, or it could not start.
  void SetDeathListener(std::function<void(size_t, const Status&)> listener) {
    on_death_ = std::move(listener);
  }
  // Begins a clean stop of one that serves; it must be killed, be it done or not.
  void Stop(size_t broker);
  // The process dies; with `power_loss` what its disk had not synced may go too.
  void Kill(size_t broker, bool power_loss);
  bool is_up(size_t broker) const { return brokers_[broker]->broker != nullptr; }
  // Whether the broker serves clients (its Start succeeded).
  bool is_serving(size_t broker) const { return brokers_[broker]->is_serving; }
  broker::Node& node(size_t broker) { return brokers_[broker]->broker->node(); }
  SimDisk& disk(size_t broker) { return brokers_[broker]->disk; }
  const std::string& host(size_t broker) const { return brokers_[broker]->name; }
  std::vector<std::string> addresses() const;
  SimEdge& edge() { return edge_; }
  SimProcess& process(size_t broker) { return *brokers_[broker]->process; }
  // The last fatal error of a broker that gave up by itself; ok if none did.
  const Status& fatal() const { return fatal_; }

  // Where the group's records end, in what would certainly survive a power cut of that broker now.
  std::map<RaftGroupId, Offset> DurableEnds(size_t broker) const;
  void CheckInvariants() const;

 private:
  void Die(size_t broker, const Status& why);

  struct OneBroker {
    std::string name;
    SimProcess* process = nullptr;
    SimDisk disk;
    std::unique_ptr<SimFileSystem> journal_files;
    std::unique_ptr<SimFileSystem> all_segment_files;
    std::unique_ptr<storage::BoundedFiles> segment_files;
    std::unique_ptr<broker::Broker> broker;
    bool is_serving = false;
  };
  std::string Address(size_t broker) const { return host(broker) + ":7440"; }

  SimWorld* world_;
  const ClusterOptions options_;
  Random random_;
  SimEdge edge_;
  std::vector<std::unique_ptr<OneBroker>> brokers_;
  std::function<void(size_t, const Status&)> on_death_;
  Status fatal_;
};

}  // namespace millrace::sim

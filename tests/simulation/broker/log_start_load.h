// Asks where the logs of the topic that is used start, looks records up by time, and deletes the
// oldest of them, if it may: mostly up to somewhere between the log's ends, now and then past them.
//
// Owned by a run; a process of its own, one thread.
//
//   LogStartLoad load(world, cluster, history, random, {.name = "deleter", .partitions = 3,
//                                                       .on_delete = [](uint32_t, Offset) {}});
//   load.Start();
//   load.Stop();
//   world.RunUntil([&] { return load.is_idle(); }, 20s);
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "client/core/client.h"
#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/history.h"
#include "tests/simulation/broker/sim_connector.h"

namespace millrace::sim {

struct LogStartLoadOptions {
  std::string name;  // of its process
  uint32_t partitions = 0;
  // Told before records are asked to go; none: it deletes nothing.
  std::function<void(uint32_t, Offset)> on_delete;
  std::function<void()> on_deleted;
};

class LogStartLoad {
 public:
  LogStartLoad(SimWorld& world, SimCluster& cluster, History& history, Random random,
               LogStartLoadOptions options);

  void Start() { Next(); }
  // Up to the end, if it deletes.
  void DeleteAllFromNow() { deletes_all_ = true; }
  // The last call may take effect yet, until this is idle.
  void Stop() { is_stopped_ = true; }
  bool is_idle() const { return is_stopped_ && !is_asking_; }

 private:
  void Next();
  void AskOffsets();
  void TakeOffsets(const v1::ListOffsetsRequest& request,
                   const Result<v1::ListOffsetsResponse>& response);
  void CheckLookup(const v1::PartitionOffsets& offsets);
  void DeleteSome(const v1::PartitionOffsets& offsets);
  void Delete(uint32_t partition, Offset before, bool is_past_end);
  void OnDeleted(uint32_t partition, Offset before, bool is_past_end,
                 const Result<v1::DeleteRecordsResponse>& response);

  SimClient own_;
  History& history_;
  Random random_;
  const uint64_t number_;  // in the history
  const LogStartLoadOptions options_;
  bool is_asking_ = false;
  bool deletes_all_ = false;
  bool is_stopped_ = false;
};

}  // namespace millrace::sim

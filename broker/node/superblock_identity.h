// The Node's Identity from the data directory's superblock. The superblock lives on the segment
// writer's executor with its files; the steps of the bootstrap go there and come back.
//
// On the shard's thread.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "broker/node/identity.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "storage/superblock/superblock.h"

namespace millrace::broker {

class SuperblockIdentity final : public Identity {
 public:
  using FailStop = std::function<void(const Status&)>;
  // `facts` are the superblock's as opened. `fail_stop` is called on the shard.
  SuperblockIdentity(std::unique_ptr<storage::Superblock> superblock, Executor& shard,
                     Executor& files_executor, FailStop fail_stop);
  ~SuperblockIdentity() override;

  BrokerIncarnation self() const override { return {facts_.broker, facts_.incarnation}; }
  BootEpoch boot_epoch() const override { return facts_.boot_epoch; }
  uint64_t journal_key() const { return facts_.journal_key; }
  Bootstrap::Stage stage() const override;
  std::vector<Voter> controllers() const override { return facts_.controllers; }
  uint64_t cluster_uuid() const override { return facts_.cluster_uuid; }
  uint32_t cluster_level() const override { return facts_.cluster_level; }
  void StoreControllers(const std::vector<Voter>& controllers, Task durable) override;
  void StoreClusterUuid(uint64_t cluster_uuid, Task durable) override;
  void StoreClusterLevel(uint32_t level, Task durable) override;
  // The mark of a clean stop; the last that is stored.
  void StoreStopped(Task durable);

 private:
  // One at a time: two at once could tear both copies. What is asked for meanwhile goes together.
  void Store(Task durable);
  void StoreNext();

  std::unique_ptr<storage::Superblock> superblock_;  // used on files_executor_ alone
  Executor* shard_;
  Executor* files_executor_;
  FailStop fail_stop_;
  storage::SuperblockFacts facts_;
  bool is_storing_ = false;
  std::vector<Task> waiting_;  // for the next store
  Lifetime lifetime_;
};

}  // namespace millrace::broker

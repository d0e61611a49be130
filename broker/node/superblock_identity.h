// The Node's Identity from the data directory's superblock. The superblock lives on the segment
// writer's executor with its files; the steps of the bootstrap go there and come back.
//
// On the shard's thread.
#pragma once

#include <functional>
#include <memory>

#include "broker/node/identity.h"
#include "raft/runtime/executor.h"
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
  BootEpoch boot_epoch() const { return facts_.boot_epoch; }
  uint64_t journal_key() const { return facts_.journal_key; }
  // The cluster's feature level as it was stored last; 0 before.
  uint32_t cluster_level() const { return facts_.cluster_level; }
  Bootstrap::Stage stage() const override;
  std::vector<Voter> controllers() const override { return facts_.controllers; }
  uint64_t cluster_uuid() const override { return facts_.cluster_uuid; }
  void StoreControllers(const std::vector<Voter>& controllers, Task durable) override;
  void StoreClusterUuid(uint64_t cluster_uuid, Task durable) override;
  // The mark of a clean stop; the last that is stored.
  void StoreStopped(Task durable);

 private:
  void Store(Task durable);

  std::unique_ptr<storage::Superblock> superblock_;  // used on files_executor_ alone
  Executor* shard_;
  Executor* files_executor_;
  FailStop fail_stop_;
  storage::SuperblockFacts facts_;
};

}  // namespace millrace::broker

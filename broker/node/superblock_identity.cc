#include "broker/node/superblock_identity.h"

#include <utility>

namespace millrace::broker {

SuperblockIdentity::SuperblockIdentity(std::unique_ptr<storage::Superblock> superblock,
                                       Executor& shard, Executor& files_executor,
                                       FailStop fail_stop)
    : superblock_(std::move(superblock)),
      shard_(&shard),
      files_executor_(&files_executor),
      fail_stop_(std::move(fail_stop)),
      facts_(superblock_->facts()) {}

SuperblockIdentity::~SuperblockIdentity() {
  files_executor_->Post([superblock = std::move(superblock_)] {});
}

Bootstrap::Stage SuperblockIdentity::stage() const {
  switch (facts_.stage) {
    case storage::BootstrapStage::kFresh:
      return Bootstrap::Stage::kFresh;
    case storage::BootstrapStage::kListed:
      return Bootstrap::Stage::kListed;
    case storage::BootstrapStage::kInitialized:
      return Bootstrap::Stage::kInitialized;
  }
  return Bootstrap::Stage::kFresh;
}

void SuperblockIdentity::Store(Task durable) {
  files_executor_->Post([superblock = superblock_.get(), facts = facts_, shard = shard_,
                         fail_stop = fail_stop_, durable = std::move(durable)]() mutable {
    superblock->Update(
        facts, [shard, fail_stop, durable = std::move(durable)](const Status& status) mutable {
          shard->Post([status, fail_stop, durable = std::move(durable)]() mutable {
            if (!status.ok()) return fail_stop(status.With("SUPERBLOCK"));
            durable();
          });
        });
  });
}

void SuperblockIdentity::StoreControllers(const std::vector<Voter>& controllers, Task durable) {
  facts_.stage = storage::BootstrapStage::kListed;
  facts_.controllers = controllers;
  Store(std::move(durable));
}

void SuperblockIdentity::StoreClusterUuid(uint64_t cluster_uuid, Task durable) {
  facts_.stage = storage::BootstrapStage::kInitialized;
  facts_.cluster_uuid = cluster_uuid;
  Store(std::move(durable));
}

void SuperblockIdentity::StoreStopped(Task durable) {
  facts_.was_stopped_cleanly = true;
  Store(std::move(durable));
}

}  // namespace millrace::broker

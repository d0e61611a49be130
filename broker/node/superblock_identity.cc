#include "broker/node/superblock_identity.h"

#include <utility>

#include "raft/runtime/run_on.h"

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
  waiting_.push_back(std::move(durable));
  if (!is_storing_) StoreNext();
}

void SuperblockIdentity::StoreNext() {
  is_storing_ = true;
  auto stored = [this, life = lifetime_.watch(), fail_stop = fail_stop_,
                 done = std::exchange(waiting_, {})](const Status& status) mutable {
    if (!status.ok()) return fail_stop(status.With("SUPERBLOCK"));
    if (life) is_storing_ = false;
    for (Task& durable : done) durable();
    if (life && !is_storing_ && !waiting_.empty()) StoreNext();
  };
  files_executor_->Post([superblock = superblock_.get(), facts = facts_,
                         stored = RunOn(*shard_, std::move(stored))]() mutable {
    superblock->Update(facts, std::move(stored));
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

void SuperblockIdentity::StoreClusterLevel(uint32_t level, Task durable) {
  facts_.cluster_level = level;
  Store(std::move(durable));
}

void SuperblockIdentity::StoreStopped(Task durable) {
  facts_.was_stopped_cleanly = true;
  Store(std::move(durable));
}

}  // namespace millrace::broker

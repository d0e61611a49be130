// Who this broker is, durably: storage's superblock in production and simulation alike. The node
// asks for the two steps of the bootstrap to be stored (design D3, "Identity"), and for the
// cluster's feature level.
//
// On the shard's thread; completions too.
#pragma once

#include <cstdint>
#include <vector>

#include "broker/controller/bootstrap.h"
#include "proto/base/ids.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

class Identity {
 public:
  virtual ~Identity() = default;
  virtual BrokerIncarnation self() const = 0;
  // Another one, and larger, each time the broker starts.
  virtual BootEpoch boot_epoch() const = 0;
  virtual Bootstrap::Stage stage() const = 0;
  // Empty while fresh.
  virtual std::vector<Voter> controllers() const = 0;
  // 0 until initialised.
  virtual uint64_t cluster_uuid() const = 0;
  // The cluster's feature level as it was stored last, and at once after StoreClusterLevel; 0
  // before.
  virtual uint32_t cluster_level() const = 0;
  // Each calls `durable` once the step can't be forgotten; an error ends the process.
  virtual void StoreControllers(const std::vector<Voter>& controllers, Task durable) = 0;
  virtual void StoreClusterUuid(uint64_t cluster_uuid, Task durable) = 0;
  virtual void StoreClusterLevel(uint32_t level, Task durable) = 0;
};

}  // namespace millrace::broker

// millrace.v1.GroupService.Consume, beside what GroupService has in broker/service/group.
//
// Owned by the Node, on the shard's thread; lives as long as streams may.
#pragma once

#include <string>

#include "broker/api/service_registry.h"
#include "broker/service/consume/consume_stream.h"
#include "raft/runtime/random.h"

namespace millrace::broker {

class ConsumeService {
 public:
  // `random`: for ids of members.
  ConsumeService(const ConsumeEnvironment& environment, Random random)
      : environment_(environment), random_(random) {}
  void Register(ServiceRegistry* registry);

 private:
  std::string DrawMemberId();

  const ConsumeEnvironment environment_;
  Random random_;
};

}  // namespace millrace::broker

#include "broker/node/client_services.h"

namespace millrace::broker {

ClientServices::ClientServices(const Environment& environment, const MetadataService::Facts& facts,
                               Random random)
    : metadata_(environment.view, environment.controllers, environment.transport, facts),
      admin_({.executor = environment.executor,
              .clock = environment.clock,
              .view = environment.view,
              .controllers = environment.controllers,
              .partitions = environment.partitions}),
      replicas_({.view = environment.view,
                 .self = facts.self,
                 .state_of =
                     [&host = environment.host](RaftGroupId group) { return host.StateOf(group); },
                 .compaction_of = [&replicas = environment.replicas](
                                      RaftGroupId group) { return replicas.ProgressOf(group); }}),
      digests_({.view = environment.view, .self = facts.self, .digester = environment.digester}),
      producer_({.executor = environment.executor,
                 .clock = environment.clock,
                 .view = environment.view,
                 .partitions = environment.partitions,
                 .controllers = environment.controllers,
                 .coordinators = environment.coordinators,
                 .memory = environment.memory.incoming,
                 .self = facts.self}),
      consumer_({.executor = environment.executor,
                 .clock = environment.clock,
                 .view = environment.view,
                 .partitions = environment.partitions,
                 .batches = environment.batches,
                 .memory = environment.memory,
                 .self = facts.self}),
      group_({.executor = environment.executor,
              .clock = environment.clock,
              .view = environment.view,
              .coordinators = environment.coordinators,
              .partitions = environment.partitions,
              .memory = environment.memory}),
      consume_({.fetch = {.executor = environment.executor,
                          .clock = environment.clock,
                          .view = environment.view,
                          .partitions = environment.partitions,
                          .batches = environment.batches,
                          .memory = environment.memory,
                          .self = facts.self},
                .coordinators = environment.coordinators},
               random),
      transactions_({.clock = environment.clock,
                     .view = environment.view,
                     .coordinators = environment.coordinators}) {
  metadata_.Register(&registry_);
  admin_.Register(&registry_);
  replicas_.Register(&registry_);
  digests_.Register(&registry_);
  producer_.Register(&registry_);
  consumer_.Register(&registry_);
  group_.Register(&registry_);
  consume_.Register(&registry_);
  transactions_.Register(&registry_);
}

void ClientServices::Stop() {
  admin_.Stop();
  producer_.Stop();
}

}  // namespace millrace::broker

// millrace.v1.MetadataService: what a client needs to route, from this broker's own image and
// hints.
//
// Owned by the Node, on the shard's thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "broker/api/call.h"
#include "broker/api/service_registry.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/controller_client.h"
#include "raft/ports/transport.h"

namespace millrace::broker {

class MetadataService {
 public:
  // What clients are told of this broker and its cluster.
  struct Facts {
    BrokerId self;
    std::string cluster_name;
    // Once the bootstrap is done; 0 before.
    std::function<uint64_t()> cluster_uuid;
    // Largest message that this broker takes, bytes.
    uint64_t message_bytes_max = 0;
    uint64_t segment_bytes = 0;  // of a topic that does not say
    // Calls and streams that one connection of a client may have.
    uint64_t streams_per_connection_max = 0;
  };

  // All but the facts outlive this.
  MetadataService(const ClusterView& view, const ControllerClient& controllers,
                  const raft::Transport& transport, Facts facts)
      : view_(&view),
        controllers_(&controllers),
        transport_(&transport),
        facts_(std::move(facts)) {}
  void Register(ServiceRegistry* registry);

 private:
  void GetServerInfo(Call& call) const;
  void DescribeCluster(Call& call) const;
  void DescribeTopics(Call& call) const;
  void ListTopics(Call& call) const;
  void ListTopicSettings(Call& call) const;
  void FindCoordinators(Call& call) const;
  // The topics of these names, or all where there are none, behind the token, sorted by name.
  Result<std::vector<const TopicInfo*>> FindTopics(const std::string& page_token,
                                                   bool include_internal,
                                                   const std::vector<std::string>& names) const;
  template <typename Response>
  void FillBrokers(Response* response) const;
  std::string ClusterUuidText() const;

  const ClusterView* view_;
  const ControllerClient* controllers_;
  const raft::Transport* transport_;
  const Facts facts_;
};

}  // namespace millrace::broker

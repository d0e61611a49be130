// millrace.v1.MetadataService: what a client needs to route, from this broker's own image and
// hints.
//
// Owned by the Node, on the shard's thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "broker/service/call.h"
#include "broker/service/context.h"

namespace millrace::broker {

class MetadataService {
 public:
  explicit MetadataService(ServiceContext& context) : context_(&context) {}
  void Register(ServiceRegistry* registry);

 private:
  void GetServerInfo(Call& call) const;
  void DescribeCluster(Call& call) const;
  void DescribeTopics(Call& call) const;
  void ListTopics(Call& call) const;
  // The topics of these names, or all where there are none, behind the token, sorted by name.
  Result<std::vector<const TopicInfo*>> FindTopics(const std::string& page_token,
                                                   const std::vector<std::string>& names) const;
  template <typename Response>
  void FillBrokers(Response* response) const;
  std::string ClusterUuidText() const;

  ServiceContext* context_;
};

}  // namespace millrace::broker

#include "client/cli/cluster_command.h"

#include <cstdio>
#include <memory>

#include "client/cli/common_options.h"
#include "client/cli/connection.h"
#include "client/cli/output.h"

namespace millrace::client::cli {
namespace {

void PrintCluster(const ClusterDescription& cluster) {
  std::printf("cluster %s  uuid %s  controller %u  topics %u  partitions %u\n",
              cluster.name.c_str(), cluster.uuid.c_str(), cluster.controller_id,
              cluster.topic_count, cluster.partition_count);
  Table table({"BROKER", "ADDRESS", "ALIVE", "LEADS", "HOLDS"});
  for (const BrokerDescription& broker : cluster.brokers) {
    table.Add({std::to_string(broker.broker_id), broker.address, broker.is_alive ? "yes" : "no",
               std::to_string(broker.leader_count), std::to_string(broker.replica_count)});
  }
  table.Print();
}

Json ClusterToJson(const ClusterDescription& cluster) {
  Json json{{"cluster_name", cluster.name},
            {"cluster_uuid", cluster.uuid},
            {"controller_id", cluster.controller_id},
            {"topic_count", cluster.topic_count},
            {"partition_count", cluster.partition_count},
            {"brokers", Json::array()}};
  for (const BrokerDescription& broker : cluster.brokers) {
    json["brokers"].push_back({{"broker_id", broker.broker_id},
                               {"address", broker.address},
                               {"is_alive", broker.is_alive},
                               {"leader_count", broker.leader_count},
                               {"replica_count", broker.replica_count}});
  }
  return json;
}

int Describe(const CommonOptions& options) {
  return RunConnected(options, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(const ClusterDescription cluster,
                     client.admin().DescribeCluster(options.timeout));
    if (options.is_json()) {
      PrintJson(ClusterToJson(cluster));
    } else {
      PrintCluster(cluster);
    }
    return {};
  });
}

}  // namespace

void AddClusterCommand(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  CLI::App* cluster = app.add_subcommand("cluster", "Look at the cluster");
  cluster->require_subcommand(1);
  CLI::App* describe = cluster->add_subcommand("describe", "Show the brokers and who leads");
  auto options = std::make_shared<CommonOptions>();
  options->bootstrap = bootstrap;
  AddCommonOptions(describe, {"table", "json"}, options.get());
  Choose(describe, options, chosen, &Describe);
}

}  // namespace millrace::client::cli

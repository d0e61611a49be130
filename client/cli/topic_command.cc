#include "client/cli/topic_command.h"

#include <cstdio>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "client/cli/common_options.h"
#include "client/cli/session.h"

namespace millrace::client::cli {
namespace {

struct TopicOptions {
  CommonOptions common;
  std::string name;
  uint32_t partition_count = 0;
  uint32_t replication_factor = 0;
  std::vector<std::string> settings;
};

// "key=value" pairs into a request; INVALID_ARGUMENT naming the one that is none.
Status ParseSettings(const std::vector<std::string>& settings, v1::CreateTopicRequest* request) {
  for (const std::string& setting : settings) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0) {
      return InvalidArgument("--set " + setting + " is not KEY=VALUE");
    }
    (*request->mutable_settings())[setting.substr(0, equals)] = setting.substr(equals + 1);
  }
  return {};
}

int Create(const TopicOptions& options) {
  v1::CreateTopicRequest request;
  request.set_name(options.name);
  request.set_partition_count(options.partition_count);
  request.set_replication_factor(options.replication_factor);
  const Status settings = ParseSettings(options.settings, &request);
  if (!settings.ok()) return Fail(settings);
  return RunOnce(options.common, [&](Session& session) {
    session.client().CreateTopic(
        request, options.common.timeout(), [&](Result<v1::CreateTopicResponse> response) {
          if (!response.ok()) return session.EndWith(response.status());
          const v1::Topic& topic = response->topic();
          if (options.common.is_json()) {
            PrintJson(TopicToJson(topic, nullptr));
          } else {
            std::printf("created topic %s: %d partitions, %u replicas\n", topic.name().c_str(),
                        topic.partitions_size(), topic.replication_factor());
          }
          session.End(0);
        });
  });
}

int Delete(const TopicOptions& options) {
  v1::DeleteTopicRequest request;
  request.set_name(options.name);
  return RunOnce(options.common, [&](Session& session) {
    session.client().DeleteTopic(
        request, options.common.timeout(), [&](Result<v1::DeleteTopicResponse> response) {
          if (!response.ok()) return session.EndWith(response.status());
          if (options.common.is_json()) {
            PrintJson({{"name", options.name}, {"topic_id", response->topic_id()}});
          } else {
            std::printf("deleted topic %s\n", options.name.c_str());
          }
          session.End(0);
        });
  });
}

void PrintTopics(const v1::DescribeTopicsResponse& response, bool is_json) {
  if (is_json) {
    Json topics = Json::array();
    for (const v1::Topic& topic : response.topics()) topics.push_back(TopicToJson(topic, nullptr));
    return PrintJson({{"topics", std::move(topics)}});
  }
  Table table({"TOPIC", "PARTITIONS", "REPLICAS", "ID"});
  for (const v1::Topic& topic : response.topics()) {
    table.Add({topic.name(), std::to_string(topic.partitions_size()),
               std::to_string(topic.replication_factor()), std::to_string(topic.topic_id())});
  }
  table.Print();
}

int List(const TopicOptions& options) {
  return RunOnce(options.common, [&](Session& session) {
    session.client().DescribeTopics({}, options.common.timeout(),
                                    [&](Result<v1::DescribeTopicsResponse> response) {
                                      if (!response.ok()) {
                                        return session.EndWith(response.status());
                                      }
                                      PrintTopics(*response, options.common.is_json());
                                      session.End(0);
                                    });
  });
}

const v1::PartitionOffsets* FindOffsets(const v1::ListOffsetsResponse* offsets,
                                        uint32_t partition) {
  if (offsets == nullptr) return nullptr;
  for (const v1::PartitionOffsets& found : offsets->partitions()) {
    if (found.partition() == partition && !found.has_error()) return &found;
  }
  return nullptr;
}

std::string JoinIds(const google::protobuf::RepeatedField<uint32_t>& ids) {
  std::string text;
  for (const uint32_t id : ids) text += (text.empty() ? "" : ",") + std::to_string(id);
  return text;
}

void PrintTopic(const v1::Topic& topic, const v1::ListOffsetsResponse* offsets) {
  std::printf("topic %s  id %llu  replicas %u\n", topic.name().c_str(),
              static_cast<unsigned long long>(topic.topic_id()), topic.replication_factor());
  const std::map<std::string, std::string> settings(topic.settings().begin(),
                                                    topic.settings().end());
  for (const auto& [key, value] : settings) std::printf("%s = %s\n", key.c_str(), value.c_str());
  Table table({"PARTITION", "LEADER", "EPOCH", "REPLICAS", "START", "END"});
  for (const v1::Partition& partition : topic.partitions()) {
    const v1::PartitionOffsets* at = FindOffsets(offsets, partition.partition());
    table.Add({std::to_string(partition.partition()),
               partition.leader_id() == 0 ? "none" : std::to_string(partition.leader_id()),
               std::to_string(partition.leader_epoch()), JoinIds(partition.replica_ids()),
               at == nullptr ? "-" : std::to_string(at->log_start_offset()),
               at == nullptr ? "-" : std::to_string(at->high_watermark())});
  }
  table.Print();
}

void DescribeWithOffsets(Session& session, const TopicOptions& options, const v1::Topic& topic) {
  v1::ListOffsetsRequest request;
  request.set_topic(options.name);
  session.client().ListOffsets(
      request, options.common.timeout(), [&, topic](Result<v1::ListOffsetsResponse> response) {
        const v1::ListOffsetsResponse* offsets = response.ok() ? &*response : nullptr;
        if (options.common.is_json()) {
          PrintJson(TopicToJson(topic, offsets));
        } else {
          PrintTopic(topic, offsets);
        }
        session.End(0);
      });
}

int Describe(const TopicOptions& options) {
  v1::DescribeTopicsRequest request;
  request.add_names(options.name);
  return RunOnce(options.common, [&](Session& session) {
    session.client().DescribeTopics(
        request, options.common.timeout(), [&](Result<v1::DescribeTopicsResponse> response) {
          if (!response.ok()) return session.EndWith(response.status());
          if (response->topics().empty()) {
            return session.EndWith(Internal("the broker's answer has no topic"));
          }
          DescribeWithOffsets(session, options, response->topics(0));
        });
  });
}

CLI::App* AddAction(CLI::App* topic, const char* name, const char* help,
                    const std::shared_ptr<TopicOptions>& options, bool has_name) {
  CLI::App* action = topic->add_subcommand(name, help);
  if (has_name) action->add_option("NAME", options->name, "The topic")->required();
  AddCommonOptions(action, {"table", "json"}, &options->common);
  return action;
}

}  // namespace

Json TopicToJson(const v1::Topic& topic, const v1::ListOffsetsResponse* offsets) {
  Json json{{"name", topic.name()},
            {"topic_id", topic.topic_id()},
            {"replication_factor", topic.replication_factor()}};
  json["settings"] = Json::object();
  const std::map<std::string, std::string> settings(topic.settings().begin(),
                                                    topic.settings().end());
  for (const auto& [key, value] : settings) json["settings"][key] = value;
  json["partitions"] = Json::array();
  for (const v1::Partition& partition : topic.partitions()) {
    Json row{{"partition", partition.partition()},
             {"leader_id", partition.leader_id()},
             {"leader_epoch", partition.leader_epoch()},
             {"replica_ids", Json::array()}};
    for (const uint32_t id : partition.replica_ids()) row["replica_ids"].push_back(id);
    if (const v1::PartitionOffsets* at = FindOffsets(offsets, partition.partition())) {
      row["log_start_offset"] = at->log_start_offset();
      row["high_watermark"] = at->high_watermark();
    }
    json["partitions"].push_back(std::move(row));
  }
  return json;
}

void AddTopicCommand(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  CLI::App* topic = app.add_subcommand("topic", "Create, list, describe and delete topics");
  topic->require_subcommand(1);
  const auto make = [&] {
    auto options = std::make_shared<TopicOptions>();
    options->common.bootstrap = bootstrap;
    return options;
  };
  auto create_options = make();
  CLI::App* create = AddAction(topic, "create", "Create a topic", create_options, true);
  create->add_option("--partitions", create_options->partition_count, "1 to 10000; default 1");
  create->add_option("--replicas", create_options->replication_factor,
                     "1, 3 or 5; default 3, or 1 in a cluster of fewer brokers");
  create->add_option("--set", create_options->settings, "A setting of the topic, KEY=VALUE");
  Choose(create, create_options, chosen, &Create);
  auto list_options = make();
  Choose(AddAction(topic, "list", "List the topics", list_options, false), list_options, chosen,
         &List);
  auto describe_options = make();
  Choose(AddAction(topic, "describe", "Show a topic's partitions", describe_options, true),
         describe_options, chosen, &Describe);
  auto delete_options = make();
  Choose(AddAction(topic, "delete", "Delete a topic and its records", delete_options, true),
         delete_options, chosen, &Delete);
}

}  // namespace millrace::client::cli

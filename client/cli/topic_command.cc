#include "client/cli/topic_command.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "client/cli/common_options.h"
#include "client/cli/connection.h"
#include "client/cli/delete_records.h"
#include "client/cli/number.h"
#include "client/cli/time_spec.h"
#include "raft/runtime/real_clock.h"

namespace millrace::client::cli {
namespace {

struct TopicOptions {
  CommonOptions common;
  std::string name;
  uint32_t partition_count = 0;
  uint32_t replication_factor = 0;
  std::map<std::string, std::string> settings;
  std::vector<std::string> unset;
  bool is_dry_run = false;
  std::optional<int64_t> at_ms;
  bool at_newest = false;
  bool includes_internal = false;

  bool asks_for_record() const { return at_ms.has_value() || at_newest; }
};

using Ranges = std::vector<OffsetRange>;

// How long `topic describe` waits for partitions without a leader, whose offsets it can do without.
constexpr std::chrono::milliseconds kOffsetsWait{500};

// What the cluster refuses of what the command line asks is an error of the command line.
int ExitCodeOf(int exit_code, const Status& asked) {
  return asked.code() == Code::kInvalidArgument ? kExitUsage : exit_code;
}

Json SettingsToJson(const TopicDescription& topic) {
  Json json = Json::object();
  for (const auto& [key, value] : topic.settings) json[key] = value;
  return json;
}

std::string ValueOr(const std::map<std::string, std::string>& settings, const std::string& key,
                    const std::string& otherwise) {
  const auto found = settings.find(key);
  return found == settings.end() ? otherwise : found->second;
}

int Create(const TopicOptions& options) {
  Status asked;
  const int exit_code = RunConnected(options.common, [&](millrace::Client& client) -> Status {
    const Result<TopicDescription> topic =
        client.admin().CreateTopic({.name = options.name,
                                    .partition_count = options.partition_count,
                                    .replication_factor = options.replication_factor,
                                    .settings = options.settings},
                                   options.common.timeout);
    asked = topic.status();
    RETURN_IF_ERROR(asked);
    if (options.common.is_json()) {
      PrintJson(TopicToJson(*topic, {}));
    } else {
      std::printf("created topic %s: %zu partitions, %u replicas\n", topic->name.c_str(),
                  topic->partitions.size(), topic->replication_factor);
      for (const char* const key : {"retention_time", "retention_bytes"}) {
        std::printf("%s = %s\n", key, ValueOr(topic->settings, key, "unlimited").c_str());
      }
    }
    return {};
  });
  return ExitCodeOf(exit_code, asked);
}

void PrintAlteration(const TopicOptions& options, const TopicAlteration& alteration) {
  const TopicDescription& topic = alteration.topic;
  if (options.common.is_json()) {
    return PrintJson({{"name", topic.name},
                      {"topic_id", topic.topic_id},
                      {"partition_count", topic.partitions.size()},
                      {"settings", SettingsToJson(topic)},
                      {"changed", alteration.changed},
                      {"is_dry_run", options.is_dry_run}});
  }
  // What was asked for twice, since an answer was lost, adds nothing the second time.
  const bool grows = options.partition_count > 0;
  if (alteration.changed.empty() && !grows) {
    std::printf("topic %s has these settings already\n", topic.name.c_str());
    return;
  }
  std::printf(options.is_dry_run ? "topic %s would have\n" : "altered topic %s\n",
              topic.name.c_str());
  if (grows) std::printf("partitions = %zu\n", topic.partitions.size());
  for (const std::string& key : alteration.changed) {
    std::printf("%s = %s\n", key.c_str(), ValueOr(topic.settings, key, "(default)").c_str());
  }
}

void WarnOfKeys(const TopicDescription& topic, bool is_dry_run) {
  PrintWarning(
      std::string("keys ") + (is_dry_run ? "would map" : "map") +
      " to other partitions from then on: records that are stored stay where they are, and "
      "the order of a key's records is not kept over the change");
  if (ValueOr(topic.settings, "cleanup", "delete") == "delete") return;
  PrintWarning(
      "the topic is compacted: a key that moves keeps its newest record from before in its old "
      "partition, beside what comes for it in the new one");
}

int Alter(const TopicOptions& options) {
  if (options.settings.empty() && options.unset.empty() && options.partition_count == 0) {
    PrintError("topic alter takes --partitions, --set or --unset (--help tells more)");
    return kExitUsage;
  }
  Status asked;
  const int exit_code =
      RunOnTopic(options.common, options.name, [&](millrace::Client& client) -> Status {
        const Result<TopicAlteration> alteration =
            client.admin().AlterTopic(options.name,
                                      {.set = options.settings,
                                       .unset = options.unset,
                                       .is_dry_run = options.is_dry_run,
                                       .partition_count = options.partition_count},
                                      options.common.timeout);
        asked = alteration.status();
        RETURN_IF_ERROR(asked);
        PrintAlteration(options, *alteration);
        if (options.partition_count > 0) WarnOfKeys(alteration->topic, options.is_dry_run);
        return {};
      });
  return ExitCodeOf(exit_code, asked);
}

// Every setting that there is, as it is for the topic.
int Config(const TopicOptions& options) {
  return RunOnTopic(options.common, options.name, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(const TopicDescription topic,
                     client.admin().DescribeTopic(options.name, options.common.timeout));
    ASSIGN_OR_RETURN(const std::vector<TopicSettingDescription> settings,
                     client.admin().ListTopicSettings(options.common.timeout));
    Json json{{"name", topic.name}, {"topic_settings", Json::array()}};
    Table table({"SETTING", "VALUE", "DEFAULT"});
    for (const TopicSettingDescription& setting : settings) {
      const std::string value = ValueOr(topic.settings, setting.key, setting.default_value);
      json["topic_settings"].push_back({{"key", setting.key},
                                        {"value", value},
                                        {"default_value", setting.default_value},
                                        {"is_set", topic.settings.contains(setting.key)}});
      table.Add({setting.key, value, setting.default_value});
    }
    if (options.common.is_json()) {
      PrintJson(json);
    } else {
      table.Print();
    }
    return {};
  });
}

int Delete(const TopicOptions& options) {
  return RunOnTopic(options.common, options.name, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(const uint64_t id,
                     client.admin().DeleteTopic(options.name, options.common.timeout));
    if (options.common.is_json()) {
      PrintJson({{"name", options.name}, {"topic_id", id}});
    } else {
      std::printf("deleted topic %s\n", options.name.c_str());
    }
    return {};
  });
}

void PrintTopics(const std::vector<TopicListing>& topics, const CommonOptions& common) {
  if (common.output == "name") {
    for (const TopicListing& topic : topics) std::printf("%s\n", topic.name.c_str());
    return;
  }
  if (common.is_json()) {
    Json json = Json::array();
    for (const TopicListing& topic : topics) {
      json.push_back({{"name", topic.name},
                      {"topic_id", topic.topic_id},
                      {"partition_count", topic.partition_count},
                      {"replication_factor", topic.replication_factor},
                      {"is_internal", topic.is_internal}});
    }
    return PrintJson({{"topics", std::move(json)}});
  }
  Table table({"TOPIC", "PARTITIONS", "REPLICAS", "ID"});
  for (const TopicListing& topic : topics) {
    table.Add({topic.name, std::to_string(topic.partition_count),
               std::to_string(topic.replication_factor), std::to_string(topic.topic_id)});
  }
  table.Print();
}

int List(const TopicOptions& options) {
  return RunConnected(options.common, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(const std::vector<TopicListing> topics,
                     options.includes_internal
                         ? client.admin().ListAllTopics(options.common.timeout)
                         : client.admin().ListTopics(options.common.timeout));
    PrintTopics(topics, options.common);
    return {};
  });
}

const OffsetRange* FindOffsets(const Ranges& offsets, uint32_t partition) {
  for (const OffsetRange& found : offsets) {
    if (found.partition == partition && found.status.ok()) return &found;
  }
  return nullptr;
}

std::string JoinIds(const std::vector<uint32_t>& ids) {
  std::string text;
  for (const uint32_t id : ids) text += (text.empty() ? "" : ",") + std::to_string(id);
  return text;
}

void PrintTopic(const TopicDescription& topic, const Ranges& offsets) {
  std::printf("topic %s  id %llu  replicas %u\n", topic.name.c_str(),
              static_cast<unsigned long long>(topic.topic_id), topic.replication_factor);
  for (const auto& [key, value] : topic.settings) {
    std::printf("%s = %s\n", key.c_str(), value.c_str());
  }
  Table table({"PARTITION", "LEADER", "EPOCH", "REPLICAS", "START", "END"});
  for (const PartitionDescription& partition : topic.partitions) {
    const OffsetRange* at = FindOffsets(offsets, partition.partition);
    table.Add({std::to_string(partition.partition),
               partition.leader_id == 0 ? "none" : std::to_string(partition.leader_id),
               std::to_string(partition.leader_epoch), JoinIds(partition.replica_ids),
               at == nullptr ? "-" : std::to_string(at->start),
               at == nullptr ? "-" : std::to_string(at->end)});
  }
  table.Print();
}

int Describe(const TopicOptions& options) {
  return RunOnTopic(options.common, options.name, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(const TopicDescription topic,
                     client.admin().DescribeTopic(options.name, options.common.timeout));
    // The topic is there, if not all of its leaders: what they know is not waited for.
    const Result<Ranges> offsets = client.admin().ListOffsets(
        options.name, {},
        std::min<std::chrono::milliseconds>(options.common.timeout, kOffsetsWait));
    const Ranges known = offsets.ok() ? *offsets : Ranges();
    if (options.common.is_json()) {
      PrintJson(TopicToJson(topic, known));
    } else {
      PrintTopic(topic, known);
    }
    return {};
  });
}

Json OffsetsToJson(const OffsetRange& range) {
  Json row{{"partition", range.partition}};
  if (!range.status.ok()) {
    row["error"] = range.status.ToString();
    return row;
  }
  row["log_start_offset"] = range.start;
  row["high_watermark"] = range.end;
  if (!range.at_timestamp) return row;
  row["timestamp_offset"] = *range.at_timestamp;
  row["found_timestamp_ms"] = range.found_timestamp_ms ? Json(*range.found_timestamp_ms) : Json();
  row["found_leader_epoch"] = range.found_leader_epoch ? Json(*range.found_leader_epoch) : Json();
  return row;
}

template <typename Number>
std::string OrDash(const std::optional<Number>& number, const char* before = "") {
  return number ? before + std::to_string(*number) : "-";
}

void PrintOffsets(const TopicOptions& options, const Ranges& offsets) {
  if (options.common.is_json()) {
    Json json{{"name", options.name}, {"partitions", Json::array()}};
    for (const OffsetRange& range : offsets) json["partitions"].push_back(OffsetsToJson(range));
    return PrintJson(json);
  }
  std::vector<std::string> head{"PARTITION", "START", "END"};
  if (options.asks_for_record()) head.insert(head.end(), {"AT", "TIME", "EPOCH"});
  Table table(std::move(head));
  for (const OffsetRange& range : offsets) {
    const bool ok = range.status.ok();
    std::vector<std::string> row{std::to_string(range.partition),
                                 ok ? std::to_string(range.start) : "-",
                                 ok ? std::to_string(range.end) : "-"};
    if (options.asks_for_record()) {
      row.push_back(OrDash(range.at_timestamp));
      row.push_back(OrDash(range.found_timestamp_ms, "@"));
      row.push_back(OrDash(range.found_leader_epoch));
    }
    table.Add(std::move(row));
  }
  table.Print();
}

int Offsets(const TopicOptions& options) {
  return RunOnTopic(options.common, options.name, [&](millrace::Client& client) -> Status {
    Admin& admin = client.admin();
    ASSIGN_OR_RETURN(const Ranges offsets,
                     options.at_newest
                         ? admin.ListNewestOffsets(options.name, options.common.timeout)
                         : admin.ListOffsets(options.name, options.at_ms, options.common.timeout));
    PrintOffsets(options, offsets);
    for (const OffsetRange& range : offsets) {
      RETURN_IF_ERROR(range.status.With("partition " + std::to_string(range.partition)));
    }
    return {};
  });
}

// `argument` is what stands for the topic in the help: NAME for one that there is not yet.
CLI::App* AddAction(CLI::App* topic, const char* name, const char* help,
                    const std::shared_ptr<TopicOptions>& options, const char* argument) {
  CLI::App* action = topic->add_subcommand(name, help);
  AddTopic(action, argument, &options->name)->required();
  AddCommonOptions(action, {"table", "json"}, &options->common);
  return action;
}

CLI::Option* AddSet(CLI::App* action, TopicOptions* options) {
  return AddRepeated(
             action, "--set",
             [settings = &options->settings](const std::string& text) -> Status {
               ASSIGN_OR_RETURN(const auto setting, ParseKeyValue(text));
               RETURN_IF_ERROR(CheckUtf8("the key", setting.first));
               RETURN_IF_ERROR(CheckUtf8("the value of " + setting.first, setting.second));
               (*settings)[setting.first] = setting.second;
               return {};
             },
             "A setting of the topic, KEY=VALUE; may be given several times")
      ->type_name("KEY=VALUE");
}

void AddAlter(CLI::App* topic, const std::shared_ptr<TopicOptions>& options, Command* chosen) {
  CLI::App* alter =
      AddAction(topic, "alter", "Change a topic's settings, or add partitions, while it is used",
                options, "TOPIC");
  AddNumber(alter, "--partitions", &options->partition_count, {.min = 1, .max = 10000},
            "More than the topic has, up to 10000; keys map to other partitions then, and what is "
            "stored stays where it is");
  AddSet(alter, options.get());
  AddRepeated(
      alter, "--unset",
      [unset = &options->unset](const std::string& text) -> Status {
        RETURN_IF_ERROR(CheckUtf8("the key", text));
        unset->push_back(text);
        return {};
      },
      "A setting that gets its default again; may be given several times")
      ->type_name("KEY");
  alter->add_flag("--dry-run", options->is_dry_run, "Say what would change, and change nothing");
  Choose(alter, options, chosen, &Alter);
}

}  // namespace

Json TopicToJson(const TopicDescription& topic, const std::vector<OffsetRange>& offsets) {
  Json json{{"name", topic.name},
            {"topic_id", topic.topic_id},
            {"replication_factor", topic.replication_factor}};
  json["settings"] = SettingsToJson(topic);
  json["partitions"] = Json::array();
  for (const PartitionDescription& partition : topic.partitions) {
    Json row{{"partition", partition.partition},
             {"leader_id", partition.leader_id},
             {"leader_epoch", partition.leader_epoch},
             {"replica_ids", Json::array()}};
    for (const uint32_t id : partition.replica_ids) row["replica_ids"].push_back(id);
    if (const OffsetRange* at = FindOffsets(offsets, partition.partition)) {
      row["log_start_offset"] = at->start;
      row["high_watermark"] = at->end;
    }
    json["partitions"].push_back(std::move(row));
  }
  return json;
}

void AddTopicCommand(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  CLI::App* topic = app.add_subcommand("topic", "Create, list, describe, alter and delete topics");
  topic->require_subcommand(1);
  const auto make = [&] {
    auto options = std::make_shared<TopicOptions>();
    options->common.bootstrap = bootstrap;
    return options;
  };
  auto create_options = make();
  CLI::App* create = AddAction(topic, "create", "Create a topic", create_options, "NAME");
  AddNumber(create, "--partitions", &create_options->partition_count, {.min = 1, .max = 10000},
            "1 to 10000; default 1");
  AddNumber(create, "--replicas", &create_options->replication_factor, {.min = 1, .max = 5},
            "1 to 5; default 3, or 1 in a cluster of fewer brokers");
  AddSet(create, create_options.get());
  Choose(create, create_options, chosen, &Create);
  auto list_options = make();
  CLI::App* list = topic->add_subcommand("list", "List the topics");
  AddCommonOptions(list, {"table", "json", "name"}, &list_options->common);
  list->add_flag("--internal", list_options->includes_internal,
                 "Millrace's own, too, which hold no records for clients");
  Choose(list, list_options, chosen, &List);
  auto describe_options = make();
  Choose(AddAction(topic, "describe", "Show a topic's partitions", describe_options, "TOPIC"),
         describe_options, chosen, &Describe);
  auto offsets_options = make();
  CLI::App* offsets = AddAction(topic, "offsets", "Show where each partition begins and ends",
                                offsets_options, "TOPIC");
  AddParsed(
      offsets, "--at",
      [offsets_options](std::string_view text) -> Status {
        offsets_options->at_newest = text == "newest";
        if (offsets_options->at_newest) return {};
        ASSIGN_OR_RETURN(offsets_options->at_ms, ParseTime(text, RealClock().WallMs()));
        return {};
      },
      "Also the first record that is not older than this: its offset, time, and leader's epoch. An "
      "RFC 3339 time, a date, so long ago (-1h), or @MILLISECONDS since 1970; or newest: the "
      "record with the newest time")
      ->type_name("TIME");
  Choose(offsets, offsets_options, chosen, &Offsets);
  AddAlter(topic, make(), chosen);
  auto config_options = make();
  Choose(AddAction(topic, "config", "Show a topic's settings, with those that are not set",
                   config_options, "TOPIC"),
         config_options, chosen, &Config);
  AddDeleteRecords(topic, bootstrap, chosen);
  auto delete_options = make();
  Choose(AddAction(topic, "delete", "Delete a topic and its records", delete_options, "TOPIC"),
         delete_options, chosen, &Delete);
}

}  // namespace millrace::client::cli

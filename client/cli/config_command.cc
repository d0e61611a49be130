#include "client/cli/config_command.h"

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/common_options.h"
#include "client/cli/connection.h"
#include "client/cli/output.h"

namespace millrace::client::cli {
namespace {

using Settings = std::vector<TopicSettingDescription>;

Json SettingsToJson(const Settings& settings) {
  Json json{{"topic_settings", Json::array()}};
  for (const TopicSettingDescription& setting : settings) {
    json["topic_settings"].push_back({{"key", setting.key},
                                      {"type", setting.type},
                                      {"default_value", setting.default_value},
                                      {"min_value", setting.min_value},
                                      {"max_value", setting.max_value},
                                      {"description", setting.description},
                                      {"kafka_name", setting.kafka_name},
                                      {"choices", setting.choices}});
  }
  return json;
}

void PrintSetting(const TopicSettingDescription& setting) {
  std::printf("%s = %s\n  %s", setting.key.c_str(), setting.default_value.c_str(),
              setting.type.c_str());
  if (!setting.min_value.empty()) {
    std::printf(", %s to %s", setting.min_value.c_str(), setting.max_value.c_str());
  }
  const char* before = ": ";
  for (const std::string& choice : setting.choices) {
    std::printf("%s%s", std::exchange(before, " or "), choice.c_str());
  }
  if (!setting.kafka_name.empty()) std::printf("; in Kafka %s", setting.kafka_name.c_str());
  std::printf("\n  %s\n", setting.description.c_str());
}

int List(const CommonOptions& options) {
  return RunConnected(options, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(const Settings settings, client.admin().ListTopicSettings(options.timeout));
    if (options.is_json()) {
      PrintJson(SettingsToJson(settings));
      return {};
    }
    for (const TopicSettingDescription& setting : settings) PrintSetting(setting);
    return {};
  });
}

}  // namespace

void AddConfigCommand(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  CLI::App* config = app.add_subcommand("config", "Look at what can be set");
  config->require_subcommand(1);
  CLI::App* list = config->add_subcommand(
      "list", "Show the settings that a topic may have, with their defaults and ranges");
  auto options = std::make_shared<CommonOptions>();
  options->bootstrap = bootstrap;
  AddCommonOptions(list, {"table", "json"}, options.get());
  Choose(list, options, chosen, &List);
}

}  // namespace millrace::client::cli

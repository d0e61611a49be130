#include "broker/config/settings_page.h"

#include <sstream>
#include <string>
#include <string_view>

#include "broker/config/server_settings.h"
#include "broker/config/topic_settings.h"

namespace millrace::broker::config {
namespace {

constexpr char kHead[] =
    "# Settings\n"
    "\n"
    "Written from the tables in `broker/config`; a test holds this page against them.\n"
    "Regenerate it with `REWRITE=1` and the test `tests_broker_config`.\n"
    "\n"
    "Sizes are bytes, or have `B`, `KiB`, `MiB` or `GiB` behind them; times are milliseconds, or\n"
    "have `ms`, `s`, `m`, `h` or `d` behind them. Shares are numbers from 0 to 1.\n"
    "\n"
    "## Server\n"
    "\n"
    "Flags of `millrace server`. A flag goes before its environment variable, a variable before\n"
    "the default. A value that is refused ends the server with exit code 2 and a line that names\n"
    "the flag or the variable; any other error ends it with 1.\n";

constexpr char kTopicHead[] =
    "## Topics\n"
    "\n"
    "Given when a topic is created, `millrace topic create NAME --set KEY=VALUE`, or while it is\n"
    "used, `millrace topic alter NAME --set KEY=VALUE --unset KEY`; in the API `CreateTopic` and\n"
    "`AlterTopic`. An unknown key is refused. `millrace config list` prints this table.\n";

std::string RangeText(Kind kind, Range range) {
  return FormatNumber(kind, range.min) + " to " + FormatNumber(kind, range.max);
}

void WriteServerSetting(const ServerSetting& setting, std::ostream& out) {
  out << "\n### `" << FlagOf(setting);
  if (!setting.value_name.empty()) out << ' ' << setting.value_name;
  out << "`\n\n" << setting.doc << "\n\n";
  out << "- variable: `" << VariableOf(setting) << "`\n";
  if (!setting.default_text.empty()) out << "- default: `" << setting.default_text << "`\n";
  if (IsNumber(setting.kind)) {
    out << "- " << KindName(setting.kind) << ": " << RangeText(setting.kind, setting.range) << '\n';
  }
}

std::string ChoicesText(const TopicSetting& setting) {
  std::string text;
  for (const std::string_view choice : setting.choices) {
    text += (text.empty() ? "`" : ", `") + std::string(choice) + "`";
  }
  return text;
}

void WriteTopicSetting(const TopicSetting& setting, std::ostream& out) {
  out << "\n### `" << setting.key << "`\n\n" << setting.doc << "\n\n";
  out << "- default: `" << DefaultOf(setting) << "`\n";
  if (IsNumber(setting.kind)) {
    out << "- " << KindName(setting.kind) << ": " << RangeText(setting.kind, setting.range) << '\n';
  }
  if (!setting.choices.empty()) out << "- one of: " << ChoicesText(setting) << '\n';
  if (!setting.kafka_name.empty()) out << "- in Kafka: `" << setting.kafka_name << "`\n";
}

}  // namespace

std::string SettingsPage() {
  std::ostringstream out;
  out << kHead;
  for (const ServerSetting& setting : ServerSettingTable()) WriteServerSetting(setting, out);
  out << '\n' << kTopicHead;
  for (const TopicSetting& setting : TopicSettingTable()) WriteTopicSetting(setting, out);
  return out.str();
}

}  // namespace millrace::broker::config

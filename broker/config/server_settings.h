// The one table of what `millrace server` may be told: flags, environment variables and
// docs/settings.md all come from it. A flag goes before its variable, a variable before the
// default.
//
// Pure but for CLI11's parsing: the environment is handed in, no file is read. Any thread.
//
//   ServerFlags flags;
//   flags.AddTo(*app.add_subcommand("server"));
//   ... CLI11 parses ...
//   Result<ServerConfig> config = LoadServerConfig(flags.given(), environment);
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "broker/config/server_config.h"
#include "broker/config/value.h"
#include "proto/base/status.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace millrace::broker::config {

// One row of the table.
struct ServerSetting {
  std::string_view name;  // e.g. "internal_listen"; flag and variable are made from it
  Kind kind;
  std::string_view value_name;    // what help shows for the value, e.g. "HOST:PORT"
  std::string_view default_text;  // empty: see doc
  Range range;                    // of numbers
  // Reads the text into the config. Errors without the setting's name.
  Status (*read)(const ServerSetting& setting, std::string_view text, ServerConfig* config);
  std::string_view doc;
};

// In the order in which help and docs show them.
const std::vector<ServerSetting>& ServerSettingTable();

std::string FlagOf(const ServerSetting& setting);      // "--internal-listen"
std::string VariableOf(const ServerSetting& setting);  // "MILLRACE_INTERNAL_LISTEN"

// Texts by the setting's name or, of the environment, by the variable's.
using Texts = std::map<std::string, std::string, std::less<>>;

// The table's flags on a CLI11 command. Outlives the parsing.
class ServerFlags {
 public:
  void AddTo(CLI::App& command);
  // What was given, by the setting's name. After CLI11 parsed.
  Texts given() const;

 private:
  // By the setting's name. CLI11 owns the options and writes into the texts.
  std::map<std::string, CLI::Option*, std::less<>> options_;
  Texts texts_;
};

// Reads and checks all. INVALID_ARGUMENT naming the flag or the variable. Variables that are set to
// nothing count as not set.
Result<ServerConfig> LoadServerConfig(const Texts& flags, const Texts& environment);

}  // namespace millrace::broker::config

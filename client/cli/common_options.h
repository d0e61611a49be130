// The options that every client command has, and where they are parsed.
//
// On main's thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"
#include "proto/base/status.h"
#include "raft/runtime/clock.h"

namespace millrace::client::cli {

struct CommonOptions {
  std::string bootstrap;
  std::string output;
  double timeout_seconds = 30;
  bool has_timeout = false;  // it was given

  bool is_json() const { return output == "json"; }
  Duration timeout() const { return Duration(static_cast<int64_t>(timeout_seconds * 1e6)); }
  // The same, at least one.
  std::chrono::milliseconds timeout_ms() const {
    return std::max(std::chrono::ceil<std::chrono::milliseconds>(timeout()),
                    std::chrono::milliseconds(1));
  }
};

// Adds --bootstrap, --timeout and -o with the `formats`, of which the first is the default.
void AddCommonOptions(CLI::App* command, const std::vector<std::string>& formats,
                      CommonOptions* options);

// "a:1,b:2" into its parts; parts without a port are an error by name.
Result<std::vector<std::string>> ParseBootstrap(const std::string& text);

// Makes the subcommand's callback choose `run` with the options as they are after parsing.
template <typename Options>
void Choose(CLI::App* command, std::shared_ptr<Options> options, Command* chosen,
            int (*run)(const Options&)) {
  command->callback([options, chosen, run] { *chosen = [options, run] { return run(*options); }; });
}

}  // namespace millrace::client::cli

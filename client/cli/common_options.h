// The options that every client command has, and where they are parsed.
//
// On main's thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"

namespace millrace::client::cli {

struct CommonOptions {
  std::string bootstrap;
  std::string output;
  std::chrono::milliseconds timeout{30'000};
  bool has_timeout = false;  // it was given

  bool is_json() const { return output == "json"; }
};

// Adds --bootstrap, --timeout and -o with the `formats`, of which the first is the default.
void AddCommonOptions(CLI::App* command, const std::vector<std::string>& formats,
                      CommonOptions* options);

// Makes the subcommand's callback choose `run` with the options as they are after parsing.
template <typename Options>
void Choose(CLI::App* command, std::shared_ptr<Options> options, Command* chosen,
            int (*run)(const Options&)) {
  command->callback([options, chosen, run] { *chosen = [options, run] { return run(*options); }; });
}

}  // namespace millrace::client::cli

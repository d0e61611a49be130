// The options that every client command has, and where they are parsed.
//
// On main's thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"

namespace millrace::client::cli {

struct CommonOptions {
  std::string bootstrap;
  std::string output;
  double timeout_seconds = 30;
  bool has_timeout = false;  // it was given

  bool is_json() const { return output == "json"; }
  // Within what a clock can count: a millisecond to a year.
  std::chrono::milliseconds timeout_ms() const {
    constexpr double kMax = 365.0 * 24 * 60 * 60 * 1000;
    return std::chrono::milliseconds(
        static_cast<int64_t>(std::clamp(std::ceil(timeout_seconds * 1000), 1.0, kMax)));
  }
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

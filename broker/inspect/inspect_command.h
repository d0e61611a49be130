// `millrace inspect DIR`: its options, and what its process prints and ends with.
//
// On main's thread.
//
//   InspectOptions options;
//   AddInspectOptions(app.add_subcommand("inspect", ...), &options);
//   return FinishInspect(options, Inspect(options));
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "broker/inspect/report.h"
#include "proto/base/status.h"

namespace millrace::broker {

// Beside those of client/cli/output.h: damage was found.
inline constexpr int kExitDamaged = 3;

struct InspectOptions {
  std::string directory;
  bool verify = false;
  std::string output;
};

void AddInspectOptions(CLI::App* command, InspectOptions* options);

// Prints what was found, or why nothing can be told; the exit code: done if all of it is whole,
// kExitDamaged if anything is damaged, else failed, as where something could not be read.
int FinishInspect(const InspectOptions& options, const Result<Report>& report);

}  // namespace millrace::broker

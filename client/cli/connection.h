// How a command reaches the cluster, and how it hears that it is to stop.
//
// On main's thread.
//
//   return RunConnected(options, [&](millrace::Client& client) -> Status { ... });
#pragma once

#include <functional>
#include <memory>

#include "client/cli/common_options.h"
#include "millrace/client.h"
#include "proto/base/status.h"

namespace millrace::client::cli {

// As --bootstrap and --timeout say.
Result<std::unique_ptr<millrace::Client>> Connect(const CommonOptions& options);

// Connects and runs `command`; an error is one line on stderr. The process's exit code.
int RunConnected(const CommonOptions& options,
                 const std::function<Status(millrace::Client&)>& command);

// From now on the first SIGINT or SIGTERM is only remembered; the second ends the process.
void CatchSignals();
bool IsInterrupted();

}  // namespace millrace::client::cli

// How a command reaches the cluster, tells that it waits for it, and hears that it is to stop.
//
// On main's thread.
//
//   return RunConnected(options, [&](millrace::Client& client) -> Status { ... });
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "client/cli/common_options.h"
#include "millrace/client.h"
#include "proto/base/status.h"

namespace millrace::client::cli {

// Connects and runs `command`; an error is one line on stderr, and what the command waits for is a
// note there, after a second and then every ten. Where nobody listens at any address it fails after
// three seconds, unless --timeout was given. The process's exit code: kExitUsage if the cluster's
// addresses are none, 128 and the signal for what Interrupted made.
int RunConnected(const CommonOptions& options,
                 const std::function<Status(millrace::Client&)>& command);

// The same of a command on this topic: where there is none of that name, the error names one that
// may be meant.
int RunOnTopic(const CommonOptions& options, const std::string& topic,
               const std::function<Status(millrace::Client&)>& command);

// The same of a command on this group: where there is none of that name, the error names one that
// may be meant. What the cluster refuses with INVALID_ARGUMENT is an error of the command line.
int RunOnGroup(const CommonOptions& options, const std::string& group,
               const std::function<Status(millrace::Client&)>& command);

// The same of a command on this transactional id.
int RunOnTransactionalId(const CommonOptions& options, const std::string& id,
                         const std::function<Status(millrace::Client&)>& command);

// Once a partition has been out of reach for as long as --timeout says: why. Ok before.
Status OutageOverTimeout();

// From now on the first SIGINT or SIGTERM is only remembered; the second ends the process. Before,
// the first does: called once a command has begun what it should not leave half done.
void CatchSignals();
bool IsInterrupted();
// The error of a command that a signal kept from reaching its end; `what` says how far it came.
Status Interrupted(std::string_view what);

}  // namespace millrace::client::cli

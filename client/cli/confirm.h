// Whether somebody means what cannot be undone: --yes says so, or a person at a terminal.
//
// On main's thread.
//
//   if (const Status able = CheckCanConfirm(is_yes); !able.ok()) return FailUsage(able);
//   RETURN_IF_ERROR(Confirm(is_yes, "delete group billing, and what it has committed"));
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "proto/base/status.h"

namespace millrace::client::cli {

// Adds --yes.
void AddYes(CLI::App* command, bool* is_yes);

// INVALID_ARGUMENT where it is not said and stdin is no terminal, so that a script neither waits
// nor does what nobody meant. To be asked before anything is done.
Status CheckCanConfirm(bool is_yes);

// Ok where it is said. Asks else, on stderr, and reads a line: CANCELLED if that is not y or yes.
Status Confirm(bool is_yes, const std::string& question);

}  // namespace millrace::client::cli

// What must hold between the settings of one broker, beyond each one's own form.
//
// Pure; any thread.
//
//   FillDerived(&config);
//   RETURN_IF_ERROR(CheckServerConfig(config));
#pragma once

#include <string_view>
#include <vector>

#include "broker/config/server_config.h"
#include "broker/config/value.h"
#include "proto/base/status.h"

namespace millrace::broker::config {

// "1@HOST:PORT,2@HOST:PORT", sorted by id. INVALID_ARGUMENT naming the item that is malformed, or
// the id or address that stands there twice.
Result<std::vector<Controller>> ParseControllers(std::string_view text, Range ids);

// Fills what follows from other settings where it was not given: advertise, controllers.
void FillDerived(ServerConfig* config);

// INVALID_ARGUMENT naming the flag.
Status CheckServerConfig(const ServerConfig& config);

}  // namespace millrace::broker::config

// What an errno of a file operation means to a caller: one table for this folder.
//
// Pure; any thread.
//
//   if (fsync(fd) != 0) return PosixError("sync", path, errno);
#pragma once

#include <string>

#include "proto/base/status.h"

namespace millrace::storage {

// "sync /data/journal/1: Input/output error" with the code that fits.
Status PosixError(const std::string& operation, const std::string& path, int error);

}  // namespace millrace::storage

// The file that a server's log may go to: all that is written to descriptor 2, by glog, by gRPC or
// by a crash. It can be begun anew while it is written to, after a log rotator moved it.
//
// Owned by main, on its thread; Tell on any.
//
//   ASSIGN_OR_RETURN(LogFile log, LogFile::Open("/var/log/millrace.log"));
//   log.Reopen();   // on SIGHUP
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "proto/base/status.h"

namespace millrace::storage {

class LogFile {
 public:
  // What is written to descriptor 2, by whomever, goes to the end of this file from now on. It is
  // made if it is not there, for this process's user alone. An error names the file.
  static Result<LogFile> Open(const std::string& path);
  ~LogFile();
  LogFile(LogFile&& other) noexcept
      : path_(std::move(other.path_)), before_(std::exchange(other.before_, -1)) {}
  LogFile& operator=(LogFile&&) = delete;
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  const std::string& path() const { return path_; }
  // Goes on in the file that now has the path, made if need be. On an error the old one stays.
  Status Reopen();
  // A line for whoever started the process: to what descriptor 2 was before.
  void Tell(std::string_view line) const;

 private:
  LogFile(std::string path, int before) : path_(std::move(path)), before_(before) {}

  std::string path_;
  int before_;
};

}  // namespace millrace::storage

#include "storage/file/log_file.h"

#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

#include "storage/file/posix_error.h"

namespace millrace::storage {

Result<LogFile> LogFile::Open(const std::string& path) {
  const int before = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (before < 0) return PosixError("keep standard error for", path, errno);
  LogFile log(path, before);
  RETURN_IF_ERROR(log.Reopen());
  return log;
}

LogFile::~LogFile() {
  if (before_ < 0) return;
  dup2(before_, STDERR_FILENO);
  close(before_);
}

Status LogFile::Reopen() {
  const int fd = open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return PosixError("open", path_, errno);
  const bool is_done = dup2(fd, STDERR_FILENO) >= 0;
  const int error = errno;
  close(fd);
  return is_done ? Status::Ok() : PosixError("log to", path_, error);
}

void LogFile::Tell(std::string_view line) const {
  const std::string text = std::string(line) + "\n";
  // Nothing is to be done where nobody can be told.
  [[maybe_unused]] const ssize_t count = write(before_, text.data(), text.size());
}

}  // namespace millrace::storage

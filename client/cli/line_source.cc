#include "client/cli/line_source.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cli/standard_files.h"

namespace millrace::client::cli {
namespace {

constexpr size_t kReadBytes = size_t{256} << 10;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

LineSource::LineSource(int fd, std::string name, bool is_file, uint64_t total_bytes)
    : fd_(fd), name_(std::move(name)), is_file_(is_file), total_bytes_(total_bytes) {}

LineSource::LineSource(LineSource&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      name_(std::move(other.name_)),
      is_file_(other.is_file_),
      total_bytes_(other.total_bytes_),
      bytes_read_(other.bytes_read_),
      buffer_(std::move(other.buffer_)),
      begin_(other.begin_),
      scanned_(other.scanned_),
      is_at_end_(other.is_at_end_),
      is_at_begin_(other.is_at_begin_),
      error_(std::move(other.error_)) {}

LineSource::~LineSource() {
  if (fd_ > STDIN_FILENO) close(fd_);
}

Result<LineSource> LineSource::Open(const std::string& path) {
  const bool is_stdin = path.empty() || path == "-";
  if (is_stdin && !IsStdinReadable()) {
    return FailedPrecondition("stdin is closed, and no FILE is given");
  }
  const int fd = is_stdin ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat facts = {};
  if (fd < 0 || fstat(fd, &facts) != 0) {
    const Code code = errno == ENOENT ? Code::kNotFound : Code::kPermissionDenied;
    return Status(code, "cannot open " + path + ": " + std::strerror(errno));
  }
  const bool is_regular = S_ISREG(facts.st_mode);
  return LineSource(fd, is_stdin ? "stdin" : path, is_regular,
                    is_regular ? static_cast<uint64_t>(facts.st_size) : 0);
}

LineSource::Outcome LineSource::Fill() {
  pollfd wait{.fd = fd_, .events = POLLIN, .revents = 0};
  if (poll(&wait, 1, 0) == 0) return kNothingYet;
  buffer_.erase(0, begin_);
  scanned_ -= begin_;
  begin_ = 0;
  const size_t old_size = buffer_.size();
  buffer_.resize(old_size + kReadBytes);
  const ssize_t count = read(fd_, buffer_.data() + old_size, kReadBytes);
  buffer_.resize(old_size + (count > 0 ? static_cast<size_t>(count) : 0));
  if (count < 0 && errno == EINTR) return kNothingYet;
  if (count < 0) {
    error_ = Unavailable("cannot read " + name_ + ": " + std::strerror(errno));
    return kFailed;
  }
  is_at_end_ = count == 0;
  bytes_read_ += static_cast<uint64_t>(count);
  return kLine;
}

void LineSource::Wait(std::chrono::milliseconds timeout) const {
  pollfd wait{.fd = fd_, .events = POLLIN, .revents = 0};
  poll(&wait, 1, static_cast<int>(timeout.count()));
}

std::string_view LineSource::Take(size_t end) {
  std::string_view line = std::string_view(buffer_).substr(begin_, end - begin_);
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (std::exchange(is_at_begin_, false) && line.starts_with(kByteOrderMark)) {
    line.remove_prefix(kByteOrderMark.size());
  }
  return line;
}

LineSource::Outcome LineSource::Next(std::string_view* line) {
  while (true) {
    const size_t end = buffer_.find('\n', scanned_);
    if (end != std::string::npos) {
      *line = Take(end);
      begin_ = scanned_ = end + 1;
      return kLine;
    }
    scanned_ = buffer_.size();
    if (is_at_end_) {
      if (begin_ == buffer_.size()) return kEnd;
      *line = Take(buffer_.size());
      begin_ = buffer_.size();
      return kLine;
    }
    if (buffer_.size() - begin_ > kLineBytesMax) {
      error_ = InvalidArgument("a line of " + name_ + " is longer than 16 MiB");
      return kFailed;
    }
    const Outcome filled = Fill();
    if (filled != kLine) return filled;
  }
}

}  // namespace millrace::client::cli

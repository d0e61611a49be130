// Lines of a file or of stdin, read without waiting: what is there now, or nothing yet. As most
// programs do, it takes CR LF for a line's end as well as LF, and skips a byte order mark at the
// beginning.
//
// On main's thread.
//
//   ASSIGN_OR_RETURN(LineSource lines, LineSource::Open("flights.jsonl"));
//   std::string_view line;
//   switch (lines.Next(&line)) {
//     case LineSource::kLine: ...
//     case LineSource::kNothingYet: ask again later
//   }
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "proto/base/status.h"

namespace millrace::client::cli {

class LineSource {
 public:
  enum Outcome { kLine, kNothingYet, kEnd, kFailed };

  // `path` empty or "-": stdin. NOT_FOUND or PERMISSION_DENIED naming the file;
  // FAILED_PRECONDITION if stdin is closed.
  static Result<LineSource> Open(const std::string& path);
  LineSource(LineSource&& other) noexcept;
  LineSource& operator=(LineSource&&) = delete;
  ~LineSource();

  // The next line without its end, valid until the next call. A last line may lack its end. A line
  // longer than kLineBytesMax fails; error() says why.
  Outcome Next(std::string_view* line);
  const Status& error() const { return error_; }
  // Waits until there may be something to read, up to `timeout`.
  void Wait(std::chrono::milliseconds timeout) const;

  // A regular file, which has an end; anything else may go on for ever.
  bool is_file() const { return is_file_; }
  const std::string& name() const { return name_; }
  // 0 if it is no regular file.
  uint64_t total_bytes() const { return total_bytes_; }
  uint64_t bytes_read() const { return bytes_read_; }

  static constexpr size_t kLineBytesMax = size_t{16} << 20;

 private:
  LineSource(int fd, std::string name, bool is_file, uint64_t total_bytes);
  Outcome Fill();
  // The line that begins at begin_ and has its LF, or the end, there.
  std::string_view Take(size_t end);

  int fd_;
  std::string name_;
  bool is_file_;
  uint64_t total_bytes_;
  uint64_t bytes_read_ = 0;
  std::string buffer_;
  size_t begin_ = 0;    // of what was not given out
  size_t scanned_ = 0;  // no line end before here
  bool is_at_end_ = false;
  bool is_at_begin_ = true;
  Status error_;
};

}  // namespace millrace::client::cli

#include "client/cli/output.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include <poll.h>
#include <unistd.h>

#include "client/cli/connection.h"
#include "proto/record/wire.h"

namespace millrace::client::cli {
namespace {

bool IsNumber(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || c == '.' || c == '-' || c == ',';
  });
}

void PrintLine(const char* what, std::string_view message) {
  std::string line(message);
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::fprintf(stderr, "%s: %s\n", what, line.c_str());
}

Status StdoutFailed(int error) {
  return Unavailable(std::string("cannot write to stdout: ") + std::strerror(error));
}

}  // namespace

void PrintError(std::string_view message) { PrintLine("error", message); }

void PrintNote(std::string_view message) { PrintLine("note", message); }

void PrintWarning(std::string_view message) { PrintLine("warning", message); }

int Fail(const Status& status) {
  PrintError(status.ToString());
  return kExitFailed;
}

int FailUsage(const Status& status) {
  PrintError(status.ToString());
  return kExitUsage;
}

Status WriteToStdout(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EINTR && IsInterrupted()) {
      return Interrupted("stdout took no more");
    } else if (errno == EAGAIN) {  // somebody made it non-blocking
      pollfd wait{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
      if (poll(&wait, 1, -1) < 0 && IsInterrupted()) return Interrupted("stdout took no more");
    } else if (errno != EINTR) {
      return StdoutFailed(errno);
    }
  }
  return {};
}

int FinishOutput(int exit_code) {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit_code;
  const int error = errno;
  const int failed = Fail(error != 0 ? StdoutFailed(error) : Unavailable("cannot write to stdout"));
  return exit_code == kExitDone ? failed : exit_code;
}

void PrintJson(const Json& json) {
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
}

std::string Table::ToString() const {
  std::vector<size_t> widths(rows_.front().size());
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - row[i].size(), ' ');
      line += IsNumber(row[i]) ? space + row[i] : row[i] + space;
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

void Table::Print() const { std::fputs(ToString().c_str(), stdout); }

void SetBytes(Json* json, const std::string& name, std::optional<std::string_view> bytes) {
  if (!bytes) {
    (*json)[name] = nullptr;
  } else if (IsValidUtf8(*bytes)) {
    (*json)[name] = std::string(*bytes);
  } else {
    (*json)[name] = Base64(*bytes);
    (*json)[name + "_encoding"] = "base64";
  }
}

std::string Base64(std::string_view bytes) {
  static constexpr char kAlphabet[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - at);
    uint32_t bits = 0;
    for (size_t i = 0; i < 3; ++i) {
      bits = bits << 8 | (i < count ? static_cast<uint8_t>(bytes[at + i]) : 0u);
    }
    for (size_t i = 0; i < 4; ++i) {
      text += i <= count ? kAlphabet[bits >> (18 - 6 * i) & 63] : '=';
    }
  }
  return text;
}

std::string WithThousands(uint64_t number) {
  std::string text = std::to_string(number);
  for (size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

}  // namespace millrace::client::cli

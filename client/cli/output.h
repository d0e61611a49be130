// What the commands print: tables for people, JSON for programs, errors as one line; and the exit
// codes, of which docs/cli.md has the table.
//
// Any thread, one at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "proto/base/status.h"

namespace millrace::client::cli {

// JSON whose keys keep the order in which they were set.
using Json = nlohmann::ordered_json;

// What a command's process ends with; 128 and the signal's number where a signal ended it early.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;  // the cluster, the network, a file or stdout
inline constexpr int kExitUsage = 2;   // the command line asks for what cannot be
inline constexpr int kExitMoved = 4;   // --expect-end: the log ends elsewhere

// "error: ..." on stderr, on one line.
void PrintError(std::string_view message);
// The same of a Status; kExitFailed.
int Fail(const Status& status);
// The same; kExitUsage.
int FailUsage(const Status& status);
// "note: ..." on stderr, on one line: the command goes on.
void PrintNote(std::string_view message);
// "warning: ..." on stderr, on one line: the command did what was asked for, which has a price.
void PrintWarning(std::string_view message);

// Writes all of `bytes` to stdout past its buffer, waiting where it takes no more just now.
// UNAVAILABLE saying why it takes no more at all; Interrupted if a signal came while it waited.
Status WriteToStdout(std::string_view bytes);
// Writes out what printf and others left in stdout's buffer: `exit_code`, or kExitFailed and an
// error if stdout did not take all that was ever printed.
int FinishOutput(int exit_code);

// On stdout with a line end.
void PrintJson(const Json& json);

// Columns as wide as their widest cell, two spaces apart, numbers to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> head) { rows_.push_back(std::move(head)); }
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string ToString() const;
  void Print() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// A record's bytes as JSON: null, a string, or base64 where they are no UTF-8; then `name`_encoding
// says so.
void SetBytes(Json* json, const std::string& name, std::optional<std::string_view> bytes);

// RFC 4648, with padding.
std::string Base64(std::string_view bytes);

// "1,234,567"
std::string WithThousands(uint64_t number);

}  // namespace millrace::client::cli

// Scripts that read as a specification: blocks of a comment that says why, one or more commands
// with key=value arguments, `----`, and what they print; an empty line ends a block.
//
//   # A candidate with the votes of a majority leads.
//   campaign node=1
//   ----
//   1: leads in term 1
//
// Values; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::raft::core {

// "name key=value key=value". A missing key gives the default; a malformed one fails the test.
class Command {
 public:
  explicit Command(std::string_view line);

  const std::string& name() const { return name_; }
  bool Has(const std::string& key) const { return arguments_.contains(key); }
  std::string Text(const std::string& key, const std::string& otherwise = "") const;
  uint64_t Number(const std::string& key, uint64_t otherwise = 0) const;
  // "1,2,3".
  std::vector<uint64_t> Numbers(const std::string& key) const;

 private:
  std::string name_;
  std::map<std::string, std::string> arguments_;
};

std::vector<std::string> Split(std::string_view text, char separator);

// Runs the script at `path` with `run`, which gives what a command prints. Fails the current test
// where the output differs from what stands there; with REWRITE=1 in the environment writes it
// there instead.
void RunScript(const std::string& path, const std::function<std::string(const Command&)>& run);

}  // namespace millrace::raft::core

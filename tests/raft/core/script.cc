#include "tests/raft/core/script.h"

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <utility>

#include <glog/logging.h>
#include <gtest/gtest.h>

namespace millrace::raft::core {
namespace {

constexpr std::string_view kSeparator = "----";

struct Block {
  std::vector<std::string> head;  // comments and commands, as they stand
  std::string expected;
  size_t line = 0;
};

std::vector<Block> ReadBlocks(const std::string& path) {
  std::ifstream file(path);
  CHECK(file.good()) << "cannot read " << path;
  std::vector<Block> blocks;
  bool is_output = false;
  size_t line_number = 0;
  bool is_new = true;
  for (std::string line; std::getline(file, line);) {
    ++line_number;
    if (line.empty()) {
      is_output = false;
      is_new = true;
      continue;
    }
    if (std::exchange(is_new, false))
      blocks.push_back({.head = {}, .expected = "", .line = line_number});
    if (line == kSeparator) {
      is_output = true;
    } else if (is_output) {
      blocks.back().expected += line + "\n";
    } else {
      blocks.back().head.push_back(line);
    }
  }
  return blocks;
}

// What the block's commands print; nothing for a block of comments alone.
std::string RunBlock(const Block& block, const std::function<std::string(const Command&)>& run) {
  std::string output;
  bool has_command = false;
  for (const std::string& line : block.head) {
    if (line.starts_with('#')) continue;
    has_command = true;
    output += run(Command(line));
  }
  return output.empty() && has_command ? "ok\n" : output;
}

}  // namespace

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in{std::string(text)};
  for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
  return parts;
}

Command::Command(std::string_view line) {
  for (const std::string& word : Split(line, ' ')) {
    if (word.empty()) continue;
    if (name_.empty()) {
      name_ = word;
      continue;
    }
    const size_t equals = word.find('=');
    CHECK_NE(equals, std::string::npos) << "not key=value: " << word << " in: " << line;
    arguments_[word.substr(0, equals)] = word.substr(equals + 1);
  }
}

std::string Command::Text(const std::string& key, const std::string& otherwise) const {
  auto found = arguments_.find(key);
  return found == arguments_.end() ? otherwise : found->second;
}

uint64_t Command::Number(const std::string& key, uint64_t otherwise) const {
  return Has(key) ? std::stoull(Text(key)) : otherwise;
}

std::vector<uint64_t> Command::Numbers(const std::string& key) const {
  std::vector<uint64_t> numbers;
  for (const std::string& part : Split(Text(key), ',')) numbers.push_back(std::stoull(part));
  return numbers;
}

void RunScript(const std::string& path, const std::function<std::string(const Command&)>& run) {
  const char* rewrite = std::getenv("REWRITE");
  const bool is_rewriting = rewrite != nullptr && std::string_view(rewrite) == "1";
  std::string rewritten;
  for (const Block& block : ReadBlocks(path)) {
    const std::string output = RunBlock(block, run);
    if (!rewritten.empty()) rewritten += "\n";
    for (const std::string& line : block.head) rewritten += line + "\n";
    if (!output.empty()) rewritten += std::string(kSeparator) + "\n" + output;
    if (!is_rewriting) {
      EXPECT_EQ(output, block.expected) << path << ":" << block.line << "\n" << block.head.front();
    }
  }
  if (is_rewriting) std::ofstream(path) << rewritten;
}

}  // namespace millrace::raft::core

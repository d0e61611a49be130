// Holds a history, JSON lines in a file or on stdin, against the checker's rules. Exit code 0:
// good, 1: anomalies, 2: not a history.
//
//   check_history build/cluster/history.jsonl
#include <fstream>
#include <iostream>

#include "tests/checker/checker.h"
#include "tests/checker/history_json.h"

namespace millrace::checker {
namespace {

Result<Verdict> CheckStream(std::istream& in) {
  ASSIGN_OR_RETURN(const History history, ReadHistory(in));
  return Check(history);
}

int Run(const char* path) {
  std::ifstream file;
  if (path != nullptr) {
    file.open(path);
    if (!file.is_open()) {
      std::cerr << "error: cannot read " << path << "\n";
      return 2;
    }
  }
  const Result<Verdict> verdict = CheckStream(path == nullptr ? std::cin : file);
  if (!verdict.ok()) {
    std::cerr << "error: " << verdict.status().message() << "\n";
    return 2;
  }
  std::cout << verdict->Text();
  return verdict->is_good() ? 0 : 1;
}

}  // namespace
}  // namespace millrace::checker

int main(int argc, char** argv) {
  if (argc > 2) {
    std::cerr << "usage: check_history [FILE]\n";
    return 2;
  }
  return millrace::checker::Run(argc == 2 ? argv[1] : nullptr);
}

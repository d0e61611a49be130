#include "client/cli/confirm.h"

#include <cstdio>
#include <iostream>

#include <unistd.h>

namespace millrace::client::cli {

void AddYes(CLI::App* command, bool* is_yes) { command->add_flag("--yes", *is_yes, "Do not ask"); }

Status CheckCanConfirm(bool is_yes) {
  if (is_yes || isatty(STDIN_FILENO) == 1) return {};
  return InvalidArgument("there is nobody to ask, as stdin is no terminal: --yes goes on");
}

Status Confirm(bool is_yes, const std::string& question) {
  if (is_yes) return {};
  std::fflush(stdout);  // what it is about stands above the question
  std::fprintf(stderr, "%s? [y/N] ", question.c_str());
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "Y" || answer == "yes") return {};
  return Status(Code::kCancelled, "nothing was changed");
}

}  // namespace millrace::client::cli

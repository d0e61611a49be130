#include "client/cli/common_options.h"

namespace millrace::client::cli {

void AddCommonOptions(CLI::App* command, const std::vector<std::string>& formats,
                      CommonOptions* options) {
  command
      ->add_option(
          "--bootstrap", options->bootstrap,
          "HOST:PORT of one or more brokers, separated by commas (else MILLRACE_BOOTSTRAP)")
      ->capture_default_str();
  options->output = formats.front();
  command->add_option("-o,--output", options->output, "How to print")
      ->check(CLI::IsMember(formats))
      ->capture_default_str();
  command->add_option("--timeout", options->timeout_seconds, "Seconds to wait for the cluster")
      ->check(CLI::PositiveNumber)
      ->each([options](const std::string&) { options->has_timeout = true; })
      ->capture_default_str();
}

}  // namespace millrace::client::cli

#include "client/cli/common_options.h"

#include "client/cli/number.h"

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
  const auto set_timeout = [options](std::string_view text) -> Status {
    ASSIGN_OR_RETURN(options->timeout, ParseDuration(text));
    options->has_timeout = true;
    return {};
  };
  AddParsed(
      command, "--timeout", set_timeout,
      "How long to wait while the cluster does not answer: 5s, 500ms, 2m; seconds without a unit")
      ->type_name("DURATION")
      ->default_str("30s");
}

}  // namespace millrace::client::cli

#include "client/cli/common_options.h"

#include "client/cli/number.h"
#include "proto/record/wire.h"

namespace millrace::client::cli {
namespace {

// `what` is what the name is called where it is none.
CLI::Option* AddName(CLI::App* command, const std::string& option, std::string* name,
                     const char* help, const char* what) {
  return command->add_option(option, *name, help)->check([what](const std::string& text) {
    return std::string(CheckUtf8(what, text).message());
  });
}

}  // namespace

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

CLI::Option* AddTopic(CLI::App* command, const std::string& name, std::string* topic) {
  return AddName(command, name, topic, "The topic", "the topic's name");
}

CLI::Option* AddGroup(CLI::App* command, std::string* group) {
  return AddName(command, "GROUP", group, "The group", "the group's name")->required();
}

CLI::Option* AddTransactionalId(CLI::App* command, std::string* id) {
  return AddName(command, "ID", id, "The transactional id", "the transactional id")->required();
}

// The text itself is not told: a terminal could not show it either.
Status CheckUtf8(const std::string& what, std::string_view text) {
  return IsValidUtf8(text) ? Status::Ok() : InvalidArgument(what + " is not UTF-8");
}

Result<std::pair<std::string, std::string>> ParseKeyValue(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    return InvalidArgument("\"" + text + "\" is not KEY=VALUE");
  }
  return std::pair(text.substr(0, equals), text.substr(equals + 1));
}

CLI::Option* AddRepeated(CLI::App* command, const std::string& name,
                         const std::function<Status(const std::string& text)>& add,
                         const std::string& help) {
  const std::string long_name = name.substr(name.find(',') + 1);  // "--header" of "-H,--header"
  const auto add_all = [long_name, add](const CLI::results_t& texts) {
    for (const std::string& text : texts) {
      const Status added = add(text);
      if (!added.ok()) throw CLI::ValidationError(long_name, std::string(added.message()));
    }
    return true;
  };
  return command->add_option(name, add_all, help)->take_all();
}

}  // namespace millrace::client::cli

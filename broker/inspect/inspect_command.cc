#include "broker/inspect/inspect_command.h"

#include <cstdio>

#include "broker/inspect/print.h"
#include "client/cli/output.h"

namespace millrace::broker {
namespace {

std::string Counted(size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

}  // namespace

void AddInspectOptions(CLI::App* command, InspectOptions* options) {
  command->add_option("DIR", options->directory, "The data directory of a broker that is stopped")
      ->required()
      ->check([](const std::string& path) { return path.empty() ? "it is empty" : ""; }, "");
  command->add_flag("--verify", options->verify,
                    "Read every frame and check every checksum; else headers and footers do");
  options->output = "table";
  command->add_option("-o,--output", options->output, "How to print")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
}

int FinishInspect(const InspectOptions& options, const Result<Report>& report) {
  if (!report.ok()) {
    const int failed = client::cli::Fail(report.status());
    return report.status().code() == Code::kDataLoss ? kExitDamaged : failed;
  }
  if (options.output == "json") {
    client::cli::PrintJson(ToJson(options.directory, *report));
  } else {
    std::fputs(ToText(options.directory, *report).c_str(), stdout);
  }
  std::fflush(stdout);
  if (!report->damage.empty()) {
    client::cli::Fail(
        DataLoss(options.directory + ": damaged in " + Counted(report->damage.size(), "place")));
    return kExitDamaged;
  }
  if (report->unreadable.empty()) return client::cli::kExitDone;
  return client::cli::Fail(Unavailable(options.directory + ": " +
                                       Counted(report->unreadable.size(), "thing") +
                                       " could not be read"));
}

}  // namespace millrace::broker

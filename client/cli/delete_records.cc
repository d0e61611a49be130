#include "client/cli/delete_records.h"

#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/cli/common_options.h"
#include "client/cli/connection.h"
#include "client/cli/number.h"
#include "client/cli/output.h"
#include "client/cli/time_spec.h"
#include "millrace/admin.h"
#include "raft/runtime/real_clock.h"

namespace millrace::client::cli {
namespace {

using Ranges = std::vector<OffsetRange>;

struct DeleteOptions {
  CommonOptions common;
  std::string name;
  uint32_t partition = 0;
  Position before = Position::Earliest();
};

// The offset that `before` is in the partition; what the records of a time begin with, or the end.
Result<int64_t> Locate(millrace::Client& client, const DeleteOptions& options) {
  if (options.before.kind() == Position::Kind::kOffset) return options.before.value();
  std::optional<int64_t> at_ms;
  if (options.before.kind() == Position::Kind::kTime) at_ms = options.before.value();
  ASSIGN_OR_RETURN(const Ranges ranges,
                   client.admin().ListOffsets(options.name, at_ms, options.common.timeout));
  for (const OffsetRange& range : ranges) {
    if (range.partition != options.partition) continue;
    RETURN_IF_ERROR(range.status);
    if (at_ms.has_value()) return range.at_timestamp.value_or(range.end);
    return options.before.kind() == Position::Kind::kLatest ? range.end : range.start;
  }
  return NotFound("topic \"" + options.name + "\" has no partition " +
                  std::to_string(options.partition));
}

void PrintDeleted(const DeleteOptions& options, const OffsetRange& range) {
  if (options.common.is_json()) {
    return PrintJson({{"name", options.name},
                      {"partition", range.partition},
                      {"log_start_offset", range.start},
                      {"high_watermark", range.end}});
  }
  std::printf("topic %s partition %u: records from offset %lld on are left, up to %lld\n",
              options.name.c_str(), range.partition, static_cast<long long>(range.start),
              static_cast<long long>(range.end));
}

int DeleteRecords(const DeleteOptions& options) {
  return RunOnTopic(options.common, options.name, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(const int64_t before, Locate(client, options));
    ASSIGN_OR_RETURN(const Ranges deleted,
                     client.admin().DeleteRecords(options.name, {{options.partition, before}},
                                                  options.common.timeout));
    const OffsetRange& range = deleted.front();
    RETURN_IF_ERROR(range.status.With("partition " + std::to_string(range.partition)));
    PrintDeleted(options, range);
    return {};
  });
}

}  // namespace

void AddDeleteRecords(CLI::App* topic, const std::string& bootstrap, Command* chosen) {
  auto options = std::make_shared<DeleteOptions>();
  options->common.bootstrap = bootstrap;
  CLI::App* command =
      topic->add_subcommand("delete-records", "Delete the oldest records of a partition");
  AddTopic(command, "TOPIC", &options->name)->required();
  AddCommonOptions(command, {"table", "json"}, &options->common);
  AddNumber(command, "--partition", &options->partition, {.min = 0, .max = kPartitionMax},
            "Of which partition")
      ->required();
  AddParsed(
      command, "--before",
      [before = &options->before](std::string_view text) -> Status {
        ASSIGN_OR_RETURN(*before, ParsePosition(text, RealClock().WallMs()));
        return {};
      },
      "The oldest record to keep: an offset, latest (keep none), or the first record that is not "
      "older than a time: RFC 3339, a date, so long ago (-1h), or @MILLISECONDS since 1970")
      ->type_name("POSITION")
      ->required();
  Choose(command, options, chosen, &DeleteRecords);
}

}  // namespace millrace::client::cli

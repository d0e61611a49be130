#include "client/cli/group_reset.h"

#include <cstdio>
#include <fstream>
#include <memory>
#include <utility>

#include "client/cli/common_options.h"
#include "client/cli/confirm.h"
#include "client/cli/connection.h"
#include "client/cli/group_offsets.h"
#include "client/cli/number.h"
#include "client/cli/partition_list.h"
#include "client/cli/time_spec.h"
#include "raft/runtime/real_clock.h"

namespace millrace::client::cli {
namespace {

using Rows = std::vector<MovedOffset>;

// Of a file: 10,000 partitions with metadata of 4 KiB are less.
constexpr size_t kFileBytesMax = size_t{64} << 20;

struct ResetOptions {
  CommonOptions common;
  std::string group;
  GroupReset reset;
  bool is_all_topics = false;
  std::string file;
  bool is_yes = false;
};

bool HasTarget(const GroupReset& reset) {
  return reset.to.has_value() || reset.shift_by.has_value();
}

// That the options say once which partitions, and once where to.
Status CheckOptions(const ResetOptions& options) {
  const bool has_topics = !options.reset.topics.empty();
  if (!options.file.empty()) {
    if (!has_topics && !options.is_all_topics && !HasTarget(options.reset)) return {};
    return InvalidArgument(
        "--from-file says which partitions and where to: no --topic, "
        "--all-topics or --to beside it");
  }
  if (has_topics == options.is_all_topics) {
    return InvalidArgument("group reset takes --topic or --all-topics, or --from-file");
  }
  if (!HasTarget(options.reset)) return InvalidArgument("group reset takes --to, or --from-file");
  return {};
}

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kFileBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.eof() && file.fail()) return Unavailable("cannot read " + path);
  if (file.gcount() > static_cast<std::streamsize>(kFileBytesMax)) {
    return InvalidArgument(path + " has more than " + WithThousands(kFileBytesMax) + " bytes");
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

std::string CountOf(const Rows& moved) {
  return std::to_string(moved.size()) + (moved.size() == 1 ? " partition" : " partitions");
}

std::string NameOf(const MovedOffset& row) {
  return "topic " + row.topic + ", partition " + std::to_string(row.partition);
}

// The first error of a row: with one of them nothing was changed.
Status ErrorOf(const Rows& moved) {
  for (const MovedOffset& row : moved) RETURN_IF_ERROR(row.status.With(NameOf(row)));
  return {};
}

void Print(const ResetOptions& options, const Rows& moved, bool is_dry_run) {
  if (options.common.is_json()) return PrintJson(MovedToJson(options.group, moved, is_dry_run));
  std::fputs(MovedToText(moved).c_str(), stdout);
}

Result<Rows> Ask(millrace::Client& client, const ResetOptions& options, bool is_dry_run) {
  GroupReset reset = options.reset;
  reset.is_dry_run = is_dry_run;
  ASSIGN_OR_RETURN(Rows moved,
                   client.groups().ResetOffsets(options.group, reset, options.common.timeout));
  if (moved.empty()) {
    return NotFound("group \"" + options.group + "\" has committed nothing", Reason::kUnknownGroup);
  }
  return moved;
}

// Shows what would be, and asks. JSON is one object: that of what was done.
Status Plan(millrace::Client& client, const ResetOptions& options) {
  ASSIGN_OR_RETURN(const Rows planned, Ask(client, options, true));
  if (!options.common.is_json()) Print(options, planned, true);
  RETURN_IF_ERROR(ErrorOf(planned));
  return Confirm(options.is_yes, "move group " + options.group + " so in " + CountOf(planned));
}

Status Move(millrace::Client& client, const ResetOptions& options) {
  const bool is_dry_run = options.reset.is_dry_run;
  if (!is_dry_run && !options.is_yes) RETURN_IF_ERROR(Plan(client, options));
  ASSIGN_OR_RETURN(const Rows moved, Ask(client, options, is_dry_run));
  Print(options, moved, is_dry_run);
  RETURN_IF_ERROR(ErrorOf(moved));
  if (options.common.is_json()) return {};
  std::printf(is_dry_run ? "group %s would be moved in %s\n" : "moved group %s in %s\n",
              options.group.c_str(), CountOf(moved).c_str());
  return {};
}

int Reset(const ResetOptions& given) {
  ResetOptions options = given;
  if (Status checked = CheckOptions(options); !checked.ok()) return FailUsage(checked);
  if (!options.reset.is_dry_run) {
    if (Status able = CheckCanConfirm(options.is_yes); !able.ok()) return FailUsage(able);
  }
  if (!options.file.empty()) {
    const Result<std::string> text = ReadFile(options.file);
    if (!text.ok()) return Fail(text.status());
    Result<std::vector<OffsetCommit>> offsets = ParseCommittedOffsets(*text);
    if (!offsets.ok()) return Fail(offsets.status().With(options.file));
    options.reset.offsets = *std::move(offsets);
  }
  return RunOnGroup(options.common, options.group,
                    [&](millrace::Client& client) { return Move(client, options); });
}

}  // namespace

Status ParseTarget(std::string_view text, int64_t now_ms, GroupReset* reset) {
  const bool is_signed = text.starts_with('+') || text.starts_with('-');
  const bool is_shift =
      is_signed && text.find_first_not_of("0123456789", 1) == std::string_view::npos;
  if (!is_shift) {
    ASSIGN_OR_RETURN(reset->to, ParsePosition(text, now_ms));
    return {};
  }
  ASSIGN_OR_RETURN(const uint64_t records,
                   ParseNumber(text.substr(1), {.min = 0, .max = INT64_MAX}));
  const auto number = static_cast<int64_t>(records);
  reset->shift_by = text.starts_with('-') ? -number : number;
  return {};
}

std::string MovedToText(const Rows& moved) {
  Table table({"TOPIC", "PARTITION", "BEFORE", "AFTER"});
  for (const MovedOffset& row : moved) {
    table.Add({row.topic, std::to_string(row.partition),
               row.before ? std::to_string(*row.before) : "-",
               row.status.ok() ? std::to_string(row.after) : "-"});
  }
  return table.ToString();
}

Json MovedToJson(const std::string& group, const Rows& moved, bool is_dry_run) {
  Json json{{"group", group}, {"is_dry_run", is_dry_run}, {"partitions", Json::array()}};
  for (const MovedOffset& row : moved) {
    Json out{{"topic", row.topic},
             {"topic_id", row.topic_id},
             {"partition", row.partition},
             {"before_offset", row.before ? Json(*row.before) : Json()}};
    if (row.status.ok()) {
      out["after_offset"] = row.after;
    } else {
      out["error"] = row.status.ToString();
    }
    json["partitions"].push_back(std::move(out));
  }
  return json;
}

void AddGroupReset(CLI::App* group, const std::string& bootstrap, Command* chosen) {
  auto options = std::make_shared<ResetOptions>();
  options->common.bootstrap = bootstrap;
  CLI::App* command = group->add_subcommand("reset", "Move a group to other offsets");
  AddGroup(command, &options->group);
  AddCommonOptions(command, {"table", "json"}, &options->common);
  AddTopicPartitionsOption(command, &options->reset.topics);
  command->add_flag("--all-topics", options->is_all_topics,
                    "All partitions for which the group has committed something");
  AddParsed(
      command, "--to",
      [reset = &options->reset](std::string_view text) {
        return ParseTarget(text, RealClock().WallMs(), reset);
      },
      "earliest, latest, an offset, +N or -N records from what is committed, or the first record "
      "that is not older than a time: RFC 3339, a date, so long ago (-1h), or @MILLISECONDS")
      ->type_name("TARGET");
  command
      ->add_option("--from-file", options->file,
                   "Where group offsets -o json says that the group was")
      ->type_name("FILE");
  command->add_flag("--dry-run", options->reset.is_dry_run,
                    "Say where the group would be, and change nothing");
  AddYes(command, &options->is_yes);
  Choose(command, options, chosen, &Reset);
}

}  // namespace millrace::client::cli

#include "client/cli/group_offsets.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "client/cli/common_options.h"
#include "client/cli/connection.h"
#include "client/cli/group_lag.h"
#include "client/cli/number.h"
#include "client/cli/time_spec.h"

namespace millrace::client::cli {
namespace {

using Rows = std::vector<GroupOffset>;

constexpr char kRows[] = "partitions";
constexpr char kTopic[] = "topic";
constexpr char kPartition[] = "partition";
constexpr char kOffset[] = "committed_offset";

struct OffsetsOptions {
  CommonOptions common;
  std::string group;
  std::vector<std::string> topics;
};

std::string OrDash(const std::optional<int64_t>& number) {
  return number ? std::to_string(*number) : "-";
}

std::string NameOf(const GroupOffset& row) {
  return "topic " + row.committed.topic + ", partition " + std::to_string(row.committed.partition);
}

// A reader's own text, on one line and without what a terminal would obey: control characters,
// which in UTF-8 are the bytes below a blank, DEL, and 0x80 to 0x9F behind 0xC2.
std::string Shown(const std::string& text) {
  std::string shown;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_second_row = byte >= 0x80 && byte < 0xA0 && shown.ends_with('\xC2');
    if (is_second_row) shown.pop_back();
    shown += byte < 0x20 || byte == 0x7F || is_second_row ? '?' : c;
  }
  return shown;
}

// What is known of partitions beside their offsets, by topic_id and partition.
using LagByPlace = std::map<std::pair<uint64_t, uint32_t>, PartitionLag>;

LagByPlace ByPlace(const GroupLag& lag) {
  LagByPlace by_place;
  for (const PartitionLag& row : lag.partitions) by_place[{row.topic_id, row.partition}] = row;
  return by_place;
}

PartitionLag LagOf(const LagByPlace& lag, const GroupOffset& row) {
  const auto found = lag.find({row.committed.topic_id, row.committed.partition});
  return found == lag.end() ? PartitionLag() : found->second;
}

std::vector<std::string> CellsOf(const GroupOffset& row, const PartitionLag& lag) {
  const CommittedOffset& committed = row.committed;
  const bool is_committed = committed.offset.has_value();
  const bool ok = row.status.ok();
  return {committed.topic,
          std::to_string(committed.partition),
          OrDash(committed.offset),
          ok ? std::to_string(row.start) : "-",
          ok ? std::to_string(row.end) : "-",
          OrDash(row.lag),
          lag.lag ? LagTimeToText(lag.lag_time_min, lag.lag_time_max) : "-",
          lag.member_id.empty() ? "-" : Shown(lag.member_id),
          is_committed ? FormatTime(committed.commit_time_ms) : "-",
          Shown(committed.metadata)};
}

Json RowToJson(const GroupOffset& row, const PartitionLag& lag) {
  const CommittedOffset& committed = row.committed;
  Json json{{kTopic, committed.topic},
            {"topic_id", committed.topic_id},
            {kPartition, committed.partition},
            {kOffset, committed.offset ? Json(*committed.offset) : Json()},
            {"leader_epoch", committed.leader_epoch},
            {"commit_time_ms", committed.offset ? Json(committed.commit_time_ms) : Json()},
            {"metadata", committed.metadata},
            {"member_id", lag.member_id},
            {"lag_ms_min", lag.lag ? Json(lag.lag_time_min.count()) : Json()},
            {"lag_ms_max", lag.lag ? Json(lag.lag_time_max.count()) : Json()}};
  if (!row.status.ok()) {
    json["error"] = row.status.ToString();
    return json;
  }
  json["log_start_offset"] = row.start;
  json["high_watermark"] = row.end;
  json["lag"] = row.lag ? Json(*row.lag) : Json();
  json["lost"] = row.lost;
  return json;
}

// What a group that has committed nothing is: there, or not.
Status CheckIsThere(millrace::Client& client, const OffsetsOptions& options, const Rows& offsets) {
  if (!offsets.empty()) return {};
  return client.groups().DescribeGroup(options.group, options.common.timeout).status();
}

// Where it is not told, nothing is known, and the command goes on: it shows offsets first of all.
GroupLag DescribeLag(millrace::Client& client, const OffsetsOptions& options) {
  Result<GroupLag> lag =
      client.groups().DescribeLag(options.group, LagRows::kAll, options.common.timeout);
  if (lag.ok()) return *std::move(lag);
  const Code code = lag.status().code();
  // Of a cluster of an earlier version, or of a group that is not there and has committed nothing.
  if (code != Code::kUnimplemented && code != Code::kNotFound) {
    PrintNote("how far the group is behind in time is not known: " + lag.status().ToString());
  }
  return {};
}

int Offsets(const OffsetsOptions& options) {
  return RunOnGroup(options.common, options.group, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(
        const Rows offsets,
        client.groups().DescribeOffsets(options.group, options.topics, options.common.timeout));
    RETURN_IF_ERROR(CheckIsThere(client, options, offsets));
    const GroupLag lag = DescribeLag(client, options);
    if (options.common.is_json()) {
      PrintJson(GroupOffsetsToJson(options.group, offsets, lag));
    } else {
      std::fputs(GroupOffsetsToText(offsets, lag).c_str(), stdout);
    }
    for (const GroupOffset& row : offsets) RETURN_IF_ERROR(row.status.With(NameOf(row)));
    return {};
  });
}

// A member of a row that has it as a number of 0 and up, which fits.
Result<uint64_t> NumberOf(const Json& row, const char* name, const NumberRange& range) {
  const auto found = row.find(name);
  if (found == row.end()) return InvalidArgument(std::string("it has no ") + name);
  Result<uint64_t> number = ParseNumber(found->dump(), range);
  if (!number.ok()) return number.status().With(name);
  return number;
}

Status AddCommit(const Json& row, std::vector<OffsetCommit>* commits) {
  const bool has_topic = row.is_object() && row.contains(kTopic) && row[kTopic].is_string();
  if (!has_topic) return InvalidArgument(std::string("it has no ") + kTopic);
  ASSIGN_OR_RETURN(const uint64_t partition,
                   NumberOf(row, kPartition, {.min = 0, .max = kPartitionMax}));
  if (row.contains(kOffset) && row[kOffset].is_null()) return {};  // nothing was committed
  ASSIGN_OR_RETURN(const uint64_t offset, NumberOf(row, kOffset, {.min = 0, .max = INT64_MAX}));
  commits->push_back({.topic = row[kTopic].get<std::string>(),
                      .partition = static_cast<uint32_t>(partition),
                      .offset = static_cast<int64_t>(offset)});
  return {};
}

}  // namespace

std::string GroupOffsetsToText(const Rows& offsets, const GroupLag& lag) {
  const LagByPlace by_place = ByPlace(lag);
  Table table({"TOPIC", "PARTITION", "COMMITTED", "START", "END", "LAG", "OLDEST", "OWNER", "AT",
               "METADATA"});
  std::string notes;
  for (const GroupOffset& row : offsets) {
    table.Add(CellsOf(row, LagOf(by_place, row)));
    if (!row.status.ok()) {
      notes += NameOf(row) + ": " + row.status.ToString() + "\n";
    } else if (row.lost > 0) {
      notes += NameOf(row) + ": " + std::to_string(row.lost) +
               " offsets are lost to the group: it is at " +
               std::to_string(row.committed.offset.value_or(0)) + ", and the log starts at " +
               std::to_string(row.start) + "\n";
    }
  }
  return table.ToString() + notes;
}

Json GroupOffsetsToJson(const std::string& group, const Rows& offsets, const GroupLag& lag) {
  const LagByPlace by_place = ByPlace(lag);
  Json json{{"group", group}, {kRows, Json::array()}};
  for (const GroupOffset& row : offsets)
    json[kRows].push_back(RowToJson(row, LagOf(by_place, row)));
  return json;
}

Result<std::vector<OffsetCommit>> ParseCommittedOffsets(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains(kRows) || !json[kRows].is_array()) {
    return InvalidArgument("it is not what `group offsets -o json` prints");
  }
  std::vector<OffsetCommit> commits;
  for (const Json& row : json[kRows]) {
    if (const Status added = AddCommit(row, &commits); !added.ok()) {
      return added.With("row " + row.dump(-1, ' ', false, Json::error_handler_t::replace));
    }
  }
  if (commits.empty()) return InvalidArgument("it has no committed offset");
  return commits;
}

void AddGroupOffsets(CLI::App* group, const std::string& bootstrap, Command* chosen) {
  auto options = std::make_shared<OffsetsOptions>();
  options->common.bootstrap = bootstrap;
  CLI::App* command =
      group->add_subcommand("offsets", "Show how far a group is in each partition, and its lag");
  AddGroup(command, &options->group);
  AddCommonOptions(command, {"table", "json"}, &options->common);
  AddRepeated(
      command, "--topic",
      [topics = &options->topics](const std::string& text) -> Status {
        RETURN_IF_ERROR(CheckUtf8("the topic's name", text));
        topics->push_back(text);
        return {};
      },
      "Of this topic alone; may be given several times")
      ->type_name("TOPIC");
  Choose(command, options, chosen, &Offsets);
}

}  // namespace millrace::client::cli

#include "client/cli/group_description.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "client/cli/common_options.h"
#include "client/cli/connection.h"
#include "client/cli/group_lag.h"
#include "client/cli/time_spec.h"

namespace millrace::client::cli {
namespace {

// Of those that are printed for people; JSON has all.
constexpr size_t kEventsShown = 10;

struct DescriptionOptions {
  CommonOptions common;
  std::string group;
};

const char* NameOf(MemberState state) {
  switch (state) {
    case MemberState::kStable:
      return "stable";
    case MemberState::kRevoking:
      return "revoking";
    case MemberState::kWaiting:
      return "waiting";
    case MemberState::kAway:
      return "away";
    case MemberState::kUnknown:
      break;
  }
  return "unknown";
}

const char* NameOf(GroupEventKind kind) {
  switch (kind) {
    case GroupEventKind::kJoined:
      return "joined";
    case GroupEventKind::kChanged:
      return "changed its subscription";
    case GroupEventKind::kReplaced:
      return "took the place of its instance";
    case GroupEventKind::kLeft:
      return "left";
    case GroupEventKind::kSessionEnded:
      return "was silent, and taken out";
    case GroupEventKind::kRevokeEnded:
      return "did not give up in time, and was taken out";
    case GroupEventKind::kTopicsChanged:
      return "topics changed";
    case GroupEventKind::kUnknown:
      break;
  }
  return "unknown";
}

// "0-2,5".
std::string RangesOf(const std::vector<uint32_t>& partitions) {
  std::string text;
  for (size_t i = 0; i < partitions.size(); ++i) {
    const uint32_t first = partitions[i];
    while (i + 1 < partitions.size() && partitions[i + 1] == partitions[i] + 1) ++i;
    text += (text.empty() ? "" : ",") + std::to_string(first);
    if (partitions[i] != first) text += "-" + std::to_string(partitions[i]);
  }
  return text;
}

std::string ToText(const TopicPartitions& partitions) {
  std::string text;
  for (const auto& [topic, numbers] : partitions) {
    text += (text.empty() ? "" : " ") + topic + ":" + RangesOf(numbers);
  }
  return text.empty() ? "-" : text;
}

size_t CountOf(const TopicPartitions& partitions) {
  size_t count = 0;
  for (const auto& [topic, numbers] : partitions) count += numbers.size();
  return count;
}

Json ToJson(const TopicPartitions& partitions) {
  Json json = Json::array();
  for (const auto& [topic, numbers] : partitions) {
    json.push_back({{"topic", topic}, {"partitions", numbers}});
  }
  return json;
}

Json ToJson(const GroupMember& member) {
  return {{"member_id", member.id},
          {"instance_id", member.instance_id},
          {"client_id", member.client_id},
          {"client_host", member.client_host},
          {"state", NameOf(member.state)},
          {"epoch", member.epoch},
          {"assigned", ToJson(member.assigned)},
          {"revoking", ToJson(member.revoking)},
          {"topic_count", member.topic_count},
          {"pattern", member.pattern},
          {"rack", member.rack},
          {"session_timeout_ms", member.session_timeout.count()}};
}

Json ToJson(const GroupEvent& event) {
  return {{"event", NameOf(event.kind)},
          {"epoch", event.epoch},
          {"time_ms", event.time_ms},
          {"member_id", event.member_id},
          {"instance_id", event.instance_id}};
}

template <typename Text, typename ToJsonFunction>
int Show(const DescriptionOptions& options, Text text, ToJsonFunction json) {
  return RunOnGroup(options.common, options.group, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(const GroupDescription group,
                     client.groups().DescribeGroup(options.group, options.common.timeout));
    if (options.common.is_json()) {
      PrintJson(json(group));
    } else {
      std::printf("%s", text(group).c_str());
    }
    return {};
  });
}

// A cluster that tells nothing of lag is of an earlier version.
Status StatusOf(const Result<GroupLag>& lag) {
  return lag.status().code() == Code::kUnimplemented ? Status() : lag.status();
}

int Describe(const DescriptionOptions& options) {
  return RunOnGroup(options.common, options.group, [&](millrace::Client& client) -> Status {
    const bool is_json = options.common.is_json();
    ASSIGN_OR_RETURN(const GroupDescription group,
                     client.groups().DescribeGroup(options.group, options.common.timeout));
    const Result<GroupLag> lag = client.groups().DescribeLag(
        options.group, is_json ? LagRows::kAll : LagRows::kBehind, options.common.timeout);
    if (is_json) {
      Json json = GroupToJson(group);
      AddLag(lag, &json);
      PrintJson(json);
    } else {
      std::printf("%s%s", GroupToText(group).c_str(), LagToText(lag).c_str());
    }
    return StatusOf(lag).With("how far the group is behind");
  });
}

int Members(const DescriptionOptions& options) {
  return Show(options, MembersToText, MembersToJson);
}

}  // namespace

const char* NameOf(GroupState state) {
  switch (state) {
    case GroupState::kEmpty:
      return "empty";
    case GroupState::kStable:
      return "stable";
    case GroupState::kRebalancing:
      return "rebalancing";
    case GroupState::kUnknown:
      break;
  }
  return "unknown";
}

Json GroupToJson(const GroupListing& group) {
  return {{"group", group.group},
          {"state", NameOf(group.state)},
          {"member_count", group.member_count},
          {"offset_count", group.offset_count}};
}

std::string GroupToText(const GroupDescription& group) {
  const GroupListing& listed = group.group;
  std::string text = "group " + listed.group + "  " + NameOf(listed.state) + "  members " +
                     std::to_string(listed.member_count) + "  offsets " +
                     std::to_string(listed.offset_count) + "\n";
  text += "epoch " + std::to_string(group.epoch) + " since " + FormatTime(group.changed_ms);
  if (!group.assignor.empty()) text += ", assigned by " + group.assignor;
  const std::string broker = group.coordinator_id == 0
                                 ? "no broker at the moment"
                                 : "broker " + std::to_string(group.coordinator_id);
  text += "\nkept by " + broker + ", which leads partition " + std::to_string(group.shard) +
          " of __coordinator\n";
  if (!group.unowned.empty()) text += "nobody has " + ToText(group.unowned) + "\n";
  const size_t hidden = group.events.size() - std::min(group.events.size(), kEventsShown);
  for (size_t i = hidden; i < group.events.size(); ++i) {
    const GroupEvent& event = group.events[i];
    text += "  " + FormatTime(event.time_ms) + "  epoch " + std::to_string(event.epoch) + "  ";
    if (!event.member_id.empty()) text += event.member_id + " ";
    text += std::string(NameOf(event.kind)) + "\n";
  }
  return text;
}

Json GroupToJson(const GroupDescription& group) {
  Json json = GroupToJson(group.group);
  json["epoch"] = group.epoch;
  json["changed_ms"] = group.changed_ms;
  json["coordinator_id"] = group.coordinator_id;
  json["shard"] = group.shard;
  json["assignor"] = group.assignor;
  json["unowned"] = ToJson(group.unowned);
  json["events"] = Json::array();
  for (const GroupEvent& event : group.events) json["events"].push_back(ToJson(event));
  return json;
}

std::string MembersToText(const GroupDescription& group) {
  Table table(
      {"MEMBER", "INSTANCE", "CLIENT", "STATE", "EPOCH", "COUNT", "PARTITIONS", "GIVES UP"});
  for (const GroupMember& member : group.members) {
    const auto or_none = [](const std::string& text) { return text.empty() ? "-" : text; };
    table.Add({member.id, or_none(member.instance_id), or_none(member.client_id),
               NameOf(member.state), std::to_string(member.epoch),
               std::to_string(CountOf(member.assigned)), ToText(member.assigned),
               ToText(member.revoking)});
  }
  return table.ToString();
}

Json MembersToJson(const GroupDescription& group) {
  Json json = GroupToJson(group.group);
  json["members"] = Json::array();
  for (const GroupMember& member : group.members) json["members"].push_back(ToJson(member));
  return json;
}

void AddGroupDescription(CLI::App* group, const std::string& bootstrap, Command* chosen) {
  const auto add = [&](const char* name, const char* help,
                       int (*run)(const DescriptionOptions& options)) {
    auto options = std::make_shared<DescriptionOptions>();
    options->common.bootstrap = bootstrap;
    CLI::App* command = group->add_subcommand(name, help);
    AddGroup(command, &options->group);
    AddCommonOptions(command, {"table", "json"}, &options->common);
    Choose(command, options, chosen, run);
  };
  add("describe", "Show a group: its state, what happened to it, and which broker keeps it",
      &Describe);
  add("members", "Show a group's members and which partitions each has", &Members);
}

}  // namespace millrace::client::cli

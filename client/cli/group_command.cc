#include "client/cli/group_command.h"

#include <cstdio>
#include <memory>
#include <vector>

#include "client/cli/common_options.h"
#include "client/cli/confirm.h"
#include "client/cli/connection.h"
#include "client/cli/group_description.h"
#include "client/cli/group_offsets.h"
#include "client/cli/group_reset.h"
#include "client/cli/output.h"
#include "client/cli/partition_list.h"
#include "millrace/groups.h"

namespace millrace::client::cli {
namespace {

struct GroupOptions {
  CommonOptions common;
  std::string group;
  std::string prefix;
  TopicPartitions partitions;
  bool is_yes = false;
};

void PrintGroups(const std::vector<GroupListing>& groups, const CommonOptions& common) {
  if (common.output == "name") {
    for (const GroupListing& group : groups) std::printf("%s\n", group.group.c_str());
    return;
  }
  if (common.is_json()) {
    Json json = Json::array();
    for (const GroupListing& group : groups) json.push_back(GroupToJson(group));
    return PrintJson({{"groups", std::move(json)}});
  }
  Table table({"GROUP", "STATE", "MEMBERS", "OFFSETS"});
  for (const GroupListing& group : groups) {
    table.Add({group.group, NameOf(group.state), std::to_string(group.member_count),
               std::to_string(group.offset_count)});
  }
  table.Print();
}

int List(const GroupOptions& options) {
  return RunConnected(options.common, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(const std::vector<GroupListing> groups,
                     client.groups().ListGroups(options.prefix, options.common.timeout));
    PrintGroups(groups, options.common);
    return {};
  });
}

int DeleteOffsets(const GroupOptions& options) {
  return RunOnGroup(options.common, options.group, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(
        const uint32_t count,
        client.groups().DeleteOffsets(options.group, options.partitions, options.common.timeout));
    if (options.common.is_json()) {
      PrintJson({{"group", options.group}, {"deleted_count", count}});
    } else {
      std::printf("group %s: %u committed offsets deleted\n", options.group.c_str(), count);
    }
    return {};
  });
}

int Delete(const GroupOptions& options) {
  if (Status able = CheckCanConfirm(options.is_yes); !able.ok()) return FailUsage(able);
  return RunOnGroup(options.common, options.group, [&](millrace::Client& client) -> Status {
    RETURN_IF_ERROR(Confirm(options.is_yes,
                            "delete group " + options.group + " and all that it has committed"));
    RETURN_IF_ERROR(client.groups().DeleteGroup(options.group, options.common.timeout));
    if (options.common.is_json()) {
      PrintJson({{"group", options.group}});
    } else {
      std::printf("deleted group %s\n", options.group.c_str());
    }
    return {};
  });
}

CLI::App* AddAction(CLI::App* group, const char* name, const char* help,
                    const std::shared_ptr<GroupOptions>& options) {
  CLI::App* action = group->add_subcommand(name, help);
  AddGroup(action, &options->group);
  AddCommonOptions(action, {"table", "json"}, &options->common);
  return action;
}

}  // namespace

void AddGroupCommand(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  CLI::App* group = app.add_subcommand(
      "group", "Groups of readers: their members, what they have committed, and moving them");
  group->require_subcommand(1);
  const auto make = [&] {
    auto options = std::make_shared<GroupOptions>();
    options->common.bootstrap = bootstrap;
    return options;
  };
  auto list_options = make();
  CLI::App* list = group->add_subcommand("list", "List the groups");
  list->add_option("--prefix", list_options->prefix, "Those alone whose names begin so")
      ->check([](const std::string& text) {
        return std::string(CheckUtf8("the prefix", text).message());
      });
  AddCommonOptions(list, {"table", "json", "name"}, &list_options->common);
  Choose(list, list_options, chosen, &List);
  AddGroupDescription(group, bootstrap, chosen);
  AddGroupOffsets(group, bootstrap, chosen);
  AddGroupReset(group, bootstrap, chosen);
  auto offsets_options = make();
  CLI::App* delete_offsets =
      AddAction(group, "delete-offsets", "Forget what a group has committed for some partitions",
                offsets_options);
  AddTopicPartitionsOption(delete_offsets, &offsets_options->partitions)->required();
  Choose(delete_offsets, offsets_options, chosen, &DeleteOffsets);
  auto delete_options = make();
  CLI::App* remove =
      AddAction(group, "delete", "Delete a group and all that it has committed", delete_options);
  AddYes(remove, &delete_options->is_yes);
  Choose(remove, delete_options, chosen, &Delete);
}

}  // namespace millrace::client::cli

#include "broker/inspect/print.h"

#include <cstdio>
#include <string_view>
#include <vector>

namespace millrace::broker {
namespace {

using client::cli::Json;
using client::cli::WithThousands;

// As `cluster describe` shows it; empty before the cluster has one.
std::string UuidText(uint64_t uuid) {
  if (uuid == 0) return "";
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(uuid));
  return text;
}

std::string NameOf(storage::BootstrapStage stage) {
  switch (stage) {
    case storage::BootstrapStage::kFresh:
      return "fresh";
    case storage::BootstrapStage::kListed:
      return "listed";
    case storage::BootstrapStage::kInitialized:
      return "initialized";
  }
  return "";
}

std::string NameOf(raft::ReplicaKind kind) {
  switch (kind) {
    case raft::ReplicaKind::kController:
      return "controller";
    case raft::ReplicaKind::kPartition:
      return "partition";
    case raft::ReplicaKind::kCoordinator:
      return "coordinator";
  }
  return "";
}

std::string NameOf(Condition condition) {
  switch (condition) {
    case Condition::kWhole:
      return "whole";
    case Condition::kDamaged:
      return "damaged";
    case Condition::kUnreadable:
      return "unreadable";
  }
  return "";
}

template <typename Number>
std::string Text(Number number) {
  return std::to_string(number.value());
}

// What a partition's group is known by.
std::string SubjectOf(const GroupReport& group) {
  if (group.record.kind != raft::ReplicaKind::kPartition) return NameOf(group.record.kind);
  if (!group.topic.empty()) return group.topic;
  return "topic_id=" + Text(group.record.partition.topic) +
         (group.is_topic_deleted ? " (deleted)" : "");
}

std::string VoteOf(const GroupReport& group) {
  const BrokerId vote = group.hard_state.vote.broker;
  return vote == BrokerId() ? "-" : Text(vote);
}

std::string SuperblockText(const Report& report) {
  const storage::SuperblockFacts& facts = report.superblock.newest.facts;
  std::string controllers;
  for (const Voter& controller : facts.controllers) {
    controllers += (controllers.empty() ? "" : ", ") + Text(controller.broker);
  }
  const std::string uuid = UuidText(facts.cluster_uuid);
  return "broker " + Text(facts.broker) + " of cluster " + facts.cluster_name + "  uuid " +
         (uuid.empty() ? "-" : uuid) + "  controllers " +
         (controllers.empty() ? "-" : controllers) + "\n" + "incarnation " +
         Text(facts.incarnation) + "  boot epoch " + Text(facts.boot_epoch) + "  stage " +
         NameOf(facts.stage) + "  feature level " + std::to_string(facts.cluster_level) +
         "  format " + std::to_string(storage::kStorageFormatVersion) + "  " +
         (facts.was_stopped_cleanly ? "stopped cleanly" : "not stopped cleanly") + "\n";
}

std::string JournalText(const JournalReport& journal) {
  return "journal: files in use " + std::to_string(journal.files) + "  free " +
         std::to_string(journal.free_files) + "  bytes " + WithThousands(journal.bytes) +
         "  last block " + std::to_string(journal.last_block) + "\n";
}

std::string GroupsText(const std::vector<GroupReport>& groups) {
  if (groups.empty()) return "";
  client::cli::Table table({"GROUP", "TOPIC", "PARTITION", "REPLICA", "TERM", "VOTE", "FIRST ENTRY",
                            "LAST", "SYNCED", "OFFSETS FROM", "TO", "SEGMENTS", "BYTES",
                            "IN JOURNAL", "STATE"});
  for (const GroupReport& group : groups) {
    const bool is_partition = group.record.kind == raft::ReplicaKind::kPartition;
    const auto of_partition = [is_partition](const std::string& text) {
      return is_partition ? text : "-";
    };
    table.Add({Text(group.record.group), SubjectOf(group),
               of_partition(Text(group.record.partition.partition)), Text(group.record.number),
               Text(group.hard_state.term), VoteOf(group), Text(group.log.begin.index + 1),
               Text(group.end.index), Text(group.log.end.index),
               of_partition(Text(group.log.begin.next_offset)),
               of_partition(Text(group.end.next_offset)), std::to_string(group.segment_files),
               std::to_string(group.segment_bytes), std::to_string(group.journal_entries),
               NameOf(group.condition)});
  }
  return "\n" + table.ToString();
}

std::string FindingText(const char* what, const Finding& finding) {
  std::string text = std::string(what) + ": ";
  if (finding.group.has_value()) text += "group " + Text(*finding.group) + ": ";
  if (!finding.path.empty()) {
    text += finding.path;
    if (finding.position.has_value()) text += ", byte " + std::to_string(*finding.position);
    text += ": ";
  }
  return text + finding.what + "\n";
}

std::string FindingsText(const Report& report) {
  std::string text;
  for (const Finding& note : report.notes) text += FindingText("note", note);
  for (const Finding& finding : report.unreadable) text += FindingText("unreadable", finding);
  for (const Finding& finding : report.damage) text += FindingText("damaged", finding);
  return text.empty() ? "" : "\n" + text;
}

// What was looked at, and what came of it.
std::string VerdictText(const Report& report) {
  const std::string extent =
      report.is_verified
          ? "every block of the journal, and " + WithThousands(report.verified_frames) +
                " frames of segments and journal, were read"
          : "every block of the journal, and headers and footers of the segments, were read; "
            "--verify reads all frames";
  const bool is_whole = report.damage.empty() && report.unreadable.empty();
  return "\n" + std::string(is_whole ? "no damage was found" : "it is not whole") + " (" + extent +
         ")\n";
}

Json ToJson(const std::vector<Finding>& findings) {
  Json json = Json::array();
  for (const Finding& finding : findings) {
    Json item;
    item["path"] = finding.path.empty() ? Json() : Json(finding.path);
    item["position"] = finding.position.has_value() ? Json(*finding.position) : Json();
    item["group"] = finding.group.has_value() ? Json(finding.group->value()) : Json();
    item["what"] = finding.what;
    json.push_back(std::move(item));
  }
  return json;
}

Json ToJson(const storage::FoundSuperblock& superblock) {
  const storage::SuperblockFacts& facts = superblock.newest.facts;
  Json controllers = Json::array();
  for (const Voter& controller : facts.controllers) {
    controllers.push_back({{"broker_id", controller.broker.value()},
                           {"incarnation", controller.incarnation.value()},
                           {"replica_number", controller.number.value()}});
  }
  return {{"format", storage::kStorageFormatVersion},
          {"cluster_name", facts.cluster_name},
          {"cluster_uuid", UuidText(facts.cluster_uuid)},
          {"broker_id", facts.broker.value()},
          {"incarnation", facts.incarnation.value()},
          {"boot_epoch", facts.boot_epoch.value()},
          {"stage", NameOf(facts.stage)},
          {"feature_level", facts.cluster_level},
          {"was_stopped_cleanly", facts.was_stopped_cleanly},
          {"controllers", std::move(controllers)}};
}

Json ToJson(const JournalReport& journal) {
  return {{"files", journal.files},
          {"free_files", journal.free_files},
          {"bytes", journal.bytes},
          {"last_block", journal.last_block}};
}

Json ToJson(const GroupReport& group) {
  const bool is_partition = group.record.kind == raft::ReplicaKind::kPartition;
  const auto of_partition = [is_partition](auto value) {
    return is_partition ? Json(value) : Json();
  };
  const BrokerId vote = group.hard_state.vote.broker;
  return {{"group", group.record.group.value()},
          {"kind", NameOf(group.record.kind)},
          {"topic", group.topic.empty() ? Json() : Json(group.topic)},
          {"topic_id", of_partition(group.record.partition.topic.value())},
          {"is_topic_deleted", group.is_topic_deleted},
          {"partition", of_partition(group.record.partition.partition.value())},
          {"replica_number", group.record.number.value()},
          {"term", group.hard_state.term.value()},
          {"voted_for", vote == BrokerId() ? Json() : Json(vote.value())},
          {"first_index", group.log.begin.index.value() + 1},
          {"last_index", group.end.index.value()},
          {"synced_index", group.log.end.index.value()},
          {"first_offset", of_partition(group.log.begin.next_offset.value())},
          {"end_offset", of_partition(group.end.next_offset.value())},
          {"synced_offset", of_partition(group.log.end.next_offset.value())},
          {"segment_files", group.segment_files},
          {"segment_bytes", group.segment_bytes},
          {"journal_entries", group.journal_entries},
          {"journal_bytes", group.journal_bytes},
          {"state", NameOf(group.condition)}};
}

}  // namespace

std::string ToText(const std::string& directory, const Report& report) {
  return directory + ": " + SuperblockText(report) + JournalText(report.journal) +
         GroupsText(report.groups) + FindingsText(report) + VerdictText(report);
}

Json ToJson(const std::string& directory, const Report& report) {
  Json groups = Json::array();
  for (const GroupReport& group : report.groups) groups.push_back(ToJson(group));
  return {{"directory", directory},
          {"superblock", ToJson(report.superblock)},
          {"journal", ToJson(report.journal)},
          {"names_as_of_index",
           report.names_as_of.has_value() ? Json(report.names_as_of->value()) : Json()},
          {"groups", std::move(groups)},
          {"is_verified", report.is_verified},
          {"frames_read", report.verified_frames},
          {"damage", ToJson(report.damage)},
          {"unreadable", ToJson(report.unreadable)},
          {"notes", ToJson(report.notes)}};
}

}  // namespace millrace::broker

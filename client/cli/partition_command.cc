#include "client/cli/partition_command.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>

#include "client/cli/common_options.h"
#include "client/cli/connection.h"
#include "client/cli/number.h"
#include "client/cli/progress.h"
#include "raft/runtime/real_clock.h"

namespace millrace::client::cli {
namespace {

using Replicas = std::vector<ReplicaDescription>;

struct PartitionOptions {
  CommonOptions common;
  std::string topic;
  std::optional<uint32_t> partition;
};

const char* RoleName(ReplicaRole role) {
  switch (role) {
    case ReplicaRole::kLeader:
      return "leader";
    case ReplicaRole::kFollower:
      return "follower";
    case ReplicaRole::kCandidate:
      return "candidate";
    case ReplicaRole::kSilent:
      return "silent";
    case ReplicaRole::kJoining:
      return "joining";
    case ReplicaRole::kRestoring:
      return "restoring";
    case ReplicaRole::kMissing:
      return "missing";
    case ReplicaRole::kUnknown:
      break;
  }
  return "unknown";
}

template <typename Number>
std::string OrDash(const std::optional<Number>& number) {
  return number ? std::to_string(*number) : "-";
}

template <typename Number>
Json OrNull(const std::optional<Number>& number) {
  return number ? Json(*number) : Json();
}

// Done of decided ones.
std::string PassesText(const std::optional<CompactionDescription>& compaction) {
  if (!compaction.has_value()) return "-";
  return std::to_string(compaction->pass_done) + "/" + std::to_string(compaction->pass_decided);
}

std::vector<std::string> CellsOf(const ReplicaDescription& replica) {
  std::vector<std::string> cells{std::to_string(replica.partition),
                                 std::to_string(replica.broker_id)};
  if (!replica.status.ok() || replica.role == ReplicaRole::kMissing) {
    cells.emplace_back(replica.status.ok() ? RoleName(replica.role) : "no answer");
    cells.insert(cells.end(), 9, "-");
    return cells;
  }
  const uint64_t bytes = replica.sealed_segment_bytes + replica.active_segment_bytes;
  for (const std::string& cell :
       {std::string(RoleName(replica.role)), std::to_string(replica.term),
        std::to_string(replica.start), std::to_string(replica.end), OrDash(replica.log_end),
        std::to_string(replica.applied_index), OrDash(replica.entries_behind),
        std::to_string(replica.sealed_segment_count), std::to_string(bytes),
        PassesText(replica.compaction)}) {
    cells.push_back(cell);
  }
  return cells;
}

std::string NoteLine(uint32_t partition, uint32_t broker, const std::string& note) {
  return "partition " + std::to_string(partition) + ", broker " + std::to_string(broker) + ": " +
         note + "\n";
}

std::string RestoreText(const RestoreDescription& restore) {
  return "restoring from broker " + std::to_string(restore.source_id) + " for " +
         std::to_string(restore.elapsed.count()) + " ms: " + WithThousands(restore.entry_count) +
         " of " + WithThousands(restore.entry_count_total) + " entries, " +
         WithThousands(restore.bytes) + " bytes; the log begins at offset " +
         std::to_string(restore.begin_offset);
}

// What there is to say of it beside the table.
std::vector<std::string> NotesOn(const ReplicaDescription& replica) {
  std::vector<std::string> notes;
  if (replica.restore.has_value()) notes.push_back(RestoreText(*replica.restore));
  if (!replica.fault.empty()) notes.push_back(replica.fault);
  if (!replica.write_stall.empty()) {
    notes.push_back("its files cannot be written: " + replica.write_stall);
  }
  if (replica.compaction.has_value() && !replica.compaction->failure.empty()) {
    notes.push_back("its compaction ended early, and begins again: " + replica.compaction->failure);
  }
  return notes;
}

Json RestoreToJson(const RestoreDescription& restore) {
  return {{"source_id", restore.source_id},
          {"begin_offset", restore.begin_offset},
          {"entry_count", restore.entry_count},
          {"entry_count_total", restore.entry_count_total},
          {"bytes", restore.bytes},
          {"elapsed_ms", restore.elapsed.count()}};
}

Json CompactionToJson(const CompactionDescription& compaction) {
  return {{"pass_done", compaction.pass_done},
          {"pass_decided", compaction.pass_decided},
          {"clean_to_offset", compaction.clean_to},
          {"is_under_way", compaction.is_under_way},
          {"failure", compaction.failure}};
}

Json ReplicaToJson(const ReplicaDescription& replica) {
  Json row{{"broker_id", replica.broker_id}};
  if (!replica.status.ok()) {
    row["error"] = replica.status.ToString();
    return row;
  }
  row["role"] = RoleName(replica.role);
  if (replica.role == ReplicaRole::kMissing) return row;
  row["term"] = replica.term;
  row["leader_id"] = replica.leader_id;
  row["log_start_offset"] = replica.start;
  row["high_watermark"] = replica.end;
  row["log_end_offset"] = OrNull(replica.log_end);
  row["last_index"] = OrNull(replica.last_index);
  row["applied_index"] = replica.applied_index;
  row["entries_behind"] = OrNull(replica.entries_behind);
  row["sealed_segment_count"] = replica.sealed_segment_count;
  row["sealed_segment_bytes"] = replica.sealed_segment_bytes;
  row["active_segment_bytes"] = replica.active_segment_bytes;
  row["fault"] = replica.fault;
  row["write_stall"] = replica.write_stall;
  row["restore"] = replica.restore ? RestoreToJson(*replica.restore) : Json();
  row["compaction"] = replica.compaction ? CompactionToJson(*replica.compaction) : Json();
  return row;
}

int Describe(const PartitionOptions& options) {
  return RunOnTopic(options.common, options.topic, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(
        const Replicas replicas,
        client.admin().DescribeReplicas(options.topic, options.partition, options.common.timeout));
    if (options.common.is_json()) {
      PrintJson(ReplicasToJson(options.topic, replicas));
    } else {
      std::fputs(ReplicasToText(replicas).c_str(), stdout);
    }
    return Unanswered(replicas);
  });
}

bool IsWhole(const PartitionVerification& partition) {
  return std::all_of(partition.replicas.begin(), partition.replicas.end(),
                     [](const ReplicaVerification& replica) { return replica.status.ok(); });
}

// Those that were compared, and hold the same or differ.
std::string ComparedBrokers(const PartitionVerification& partition) {
  std::string text;
  for (const ReplicaVerification& replica : partition.replicas) {
    if (!replica.status.ok()) continue;
    text += (text.empty() ? "" : ",") + std::to_string(replica.broker_id);
  }
  return text.empty() ? "-" : text;
}

std::string ResultOf(const PartitionVerification& partition) {
  if (partition.first_difference.has_value()) return "differ";
  return IsWhole(partition) ? "same" : "incomplete";
}

// What there is to say of a replica beside the table; may be empty.
std::string NoteOn(const PartitionVerification& partition, const ReplicaVerification& replica) {
  if (!replica.status.ok()) {
    const bool is_any = replica.compared_to > partition.start;
    return (is_any ? "compared to offset " + std::to_string(replica.compared_to) + " only: "
                   : std::string("not compared: ")) +
           replica.status.ToString();
  }
  if (!partition.first_difference.has_value()) return "";
  const std::string offset = std::to_string(*partition.first_difference);
  if (!replica.digest.has_value()) return "no record at offset " + offset;
  return "the record at offset " + offset + " has digest " + *replica.digest;
}

Json VerificationToJson(const PartitionVerification& partition) {
  Json row{{"partition", partition.partition},
           {"result", ResultOf(partition)},
           {"start_offset", partition.start},
           {"end_offset", partition.end},
           {"record_count", partition.record_count},
           {"bytes", partition.bytes},
           {"first_difference", OrNull(partition.first_difference)},
           {"replicas", Json::array()}};
  for (const ReplicaVerification& replica : partition.replicas) {
    Json told{{"broker_id", replica.broker_id},
              {"compared_to", replica.compared_to},
              {"digest", replica.digest ? Json(*replica.digest) : Json()}};
    if (!replica.status.ok()) told["error"] = replica.status.ToString();
    row["replicas"].push_back(std::move(told));
  }
  return row;
}

Result<std::vector<uint32_t>> PartitionsOf(millrace::Client& client,
                                           const PartitionOptions& options) {
  if (options.partition.has_value()) return std::vector<uint32_t>{*options.partition};
  ASSIGN_OR_RETURN(const TopicDescription topic,
                   client.admin().DescribeTopic(options.topic, options.common.timeout));
  std::vector<uint32_t> numbers;
  numbers.reserve(topic.partitions.size());
  for (const PartitionDescription& partition : topic.partitions) {
    numbers.push_back(partition.partition);
  }
  return numbers;
}

int Verify(const PartitionOptions& options) {
  return RunOnTopic(options.common, options.topic, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(const std::vector<uint32_t> numbers, PartitionsOf(client, options));
    Progress progress(options.topic, numbers.size(), {.done = "compared", .records = "the same"});
    const RealClock clock;
    Verifications partitions;
    uint64_t records = 0;
    for (const uint32_t number : numbers) {
      ASSIGN_OR_RETURN(
          PartitionVerification partition,
          client.admin().VerifyPartition(options.topic, number, options.common.timeout));
      records += partition.record_count;
      partitions.push_back(std::move(partition));
      progress.Update(partitions.size(), records, clock.Now());
    }
    progress.Finish();
    if (options.common.is_json()) {
      PrintJson(VerificationsToJson(options.topic, partitions));
    } else {
      std::fputs(VerificationsToText(partitions).c_str(), stdout);
    }
    return NotTheSame(partitions);
  });
}

struct Group {
  CLI::App* app;
  const std::string& bootstrap;
  Command* chosen;
};

void AddSubcommand(const Group& group, const std::string& name, const std::string& help,
                   int (*run)(const PartitionOptions&)) {
  CLI::App* command = group.app->add_subcommand(name, help);
  auto options = std::make_shared<PartitionOptions>();
  options->common.bootstrap = group.bootstrap;
  AddTopic(command, "TOPIC", &options->topic)->required();
  AddCommonOptions(command, {"table", "json"}, &options->common);
  AddNumber(command, "--partition", &options->partition, {.min = 0, .max = kPartitionMax},
            "Of this partition alone");
  Choose(command, options, group.chosen, run);
}

}  // namespace

std::string VerificationsToText(const Verifications& partitions) {
  Table table({"PARTITION", "START", "END", "RECORDS", "BYTES", "BROKERS", "RESULT"});
  std::string notes;
  for (const PartitionVerification& partition : partitions) {
    table.Add({std::to_string(partition.partition), std::to_string(partition.start),
               std::to_string(partition.end), std::to_string(partition.record_count),
               std::to_string(partition.bytes), ComparedBrokers(partition), ResultOf(partition)});
    for (const ReplicaVerification& replica : partition.replicas) {
      const std::string note = NoteOn(partition, replica);
      if (!note.empty()) notes += NoteLine(partition.partition, replica.broker_id, note);
    }
  }
  return table.ToString() + notes;
}

Json VerificationsToJson(const std::string& topic, const Verifications& partitions) {
  Json json{{"name", topic}, {"partitions", Json::array()}};
  for (const PartitionVerification& partition : partitions) {
    json["partitions"].push_back(VerificationToJson(partition));
  }
  return json;
}

Status NotTheSame(const Verifications& partitions) {
  for (const PartitionVerification& partition : partitions) {
    if (!partition.first_difference.has_value()) continue;
    return DataLoss("replicas of partition " + std::to_string(partition.partition) +
                    " differ at offset " + std::to_string(*partition.first_difference));
  }
  for (const PartitionVerification& partition : partitions) {
    if (IsWhole(partition)) continue;
    return Unavailable("not all replicas of partition " + std::to_string(partition.partition) +
                       " were compared to the end");
  }
  return {};
}

std::string ReplicasToText(const Replicas& replicas) {
  Table table({"PARTITION", "BROKER", "ROLE", "TERM", "START", "HIGH WATERMARK", "LOG END",
               "APPLIED", "BEHIND", "SEALED", "BYTES", "PASS"});
  std::string notes;
  for (const ReplicaDescription& replica : replicas) {
    table.Add(CellsOf(replica));
    for (const std::string& note : NotesOn(replica)) {
      notes += NoteLine(replica.partition, replica.broker_id, note);
    }
  }
  return table.ToString() + notes;
}

Json ReplicasToJson(const std::string& topic, const Replicas& replicas) {
  Json json{{"name", topic}, {"partitions", Json::array()}};
  Json& partitions = json["partitions"];
  for (const ReplicaDescription& replica : replicas) {
    if (partitions.empty() || partitions.back()["partition"] != replica.partition) {
      partitions.push_back({{"partition", replica.partition}, {"replicas", Json::array()}});
    }
    partitions.back()["replicas"].push_back(ReplicaToJson(replica));
  }
  return json;
}

Status Unanswered(const Replicas& replicas) {
  std::map<uint32_t, Status> brokers;
  for (const ReplicaDescription& replica : replicas) {
    if (!replica.status.ok()) brokers.emplace(replica.broker_id, replica.status);
  }
  if (brokers.empty()) return {};
  std::string text;
  for (const auto& [broker, why] : brokers) {
    text +=
        (text.empty() ? "broker " : "; broker ") + std::to_string(broker) + ": " + why.ToString();
  }
  return Unavailable(text);
}

void AddPartitionCommand(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  CLI::App* partition = app.add_subcommand("partition", "Look at partitions' replicas");
  partition->require_subcommand(1);
  const Group group{.app = partition, .bootstrap = bootstrap, .chosen = chosen};
  AddSubcommand(group, "describe",
                "Show each replica as its own broker sees it, and how far a restore is", &Describe);
  AddSubcommand(group, "verify",
                "Have replicas read all they hold, and compare it; see docs/operations.md",
                &Verify);
}

}  // namespace millrace::client::cli

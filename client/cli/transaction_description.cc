#include "client/cli/transaction_description.h"

#include <algorithm>

#include "client/cli/time_spec.h"

namespace millrace::client::cli {
namespace {

using std::chrono::milliseconds;

bool IsOpen(const TransactionListing& row) { return row.state == TransactionState::kOngoing; }

const char* NameOf(TransactionOutcome outcome) {
  switch (outcome) {
    case TransactionOutcome::kCommitted:
      return "committed";
    case TransactionOutcome::kAborted:
      return "aborted";
    case TransactionOutcome::kUnknown:
      break;
  }
  return "unknown";
}

std::string ReasonToText(const std::string& reason) {
  if (reason == "asked") return "by its producer";
  if (reason == "time_limit") return "it was open for longer than its time limit";
  if (reason == "fenced") return "another producer took the transactional id";
  if (reason == "administrator") return "by an administrator";
  return reason;
}

// Of a topic that is gone there is no name, and the id is that of none.
std::string TopicOf(const TransactionPartition& partition) {
  if (!partition.topic.empty()) return partition.topic;
  return partition.topic_id == 0 ? "(gone)" : "topic_id=" + std::to_string(partition.topic_id);
}

Json ToJson(const TransactionOffset& row) {
  Json json{{"topic", row.partition.topic},
            {"topic_id", row.partition.topic_id},
            {"partition", row.partition.partition}};
  if (!row.status.ok()) {
    json["error"] = row.status.ToString();
    return json;
  }
  json["last_stable_offset"] = row.last_stable;
  json["high_watermark"] = row.end;
  return json;
}

Json ToJson(const EndedTransaction& ended) {
  return {{"transaction_number", ended.number},
          {"outcome", NameOf(ended.outcome)},
          {"reason", ended.reason}};
}

Json ToJson(const OngoingTransaction& ongoing) {
  return {{"transaction_number", ongoing.number}, {"since_ms", ongoing.since_ms}};
}

}  // namespace

const char* NameOf(TransactionState state) {
  switch (state) {
    case TransactionState::kIdle:
      return "idle";
    case TransactionState::kOngoing:
      return "ongoing";
    case TransactionState::kCommitting:
      return "committing";
    case TransactionState::kAborting:
      return "aborting";
    case TransactionState::kUnknown:
      break;
  }
  return "unknown";
}

TransactionListings OpenLongerThan(milliseconds age, const TransactionListings& listed,
                                   int64_t now_ms) {
  TransactionListings open;
  for (const TransactionListing& row : listed) {
    if (IsOpen(row) && now_ms - row.since_ms >= age.count()) open.push_back(row);
  }
  return open;
}

void SortByAge(TransactionListings* listed) {
  std::ranges::stable_sort(*listed, [](const TransactionListing& a, const TransactionListing& b) {
    if (IsOpen(a) != IsOpen(b)) return IsOpen(a);
    return IsOpen(a) && a.since_ms < b.since_ms;
  });
}

std::string ListingsToText(const TransactionListings& listed, int64_t now_ms) {
  Table table({"TRANSACTIONAL ID", "STATE", "FOR", "SINCE", "PRODUCER ID", "EPOCH", "NUMBER"});
  for (const TransactionListing& row : listed) {
    table.Add({row.name.transactional_id, NameOf(row.state),
               AgeToText(milliseconds(now_ms - row.since_ms)), FormatTime(row.since_ms),
               std::to_string(row.name.producer_id), std::to_string(row.name.producer_epoch),
               row.name.number == 0 ? "-" : std::to_string(row.name.number)});
  }
  return table.ToString();
}

Json ListingsToJson(const TransactionListings& listed) {
  Json json = Json::array();
  for (const TransactionListing& row : listed) {
    Json one = NameToJson(row.name);
    one["state"] = NameOf(row.state);
    one["since_ms"] = row.since_ms;
    json.push_back(std::move(one));
  }
  return {{"transactions", std::move(json)}};
}

std::string NameToText(const TransactionName& name) {
  return "transaction " + std::to_string(name.number) + " of transactional id " +
         name.transactional_id + " (producer id " + std::to_string(name.producer_id) + ", epoch " +
         std::to_string(name.producer_epoch) + ")";
}

Json NameToJson(const TransactionName& name) {
  return {{"transactional_id", name.transactional_id},
          {"producer_id", name.producer_id},
          {"producer_epoch", name.producer_epoch},
          {"transaction_number", name.number}};
}

std::string EndToText(const EndedTransaction& ended) {
  return "transaction " + std::to_string(ended.number) + " was " + NameOf(ended.outcome) + ": " +
         ReasonToText(ended.reason);
}

std::string DescriptionToText(const TransactionDescription& transaction, int64_t now_ms) {
  std::string text = "transactional id " + transaction.transactional_id + "  " +
                     NameOf(transaction.state) + "  producer id " +
                     std::to_string(transaction.producer_id) + "  epoch " +
                     std::to_string(transaction.producer_epoch) + "\n";
  if (transaction.ongoing) {
    const OngoingTransaction& ongoing = *transaction.ongoing;
    text += "transaction " + std::to_string(ongoing.number) + " is open since " +
            FormatTime(ongoing.since_ms) + ", for " +
            AgeToText(milliseconds(now_ms - ongoing.since_ms)) + "; its time limit is " +
            AgeToText(transaction.time_limit) + "\n";
  }
  if (transaction.last) text += EndToText(*transaction.last) + "\n";
  if (transaction.has_group_offsets) text += "offsets of a group take part\n";
  const bool is_told = !transaction.ongoing && !transaction.partitions.empty();
  if (is_told) text += "these partitions have not been told so yet:\n";
  return text;
}

std::string TransactionOffsetsToText(const TransactionOffsets& offsets) {
  if (offsets.empty()) return "";
  Table table({"TOPIC", "PARTITION", "LAST STABLE", "END", "HELD BACK"});
  std::string notes;
  for (const TransactionOffset& row : offsets) {
    const std::string topic = TopicOf(row.partition);
    const std::string partition = std::to_string(row.partition.partition);
    const bool ok = row.status.ok();
    table.Add({topic, partition, ok ? std::to_string(row.last_stable) : "-",
               ok ? std::to_string(row.end) : "-",
               ok ? std::to_string(row.end - row.last_stable) : "-"});
    if (ok) continue;
    notes.append("topic ").append(topic).append(", partition ").append(partition);
    notes.append(": ").append(row.status.ToString()).append("\n");
  }
  return table.ToString() + notes;
}

Json DescriptionToJson(const TransactionDescription& transaction,
                       const TransactionOffsets& offsets) {
  Json json{{"transactional_id", transaction.transactional_id},
            {"state", NameOf(transaction.state)},
            {"producer_id", transaction.producer_id},
            {"producer_epoch", transaction.producer_epoch},
            {"time_limit_ms", transaction.time_limit.count()},
            {"ongoing", transaction.ongoing ? ToJson(*transaction.ongoing) : Json()},
            {"last", transaction.last ? ToJson(*transaction.last) : Json()},
            {"has_group_offsets", transaction.has_group_offsets},
            {"partitions", Json::array()}};
  for (const TransactionOffset& row : offsets) json["partitions"].push_back(ToJson(row));
  return json;
}

}  // namespace millrace::client::cli

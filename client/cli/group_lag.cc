#include "client/cli/group_lag.h"

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "client/cli/time_spec.h"

namespace millrace::client::cli {
namespace {

using std::chrono::milliseconds;

// Of those that are printed for people; JSON has all.
constexpr size_t kPartitionsShown = 10;

// What is not known is worth less attention than what is known to be bad, and more than the rest.
int SeverityOf(LagVerdict verdict) {
  return verdict == LagVerdict::kKeepingUp ? -1 : static_cast<int>(verdict);
}

// The worst first.
std::vector<PartitionLag> ThatDoNotKeepUp(const GroupLag& lag) {
  std::vector<PartitionLag> rows;
  for (const PartitionLag& row : lag.partitions) {
    if (row.verdict != LagVerdict::kKeepingUp) rows.push_back(row);
  }
  std::stable_sort(rows.begin(), rows.end(), [](const PartitionLag& a, const PartitionLag& b) {
    return std::tuple(SeverityOf(b.verdict), b.lag.value_or(0)) <
           std::tuple(SeverityOf(a.verdict), a.lag.value_or(0));
  });
  return rows;
}

Json ToJson(const PartitionLag& row) {
  return {{"topic", row.topic},
          {"topic_id", row.topic_id},
          {"partition", row.partition},
          {"verdict", NameOf(row.verdict)},
          {"grounds", row.grounds},
          {"member_id", row.member_id},
          {"lag", row.lag ? Json(*row.lag) : Json()},
          {"lost", row.lost},
          {"lag_ms_min", row.lag_time_min.count()},
          {"lag_ms_max", row.lag_time_max.count()},
          {"measured_ms", row.measured.count()},
          {"came_in", row.came_in},
          {"read", row.read},
          {"unmoved_ms", row.unmoved.count()}};
}

}  // namespace

const char* NameOf(LagVerdict verdict) {
  switch (verdict) {
    case LagVerdict::kKeepingUp:
      return "keeping up";
    case LagVerdict::kCatchingUp:
      return "catching up";
    case LagVerdict::kSlow:
      return "slow";
    case LagVerdict::kHotKey:
      return "hot key";
    case LagVerdict::kStuck:
      return "stuck";
    case LagVerdict::kDead:
      return "dead";
    case LagVerdict::kUnknown:
      break;
  }
  return "unknown";
}

std::string LagTimeToText(milliseconds min, milliseconds max) {
  const std::string text = AgeToText(max);
  return text == AgeToText(min) ? text : "<= " + text;
}

std::string LagToText(const Result<GroupLag>& lag) {
  if (!lag.ok()) return "lag: not known: " + lag.status().ToString() + "\n";
  const GroupLag& group = *lag;
  std::string text = "lag: " + std::string(NameOf(group.verdict)) + ", " +
                     WithThousands(static_cast<uint64_t>(group.lag)) + " records, oldest " +
                     LagTimeToText(group.lag_time_min, group.lag_time_max);
  if (group.lost > 0) text += ", " + WithThousands(static_cast<uint64_t>(group.lost)) + " lost";
  text += "\n  " + group.grounds + "\n";
  const std::vector<PartitionLag> rows = ThatDoNotKeepUp(group);
  // One is told by the group's grounds.
  if (rows.size() < 2) return text;
  for (size_t i = 0; i < std::min(rows.size(), kPartitionsShown); ++i) {
    const PartitionLag& row = rows[i];
    text += "  " + row.topic + ":" + std::to_string(row.partition) + " " + NameOf(row.verdict) +
            ": " + row.grounds + "\n";
  }
  if (rows.size() > kPartitionsShown) {
    text += "  and " + std::to_string(rows.size() - kPartitionsShown) + " more: -o json has all\n";
  }
  return text;
}

void AddLag(const Result<GroupLag>& lag, Json* json) {
  if (!lag.ok()) {
    (*json)["error"] = lag.status().ToString();
    return;
  }
  (*json)["verdict"] = NameOf(lag->verdict);
  (*json)["grounds"] = lag->grounds;
  (*json)["lag"] = lag->lag;
  (*json)["lost"] = lag->lost;
  (*json)["lag_ms_min"] = lag->lag_time_min.count();
  (*json)["lag_ms_max"] = lag->lag_time_max.count();
  (*json)["partition_count"] = lag->partition_count;
  (*json)["unknown_count"] = lag->unknown_count;
  (*json)["partitions"] = Json::array();
  for (const PartitionLag& row : lag->partitions) (*json)["partitions"].push_back(ToJson(row));
}

}  // namespace millrace::client::cli

// What to think of a group's readers: whether they keep up, and if not, why; and what that rests
// on, in words. The thresholds are told in proto/millrace/v1/group_service.proto (LagVerdict).
//
// Pure.
//
//   JudgeTopic(&rows);
//   total->set_grounds(GroundsOf(rows[0]));
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "broker/coordinator/lag_history.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

// v1::LagVerdict, whose numbers these are.
enum class LagVerdict : uint8_t {
  kUnknown = 0,
  kKeepingUp = 1,
  kCatchingUp = 2,
  kSlow = 3,
  kHotKey = 4,
  kStuck = 5,
  kDead = 6,
};

// Who is to read a partition. Refers to the group's state.
struct LagReader {
  std::string_view member_id;  // who has it; empty: nobody
  bool is_away = false;        // it left, and will be back
  bool has_group_members = false;
  bool is_subscribed = false;  // some member reads the topic
  bool changes_hands = false;  // partitions of the group are on their way to others
};

struct LagRow {
  PartitionId partition;
  std::optional<LagLook> look;  // none: its leader did not answer, and why
  const Status* why_unknown = nullptr;
  LagReader reader;
  LagVerdict verdict = LagVerdict::kUnknown;
};

// Fills in the verdicts of all partitions of one topic.
void JudgeTopic(std::vector<LagRow>* topic);
// What the verdict rests on; empty where there is nothing to say.
std::string GroundsOf(const LagRow& row);

v1::LagVerdict ToWire(LagVerdict verdict);
// "keeping up".
const char* NameOf(LagVerdict verdict);

// The rows of all topics, one after the other, as of the group.
class LagTotal {
 public:
  void Add(const std::string& topic, const LagRow& row);
  v1::GroupLag Take() const;

 private:
  v1::GroupLag sums_;
  std::optional<LagRow> worst_;
  std::string worst_topic_;
  uint32_t as_bad_ = 0;
};

}  // namespace millrace::broker

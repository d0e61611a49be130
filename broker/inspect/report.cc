#include "broker/inspect/report.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

namespace millrace::broker {

void Report::Add(const Status& why, Finding finding) {
  CHECK(!why.ok());
  const bool is_damage = why.code() == Code::kDataLoss;
  if (finding.what.empty()) finding.what = why.message();
  if (finding.group.has_value()) {
    const auto found = std::find_if(
        groups.begin(), groups.end(),
        [&finding](const GroupReport& group) { return group.record.group == *finding.group; });
    if (found != groups.end()) {
      if (is_damage) found->condition = Condition::kDamaged;
      if (found->condition == Condition::kWhole) found->condition = Condition::kUnreadable;
    }
  }
  (is_damage ? damage : unreadable).push_back(std::move(finding));
}

}  // namespace millrace::broker

#include "raft/core/durability.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/base/mutants.h"

namespace millrace::raft::core {

void Durability::Truncate(LogIndex from) {
  ++epoch_;
  cuts_.push_back({.epoch = epoch_, .from = from});
  index_ = std::min(index_, from - 1);
  std::erase_if(delayed_, [from](const Delayed& delayed) { return delayed.index >= from; });
}

void Durability::OnDurable(const DurablePoint& point, LogIndex last_index) {
  durable_hard_state_version_ = std::max(durable_hard_state_version_, point.hard_state_version);
  LogIndex reached = point.last_index;
  // What an older epoch's write stored still stands only below every later cut.
  for (const Cut& cut : cuts_) {
    if (cut.epoch > point.epoch && !MILLRACE_MUTANT(kLateCompletionMarksRewritten)) {
      reached = std::min(reached, cut.from - 1);
    }
  }
  // A report that was overtaken by one of a later truncation says nothing new of the log.
  MILLRACE_SOMETIMES_IF("a write completed after a later truncation", point.epoch < epoch_);
  if (point.epoch < durable_epoch_ && !MILLRACE_MUTANT(kLateCompletionMarksRewritten)) {
    reached = LogIndex();
  }
  durable_epoch_ = std::max(durable_epoch_, point.epoch);
  std::erase_if(cuts_, [&point](const Cut& cut) { return cut.epoch <= point.epoch; });
  index_ = std::max(index_, std::min(reached, last_index));
}

void Durability::Delay(OutgoingMessage message, LogIndex index) {
  delayed_.push_back(
      {.message = std::move(message), .hard_state_version = hard_state_version_, .index = index});
}

void Durability::ReleaseInto(std::vector<OutgoingMessage>* messages) {
  if (delayed_.empty()) return;
  std::deque<Delayed> still;
  for (Delayed& delayed : delayed_) {
    if (durable_hard_state_version_ >= delayed.hard_state_version && index_ >= delayed.index) {
      messages->push_back(std::move(delayed.message));
    } else {
      still.push_back(std::move(delayed));
    }
  }
  delayed_ = std::move(still);
}

void Durability::CheckInvariants(LogIndex last_index) const {
  CHECK_LE(index_, last_index);
  CHECK_LE(durable_hard_state_version_, hard_state_version_);
  CHECK_LE(durable_epoch_, epoch_);
}

}  // namespace millrace::raft::core

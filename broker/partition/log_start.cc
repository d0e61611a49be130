// The commands of a partition: where its log starts for readers, and how far it is compacted; what
// decides them, and what follows.
#include <algorithm>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "broker/partition/partition.h"
#include "millrace/internal/v1/partition_command.pb.h"
#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "proto/frame/frame.h"
#include "raft/ports/propose_control.h"

namespace millrace::broker {
namespace {

using internal::v1::PartitionCommand;
using raft::core::Entry;

// The feature level of partition commands.
constexpr uint32_t kCommandLevel = 2;

// After a start behind which nothing is left. Each replica has looked at its files several times by
// then, which it does once a second, and has ended what holds it up.
constexpr Duration kStartAgainAfter = std::chrono::seconds(5);

}  // namespace

void Partition::DeleteRecords(Offset before, OffsetsDone done) {
  if (settings_.is_protected) {
    return done(FailedPrecondition("the topic is protected: its setting protected is true"));
  }
  Status has_level = CheckLevel(environment_.image, kCommandLevel, "records can be deleted");
  if (!has_level.ok()) return done(std::move(has_level));
  // Who no longer leads, and does not know it yet, must refuse nothing.
  Offsets({}, [this, before, done = std::move(done)](Result<PartitionOffsets> offsets) mutable {
    if (!offsets.ok()) return done(std::move(offsets));
    if (before > offsets->high_watermark) return done(OffsetOutOfRange(before, *offsets));
    const bool moves_nothing = before <= offsets->log_start && !MILLRACE_MUTANT(kLogStartGoesBack);
    if (moves_nothing) return done(std::move(offsets));
    deletions_.push_back({.before = before, .done = std::move(done)});
    ProposeDeletions();
  });
}

// All that wait, by one command; while it is under way others gather for the next.
void Partition::ProposeDeletions() {
  if (start_in_flight_.has_value() || deletions_.empty()) return;
  Offset start;
  for (const Deletion& deletion : deletions_) start = std::max(start, deletion.before);
  if (Status proposed = ProposeStart(start); !proposed.ok()) FailDeletions(proposed);
}

Status Partition::ProposeStart(Offset start) {
  PartitionCommand command;
  command.mutable_log_start()->set_offset(start.value());
  ASSIGN_OR_RETURN(start_in_flight_, ProposeCommand(command));
  return {};
}

Result<LogIndex> Partition::ProposeCommand(const PartitionCommand& command) {
  return raft::ProposeControl(*raft_,
                              {.type = FrameType::kPartitionCommand,
                               .feature_level = environment_.image.entry_level(),
                               .base_offset = raft_->next_offset()},
                              command.SerializeAsString(), environment_.clock.WallMs());
}

void Partition::Tend(std::optional<int64_t> wall_ms) {
  RefuseExpired();
  const bool may_propose = leadership_.is_ready && environment_.image.level() >= kCommandLevel;
  if (!may_propose) return;
  if (!start_in_flight_.has_value()) TendStart(wall_ms);
  if (!pass_in_flight_.has_value()) TendCompaction(wall_ms);
}

void Partition::TendStart(std::optional<int64_t> wall_ms) {
  const Offset retained =
      RetainedFrom(environment_.store.sealed_segments(group_), settings_.retention, wall_ms);
  const bool is_again = WantsStartAgain();
  if (retained > log_start_) {
    MILLRACE_SOMETIMES("records expired");
  } else if (environment_.store.WantsEntry(group_)) {
    MILLRACE_SOMETIMES("an entry was made so that the segment before it could go");
  } else if (is_again) {
    MILLRACE_SOMETIMES("a log start was told once more");
  } else {
    return;
  }
  const Status proposed = ProposeStart(std::max(retained, log_start_));
  if (proposed.ok() && is_again) start_again_at_.reset();
  LOG_IF(WARNING, !proposed.ok()) << "records that expired stay for now " << raft_->Name()
                                  << " why=" << proposed;
}

// The next one, once this replica has done the one before.
void Partition::TendCompaction(std::optional<int64_t> wall_ms) {
  const bool is_wanted = settings_.compaction.is_compacted && passes_done() == compaction_.pass;
  if (!is_wanted) return;
  const std::optional<CompactionState> due =
      DuePass(environment_.store.sealed_segments(group_), compaction_, settings_.compaction,
              {.settled = raft_->settled_pass(), .wall_ms = wall_ms, .last_stable = last_stable()});
  if (!due.has_value()) return;
  PartitionCommand command;
  internal::v1::Compact& compact = *command.mutable_compact();
  compact.set_pass(due->pass);
  compact.set_clean_to(due->clean_to.value());
  compact.set_settled_pass(due->settled);
  compact.set_older_than_ms(due->older_than_ms);
  const Result<LogIndex> proposed = ProposeCommand(command);
  if (proposed.ok()) pass_in_flight_ = *proposed;
  LOG_IF(WARNING, !proposed.ok()) << "records that are superseded stay for now " << raft_->Name()
                                  << " why=" << proposed.status();
}

// Files end where each replica ended them. One that ended its last file with the very entry that
// let this one's go has nothing behind it, and can drop it once an entry follows.
bool Partition::WantsStartAgain() const {
  return start_again_at_.has_value() && environment_.clock.Now() >= *start_again_at_ &&
         log_start_ == raft_->next_offset();
}

Status Partition::ApplyCommand(const Entry& entry) {
  const FrameHeader header = entry.frame.header();
  const Bytes payload = entry.frame.payload();
  PartitionCommand command;
  if (!command.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
    return DataLoss("partition command " + std::to_string(header.index.value()) +
                    " cannot be read");
  }
  if (command.has_compact()) return ApplyCompact(header, command.compact());
  if (!command.has_log_start()) return NotUnderstood(header);
  const Offset start(command.log_start().offset());
  if (start > header.base_offset) {
    return DataLoss("partition command " + std::to_string(header.index.value()) +
                    " deletes records up to offset " + std::to_string(start.value()) +
                    ", which lies behind it");
  }
  MILLRACE_SOMETIMES_IF("a command to move the log start came late", start < log_start_);
  if (start > log_start_) start_again_at_ = environment_.clock.Now() + kStartAgainAfter;
  log_start_ = MILLRACE_MUTANT(kLogStartGoesBack) ? start : std::max(log_start_, start);
  return {};
}

Status Partition::ApplyCompact(const FrameHeader& header, const internal::v1::Compact& compact) {
  const Offset clean_to(compact.clean_to());
  if (clean_to > header.base_offset || compact.settled_pass() >= compact.pass()) {
    return DataLoss("partition command " + std::to_string(header.index.value()) +
                    " compacts what lies behind it");
  }
  // Of a leader that did not know of the newest one.
  const bool is_next = compact.pass() == compaction_.pass + 1 && clean_to >= compaction_.clean_to;
  MILLRACE_SOMETIMES_IF("a pass of compaction was decided too late", !is_next);
  if (!is_next) return {};
  compaction_ = NextPass(compaction_, clean_to, compact.settled_pass(), compact.older_than_ms());
  compaction_decided_by_ = header.index;
  return {};
}

void Partition::OnCommandApplied(LogIndex index) {
  if (pass_in_flight_.has_value() && index >= *pass_in_flight_) pass_in_flight_.reset();
  if (!start_in_flight_.has_value() || index < *start_in_flight_) return;
  CHECK_EQ(index, *start_in_flight_) << "group=" << group_;
  start_in_flight_.reset();
  std::vector<OffsetsDone> deleted;
  std::erase_if(deletions_, [this, &deleted](Deletion& deletion) {
    if (deletion.before > log_start_) return false;
    deleted.push_back(std::move(deletion.done));
    return true;
  });
  for (OffsetsDone& done : deleted) done(offsets_now());
  ProposeDeletions();
}

void Partition::FailDeletions(const Status& why) {
  start_in_flight_.reset();
  for (Deletion& deletion : std::exchange(deletions_, {})) deletion.done(why);
}

}  // namespace millrace::broker

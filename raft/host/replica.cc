#include "raft/host/replica.h"

#include <algorithm>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/frame/frame.h"

namespace millrace::raft {

Replica::Replica(ReplicaRecord record, StateMachine& machine, LogIndex applied, Status health)
    : record_(std::move(record)),
      machine_(&machine),
      applied_(applied),
      health_(std::move(health)) {}

Offset Replica::next_offset() const {
  const core::Log& log = core_->log();
  if (log.prefix().index == log.last_index()) return machine_->next_offset();
  const FrameHeader last = log.At(log.last_index()).frame.header();
  return last.base_offset + last.offset_span;
}

int64_t Replica::last_append_time_ms() const {
  const core::Log& log = core_->log();
  if (log.prefix().index == log.last_index()) return machine_->last_append_time_ms();
  return log.At(log.last_index()).frame.header().append_time_ms;
}

void Replica::Join(const core::Options& options, core::InitialState initial) {
  CHECK(!has_joined()) << "group=" << group();
  CHECK(health_.ok()) << "group=" << group() << " " << health_;
  CHECK(applied_ >= initial.log.prefix().index || !apply_fault_.ok()) << "group=" << group();
  handed_over_ = initial.log.prefix().index;
  core_ = std::make_unique<core::Raft>(options, std::move(initial));
  if (!apply_fault_.ok()) core_->StopLeading();
  leadership_.term = core_->term();
  // Whoever waits for its health must look again, even where nobody can lead before they do.
  machine_->OnLeadership(leadership_);
}

std::string Replica::Name() const {
  std::string name = "group=" + std::to_string(group().value());
  if (namer_ != nullptr && *namer_) name += " " + (*namer_)(record_);
  return name;
}

void Replica::Fail(Status why) {
  LOG(ERROR) << "replica stopped " << Name() << " why=" << why;
  Stop(std::move(why));
}

void Replica::Stop(Status why) {
  core_.reset();
  health_ = std::move(why);
  leadership_ = Leadership{};
  machine_->OnLeadership(leadership_);
  CompleteBarriers();
}

void Replica::Apply(const core::Entry& entry) {
  CHECK(apply_fault_.ok()) << "group=" << group() << " " << apply_fault_;
  if (entry.type == core::EntryType::kUnknown) {
    MILLRACE_SOMETIMES("a replica met an entry of a newer build");
    return StopApplying(NotUnderstood(entry.frame.header()));
  }
  CHECK_EQ(entry.index, applied_ + 1) << "group=" << group();
  CHECK_GE(entry.term, applied_term_) << "group=" << group();
  // Before the machine hears of it: a reader that Apply wakes must find this entry applied.
  applied_ = entry.index;
  applied_term_ = entry.term;
  Status applied = machine_->Apply(entry);
  if (applied.ok()) return;
  applied_ = entry.index - 1;
  StopApplying(applied.With("entry " + std::to_string(entry.index.value()) + " cannot be applied"));
}

void Replica::StopApplying(Status why) {
  LOG(ERROR) << "replica applies no further group=" << group() << " why=" << why;
  apply_fault_ = std::move(why);
  if (has_joined()) core_->StopLeading();
  // A follower's leadership does not change by this; those who watch it must look again.
  machine_->OnLeadership(leadership_);
}

void Replica::ApplyCommitted(LogStore& store) {
  const LogIndex commit = core_->commit_index();
  while (apply_fault_.ok() && applied_ < commit) Apply(core_->log().At(applied_ + 1));
  HandOverCommitted(store);
}

// By commit, not by what was applied: what this replica cannot apply others may need from it, and
// the journal cannot hold it for ever.
void Replica::HandOverCommitted(LogStore& store) {
  std::vector<core::Entry> handed;
  while (handed_over_ < core_->commit_index()) {
    ++handed_over_;
    handed.push_back(core_->log().At(handed_over_));
  }
  if (handed.empty()) return;
  store.HandOver(group(), std::move(handed));
  if (!store.WantsRoll(group())) return;
  // A segment is sealed with the state at its end, which a replica that stopped does not have.
  if (!apply_fault_.ok()) return store.Roll(group(), handed_over_, std::nullopt);
  MILLRACE_SOMETIMES("a segment was rolled");
  store.Roll(group(), applied_, machine_->Snapshot());
}

void Replica::UpdateLeadership() {
  Leadership now{.is_leader = core_->is_leader(),
                 .is_ready = core_->is_leader() && applied_term_ == core_->term(),
                 .term = core_->term(),
                 .leader = core_->leader()};
  if (now == leadership_) return;
  if (now.is_leader && !leadership_.is_leader) {
    LOG(INFO) << "became leader " << Name() << " term=" << now.term;
  }
  const bool lost = leadership_.is_leader && (!now.is_leader || now.term != leadership_.term);
  if (lost) LOG(INFO) << "lost leadership " << Name() << " term=" << now.term;
  leadership_ = now;
  machine_->OnLeadership(leadership_);
  if (lost) CompleteBarriers();
}

void Replica::TrimTail(LogIndex readable_end, uint64_t keep_bytes) {
  const core::Log& log = core_->log();
  const LogIndex used = apply_fault_.ok() ? applied_ : core_->commit_index();
  const LogIndex limit = std::min(readable_end, std::min(used, core_->commit_index()));
  uint64_t bytes = log.tail_bytes();
  LogIndex cut = log.prefix().index;
  while (cut < limit && bytes > keep_bytes) {
    bytes -= log.At(cut + 1).size_bytes();
    ++cut;
  }
  if (cut > log.prefix().index) core_->TrimTail(cut);
}

void Replica::CompleteBarriers() {
  const bool can_serve = has_joined() && leadership_.is_leader;
  for (auto at = barriers_.begin(); at != barriers_.end();) {
    Barrier& barrier = at->second;
    const bool is_reached = barrier.index.has_value() && applied_ >= *barrier.index;
    if (can_serve && !is_reached) {
      ++at;
      continue;
    }
    MoveFunction<void(Status)> done = std::move(barrier.done);
    at = barriers_.erase(at);
    done(is_reached ? Status::Ok()
                    : Unavailable("leadership was lost while a read waited", Reason::kNotLeader));
  }
}

}  // namespace millrace::raft

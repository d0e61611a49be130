#include "raft/host/replica.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/frame/frame.h"

namespace millrace::raft {
namespace {

// Of an entry in our own log, whose frame was checked when it came in.
FrameHeader HeaderOf(const core::Entry& entry) {
  Result<FrameHeader> header = ParseFrameHeader(entry.frame.view());
  CHECK(header.ok()) << "index=" << entry.index << " " << header.status();
  return *header;
}

}  // namespace

Replica::Replica(ReplicaRecord record, StateMachine& machine, LogIndex applied, Status health)
    : record_(std::move(record)),
      machine_(&machine),
      applied_(applied),
      health_(std::move(health)) {}

Offset Replica::next_offset() const {
  const core::Log& log = core_->log();
  if (log.prefix().index == log.last_index()) return machine_->next_offset();
  const FrameHeader last = HeaderOf(log.At(log.last_index()));
  return last.base_offset + last.offset_span;
}

int64_t Replica::last_append_time_ms() const {
  const core::Log& log = core_->log();
  if (log.prefix().index == log.last_index()) return machine_->last_append_time_ms();
  return HeaderOf(log.At(log.last_index())).append_time_ms;
}

void Replica::Join(const core::Options& options, core::InitialState initial) {
  CHECK(!has_joined()) << "group=" << group();
  CHECK(health_.ok()) << "group=" << group() << " " << health_;
  CHECK_EQ(applied_, std::max(applied_, initial.log.prefix().index)) << "group=" << group();
  handed_over_ = initial.log.prefix().index;
  core_ = std::make_unique<core::Raft>(options, std::move(initial));
}

void Replica::Fail(Status why) {
  LOG(ERROR) << "replica stopped group=" << group() << " why=" << why;
  core_.reset();
  health_ = std::move(why);
  leadership_ = Leadership{};
  machine_->OnLeadership(leadership_);
  CompleteBarriers();
}

void Replica::Apply(const core::Entry& entry) {
  CHECK_EQ(entry.index, applied_ + 1) << "group=" << group();
  CHECK_GE(entry.term, applied_term_) << "group=" << group();
  // Before the machine hears of it: a reader that Apply wakes must find this entry applied.
  applied_ = entry.index;
  applied_term_ = entry.term;
  machine_->Apply(entry);
}

void Replica::ApplyCommitted(LogStore& store) {
  const LogIndex commit = core_->commit_index();
  std::vector<core::Entry> handed;
  while (applied_ < commit) {
    const core::Entry& entry = core_->log().At(applied_ + 1);
    Apply(entry);
    if (applied_ > handed_over_) handed.push_back(entry);
  }
  // At a restart the commit index may lie below what was applied from segments; nothing is skipped
  // then.
  if (handed.empty()) return;
  CHECK_EQ(handed.front().index, handed_over_ + 1) << "group=" << group();
  handed_over_ = handed.back().index;
  store.HandOver(group(), std::move(handed));
  MILLRACE_SOMETIMES_IF("a segment was rolled", store.WantsRoll(group()));
  if (store.WantsRoll(group())) store.Roll(group(), applied_, machine_->Snapshot());
}

void Replica::UpdateLeadership() {
  Leadership now{.is_leader = core_->is_leader(),
                 .is_ready = core_->is_leader() && applied_term_ == core_->term(),
                 .term = core_->term(),
                 .leader = core_->leader()};
  if (now == leadership_) return;
  if (now.is_leader && !leadership_.is_leader) {
    LOG(INFO) << "became leader group=" << group() << " term=" << now.term;
  }
  const bool lost = leadership_.is_leader && (!now.is_leader || now.term != leadership_.term);
  if (lost) LOG(INFO) << "lost leadership group=" << group() << " term=" << now.term;
  leadership_ = now;
  machine_->OnLeadership(leadership_);
  if (lost) CompleteBarriers();
}

void Replica::TrimTail(LogIndex readable_end, uint64_t keep_bytes) {
  const core::Log& log = core_->log();
  const LogIndex limit = std::min(readable_end, std::min(applied_, core_->commit_index()));
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

// How a replica comes to take part: found on disk, or read later than at the start, or made; its
// state restored and what that lacks applied from segments; then its core begins.
#include <algorithm>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "raft/host/replica.h"

namespace millrace::raft {
namespace {

// Entries read back from segments in one go.
constexpr uint64_t kReplayBytes = 1 << 20;
// Between two tries to read what has to be applied before a replica joins.
constexpr Duration kReplayPause = std::chrono::milliseconds(500);

}  // namespace

void Replica::Recover(RecoveredReplica recovered) {
  CHECK(!has_joined() && !joining_.has_value()) << "group=" << group();
  health_ = std::move(recovered.health);
  if (health_.ok()) {
    health_ = CheckCovered(recovered);
    if (!health_.ok()) {
      state_floor_ = std::max(recovered.initial.log.begin().index, recovered.rewritten_end);
      without_state_ = std::move(recovered.initial);
    }
  }
  // Brings the machine to where the log's entries take it on.
  if (health_.ok() && recovered.snapshot.has_value()) {
    health_ = machine_->Restore(recovered.snapshot->state);
  }
  if (recovered.snapshot.has_value()) applied_ = recovered.snapshot->index;
  LOG_IF(ERROR, !health_.ok()) << "replica is silent " << Name() << " why=" << health_;
  if (health_.ok()) joining_ = std::move(recovered.initial);
}

Status Replica::CheckCovered(const RecoveredReplica& recovered) {
  const LogIndex first = recovered.initial.log.first_index();
  const LogIndex covered = recovered.snapshot.has_value() ? recovered.snapshot->index : LogIndex();
  if (first > covered + 1) {
    return DataLoss("the log begins at entry " + std::to_string(first.value()) +
                    ", but the state that was saved covers only entries up to " +
                    std::to_string(covered.value()));
  }
  if (recovered.rewritten_end > covered) {
    return DataLoss("compaction rewrote entries up to " +
                    std::to_string(recovered.rewritten_end.value()) +
                    ", but the state that was saved covers only entries up to " +
                    std::to_string(covered.value()));
  }
  return Status::Ok();
}

void Replica::Create(bool campaign) {
  CHECK(!has_joined() && !joining_.has_value()) << "group=" << group();
  CHECK(!record_.is_added) << "group=" << group();
  CHECK(record_.number != ReplicaNumber()) << "group=" << group();
  core::InitialState initial;
  initial.configuration = record_.configuration;
  joining_ = std::move(initial);
  shared_->environment.log_store.CreateReplica(record_, lifetime_.Guard([this, campaign] {
    Replay();
    if (!has_joined() || !campaign) return;
    core_->Campaign();
    shared_->turn.Add(*this);
  }));
}

void Replica::Replay() {
  if (!joining_.has_value()) return;
  if (applied_ >= joining_->log.prefix().index || !apply_fault_.ok()) return Join();
  shared_->environment.log_store.Read(
      group(), applied_ + 1, kReplayBytes,
      lifetime_.Guard(
          [this](Result<std::vector<core::Entry>> entries) { OnReplayRead(std::move(entries)); }));
}

void Replica::OnReplayRead(Result<std::vector<core::Entry>> entries) {
  if (!joining_.has_value()) return;
  const bool may_pass =
      entries.status().code() == Code::kUnavailable ||
      (entries.status().code() == Code::kDataLoss && joining_->configuration.Members().size() > 1);
  if (!entries.ok() && may_pass) {
    MILLRACE_SOMETIMES("a replica could not read at once what it has to apply");
    LOG(WARNING) << "cannot read what has to be applied, trying again " << Name()
                 << " why=" << entries.status();
    shared_->environment.executor.RunAfter(kReplayPause, lifetime_.Guard([this] { Replay(); }));
    return;
  }
  if (!entries.ok()) {
    joining_.reset();
    return Fail(entries.status().With("read back the partition's segments"));
  }
  CHECK(!entries->empty()) << "group=" << group() << " applied=" << applied_;
  MILLRACE_SOMETIMES("a replica applied from its segments at start");
  const LogIndex end = joining_->log.prefix().index;
  for (const core::Entry& entry : *entries) {
    if (entry.index <= end && apply_fault_.ok()) Apply(entry);
  }
  Replay();
}

void Replica::Join() {
  CHECK(!has_joined()) << "group=" << group();
  CHECK(health_.ok()) << "group=" << group() << " " << health_;
  core::InitialState initial = std::move(*joining_);
  joining_.reset();
  CHECK(applied_ >= initial.log.prefix().index || !apply_fault_.ok()) << "group=" << group();
  told_committed_ = initial.log.prefix().index;
  core_.emplace(options_, std::move(initial));
  TellLogStart();
  if (!apply_fault_.ok()) core_->StopLeading();
  leadership_.term = core_->term();
  // Whoever waits for its health must look again, even where nobody can lead before they do.
  machine_->OnLeadership(leadership_);
  UpdateMayLead();
  if (is_alone() && core_->configuration().IsVoter(self())) core_->Campaign();
}

}  // namespace millrace::raft

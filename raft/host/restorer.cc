#include "raft/host/restorer.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/frame/frame.h"
#include "raft/codec/entry_codec.h"

namespace millrace::raft {
namespace {

// So many at a time: each holds a range in memory.
constexpr size_t kRestoresMax = 2;
// One turn of the shard at either end, between which live records have theirs.
constexpr uint64_t kRangeBytes = 1 << 20;
// Of all that is pulled; and where this broker has live records to write, so that clients notice
// little of it.
constexpr PaceBesideWrites::BytesPerSecond kPace{.alone = 200 << 20, .beside = 64 << 20};
// After an error of this broker's disk, which an attempt at once would meet again.
constexpr Duration kErrorPause = std::chrono::seconds(2);
// Between two looks at what has to come by itself.
constexpr Duration kPause = std::chrono::milliseconds(50);

// Whether the log has the entry that `end` is after. Then what lies above it may count, as it
// follows on what is committed; and where it has another entry there, nothing above can.
bool Holds(const core::Log& log, const core::LogPoint& end) {
  if (end.index > log.last_index()) return false;
  return end.index < log.begin().index || log.TermAt(end.index) == end.term;
}

}  // namespace

void Restorer::OnBehind(const Replica& replica, const Voter& source) {
  const auto found = restores_.find(replica.group());
  if (found != restores_.end()) {
    MILLRACE_SOMETIMES_IF("a restore changed its source", found->second->source != source);
    found->second->source = source;
    return;
  }
  if (restores_.size() >= kRestoresMax) return;
  LOG(INFO) << "restoring a replica, whose log the leader's does not reach any more "
            << replica.Name() << " source=" << source.broker
            << " last=" << replica.core().log().last_index();
  const RestorePtr restore = Add(replica);
  restore->source = source;
  Ask(restore);
}

Restorer::RestorePtr Restorer::Add(const Replica& replica) {
  const auto restore =
      std::make_shared<Restore>(environment_.executor, lifetime_, PaceBesideWrites(kPace));
  restore->replica = replica.id();
  restore->began = environment_.clock.Now();
  restores_.emplace(replica.group(), restore);
  return restore;
}

void Restorer::OnStateLost(const Replica& replica) {
  waiting_.insert(replica.group());
  BeginNext();
}

void Restorer::BeginNext() {
  while (restores_.size() < kRestoresMax && !waiting_.empty()) {
    const Replica* replica = replicas_->Find(waiting_.extract(waiting_.begin()).value());
    const bool lacks_state = replica != nullptr && replica->without_state() != nullptr;
    if (lacks_state) BeginWithoutState(*replica);
  }
}

void Restorer::BeginWithoutState(const Replica& replica) {
  std::vector<Voter> others = replica.without_state()->configuration.Members();
  std::erase(others, replica.self());
  if (others.empty()) return;
  LOG(INFO) << "restoring a replica, whose state is lost " << replica.Name()
            << " last=" << replica.without_state()->log.last_index();
  const RestorePtr restore = Add(replica);
  restore->source = others.front();
  restore->sources = std::move(others);
  AskState(restore);
}

void Restorer::TakeNextSource(const RestorePtr& restore) {
  std::vector<Voter>& sources = restore->sources;
  if (sources.empty()) return;
  std::rotate(sources.begin(), sources.begin() + 1, sources.end());
  restore->source = sources.front();
}

Replica* Restorer::Find(const RestorePtr& restore) {
  Replica* replica = replicas_->Find(restore->replica);
  const bool is_here =
      replica != nullptr && (replica->has_joined() || replica->without_state() != nullptr);
  if (is_here) return replica;
  GiveUp(restore);
  return nullptr;
}

void Restorer::After(const RestorePtr& restore, Duration wait,
                     void (Restorer::*then)(const RestorePtr&)) {
  restore->errand.After(wait, [this, restore, then] { (this->*then)(restore); });
}

// Where the log begins, or the next range; the last ones up to where the state is.
void Restorer::Ask(const RestorePtr& restore) {
  if (Find(restore) == nullptr) return;
  const LogIndex first = restore->has_begun ? restore->end.index + 1 : LogIndex();
  restore->asked_at = environment_.clock.Now();
  restore->pace.Begin(turn_->writes());
  puller_->AskRange(
      restore->replica, restore->source, first, kRangeBytes,
      restore->errand.While([this, restore, from = restore->source](Result<RangeReply> reply) {
        if (reply.ok()) return OnRange(restore, from, *std::move(reply));
        // Of whoever leads now.
        TakeNextSource(restore);
        Ask(restore);
      }));
}

void Restorer::OnRange(const RestorePtr& restore, const Voter& from, RangeReply reply) {
  restore->source_commit = reply.commit;
  if (!reply.entries.empty()) restore->pulled_from = from;
  const bool is_overtaken = restore->has_begun && reply.begin.index > restore->end.index;
  MILLRACE_SOMETIMES_IF("a restore was overtaken by retention", is_overtaken);
  const bool begins = !restore->has_begun || is_overtaken;
  restore->compacted = begins ? reply.compacted : restore->compacted.With(reply.compacted);
  if (begins) return Begin(restore, reply.begin);
  Append(restore, std::move(reply.entries), reply.commit);
}

void Restorer::Begin(const RestorePtr& restore, const core::LogPoint& begin) {
  if (Find(restore) == nullptr) return;
  restore->has_begun = true;
  restore->begin = restore->end = begin;
  restore->state.reset();
  environment_.log_store.BeginRestore(restore->replica, begin,
                                      restore->errand.While([this, restore](const Status& begun) {
                                        if (!begun.ok()) return OnError(restore, begun);
                                        Ask(restore);
                                      }));
}

void Restorer::Append(const RestorePtr& restore, std::vector<core::Entry> entries,
                      LogIndex commit) {
  if (Find(restore) == nullptr) return;
  const core::LogPoint everything{.index = LogIndex(UINT64_MAX)};
  entries = FitBetween(restore->end, restore->state.has_value() ? restore->state->at : everything,
                       std::move(entries));
  if (entries.empty()) return OnAppended(restore, commit, 0);
  core::LogPoint end = restore->end;
  uint64_t bytes = 0;
  for (const core::Entry& entry : entries) {
    const FrameHeader header = entry.frame.header();
    const Status follows = CheckFollows(end, restore->replica.group, header);
    if (!follows.ok()) {
      LOG(ERROR) << "a range does not follow on what was restored "
                 << replicas_->NameOf(restore->replica.group) << " from=" << restore->source.broker
                 << " why=" << follows;
      return After(restore, kPause, &Restorer::Ask);
    }
    end = EndAfter(header);
    bytes += entry.size_bytes();
  }
  environment_.log_store.AppendRestored(
      restore->replica, std::move(entries),
      restore->errand.While([this, restore, end, commit, bytes](const Status& appended) {
        if (!appended.ok()) return OnError(restore, appended);
        restore->end = end;
        restore->bytes += bytes;
        OnAppended(restore, commit, bytes);
      }));
}

// The state is asked for once the source's end is near.
void Restorer::OnAppended(const RestorePtr& restore, LogIndex commit, uint64_t bytes) {
  if (restore->state.has_value() && restore->state->at.index == restore->end.index) {
    return Seal(restore);
  }
  const bool is_near = bytes < kRangeBytes / 2 && restore->end.index >= commit;
  if (!restore->state.has_value() && is_near) return AskState(restore);
  if (bytes == 0) return After(restore, kPause, &Restorer::Ask);
  const MonotonicTime due = restore->asked_at + restore->pace.TimeOf(bytes, turn_->writes());
  After(restore, TimeLeft(environment_.clock, due), &Restorer::Ask);
}

void Restorer::AskState(const RestorePtr& restore) {
  if (Find(restore) == nullptr) return;
  puller_->AskState(restore->replica, restore->source,
                    restore->errand.While([this, restore](Result<StatePiece> state) {
                      if (state.ok()) return OnState(restore, *std::move(state));
                      TakeNextSource(restore);
                      AskState(restore);
                    }));
}

void Restorer::OnState(const RestorePtr& restore, StatePiece state) {
  const Replica* replica = Find(restore);
  if (replica == nullptr) return;
  if (const core::InitialState* own = replica->without_state()) {
    if (state.at.index < replica->state_floor()) {
      TakeNextSource(restore);
      return After(restore, kPause, &Restorer::AskState);
    }
    if (Holds(own->log, state.at)) return TakeState(restore, *replica, state);
    if (!restore->has_begun) return Ask(restore);
  }
  // Entries may be committed that it had not applied.
  const bool is_before = state.at.index < restore->end.index;
  if (is_before && restore->pulled_from != restore->source) {
    // Or it never will: a new leader may need this replica to commit what the one before it had.
    MILLRACE_SOMETIMES("a restore had more than its new source");
    restore->has_begun = false;
    return Ask(restore);
  }
  if (is_before) return After(restore, kPause, &Restorer::AskState);
  restore->state = std::move(state);
  OnAppended(restore, restore->state->at.index, 0);
}

void Restorer::Seal(const RestorePtr& restore) {
  if (Find(restore) == nullptr) return;
  if (!restore->compacted.IsWhole()) {
    // From sources that were compacted differently: a tombstone may be missing.
    MILLRACE_SOMETIMES("a restore had parts of different passes");
    restore->has_begun = false;
    return After(restore, kErrorPause, &Restorer::Ask);
  }
  StatePiece& state = *restore->state;
  environment_.log_store.SealRestored(restore->replica,
                                      {.state = state.piece,
                                       .configuration = std::move(state.configuration),
                                       .configuration_index = state.configuration_index,
                                       .compacted = restore->compacted},
                                      restore->errand.While([this, restore](const Status& sealed) {
                                        if (!sealed.ok()) return OnError(restore, sealed);
                                        TryAdopt(restore);
                                      }));
}

void Restorer::TryAdopt(const RestorePtr& restore) {
  Replica* replica = Find(restore);
  if (replica == nullptr) return;
  const core::InitialState* without_state = replica->without_state();
  // Another leader could bring it up to date after all.
  const core::Log& log = without_state != nullptr ? without_state->log : replica->core().log();
  if (Holds(log, restore->end)) return GiveUp(restore);
  // A log does not end in a term that its replica has not heard of.
  if (without_state != nullptr) {
    core::HardState hard_state = without_state->hard_state;
    if (hard_state.term < restore->end.term) {
      // As if it were told, and asked for no vote.
      hard_state = {.term = restore->end.term, .vote = {}};
      turn_->Write({{.replica = replica->id(), .write = {.hard_state = hard_state}}});
    }
    return Adopt(restore, replica, hard_state);
  }
  // The leader tells it soon.
  const core::Raft& core = replica->core();
  if (core.HasReady() || core.term() < restore->end.term) {
    return After(restore, kPause, &Restorer::TryAdopt);
  }
  Adopt(restore, replica, core.hard_state());
}

void Restorer::Adopt(const RestorePtr& restore, Replica* replica,
                     const core::HardState& hard_state) {
  restore->errand.StopWaiting();
  RecoveredReplica restored{
      .record = replica->record(),
      .initial = {},
      .snapshot = Snapshot{.index = restore->end.index, .state = restore->state->piece},
      .health = {}};
  restored.initial.hard_state = hard_state;
  replica->Stop(Unavailable("it is being restored from another broker", Reason::kReplicaSilent));
  environment_.log_store.AdoptRestored(
      restore->replica,
      restore->errand.While([this, restore, restored](core::InitialState initial) mutable {
        initial.hard_state = restored.initial.hard_state;
        restored.initial = std::move(initial);
        const Duration took = environment_.clock.Now() - restore->began;
        LOG(INFO) << "restored a replica " << replicas_->NameOf(restore->replica.group)
                  << " source=" << restore->source.broker << " end=" << restore->end.index
                  << " bytes=" << restore->bytes << " ms=" << took / std::chrono::milliseconds(1);
        MILLRACE_SOMETIMES("a replica was restored from another one");
        End(restore);
        rebuild_(std::move(restored));
      }));
}

void Restorer::TakeState(const RestorePtr& restore, const Replica& replica,
                         const StatePiece& state) {
  RecoveredReplica whole{.record = replica.record(),
                         .initial = *replica.without_state(),
                         .snapshot = Snapshot{.index = state.at.index, .state = state.piece},
                         .health = {}};
  whole.initial.commit_index = std::max(whole.initial.commit_index, state.at.index);
  LOG(INFO) << "took another replica's state in place of one that is lost " << replica.Name()
            << " source=" << restore->source.broker << " after=" << state.at.index
            << " bytes=" << state.size;
  MILLRACE_SOMETIMES("a replica took another one's state");
  environment_.log_store.EndRestore(restore->replica);
  End(restore);
  rebuild_(std::move(whole));
}

// Of this broker's disk: from the beginning, after a pause and once the leader says so again.
void Restorer::OnError(const RestorePtr& restore, const Status& why) {
  MILLRACE_SOMETIMES("a restore ended early");
  LOG(WARNING) << "a restore ended early " << replicas_->NameOf(restore->replica.group)
               << " why=" << why;
  environment_.log_store.EndRestore(restore->replica);
  After(restore, kErrorPause, &Restorer::GiveUp);
}

// One without a state waits for its turn again, as nobody tells of it once more.
void Restorer::GiveUp(const RestorePtr& restore) {
  environment_.log_store.EndRestore(restore->replica);
  const Replica* replica = replicas_->Find(restore->replica);
  if (replica != nullptr && replica->without_state() != nullptr) waiting_.insert(replica->group());
  End(restore);
}

void Restorer::End(const RestorePtr& restore) {
  restore->errand.End();
  puller_->Forget(restore->replica.group);
  restores_.erase(restore->replica.group);
  BeginNext();
}

std::optional<RestoreProgress> Restorer::ProgressOf(RaftGroupId group) const {
  const auto found = restores_.find(group);
  if (found == restores_.end()) return std::nullopt;
  const Restore& restore = *found->second;
  // A source may know less committed than the one before it.
  const LogIndex total = std::max(restore.source_commit, restore.end.index);
  return RestoreProgress{.source = restore.source.broker,
                         .begin_offset = restore.begin.next_offset,
                         .entries = restore.end.index - restore.begin.index,
                         .entries_total = total - restore.begin.index,
                         .bytes = restore.bytes,
                         .elapsed = environment_.clock.Now() - restore.began};
}

void Restorer::Forget(RaftGroupId group) {
  waiting_.erase(group);
  const auto found = restores_.find(group);
  if (found == restores_.end()) return;
  const RestorePtr restore = found->second;
  environment_.log_store.EndRestore(restore->replica);
  End(restore);
}

void Restorer::Stop() {
  lifetime_.End();
  for (const auto& [group, restore] : restores_) restore->errand.End();
  restores_.clear();
}

}  // namespace millrace::raft

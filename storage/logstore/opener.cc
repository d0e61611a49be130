#include "storage/logstore/opener.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <glog/logging.h>

#include "proto/base/mutants.h"
#include "proto/frame/frame.h"
#include "raft/runtime/run_on.h"
#include "storage/logstore/rewriter.h"
#include "storage/logstore/scrubber.h"
#include "storage/segment/folders.h"

namespace millrace::storage {

void JournalLogStore::Opener::Start() {
  environment_.journal_executor.Post([self = shared_from_this()] {
    journal::Journal::Open(
        self->options_.journal,
        {.executor = self->environment_.journal_executor,
         .files = self->environment_.journal_files,
         .fail_stop = self->environment_.fail_stop},
        RunOn(self->environment_.shard, [self](Result<journal::OpenedJournal> opened) {
          if (!opened.ok()) return self->done_(opened.status());
          self->OnJournal(std::move(*opened));
        }));
  });
}

void JournalLogStore::Opener::OnJournal(journal::OpenedJournal opened) {
  store_.reset(new JournalLogStore(options_, environment_, opened.journal->client()));
  store_->journal_ = std::move(opened.journal);
  state_ = std::move(opened.state);
  store_->removed_ = state_.removed;
  store_->nameless_ = state_.nameless;
  store_->may_lack_groups_ = state_.may_lack_groups;
  store_->controller_floor_ = state_.controller_floor;
  JournalLogStore* store = store_.get();
  environment_.journal_executor.Post([journal = store->journal_.get(), store,
                                      shard = &environment_.shard,
                                      life = store->lifetime_.watch()] {
    journal->SetPinListener([store, shard, life](const std::vector<RaftGroupId>& groups) {
      shard->Post([store, life, groups] {
        if (life) store->OnPinned(groups);
      });
    });
    journal->SetFullListener([store, shard, life](const Status& why) {
      shard->Post([store, life, why] {
        if (life) store->journal_full_ = why;
      });
    });
  });
  replicas_.reserve(state_.groups.size());
  at_ = state_.groups.begin();
  RecoverNext();
}

void JournalLogStore::Opener::RecoverNext() {
  for (; at_ != state_.groups.end(); ++at_) {
    const RaftGroupId id = at_->first;
    Group& group = store_->groups_[id];
    group.number = at_->second.record.number;
    group.log = at_->second.log;
    group.durable_begin = group.log.begin;
    group.segments = store_->MakeSegments(FolderOf(id, group));
    // The journal may have forgotten how far the segments of a replica in doubt were synced: they
    // are not touched, since recovery discards what lies above.
    if (const Status& doubt = at_->second.health; !doubt.ok()) {
      OnRecovered(doubt);
      continue;
    }
    environment_.segment_executor.Post([self = shared_from_this(), segments = group.segments,
                                        log = at_->second.log,
                                        above = AboveOf(at_->second.log, at_->second.epoch)] {
      segments->Recover(
          log, above, LastFile::kKept,
          RunOn(self->environment_.shard, [self](Result<RecoveredSegments> recovered) {
            self->OnRecovered(std::move(recovered));
            ++self->at_;
            self->RecoverNext();
          }));
    });
    return;
  }
  RemoveLeftovers();
}

void JournalLogStore::Opener::OnRecovered(Result<RecoveredSegments> segments) {
  const RaftGroupId id = at_->first;
  journal::GroupState& state = at_->second;
  Group& group = store_->groups_[id];
  group.readable_end = state.log.end.index;
  Status why = segments.status();
  const bool has_others = state.log.configuration.Members().size() > 1;
  if (segments.ok() && !segments->damaged.empty()) {
    why = segments->damaged.front().why;
    if (has_others) return OnDamaged(std::move(*segments));
    for (const DamagedSegment& damaged : segments->damaged) {
      LOG(ERROR) << "a segment is damaged, and there is no other replica group=" << id
                 << " first=" << damaged.first << " why=" << damaged.why;
    }
  } else if (segments.ok()) {
    Result<raft::RecoveredReplica> replica = Combine(state, std::move(*segments), group);
    if (replica.ok()) {
      replicas_.push_back(std::move(*replica));
      return;
    }
    why = replica.status();
  }
  raft::RecoveredReplica silent{
      .record = state.record, .initial = {}, .snapshot = std::nullopt, .health = why};
  replicas_.push_back(std::move(silent));
  // What is lost stays lost: the journal need not keep files for it. Another error may pass.
  if (why.code() != Code::kDataLoss && state.health.ok()) {
    group.stall = why;
    group.unopened = std::make_unique<journal::GroupState>(std::move(state));
    // What another build wrote waits for that build: no try of this one would take it.
    if (why.code() != Code::kUnimplemented) unopened_.push_back(id);
    return;
  }
  group.is_faulty = true;
  if (!state.health.ok()) return;
  store_->client_.Submit({{.replica = {id, group.number},
                           .body = journal::ReplicaFaulty{{.cause = journal::FaultCause::kRot,
                                                           .why = std::string(why.message())}}}},
                         environment_.shard, [] {});
}

// The journal keeps what it has of the group until that is repaired.
void JournalLogStore::Opener::OnDamaged(RecoveredSegments segments) {
  Group& group = store_->groups_[at_->first];
  TakeDamaged(at_->first, std::move(segments), &group);
  replicas_.push_back({.record = at_->second.record,
                       .initial = {},
                       .snapshot = std::nullopt,
                       .health = group.stall});
  group.unopened = std::make_unique<journal::GroupState>(std::move(at_->second));
}

Result<raft::RecoveredReplica> JournalLogStore::Opener::Combine(journal::GroupState state,
                                                                RecoveredSegments segments,
                                                                Group& group) {
  const LogIndex in_segments = state.log.end.index + segments.written.size();
  const LogIndex journalled =
      state.entries.empty() ? state.log.segments_end() : state.entries.back().index;
  for (raft::core::Entry& entry : state.entries) {
    if (entry.index > in_segments) break;
    raft::core::Entry& written =
        segments.written[entry.index.value() - state.log.end.index.value() - 1];
    if (written.chain != entry.chain) {
      return DataLoss("segments have another entry " + std::to_string(entry.index.value()) +
                      " than the journal");
    }
    // One copy is enough, and this one keeps no piece of a file in memory.
    written.frame = std::move(entry.frame);
  }
  std::erase_if(state.entries, [in_segments](const raft::core::Entry& entry) {
    return entry.index <= in_segments;
  });
  if (!segments.written.empty() && !state.entries.empty()) {
    RETURN_IF_ERROR(CheckFollows(EndAfter(segments.written.back().frame.header()),
                                 state.record.group, state.entries.front().frame.header())
                        .With("what the journal has does not follow on the segments"));
  }
  group.progress = LogProgress(state.log.end.index, in_segments, journalled, state.entries);
  group.epoch = state.epoch;
  group.expected_epoch = state.epoch;
  group.is_cut_told = AboveOf(state.log, state.epoch) == LogAbove::kGoesOn;
  group.active = segments.active;
  TakeSealed(std::move(segments.sealed), &group);
  if (segments.snapshot.has_value()) group.state_bytes = segments.snapshot->state.size();

  raft::RecoveredReplica replica{
      .record = state.record, .initial = {}, .snapshot = std::nullopt, .health = Status::Ok()};
  const LogPoint& end = state.log.end;
  replica.initial.hard_state = state.hard_state;
  replica.initial.epoch = state.epoch;
  replica.initial.commit_index =
      MILLRACE_MUTANT(kCommittedEndFromWrittenEnd) ? in_segments : end.index;
  replica.initial.configuration = std::move(state.log.configuration);
  std::vector<raft::core::Entry> tail = std::move(segments.written);
  std::ranges::move(state.entries, std::back_inserter(tail));
  replica.initial.log =
      raft::core::Log(state.log.begin, {.index = end.index, .term = end.term, .chain = end.chain},
                      std::move(segments.term_starts), std::move(tail));
  replica.snapshot = std::move(segments.snapshot);
  replica.rewritten_end = segments.rewritten_end;
  return replica;
}

// Removals that a crash interrupted after their tombstone was durable, and folders that no record
// of the journal names: of a log that did not take another one's place, or of one that did not
// stay. Those of a group in doubt stay: what the journal names there may be older than they are.
void JournalLogStore::Opener::RemoveLeftovers() {
  const auto remove = [this](RaftGroupId id,
                             MoveFunction<bool(const SegmentFolder&)> is_left_over) {
    const auto found = store_->groups_.find(id);
    if (found != store_->groups_.end()) found->second.may_have_leftovers = true;
    auto removed = RunOn(environment_.shard,
                         store_->lifetime_.Guard([store = store_.get(), id](const Status& status) {
                           LOG_IF(WARNING, !status.ok())
                               << "cannot remove what is left of group=" << id << " why=" << status;
                           if (Group* group = store->Find(id)) group->may_have_leftovers = false;
                         }));
    environment_.segment_executor.Post([files = &environment_.segment_files, id,
                                        is_left_over = std::move(is_left_over),
                                        removed = std::move(removed)]() mutable {
      RemoveFolders(*files, id, std::move(is_left_over), std::move(removed));
    });
  };
  for (const auto& [id, number] : store_->removed_) {
    remove(id, [last = number](const SegmentFolder& found) { return found.number <= last; });
  }
  for (const auto& [id, group] : store_->groups_) {
    if (group.is_faulty || (!group.stall.ok() && group.damaged.empty())) continue;
    remove(id, [kept = FolderOf(id, group)](const SegmentFolder& found) { return found != kept; });
  }
  Finish();
}

void JournalLogStore::Opener::Finish() {
  for (const journal::Damage& damage : state_.damage) {
    LOG(ERROR) << "damage found at start: " << damage.what;
  }
  for (const RaftGroupId id : state_.nameless) {
    LOG(ERROR) << "a group's creation record was lost to damage; it stays silent group=" << id;
  }
  LOG_IF(ERROR, state_.may_lack_groups)
      << "damage may have taken replicas without a trace: this broker makes no new ones "
         "until its data directory is wiped";
  for (const RaftGroupId id : unopened_) store_->rewriter_->Add(id);
  store_->ScheduleWrites();
  store_->ScheduleIdleSync();
  for (auto& [id, group] : store_->groups_) store_->SyncCut(id, group);
  store_->WatchDisk();
  store_->scrubber_->Start();
  done_(Opened{.store = std::move(store_), .replicas = std::move(replicas_)});
}

}  // namespace millrace::storage

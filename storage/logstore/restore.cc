// Another log in place of a group's (design-log C2): it is built in a folder of its own beside the
// one that is here, and one record of the journal puts it there. A crash before that record is
// durable leaves the old log, after it the new one; the other folder is removed by the next start.
#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "raft/runtime/run_on.h"
#include "storage/logstore/log_store.h"
#include "storage/logstore/rewriter.h"

namespace millrace::storage {

namespace {

// Syncs of live records wait for one of all of it at the end, and less for one of each so much;
// least for what is written back without a sync.
constexpr uint64_t kWriteBackBytes = 2 << 20;

}  // namespace

using raft::core::Entry;

template <typename Outcome>
MoveFunction<void(Outcome)> JournalLogStore::WhenRestoring(
    const raft::ReplicaId& replica, MoveFunction<void(Group&, Outcome)> done) {
  // The segments keep this until they are done: it must not keep them.
  const std::weak_ptr<Restore> restore = FindReplica(replica)->restore;
  return RunOn(
      environment_.shard,
      lifetime_.Guard([this, replica, restore, done = std::move(done)](Outcome outcome) mutable {
        Group* group = FindReplica(replica);
        const std::shared_ptr<Restore> current = restore.lock();
        if (group == nullptr || current == nullptr || group->restore != current) return;
        done(*group, std::move(outcome));
      }));
}

// For repair.cc.
template MoveFunction<void(Result<raft::SealedSegment>)> JournalLogStore::WhenRestoring(
    const raft::ReplicaId& replica, MoveFunction<void(Group&, Result<raft::SealedSegment>)> done);

void JournalLogStore::BeginRestore(const raft::ReplicaId& replica, const LogPoint& begin,
                                   StatusDone done) {
  EndRestore(replica);
  Group* group = FindReplica(replica);
  CHECK(group != nullptr) << replica.group;
  if (group->may_have_leftovers) {
    return done(Unavailable("folders of earlier lives are being removed"));
  }
  group->restore = MakeBeside(replica.group, *group, begin);
  auto begun = WhenRestoring<Result<RecoveredSegments>>(
      replica,
      [done = std::move(done)](Group&, const Result<RecoveredSegments>& recovered) mutable {
        done(recovered.status());
      });
  BeginBeside(*group->restore, std::move(begun));
}

std::shared_ptr<JournalLogStore::Restore> JournalLogStore::MakeBeside(RaftGroupId id, Group& group,
                                                                      const LogPoint& begin) {
  group.newest_generation = std::max(group.newest_generation, group.log.generation) + 1;
  const SegmentFolder folder{
      .group = id, .number = group.number, .generation = group.newest_generation};
  auto beside = std::make_shared<Restore>();
  beside->segments = MakeSegments(folder);
  beside->generation = folder.generation;
  beside->begin = begin;
  beside->end = begin;
  return beside;
}

void JournalLogStore::BeginBeside(const Restore& beside,
                                  MoveFunction<void(Result<RecoveredSegments>)> begun) {
  journal::LogRecord log;
  log.begin = beside.begin;
  log.end = beside.begin;
  log.generation = beside.generation;
  OnSegments([segments = beside.segments, log, begun = std::move(begun)]() mutable {
    segments->Recover(log, LogAbove::kNothing, LastFile::kKept, std::move(begun));
  });
}

bool JournalLogStore::Count(const std::vector<Entry>& entries, Restore* beside) {
  for (const Entry& entry : entries) {
    auto& starts = beside->term_starts;
    if (starts.empty() || starts.back().term != entry.term) {
      starts.push_back({.term = entry.term, .first_index = entry.index});
    }
    beside->active_bytes += entry.size_bytes();
    beside->cached_bytes += entry.size_bytes();
  }
  beside->end = EndAfter(entries.back().frame.header());
  const bool wants_write_back = beside->cached_bytes >= kWriteBackBytes;
  if (wants_write_back) beside->cached_bytes = 0;
  return wants_write_back;
}

void JournalLogStore::AppendBeside(GroupSegments& segments, std::vector<Entry> entries,
                                   bool wants_write_back,
                                   MoveFunction<void(Result<SegmentsEnd>)> appended) {
  const LogIndex last = entries.back().index;
  // Each one's error is the next one's too.
  segments.Append(std::move(entries), [](const Status&) {});
  if (wants_write_back) segments.WriteBack([](const Status&) {});
  segments.Commit(last, std::move(appended));
}

void JournalLogStore::AppendRestored(const raft::ReplicaId& replica, std::vector<Entry> entries,
                                     StatusDone done) {
  Group* group = FindReplica(replica);
  CHECK(group != nullptr && group->restore != nullptr && !entries.empty()) << replica.group;
  Restore& restore = *group->restore;
  const bool is_full =
      !restore.is_repair && restore.active_bytes >= SegmentBytes(replica.group, *group);
  if (is_full) restore.active_bytes = 0;
  const bool wants_write_back = Count(entries, &restore);
  auto sealed = WhenRestoring<Result<SegmentsEnd>>(
      replica, [](Group& building, const Result<SegmentsEnd>& end) {
        if (end.ok()) building.restore->sealed.push_back(*end->sealed);
      });
  auto appended = WhenRestoring<Result<SegmentsEnd>>(
      replica, [done = std::move(done)](Group&, const Result<SegmentsEnd>& end) mutable {
        done(end.status());
      });
  OnSegments([segments = restore.segments, entries = std::move(entries), is_full, wants_write_back,
              sealed = std::move(sealed), appended = std::move(appended)]() mutable {
    if (is_full) segments->Seal(std::nullopt, std::move(sealed));
    AppendBeside(*segments, std::move(entries), wants_write_back, std::move(appended));
  });
}

void JournalLogStore::SealRestored(const raft::ReplicaId& replica, raft::RestoredState state,
                                   StatusDone done) {
  Group* group = FindReplica(replica);
  CHECK(group != nullptr && group->restore != nullptr) << replica.group;
  Restore& restore = *group->restore;
  CHECK_GT(restore.active_bytes, 0U) << replica.group;
  restore.state_bytes = state.state.size();
  restore.pass = state.compacted.pass;
  auto sealed = WhenRestoring<Result<SegmentsEnd>>(
      replica, [done = std::move(done)](Group& building, const Result<SegmentsEnd>& end) mutable {
        if (end.ok()) {
          building.restore->sealed.push_back(*end->sealed);
          building.restore->at_end = *end;
        }
        done(end.status());
      });
  OnSegments([segments = restore.segments, state = std::move(state),
              sealed = std::move(sealed)]() mutable {
    segments->SetSettledPass(state.compacted.settled);
    segments->TakeConfiguration(state.configuration_index, std::move(state.configuration));
    segments->Seal(std::move(state.state), std::move(sealed));
  });
}

void JournalLogStore::AdoptRestored(const raft::ReplicaId& replica,
                                    MoveFunction<void(raft::core::InitialState)> done) {
  Group* group = FindReplica(replica);
  CHECK(group != nullptr && group->restore != nullptr) << replica.group;
  CHECK(group->restore->at_end.has_value()) << replica.group;
  group->restore->adopted = std::move(done);
  TryAdopt(replica.group, *group);
}

// Once nothing is under way for the log that is here.
void JournalLogStore::TryAdopt(RaftGroupId id, Group& group) {
  if (group.restore == nullptr || !group.restore->adopted) return;
  if (!group.waiting.empty() || group.large != nullptr || group.journalling > 0) return;
  EndRewrite({id, group.number});
  const std::shared_ptr<Restore> restore = std::exchange(group.restore, nullptr);
  const SegmentsEnd& end = *restore->at_end;
  // What writes its files goes first.
  Segments former = rewriter_->Forget(id);
  if (former == nullptr) former = group.segments;

  Group built;
  built.number = group.number;
  built.limits = group.limits;
  built.newest_generation = group.newest_generation;
  built.epoch = built.expected_epoch = group.epoch + 1;
  built.log.begin = restore->begin;
  built.log.end = end.end;
  built.log.SetWritten(end.end.index);
  built.log.reset_epoch = built.epoch;
  built.log.generation = restore->generation;
  built.log.pass = restore->pass;
  built.repairs = group.repairs + 1;
  built.log.configuration_index = end.configuration_index;
  built.log.configuration = end.configuration;
  built.durable_begin = restore->begin;
  built.sealed = restore->sealed;
  NoteSettled(&built);
  built.segments = restore->segments;
  built.progress = LogProgress(end.end.index, end.end.index, end.end.index, {});
  built.state_bytes = restore->state_bytes;
  built.readable_end = end.end.index;
  group = std::move(built);
  Submit({{.replica = {id, group.number},
           .body = journal::LogMoved{.log = group.log, .is_reset = true}}},
         lifetime_.Guard([this, replica = raft::ReplicaId{id, group.number}, restore, former] {
           OnAdopted(replica, restore, former);
         }));
}

void JournalLogStore::OnAdopted(const raft::ReplicaId& replica,
                                const std::shared_ptr<Restore>& restore, const Segments& former) {
  OnSegments([former, id = replica.group] {
    former->Remove([id](const Status& status) {
      LOG_IF(WARNING, !status.ok()) << "cannot remove the log that another one took the place of, "
                                       "the next start does group="
                                    << id << " why=" << status;
    });
  });
  Group* group = FindReplica(replica);
  if (group == nullptr) return;
  MILLRACE_SOMETIMES("a restored log took the place of another");
  const LogPoint& end = group->log.end;
  raft::core::InitialState initial;
  initial.log =
      raft::core::Log(group->log.begin, {.index = end.index, .term = end.term, .chain = end.chain},
                      restore->term_starts, {});
  initial.epoch = group->epoch;
  initial.commit_index = end.index;
  initial.configuration = group->log.configuration;
  restore->adopted(std::move(initial));
}

void JournalLogStore::EndRestore(const raft::ReplicaId& replica) {
  Group* group = FindReplica(replica);
  if (group == nullptr || group->restore == nullptr) return;
  RemoveBeside(replica.group, *std::exchange(group->restore, nullptr));
}

void JournalLogStore::RemoveBeside(RaftGroupId id, const Restore& beside) {
  OnSegments([segments = beside.segments, id] {
    segments->Remove([id](const Status& status) {
      LOG_IF(WARNING, !status.ok())
          << "cannot remove what was built beside a log, the next start does group=" << id
          << " why=" << status;
    });
  });
}

}  // namespace millrace::storage

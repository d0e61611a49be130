// A sealed segment in which something goes (docs/adr/0016-compaction.md): it is made anew in a
// folder beside the group's, as a damaged one is, and renamed over the one that it is made of. What
// goes is for whoever asks; here a segment is entries that follow on one another.
#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "raft/runtime/run_on.h"
#include "storage/logstore/log_store.h"
#include "storage/logstore/rewriter.h"

namespace millrace::storage {

using raft::core::CompactionPoint;
using raft::core::Entry;

CompactionPoint JournalLogStore::compacted(RaftGroupId id) const {
  const auto found = groups_.find(id);
  if (found == groups_.end()) return {};
  return {.pass = found->second.log.pass, .settled = found->second.settled};
}

void JournalLogStore::NoteSettled(Group* group) {
  for (const raft::SealedSegment& segment : group->sealed) {
    group->settled = std::max(group->settled, segment.settled);
  }
}

// What lies behind the newest state a start applies, and must be able to.
LogIndex JournalLogStore::rewritable_end(RaftGroupId id) const {
  const auto found = groups_.find(id);
  if (found == groups_.end() || !MayRewrite(id, found->second)) return {};
  const auto& sealed = found->second.sealed;
  const auto with_state = std::find_if(sealed.rbegin(), sealed.rend(),
                                       [](const auto& segment) { return segment.has_state; });
  return with_state == sealed.rend() ? LogIndex() : with_state->end.index;
}

void JournalLogStore::WantSealed(RaftGroupId id, Offset offset) {
  if (Group* group = Find(id)) group->wanted_sealed = std::max(group->wanted_sealed, offset);
}

bool JournalLogStore::HoldsCompactionUp(const Group& group) {
  const Offset sealed =
      group.sealed.empty() ? group.log.begin.next_offset : group.sealed.back().end.next_offset;
  return sealed < group.wanted_sealed && HasEntries(group) && !group.is_encoding;
}

bool JournalLogStore::MayRewrite(RaftGroupId id, const Group& group) const {
  return !group.is_faulty && group.stall.ok() && group.damaged.empty() &&
         group.restore == nullptr && !group.may_have_leftovers && !rewriter_->IsTrying(id);
}

StatusDone JournalLogStore::WhenRewriting(const raft::ReplicaId& replica, StatusDone done) {
  // The segments keep this until they are done: it must not keep them.
  const std::weak_ptr<Restore> rewrite = FindReplica(replica)->rewrite;
  return RunOn(
      environment_.shard,
      lifetime_.Guard([this, replica, rewrite, done = std::move(done)](Status outcome) mutable {
        const Group* group = FindReplica(replica);
        const std::shared_ptr<Restore> current = rewrite.lock();
        const bool is_current = current != nullptr && group != nullptr && group->rewrite == current;
        if (!is_current) outcome = Aborted("the segment is not rewritten any more");
        done(std::move(outcome));
      }));
}

void JournalLogStore::BeginRewrite(const raft::ReplicaId& replica, LogIndex begin,
                                   StatusDone done) {
  EndRewrite(replica);
  Group* group = FindReplica(replica);
  CHECK(group != nullptr) << replica.group;
  if (!MayRewrite(replica.group, *group)) return done(Aborted("the log is being repaired"));
  LogPoint at = group->log.begin;
  for (const raft::SealedSegment& segment : group->sealed) {
    if (at.index == begin) break;
    at = segment.end;
  }
  if (at.index != begin) return done(Aborted("the segment was dropped"));
  group->rewrite = MakeBeside(replica.group, *group, at);
  auto begun = WhenRewriting(replica, std::move(done));
  BeginBeside(*group->rewrite,
              [begun = std::move(begun)](const Result<RecoveredSegments>& recovered) mutable {
                begun(recovered.status());
              });
}

void JournalLogStore::AppendRewritten(const raft::ReplicaId& replica, std::vector<Entry> entries,
                                      StatusDone done) {
  Group* group = FindReplica(replica);
  if (group == nullptr || group->rewrite == nullptr) {
    return done(Aborted("the segment is not rewritten any more"));
  }
  CHECK(!entries.empty()) << replica.group;
  const bool wants_write_back = Count(entries, group->rewrite.get());
  auto appended = WhenRewriting(replica, std::move(done));
  OnSegments([segments = group->rewrite->segments, entries = std::move(entries), wants_write_back,
              appended = std::move(appended)]() mutable {
    AppendBeside(*segments, std::move(entries), wants_write_back,
                 [appended = std::move(appended)](const Result<SegmentsEnd>& end) mutable {
                   appended(end.status());
                 });
  });
}

void JournalLogStore::FinishRewrite(const raft::ReplicaId& replica, uint32_t settled,
                                    StatusDone done) {
  Group* group = FindReplica(replica);
  if (group == nullptr || group->rewrite == nullptr || !MayRewrite(replica.group, *group)) {
    if (group != nullptr) EndRewrite(replica);
    return done(Aborted("the segment is not rewritten any more"));
  }
  const LogIndex first = group->rewrite->begin.index + 1;
  auto replaced =
      WhenRewriting(replica, [this, replica, done = std::move(done)](Status status) mutable {
        if (status.ok()) MILLRACE_SOMETIMES("a segment was compacted");
        EndRewrite(replica);
        const bool was_dropped = status.code() == Code::kOutOfRange;
        done(was_dropped ? Aborted(std::string(status.message())) : std::move(status));
      });
  auto take = RunOn(environment_.shard,
                    lifetime_.Guard([this, replica, segments = std::weak_ptr(group->segments)](
                                        const raft::SealedSegment& sealed) {
                      Group* rewritten = FindReplica(replica);
                      const bool is_same =
                          rewritten != nullptr && rewritten->segments == segments.lock();
                      if (is_same) TakeReplaced(sealed, rewritten);
                    }));
  OnSegments([segments = group->segments, rebuilt = group->rewrite->segments, first, settled,
              replaced = std::move(replaced), take = std::move(take)]() mutable {
    rebuilt->SetSettledPass(settled);
    segments->Replace(first, std::move(rebuilt), GroupSegments::Purpose::kRewrite,
                      [replaced = std::move(replaced),
                       take = std::move(take)](const Result<raft::SealedSegment>& sealed) mutable {
                        if (sealed.ok()) take(*sealed);
                        replaced(sealed.status());
                      });
  });
}

void JournalLogStore::EndRewrite(const raft::ReplicaId& replica) {
  Group* group = FindReplica(replica);
  if (group == nullptr || group->rewrite == nullptr) return;
  RemoveBeside(replica.group, *std::exchange(group->rewrite, nullptr));
}

uint64_t JournalLogStore::repairs_begun(RaftGroupId id) const {
  const auto found = groups_.find(id);
  return found == groups_.end() ? 0 : found->second.repairs;
}

void JournalLogStore::FinishPass(const raft::ReplicaId& replica, uint32_t pass, StatusDone done) {
  Group* group = FindReplica(replica);
  if (group == nullptr) return done(Aborted("the replica is gone"));
  CHECK_GE(pass, group->log.pass) << replica.group;
  group->log.pass = pass;
  Submit({{.replica = replica, .body = journal::LogMoved{.log = group->log}}},
         lifetime_.Guard([done = std::move(done)]() mutable { done(Status::Ok()); }));
}

}  // namespace millrace::storage

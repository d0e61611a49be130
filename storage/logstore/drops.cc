// What nobody asks for any more: whole segments of it go. The journal learns first, durably, where
// the log begins from now on; then files are removed, oldest first. A start removes what is left of
// that (design-log C1).
#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "raft/runtime/run_on.h"
#include "storage/logstore/log_store.h"
#include "storage/logstore/rewriter.h"

namespace millrace::storage {

void JournalLogStore::TakeSealed(std::vector<raft::SealedSegment> sealed, Group* group) {
  std::erase_if(sealed, [group](const raft::SealedSegment& segment) {
    return segment.end.index <= group->log.begin.index;
  });
  group->sealed.assign(sealed.begin(), sealed.end());
  NoteSettled(group);
}

const std::deque<raft::SealedSegment>& JournalLogStore::sealed_segments(RaftGroupId id) const {
  static const std::deque<raft::SealedSegment> kNone;
  const auto found = groups_.find(id);
  return found == groups_.end() ? kNone : found->second.sealed;
}

uint64_t JournalLogStore::active_segment_bytes(RaftGroupId id) const {
  const auto found = groups_.find(id);
  return found == groups_.end() ? 0 : found->second.active.bytes;
}

void JournalLogStore::SetLogStart(RaftGroupId id, Offset start) {
  Group* group = Find(id);
  CHECK(group != nullptr) << id;
  if (start <= group->log_start) return;
  group->log_start = start;
  DropSegments(id, *group);
}

bool JournalLogStore::IsWorthDropping(const Group& group, uint64_t bytes) const {
  return bytes >= std::max(options_.drop_bytes_min, kLogPerState * group.state_bytes);
}

bool JournalLogStore::IsLastSealedUnwanted(const Group& group) const {
  if (group.sealed.empty()) return false;
  const raft::SealedSegment& last = group.sealed.back();
  return last.has_records() && last.end.next_offset <= group.log_start &&
         IsWorthDropping(group, last.bytes);
}

// Nobody asks for its records any more, or for those of the one before it, which has the newest
// state.
bool JournalLogStore::HoldsDropUp(const Group& group) const {
  if (group.is_encoding || !HasEntries(group)) return false;
  const ActiveSegment& active = group.active;
  const bool is_unwanted = active.has_records() && active.next_offset <= group.log_start &&
                           IsWorthDropping(group, active.bytes);
  return is_unwanted || IsLastSealedUnwanted(group);
}

bool JournalLogStore::WantsEntry(RaftGroupId id) const {
  const auto found = groups_.find(id);
  if (found == groups_.end() || !found->second.stall.ok()) return false;
  const Group& group = found->second;
  return IsLastSealedUnwanted(group) && group.progress.last() == group.sealed.back().end.index;
}

bool JournalLogStore::MayDrop(const Group& group) {
  // What could not be read, or is of another build, stays as it is.
  const bool is_known = group.unopened == nullptr && group.stall.code() != Code::kUnimplemented;
  const bool is_dropping = group.log.begin != group.durable_begin;
  return is_known && !group.is_faulty && !is_dropping;
}

// Of a group that stalls, too: a full disk has no room for its segments before some of them go.
void JournalLogStore::DropSegments(RaftGroupId id, Group& group) {
  if (!MayDrop(group)) return;
  std::deque<raft::SealedSegment>& sealed = group.sealed;
  // The newest one with a state stays, and what follows it. One that the synced end lies in may
  // lose its state where it is made anew.
  const auto with_state =
      std::find_if(sealed.rbegin(), sealed.rend(), [&group](const auto& segment) {
        return segment.has_state && (group.stall.ok() || segment.end.index < group.log.end.index);
      });
  if (with_state == sealed.rend()) return;
  auto limit = std::prev(with_state.base());
  if (MILLRACE_MUTANT(kStateGoesWithItsLog)) limit = sealed.end();
  const auto kept = std::find_if(sealed.begin(), limit, [&group](const auto& segment) {
    return segment.end.next_offset > group.log_start;
  });
  if (kept == sealed.begin()) return;
  const LogPoint begin = std::prev(kept)->end;
  sealed.erase(sealed.begin(), kept);
  group.log.begin = begin;
  if (MILLRACE_MUTANT(kUnlinkBeforeBegin)) {
    auto then = RunOn(environment_.shard,
                      lifetime_.Guard([this, id, number = group.number, begin](const Status&) {
                        JournalBegin(id, number, begin);
                      }));
    return OnSegments([segments = group.segments, begin, then = std::move(then)]() mutable {
      segments->DropTo(begin.index, std::move(then));
    });
  }
  JournalBegin(id, group.number, begin);
}

void JournalLogStore::JournalBegin(RaftGroupId id, ReplicaNumber number, const LogPoint& begin) {
  Group* group = FindReplica({id, number});
  if (group == nullptr) return;
  Submit({{.replica = {id, number}, .body = journal::LogMoved{.log = group->log}}},
         lifetime_.Guard([this, id, number, generation = group->log.generation, begin] {
           Group* found = FindReplica({id, number});
           if (found != nullptr && found->log.generation == generation) {
             OnBeginDurable(id, *found, begin);
           }
         }));
}

void JournalLogStore::OnBeginDurable(RaftGroupId id, Group& group, const LogPoint& begin) {
  group.durable_begin = begin;
  if (begin_listener_) begin_listener_(id, begin);
  RemoveDropped(id);
  rewriter_->Hurry(id);
  DropSegments(id, group);
}

void JournalLogStore::RemoveDropped(RaftGroupId id) {
  removals_.push_back(id);
  if (removals_.size() == 1) RemoveNext();
}

void JournalLogStore::RemoveNext() {
  if (removals_.empty()) return;
  const RaftGroupId id = removals_.front();
  const Group* group = Find(id);
  // Of a group that stalls the next try to make its segments anew begins with it.
  if (group == nullptr || group->is_faulty || !group->stall.ok()) {
    removals_.pop_front();
    return RemoveNext();
  }
  auto removed = RunOn(environment_.shard, lifetime_.Guard([this, id](const Status& dropped) {
    LOG_IF(WARNING, !dropped.ok())
        << "cannot remove segments that are not needed any more, the next time or the "
           "next start does group="
        << id << " why=" << dropped;
    removals_.pop_front();
    RemoveNext();
  }));
  OnSegments(
      [segments = group->segments, begin = group->durable_begin.index,
       removed = std::move(removed)]() mutable { segments->DropTo(begin, std::move(removed)); });
}

}  // namespace millrace::storage

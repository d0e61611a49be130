// A segment that is not what was synced (design-log C3, M4): it is made anew in a folder beside the
// group's, from what is intact here and from other replicas, and renamed over the damaged one. The
// journal needs to know nothing of it: index, term and chain of what the log holds are as they
// were.
#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "raft/runtime/run_on.h"
#include "storage/logstore/log_store.h"

namespace millrace::storage {

JournalLogStore::Segments JournalLogStore::MakeSegments(const SegmentFolder& folder,
                                                        raft::core::Configuration configuration) {
  auto segments =
      std::make_shared<GroupSegments>(environment_.segment_files, folder, std::move(configuration));
  segments->SetDamageListener([this, folder, shard = &environment_.shard, life = lifetime_.watch()](
                                  LogIndex first, const Status& why) {
    shard->Post([this, folder, life, first, why] {
      if (life) OnDamage(folder, first, why);
    });
  });
  return segments;
}

void JournalLogStore::OnDamage(const SegmentFolder& folder, LogIndex first, const Status& why) {
  Group* group = Find(folder.group);
  if (group == nullptr || FolderOf(folder.group, *group) != folder) return;
  const bool is_known = !group->damaged.emplace(first, why).second;
  if (is_known || first <= group->log.begin.index) return;
  MILLRACE_SOMETIMES("a read met a damaged segment");
  LOG(ERROR) << "a segment is damaged group=" << folder.group << " why=" << why;
  TellDamage(folder.group, *group);
}

void JournalLogStore::TellDamage(RaftGroupId id, const Group& group) {
  if (damage_listener_ && !IsActiveDamaged(group)) damage_listener_(id);
}

bool JournalLogStore::IsActiveDamaged(const Group& group) {
  return !group.damaged.empty() && group.damaged.rbegin()->first > ActiveBegin(group);
}

bool JournalLogStore::LacksState(const Group& group) {
  const bool needs_one = group.log.begin.index > LogIndex() && !group.is_encoding;
  return needs_one && HasEntries(group) && !group.sealed.empty() &&
         std::ranges::none_of(group.sealed, &raft::SealedSegment::has_state);
}

std::optional<raft::DamagedRange> JournalLogStore::damaged_range(RaftGroupId id) const {
  const auto found = groups_.find(id);
  if (found == groups_.end()) return std::nullopt;
  const Group& group = found->second;
  LogPoint begin = group.log.begin;
  for (const raft::SealedSegment& segment : group.sealed) {
    const auto damaged = group.damaged.find(begin.index + 1);
    if (damaged != group.damaged.end()) {
      return raft::DamagedRange{.begin = begin, .end = segment.end, .why = damaged->second};
    }
    begin = segment.end;
  }
  return std::nullopt;
}

void JournalLogStore::BeginRepair(const raft::ReplicaId& replica, const raft::DamagedRange& range,
                                  StatusDone done) {
  BeginRestore(replica, range.begin, std::move(done));
  const Group* group = FindReplica(replica);
  if (group->restore != nullptr) group->restore->is_repair = true;
}

void JournalLogStore::FinishRepair(const raft::ReplicaId& replica, StatusDone done) {
  Group* group = FindReplica(replica);
  CHECK(group != nullptr && group->restore != nullptr && group->restore->is_repair)
      << replica.group;
  const LogIndex first = group->restore->begin.index + 1;
  auto replaced = WhenRestoring<Result<raft::SealedSegment>>(
      replica, [this, replica, first, done = std::move(done)](
                   Group& repaired, const Result<raft::SealedSegment>& sealed) mutable {
        const bool is_over = sealed.ok() || sealed.status().code() == Code::kOutOfRange;
        if (is_over) repaired.damaged.erase(first);
        if (sealed.ok()) {
          for (raft::SealedSegment& known : repaired.sealed) {
            if (known.end == sealed->end) known.has_state = sealed->has_state;
          }
        }
        EndRestore(replica);
        done(is_over ? Status::Ok() : sealed.status());
      });
  OnSegments([segments = group->segments, rebuilt = group->restore->segments, first,
              replaced = std::move(replaced)]() mutable {
    segments->Replace(first, std::move(rebuilt), std::move(replaced));
  });
}

}  // namespace millrace::storage

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
#include "storage/logstore/rereader.h"
#include "storage/logstore/rewriter.h"

namespace millrace::storage {
namespace {

// The other groups need the journal's room past this.
constexpr double kSilencedPressureMax = 0.5;

}  // namespace

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
  if (first <= group->log.begin.index) return;
  if (why.code() == Code::kUnavailable) return rereader_->Add(folder.group, first);
  const bool is_new = group->damaged.emplace(first, why).second;
  MILLRACE_SOMETIMES("a read met a damaged segment");
  LOG_IF(ERROR, is_new) << "a segment is damaged group=" << folder.group << " why=" << why;
  TellDamage(folder.group, *group);
}

void JournalLogStore::TellDamage(RaftGroupId id, const Group& group) {
  if (damage_listener_ && !IsActiveDamaged(group)) damage_listener_(id);
}

void JournalLogStore::TakeDamaged(RaftGroupId id, RecoveredSegments recovered, Group* group) {
  for (const DamagedSegment& damaged : recovered.damaged) {
    LOG(ERROR) << "a segment is damaged, and is to be repaired from another replica group=" << id
               << " first=" << damaged.first << " why=" << damaged.why;
    group->damaged.emplace(damaged.first, damaged.why);
  }
  group->stall = Unavailable("its log is damaged, and is repaired from another replica: " +
                                 std::string(recovered.damaged.front().why.message()),
                             Reason::kReplicaSilent);
  TakeSealed(std::move(recovered.sealed), group);
}

bool JournalLogStore::IsActiveDamaged(const Group& group) {
  return !group.damaged.empty() && group.damaged.rbegin()->first > ActiveBegin(group);
}

bool JournalLogStore::LacksState(const Group& group) {
  const bool is_whole = group.log.begin.index == LogIndex() &&
                        std::ranges::none_of(group.sealed, &raft::SealedSegment::is_rewritten);
  const bool needs_one = !is_whole && !group.is_encoding;
  return needs_one && HasEntries(group) && !group.sealed.empty() &&
         std::ranges::none_of(group.sealed, &raft::SealedSegment::has_state);
}

bool JournalLogStore::HasDamage(RaftGroupId id) const {
  const auto found = groups_.find(id);
  return found != groups_.end() && !found->second.damaged.empty() &&
         found->second.damaged.rbegin()->first > found->second.log.begin.index;
}

std::optional<raft::DamagedRange> JournalLogStore::damaged_range_from(RaftGroupId id,
                                                                      LogIndex from) const {
  const auto found = groups_.find(id);
  if (found == groups_.end()) return std::nullopt;
  const Group& group = found->second;
  LogPoint begin = group.log.begin;
  for (const raft::SealedSegment& segment : group.sealed) {
    const auto damaged = group.damaged.find(begin.index + 1);
    if (damaged != group.damaged.end() && begin.index >= from) {
      return raft::DamagedRange{.begin = begin,
                                .end = segment.end,
                                .configuration = group.log.configuration,
                                .why = damaged->second};
    }
    begin = segment.end;
  }
  return std::nullopt;
}

void JournalLogStore::BeginRepair(const raft::ReplicaId& replica, const raft::DamagedRange& range,
                                  StatusDone done) {
  if (rewriter_->IsTrying(replica.group)) {
    return done(Unavailable("its segments are being read or written again"));
  }
  BeginRestore(replica, range.begin, std::move(done));
  Group* group = FindReplica(replica);
  if (group->restore == nullptr) return;
  group->restore->is_repair = true;
  ++group->repairs;
}

void JournalLogStore::GiveUpRepair(const raft::ReplicaId& replica) {
  Group* group = FindReplica(replica);
  if (group == nullptr) return;
  EndRestore(replica);
  if (group->unopened == nullptr || group->damaged.empty()) return;
  const Status why = group->damaged.begin()->second;
  group->unopened.reset();
  group->damaged.clear();
  SegmentFault(replica.group, why);
}

void JournalLogStore::SilenceUntilStart(RaftGroupId id, const Status& why) {
  Group& group = groups_.at(id);
  CHECK(!std::exchange(group.is_faulty, true)) << id;
  group.stall = Status::Ok();
  ForgetWork(group);
  until_start_.emplace(id, why);
  const Status told =
      DataLoss(std::string(why.message()) + "; it is repaired once this broker starts again");
  MILLRACE_SOMETIMES("a replica was silent until its next start");
  LOG(ERROR) << "segments are damaged group=" << id << " why=" << told;
  if (segments_state_listener_) segments_state_listener_(id, told);
}

void JournalLogStore::GiveUpSilenced() {
  if (until_start_.empty() || journal_pressure() <= kSilencedPressureMax) return;
  for (const auto& [id, why] : std::exchange(until_start_, {})) {
    LOG(ERROR) << "what is damaged is given up, as the journal needs its room group=" << id
               << " why=" << why;
    MarkFaulty(id, why);
  }
}

// What was given may lack passes that the rest of the log has had. The journal knows first, or else
// a crash would leave a replica that counts as one that has done them, and others would let go of
// tombstones that values in here wait for.
void JournalLogStore::FinishRepair(const raft::ReplicaId& replica,
                                   const raft::core::CompactionPoint& given, StatusDone done) {
  Group* group = FindReplica(replica);
  CHECK(group != nullptr && group->restore != nullptr && group->restore->is_repair)
      << replica.group;
  if (given.pass >= group->log.pass) {
    return ReplaceDamaged(replica, given.settled, std::move(done));
  }
  MILLRACE_SOMETIMES("a repair took back a pass of compaction");
  group->log.pass = given.pass;
  Submit(
      {{.replica = replica, .body = journal::LogMoved{.log = group->log}}},
      lifetime_.Guard([this, replica, settled = given.settled,
                       restore = std::weak_ptr(group->restore), done = std::move(done)]() mutable {
        const Group* found = FindReplica(replica);
        const bool is_current =
            found != nullptr && found->restore != nullptr && found->restore == restore.lock();
        if (is_current) ReplaceDamaged(replica, settled, std::move(done));
      }));
}

void JournalLogStore::ReplaceDamaged(const raft::ReplicaId& replica, uint32_t settled,
                                     StatusDone done) {
  Group* group = FindReplica(replica);
  const LogIndex first = group->restore->begin.index + 1;
  auto replaced = WhenRestoring<Result<raft::SealedSegment>>(
      replica, [this, replica, first, done = std::move(done)](
                   Group& repaired, const Result<raft::SealedSegment>& sealed) mutable {
        const bool is_over = sealed.ok() || sealed.status().code() == Code::kOutOfRange;
        if (is_over) repaired.damaged.erase(first);
        if (sealed.ok()) {
          TakeReplaced(*sealed, &repaired);
        }
        EndRestore(replica);
        const bool is_whole = repaired.unopened != nullptr && !HasDamage(replica.group);
        if (is_whole) rewriter_->Add(replica.group);
        done(is_over ? Status::Ok() : sealed.status());
      });
  OnSegments([segments = group->segments, rebuilt = group->restore->segments, first, settled,
              replaced = std::move(replaced)]() mutable {
    rebuilt->SetSettledPass(settled);
    segments->Replace(first, std::move(rebuilt), GroupSegments::Purpose::kRepair,
                      std::move(replaced));
  });
}

void JournalLogStore::TakeReplaced(const raft::SealedSegment& sealed, Group* group) {
  for (raft::SealedSegment& known : group->sealed) {
    if (known.end == sealed.end) known = sealed;
  }
  group->settled = std::max(group->settled, sealed.settled);
}

}  // namespace millrace::storage

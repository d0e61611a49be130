#include "storage/logstore/log_store.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "raft/runtime/run_on.h"
#include "storage/logstore/opener.h"
#include "storage/logstore/rereader.h"
#include "storage/logstore/rewriter.h"
#include "storage/logstore/scrubber.h"

namespace millrace::storage {

namespace {

// After how long whoever reads may ask again for what cannot be read just now.
constexpr int64_t kRetryAfterMs = 500;
// So many looks in a row that do not tell how much room there is: the disk counts as full.
constexpr uint32_t kUnknownLooksMax = 10;

}  // namespace

JournalLogStore::JournalLogStore(const LogStoreOptions& options, const Environment& environment,
                                 journal::JournalClient client)
    : options_(options),
      environment_(environment),
      client_(std::move(client)),
      rewriter_(std::make_unique<Rewriter>(*this)),
      scrubber_(std::make_unique<Scrubber>(*this)),
      rereader_(std::make_unique<Rereader>(*this)) {}

JournalLogStore::~JournalLogStore() {
  lifetime_.End();
  environment_.shard.Cancel(write_timer_);
  environment_.shard.Cancel(idle_timer_);
  environment_.shard.Cancel(disk_timer_);
  environment_.journal_executor.Post([journal = std::move(journal_)] {});
}

void JournalLogStore::Stop(Task done) {
  for (auto& [id, group] : groups_) {
    if (group.progress.committed() > group.log.end.index) SyncGroup(id, group);
  }
  WaitForSegments([this, done = std::move(done)]() mutable { StopJournal(std::move(done)); });
}

// What they told of that is told then, too.
void JournalLogStore::WaitForSegments(Task done) {
  if (groups_.empty()) return done();
  struct Wait {
    size_t groups;
    Task done;
  };
  auto wait = std::make_shared<Wait>(Wait{.groups = groups_.size(), .done = std::move(done)});
  for (const auto& [id, group] : groups_) {
    auto passed = RunOn(environment_.shard, lifetime_.Guard([wait](const Result<SegmentsEnd>&) {
      if (--wait->groups == 0) std::exchange(wait->done, {})();
    }));
    OnSegments([segments = group.segments, passed = std::move(passed)]() mutable {
      // Of nothing: it comes behind all that was asked for.
      segments->Commit(LogIndex(), std::move(passed));
    });
  }
}

void JournalLogStore::StopJournal(Task done) {
  is_stopped_ = true;
  environment_.journal_executor.Post(
      [journal = journal_.get(), stopped = RunOn(environment_.shard, std::move(done))]() mutable {
        journal->Stop(std::move(stopped));
      });
}

// After Stop the journal takes nothing; a sync of segments that ends then is found again at the
// next start.
void JournalLogStore::Submit(std::vector<journal::GroupRecord> records, Task durable) {
  if (is_stopped_) return;
  client_.Submit(std::move(records), environment_.shard, std::move(durable));
}

JournalLogStore::Group* JournalLogStore::Find(RaftGroupId group) {
  auto found = groups_.find(group);
  return found == groups_.end() ? nullptr : &found->second;
}

bool JournalLogStore::MayCreate(const raft::ReplicaId& replica) const {
  if (may_lack_groups_ || nameless_.contains(replica.group)) return false;
  const auto removed = removed_.find(replica.group);
  return removed == removed_.end() || replica.number > removed->second;
}

void JournalLogStore::CreateReplica(const raft::ReplicaRecord& record, Task durable) {
  const raft::ReplicaId id{record.group, record.number};
  CHECK(!groups_.contains(id.group) && MayCreate(id)) << id.group << " number=" << id.number;
  Group& group = groups_[id.group];
  group.number = id.number;
  group.log.configuration = record.configuration;
  group.segments = MakeSegments(FolderOf(id.group, group), record.configuration);
  removed_.erase(id.group);
  controller_floor_ = std::max(controller_floor_, record.controller_index);
  Submit({{.replica = id, .body = journal::ReplicaCreated{record}}}, std::move(durable));
}

void JournalLogStore::RemoveReplica(RaftGroupId id, LogIndex controller_index, Task durable) {
  auto found = groups_.find(id);
  CHECK(found != groups_.end()) << id;
  const raft::ReplicaId replica{id, found->second.number};
  EndRestore(replica);
  // What writes its files goes first.
  std::shared_ptr<GroupSegments> segments = rewriter_->Forget(id);
  if (segments == nullptr) segments = std::move(found->second.segments);
  std::vector<raft::DurableWrite> dropped = DropWrites(found->second);
  groups_.erase(found);
  until_start_.erase(id);
  removed_[id] = replica.number;
  controller_floor_ = std::max(controller_floor_, controller_index);
  Submit({{.replica = replica, .body = journal::ReplicaRemoved{controller_index}}},
         [this, id, segments, dropped = std::move(dropped), durable = std::move(durable),
          life = lifetime_.watch()]() mutable {
           if (life) TellDurable(dropped);
           durable();
           if (!life) return;
           // Only now that the tombstone can't be forgotten.
           OnSegments([segments, id] {
             segments->Remove([id](Status status) {
               LOG_IF(WARNING, !status.ok()) << "cannot remove group=" << id << " why=" << status;
             });
           });
         });
}

void JournalLogStore::OnSegmentError(RaftGroupId id, const Status& status) {
  const bool is_damage = status.code() == Code::kDataLoss || MILLRACE_MUTANT(kPassingErrorIsDamage);
  if (is_damage) return SegmentFault(id, status);
  Stall(id, status);
}

// What was asked of its segments comes to nothing.
void JournalLogStore::ForgetWork(Group& group) {
  group.roll.reset();
  group.is_writing = false;
  group.is_syncing = false;
  group.is_encoding = false;
  group.is_rolling = false;
}

// Nothing is lost: the journal lets go of what a sync that succeeded covers, and of nothing else;
// and what it was never given is in the segments, synced.
void JournalLogStore::Stall(RaftGroupId id, const Status& status) {
  Group& group = groups_.at(id);
  CHECK(group.stall.ok() && !group.is_faulty) << id;
  group.stall = status;
  ForgetWork(group);
  group.progress.GiveCommitted();
  ++stalls_;
  if (status.reason() == Reason::kDiskFull) SetDiskFull(true, "a write found no room");
  MILLRACE_SOMETIMES("a group's segments stalled");
  LOG(ERROR) << "segments failed, to be written again group=" << id << " why=" << status;
  rewriter_->Add(id);
  if (segments_state_listener_) segments_state_listener_(id, status);
}

// `segments` hold, synced, all that is committed, and what large writes had put there.
void JournalLogStore::Resume(RaftGroupId id, Segments segments, const SegmentsEnd& synced,
                             RecoveredSegments recovered) {
  Group& group = groups_.at(id);
  const LogPoint& end = synced.end;
  CHECK(!group.stall.ok() && !group.is_faulty) << id;
  CHECK_EQ(end.index, group.progress.committed()) << id;
  CHECK_EQ(synced.written.index, group.progress.given()) << id;
  CHECK_GE(end.index, group.readable_end) << id;
  group.progress.OnSynced(synced.written.index);
  group.stall = Status::Ok();
  group.segments = std::move(segments);
  group.active = recovered.active;
  TakeSealed(std::move(recovered.sealed), &group);
  const bool has_grown = end.index > group.readable_end;
  group.readable_end = end.index;
  if (end.index > group.log.end.index) MoveLog(id, group, synced, [] {});
  MILLRACE_SOMETIMES("a group's segments were written again after an error");
  LOG(INFO) << "segments were written again group=" << id << " end=" << end.index;
  if (has_grown && segment_listener_) segment_listener_(id, end.index);
  if (segments_state_listener_) segments_state_listener_(id, Status::Ok());
  ScheduleWrites();
  if (group.cuts == 0) SyncCut(id, group);
  RemoveDropped(id);
  DropSegments(id, group);
}

void JournalLogStore::Adopt(RaftGroupId id, Segments segments, RecoveredSegments recovered) {
  Group& group = groups_.at(id);
  const std::unique_ptr<journal::GroupState> state = std::move(group.unopened);
  CHECK(state != nullptr) << id;
  group.stall = Status::Ok();
  group.segments = std::move(segments);
  Result<raft::RecoveredReplica> replica =
      Opener::Combine(std::move(*state), std::move(recovered), group);
  if (!replica.ok()) return SegmentFault(id, replica.status());
  ScheduleWrites();
  SyncCut(id, group);
  if (recovered_listener_) recovered_listener_(std::move(*replica));
}

// Once a group: the journal then keeps no file for it, and its replica is silent after a restart
// too.
void JournalLogStore::SegmentFault(RaftGroupId id, const Status& status) {
  Group& group = groups_.at(id);
  if (std::exchange(group.is_faulty, true)) return;
  group.stall = Status::Ok();
  ForgetWork(group);
  MILLRACE_SOMETIMES("a replica's segments failed");
  LOG(ERROR) << "segments are damaged group=" << id << " why=" << status;
  MarkFaulty(id, status);
  if (segments_state_listener_) segments_state_listener_(id, status);
}

void JournalLogStore::MarkFaulty(RaftGroupId id, const Status& why) {
  Submit({{.replica = {id, groups_.at(id).number},
           .body = journal::ReplicaFaulty{{.cause = journal::FaultCause::kRot,
                                           .why = std::string(why.message())}}}},
         [] {});
}

Status JournalLogStore::admission() const {
  if (is_disk_full_) return ResourceExhausted("the broker's disk is full", Reason::kDiskFull);
  if (journal_full_.ok()) return Status::Ok();
  const bool is_room = journal_full_.reason() == Reason::kDiskFull;
  return ResourceExhausted("the broker's journal is full and cannot be made longer: " +
                               std::string(journal_full_.message()),
                           is_room ? Reason::kDiskFull : Reason::kThrottled);
}

uint64_t JournalLogStore::stalled_groups() const { return rewriter_->group_count(); }

// While a group is stalled, or was when the read began, what is not found proves nothing; and an
// error of the environment is no answer to who asked, but a reason to ask again.
Status JournalLogStore::ReadError(RaftGroupId id, const Segments& segments, const Status& why) {
  const Group* group = Find(id);
  // What was found before a repair is what there is. And a repair goes on where there is damage; a
  // stalled group waits for it.
  const bool is_repaired =
      group != nullptr && group->restore != nullptr && group->restore->is_repair;
  const bool is_known =
      group != nullptr && (group->stall.ok() || (group->unopened && !group->damaged.empty()) ||
                           (is_repaired && why.code() == Code::kDataLoss));
  const bool is_in_doubt = group != nullptr && (!is_known || group->segments != segments);
  const bool is_answer = why.code() == Code::kOutOfRange || why.code() == Code::kDataLoss;
  if (is_answer && !is_in_doubt) return why;
  const Status& cause = group != nullptr && !group->stall.ok() ? group->stall : why;
  return Unavailable(
             "the partition's segments cannot be read just now: " + std::string(cause.message()),
             Reason::kReplicaSilent)
      .RetryAfterMs(kRetryAfterMs);
}

template <typename Outcome>
MoveFunction<void(Result<Outcome>)> JournalLogStore::WhenRead(
    RaftGroupId id, const Segments& segments, MoveFunction<void(Result<Outcome>)> done) {
  return RunOn(environment_.shard, [this, id, segments, life = lifetime_.watch(),
                                    done = std::move(done)](Result<Outcome> outcome) mutable {
    if (life && !outcome.ok()) outcome = ReadError(id, segments, outcome.status());
    done(std::move(outcome));
  });
}

void JournalLogStore::Read(RaftGroupId id, LogIndex first, uint64_t bytes_max,
                           raft::EntriesDone done) {
  Group* group = Find(id);
  CHECK(group != nullptr) << id;
  OnSegments([segments = group->segments, first, bytes_max,
              read = WhenRead(id, group->segments, std::move(done))]() mutable {
    segments->Read(first, bytes_max, std::move(read));
  });
}

void JournalLogStore::Salvage(RaftGroupId id, LogIndex first, uint64_t bytes_max,
                              raft::EntriesDone done) {
  Group* group = Find(id);
  CHECK(group != nullptr) << id;
  OnSegments([segments = group->segments, first, bytes_max,
              read = WhenRead(id, group->segments, std::move(done))]() mutable {
    segments->Salvage(first, bytes_max, std::move(read));
  });
}

void JournalLogStore::ReadFromOffset(RaftGroupId id, Offset offset, uint64_t bytes_max,
                                     raft::EntriesDone done) {
  Group* group = Find(id);
  CHECK(group != nullptr) << id;
  OnSegments([segments = group->segments, offset, bytes_max,
              read = WhenRead(id, group->segments, std::move(done))]() mutable {
    segments->ReadFromOffset(offset, bytes_max, std::move(read));
  });
}

void JournalLogStore::FindTimestamp(RaftGroupId id, int64_t timestamp_ms, Offset from,
                                    LogIndex before, raft::IndexDone done) {
  Group* group = Find(id);
  CHECK(group != nullptr) << id;
  OnSegments([segments = group->segments, timestamp_ms, from, before,
              read = WhenRead(id, group->segments, std::move(done))]() mutable {
    segments->FindTimestamp(timestamp_ms, from, before, std::move(read));
  });
}

void JournalLogStore::FindNewestTime(RaftGroupId id, Offset from, raft::TimeDone done) {
  Group* group = Find(id);
  CHECK(group != nullptr) << id;
  OnSegments([segments = group->segments, from,
              read = WhenRead(id, group->segments, std::move(done))]() mutable {
    segments->FindNewestTime(from, std::move(read));
  });
}

void JournalLogStore::FindAppendTime(RaftGroupId id, Offset offset, raft::AppendTimeDone done) {
  Group* group = Find(id);
  CHECK(group != nullptr) << id;
  OnSegments([segments = group->segments, offset,
              read = WhenRead(id, group->segments, std::move(done))]() mutable {
    read(segments->AppendTimeOf(offset));
  });
}

void JournalLogStore::FindVoidRanges(RaftGroupId id, Offset first, Offset end,
                                     raft::VoidRangesDone done) {
  Group* group = Find(id);
  CHECK(group != nullptr) << id;
  OnSegments([segments = group->segments, first, end,
              read = WhenRead(id, group->segments, std::move(done))]() mutable {
    read(segments->VoidRangesOf(first, end));
  });
}

LogIndex JournalLogStore::readable_end(RaftGroupId id) const {
  auto found = groups_.find(id);
  return found == groups_.end() ? LogIndex() : found->second.readable_end;
}

std::optional<LogPoint> JournalLogStore::readable_begin(RaftGroupId id) const {
  const auto found = groups_.find(id);
  if (found == groups_.end() || found->second.is_faulty) return std::nullopt;
  return found->second.log.begin;
}

// Asks now and then how much room the disk has; an idle look costs one system call.
void JournalLogStore::WatchDisk() {
  auto looked = RunOn(environment_.shard, lifetime_.Guard([this](const Result<uint64_t>& free) {
    OnFreeBytes(free);
    disk_timer_ = environment_.shard.RunAfter(options_.free_bytes_interval,
                                              lifetime_.Guard([this] { WatchDisk(); }));
  }));
  OnSegments([files = &environment_.segment_files, looked = std::move(looked)]() mutable {
    files->FreeBytes(std::move(looked));
  });
}

void JournalLogStore::OnFreeBytes(const Result<uint64_t>& free) {
  GiveUpSilenced();
  if (free.status().code() == Code::kFailedPrecondition) {
    return environment_.fail_stop(free.status());
  }
  if (!free.ok()) {
    MILLRACE_SOMETIMES_IF("nobody could tell how full a full disk is", is_disk_full_);
    LOG_IF(WARNING, unknown_looks_ == 0)
        << "cannot tell how much room the disk has: " << free.status();
    // It is as full as it was, until that is long ago.
    if (++unknown_looks_ == kUnknownLooksMax) SetDiskFull(true, free.status().ToString());
    return;
  }
  unknown_looks_ = 0;
  SetDiskFull(*free < options_.free_bytes_min, "free_bytes=" + std::to_string(*free));
}

void JournalLogStore::SetDiskFull(bool is_full, const std::string& fact) {
  LOG_IF(WARNING, is_full != is_disk_full_)
      << (is_full ? "the disk is nearly full, refusing to produce: " : "the disk has room again: ")
      << fact;
  MILLRACE_SOMETIMES_IF("a full disk had room again", is_disk_full_ && !is_full);
  const bool has_room_again = std::exchange(is_disk_full_, is_full) && !is_full;
  if (has_room_again) rewriter_->HurryAll();
}

void JournalLogStore::Open(const LogStoreOptions& options, const Environment& environment,
                           MoveFunction<void(Result<Opened>)> done) {
  std::make_shared<Opener>(options, environment, std::move(done))->Start();
}

}  // namespace millrace::storage

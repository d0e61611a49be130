#include "storage/logstore/log_store.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "storage/logstore/opener.h"

namespace millrace::storage {

using raft::core::Entry;

JournalLogStore::JournalLogStore(const LogStoreOptions& options, const Environment& environment,
                                 journal::JournalClient client)
    : options_(options), environment_(environment), client_(std::move(client)) {}

JournalLogStore::~JournalLogStore() {
  *is_alive_ = false;
  environment_.shard.Cancel(write_timer_);
  environment_.shard.Cancel(idle_timer_);
  environment_.shard.Cancel(disk_timer_);
  environment_.journal_executor.Post([journal = std::move(journal_)] {});
}

void JournalLogStore::Stop(Task done) {
  is_stopped_ = true;
  environment_.journal_executor.Post(
      [journal = journal_.get(), shard = &environment_.shard, done = std::move(done)]() mutable {
        journal->Stop([shard, done = std::move(done)]() mutable { shard->Post(std::move(done)); });
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

void JournalLogStore::Write(std::vector<raft::GroupWrite> writes, Task durable) {
  std::vector<journal::GroupRecord> records;
  records.reserve(writes.size());
  for (raft::GroupWrite& write : writes) {
    records.push_back({.group = write.group,
                       .body = journal::LogWrite{.hard_state = write.write.hard_state,
                                                 .truncate_from = write.write.truncate_from,
                                                 .epoch = write.write.epoch,
                                                 .entries = std::move(write.write.entries)}});
  }
  Submit(std::move(records), std::move(durable));
}

void JournalLogStore::CreateReplica(const raft::ReplicaRecord& record, Task durable) {
  CHECK(!groups_.contains(record.group) && MayCreate(record.group)) << record.group;
  groups_[record.group].segments =
      std::make_shared<GroupSegments>(environment_.segment_files, record.group);
  Submit({{.group = record.group, .body = journal::ReplicaCreated{record}}}, std::move(durable));
}

void JournalLogStore::RemoveReplica(RaftGroupId id, Task durable) {
  auto found = groups_.find(id);
  CHECK(found != groups_.end()) << id;
  std::shared_ptr<GroupSegments> segments = std::move(found->second.segments);
  handed_bytes_ -= found->second.handed_bytes;
  groups_.erase(found);
  removed_.insert(id);
  Submit({{.group = id, .body = journal::ReplicaRemoved{}}},
         [this, id, segments, durable = std::move(durable), alive = is_alive_]() mutable {
           durable();
           if (!*alive) return;
           // Only now that the tombstone can't be forgotten.
           OnSegments([segments, id] {
             segments->Remove([id](Status status) {
               LOG_IF(WARNING, !status.ok()) << "cannot remove group=" << id << " why=" << status;
             });
           });
         });
}

void JournalLogStore::HandOver(RaftGroupId id, std::vector<Entry> entries) {
  Group* group = Find(id);
  CHECK(group != nullptr) << id;
  if (group->is_faulty) return;
  CHECK_EQ(entries.front().index, group->handed_end + 1) << id;
  for (Entry& entry : entries) {
    group->handed_bytes += entry.size_bytes();
    group->active_bytes += entry.size_bytes();
    handed_bytes_ += entry.size_bytes();
    group->handed.push_back(std::move(entry));
  }
  group->handed_end = group->handed.back().index;
  group->is_recent = true;
  if (group->handed_bytes >= options_.write_bytes && !group->is_writing) WriteHanded(id, *group);
  ScheduleWrites();
  ScheduleIdleSync();
}

void JournalLogStore::ScheduleWrites() {
  if (write_timer_ != TimerId() || handed_bytes_ == 0) return;
  write_timer_ = environment_.shard.RunAfter(options_.write_delay, [this, alive = is_alive_] {
    if (!*alive) return;
    write_timer_ = TimerId();
    for (auto& [id, group] : groups_) {
      if (!group.is_writing && !group.handed.empty()) WriteHanded(id, group);
    }
  });
}

void JournalLogStore::WriteHanded(RaftGroupId id, Group& group) {
  std::vector<Entry> entries = std::exchange(group.handed, {});
  handed_bytes_ -= std::exchange(group.handed_bytes, 0);
  const LogIndex end = entries.back().index;
  group.is_writing = true;
  OnSegments([this, id, end, segments = group.segments, entries = std::move(entries),
              shard = &environment_.shard, alive = is_alive_]() mutable {
    segments->Append(std::move(entries), [this, id, end, shard, alive](Status status) {
      shard->Post([this, id, end, alive, status = std::move(status)] {
        if (*alive) OnWritten(id, end, status);
      });
    });
  });
}

void JournalLogStore::OnWritten(RaftGroupId id, LogIndex end, const Status& status) {
  Group* group = Find(id);
  if (group == nullptr) return;
  if (!status.ok()) return SegmentFault(id, status);
  group->is_writing = false;
  group->readable_end = end;
  if (segment_listener_) segment_listener_(id, end);
  if (group->handed_bytes >= options_.write_bytes) {
    WriteHanded(id, *group);
  } else {
    ScheduleWrites();
  }
}

bool JournalLogStore::WantsRoll(RaftGroupId id) const {
  auto found = groups_.find(id);
  if (found == groups_.end()) return false;
  const uint64_t size =
      id == kControllerGroup ? options_.controller_segment_size_bytes : options_.segment_size_bytes;
  // A state may be larger than a segment. All states together are no more than the log, then.
  return found->second.active_bytes >= std::max(size, found->second.state_bytes);
}

void JournalLogStore::Roll(RaftGroupId id, LogIndex index, Bytes state) {
  Group* group = Find(id);
  CHECK(group != nullptr) << id;
  if (group->is_faulty) return;
  CHECK_EQ(index, group->handed_end) << id;
  group->active_bytes = 0;
  group->state_bytes = state.size();
  if (!group->handed.empty()) WriteHanded(id, *group);
  OnSegments([this, id, segments = group->segments, state = std::move(state),
              shard = &environment_.shard, alive = is_alive_]() mutable {
    segments->Seal(std::move(state), [this, id, shard, alive](Result<SegmentEnd> end) {
      shard->Post([this, id, alive, end = std::move(end)]() mutable {
        if (*alive) OnSynced(id, std::move(end));
      });
    });
  });
}

void JournalLogStore::SyncGroup(RaftGroupId id, Group& group) {
  if (group.is_syncing || group.is_faulty) return;
  group.is_syncing = true;
  if (!group.handed.empty()) WriteHanded(id, group);
  OnSegments([this, id, segments = group.segments, shard = &environment_.shard, alive = is_alive_] {
    segments->Sync([this, id, shard, alive](Result<SegmentEnd> end) {
      shard->Post([this, id, alive, end = std::move(end)]() mutable {
        if (*alive) OnSynced(id, std::move(end));
      });
    });
  });
}

void JournalLogStore::OnSynced(RaftGroupId id, Result<SegmentEnd> end) {
  Group* group = Find(id);
  if (group == nullptr) return;
  group->is_syncing = false;
  if (!end.ok()) return SegmentFault(id, end.status());
  if (end->index <= group->synced_end) return;
  group->synced_end = end->index;
  Submit({{.group = id, .body = journal::SegmentSynced{*end}}}, [] {});
}

void JournalLogStore::ScheduleIdleSync() {
  if (idle_timer_ != TimerId()) return;
  idle_timer_ = environment_.shard.RunAfter(options_.idle_sync_delay, [this, alive = is_alive_] {
    if (!*alive) return;
    idle_timer_ = TimerId();
    SyncIdleGroups();
  });
}

// Syncs the groups that nothing was handed to since the last round; the others wait for the next.
void JournalLogStore::SyncIdleGroups() {
  bool is_any_left = false;
  for (auto& [id, group] : groups_) {
    if (group.handed_end <= group.synced_end || group.is_faulty) continue;
    is_any_left = true;
    if (!std::exchange(group.is_recent, false)) SyncGroup(id, group);
  }
  if (is_any_left) ScheduleIdleSync();
}

void JournalLogStore::OnPinned(const std::vector<RaftGroupId>& groups) {
  MILLRACE_SOMETIMES("the journal waited for segments");
  for (const RaftGroupId id : groups) {
    Group* group = Find(id);
    if (group != nullptr && group->handed_end > group->synced_end) SyncGroup(id, *group);
  }
}

// Once a group: the journal then keeps no file for it, and its replica is silent after a restart
// too.
void JournalLogStore::SegmentFault(RaftGroupId id, const Status& status) {
  Group& group = groups_.at(id);
  if (std::exchange(group.is_faulty, true)) return;
  handed_bytes_ -= std::exchange(group.handed_bytes, 0);
  group.handed.clear();
  MILLRACE_SOMETIMES("a replica's segments failed");
  LOG(ERROR) << "segments failed group=" << id << " why=" << status;
  Submit({{.group = id, .body = journal::ReplicaFaulty{std::string(status.message())}}}, [] {});
  if (fault_listener_) fault_listener_(id, status);
}

void JournalLogStore::Read(RaftGroupId id, LogIndex first, uint64_t bytes_max,
                           raft::EntriesDone done) {
  Group* group = Find(id);
  CHECK(group != nullptr) << id;
  OnSegments([segments = group->segments, first, bytes_max, shard = &environment_.shard,
              done = std::move(done)]() mutable {
    segments->Read(first, bytes_max,
                   [shard, done = std::move(done)](Result<std::vector<Entry>> entries) mutable {
                     shard->Post([done = std::move(done), entries = std::move(entries)]() mutable {
                       done(std::move(entries));
                     });
                   });
  });
}

void JournalLogStore::ReadFromOffset(RaftGroupId id, Offset offset, uint64_t bytes_max,
                                     raft::EntriesDone done) {
  Group* group = Find(id);
  CHECK(group != nullptr) << id;
  OnSegments([segments = group->segments, offset, bytes_max, shard = &environment_.shard,
              done = std::move(done)]() mutable {
    segments->ReadFromOffset(
        offset, bytes_max,
        [shard, done = std::move(done)](Result<std::vector<Entry>> entries) mutable {
          shard->Post([done = std::move(done), entries = std::move(entries)]() mutable {
            done(std::move(entries));
          });
        });
  });
}

void JournalLogStore::FindTimestamp(RaftGroupId id, int64_t timestamp_ms, LogIndex before,
                                    raft::IndexDone done) {
  Group* group = Find(id);
  CHECK(group != nullptr) << id;
  OnSegments([segments = group->segments, timestamp_ms, before, shard = &environment_.shard,
              done = std::move(done)]() mutable {
    segments->FindTimestamp(
        timestamp_ms, before, [shard, done = std::move(done)](Result<LogIndex> found) mutable {
          shard->Post([done = std::move(done), found = std::move(found)]() mutable {
            done(std::move(found));
          });
        });
  });
}

LogIndex JournalLogStore::readable_end(RaftGroupId id) const {
  auto found = groups_.find(id);
  return found == groups_.end() ? LogIndex() : found->second.readable_end;
}

// Asks now and then how much room the disk has; an idle look costs one system call.
void JournalLogStore::WatchDisk() {
  OnSegments(
      [this, shard = &environment_.shard, files = &environment_.segment_files, alive = is_alive_] {
        files->FreeBytes([this, shard, alive](Result<uint64_t> free) {
          shard->Post([this, alive, free = std::move(free)] {
            if (!*alive) return;
            OnFreeBytes(free);
            disk_timer_ = environment_.shard.RunAfter(options_.free_bytes_interval, [this, alive] {
              if (*alive) WatchDisk();
            });
          });
        });
      });
}

void JournalLogStore::OnFreeBytes(const Result<uint64_t>& free) {
  if (!free.ok()) {
    MILLRACE_SOMETIMES_IF("nobody could tell how full a full disk is", is_disk_full_);
    LOG(WARNING) << "cannot tell how much room the disk has: " << free.status();
    return;  // it is as full as it was
  }
  const bool is_full = *free < options_.free_bytes_min;
  LOG_IF(WARNING, is_full != is_disk_full_)
      << (is_full ? "the disk is nearly full, refusing to produce" : "the disk has room again")
      << " free_bytes=" << *free;
  MILLRACE_SOMETIMES_IF("a full disk had room again", is_disk_full_ && !is_full);
  is_disk_full_ = is_full;
}

void JournalLogStore::Open(const LogStoreOptions& options, const Environment& environment,
                           MoveFunction<void(Result<Opened>)> done) {
  std::make_shared<Opener>(options, environment, std::move(done))->Start();
}

}  // namespace millrace::storage

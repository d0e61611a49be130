// Raft's LogStore from the shared journal and the groups' segments: writes go to the journal,
// committed entries from there into segments, reads come from segments.
//
// An error of a group's segments that is not proven damage stalls the group: what was not synced of
// it is still in the journal, and is written again when that can be (Rewriter).
//
// On the shard's thread. The journal and the segments live on executors of their own; everything
// between is posted, work for segments a batch at a time.
//
//   JournalLogStore::Open(options, environment,
//                         [](Result<JournalLogStore::Opened> opened) { ... });
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "raft/ports/log_store.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "storage/file/file_system.h"
#include "storage/journal/journal.h"
#include "storage/segment/group_segments.h"

namespace millrace::storage {

struct LogStoreOptions {
  journal::Options journal;
  uint64_t segment_size_bytes = 64 << 20;
  uint64_t controller_segment_size_bytes = 64 << 20;
  // Handed-over entries wait at most this long for others before they are written.
  Duration write_delay = std::chrono::milliseconds(10);
  uint64_t write_bytes = 1 << 20;  // ... or until so much waits
  // A group that was written to and then fell silent is synced after this long, so that its entries
  // need no memory and no journal.
  Duration idle_sync_delay = std::chrono::seconds(1);
  // Below so many free bytes produce is refused.
  uint64_t free_bytes_min = 64 << 20;
  Duration free_bytes_interval = std::chrono::milliseconds(500);
};

class JournalLogStore final : public raft::LogStore {
 public:
  struct Environment {
    Executor& shard;
    Executor& journal_executor;
    FileSystem& journal_files;  // bound to journal_executor
    Executor& segment_executor;
    FileSystem& segment_files;  // bound to segment_executor
    // Ends the process; any of the three threads.
    std::function<void(const Status&)> fail_stop;
  };
  struct Opened {
    std::unique_ptr<JournalLogStore> store;
    std::vector<raft::RecoveredReplica> replicas;
  };

  // Recovers everything; `done` on the shard. What was accepted is durable again by then.
  static void Open(const LogStoreOptions& options, const Environment& environment,
                   MoveFunction<void(Result<Opened>)> done);
  ~JournalLogStore() override;

  // Writes what was submitted and a marker, then calls `done` on the shard. Nothing may follow.
  void Stop(Task done);

  void Write(std::vector<raft::ReplicaWrite> writes, Task durable) override;
  void CreateReplica(const raft::ReplicaRecord& record, Task durable) override;
  void RemoveReplica(RaftGroupId group, LogIndex controller_index, Task durable) override;
  bool MayCreate(const raft::ReplicaId& replica) const override;
  LogIndex controller_floor() const override { return controller_floor_; }
  void HandOver(RaftGroupId group, std::vector<raft::core::Entry> entries) override;
  bool WantsRoll(RaftGroupId group) const override;
  void Roll(RaftGroupId group, LogIndex index, std::optional<raft::StateEncoder> state) override;
  void Read(RaftGroupId group, LogIndex first, uint64_t bytes_max, raft::EntriesDone done) override;
  void ReadFromOffset(RaftGroupId group, Offset offset, uint64_t bytes_max,
                      raft::EntriesDone done) override;
  void FindTimestamp(RaftGroupId group, int64_t timestamp_ms, LogIndex before,
                     raft::IndexDone done) override;
  LogIndex readable_end(RaftGroupId group) const override;
  void SetSegmentListener(MoveFunction<void(RaftGroupId, LogIndex)> listener) override {
    segment_listener_ = std::move(listener);
  }
  void SetSegmentsStateListener(MoveFunction<void(RaftGroupId, Status)> listener) override {
    segments_state_listener_ = std::move(listener);
  }
  void SetRecoveredListener(MoveFunction<void(raft::RecoveredReplica)> listener) override {
    recovered_listener_ = std::move(listener);
  }
  double journal_pressure() const override { return client_.pressure(); }
  Status admission() const override;

  // Groups whose segments wait to be written again; and how often one began to, since the start.
  uint64_t stalled_groups() const;
  uint64_t stalls() const { return stalls_; }

 private:
  class Opener;
  class Rewriter;
  // What the shard knows of one group's segments.
  struct Group {
    ReplicaNumber number;
    // As it was journalled last.
    journal::LogRecord log;
    // Used on the segment executor alone. While stalled, those that failed: reads try them.
    std::shared_ptr<GroupSegments> segments;
    std::vector<raft::core::Entry> handed;  // not yet given to the segment writer
    uint64_t handed_bytes = 0;
    uint64_t active_bytes = 0;  // handed over since the last roll
    uint64_t state_bytes = 0;   // of the state that was encoded last
    bool is_encoding = false;   // a state on the segments' thread, whose size is not known yet
    LogIndex handed_end;
    LogIndex readable_end;
    // Its segments could not be read when the store was opened: what the journal has of it.
    std::unique_ptr<journal::GroupState> unopened;
    Status stall;            // not ok: its segments failed, and are to be written again
    bool is_recent = false;  // handed to since the last round of idle syncs
    bool is_writing = false;
    bool is_syncing = false;
    bool is_faulty = false;  // its segments are damaged: nothing more is written
  };

  JournalLogStore(const LogStoreOptions& options, const Environment& environment,
                  journal::JournalClient client);

  void Submit(std::vector<journal::GroupRecord> records, Task durable);
  Group* Find(RaftGroupId group);
  void ScheduleWrites();
  void WriteHanded(RaftGroupId id, Group& group);
  // Outcomes of `segments`, which may have been replaced meanwhile.
  using Segments = std::shared_ptr<GroupSegments>;
  Group* FindWriting(RaftGroupId id, const Segments& segments);
  void OnWritten(RaftGroupId id, const Segments& segments, LogIndex end, const Status& status);
  void SyncGroup(RaftGroupId id, Group& group);
  MoveFunction<void(Result<SyncedEnd>)> WhenSynced(RaftGroupId id, const Segments& segments);
  void OnSynced(RaftGroupId id, const Segments& segments, Result<SyncedEnd> end);
  void ScheduleIdleSync();
  void SyncIdleGroups();
  void OnPinned(const std::vector<RaftGroupId>& groups);
  void WatchDisk();
  void OnFreeBytes(const Result<uint64_t>& free);
  void SetDiskFull(bool is_full, const std::string& fact);
  void OnSegmentError(RaftGroupId id, const Status& status);
  void DropHanded(Group& group);
  void Stall(RaftGroupId id, const Status& status);
  void Resume(RaftGroupId id, Segments segments, const SyncedEnd& synced, uint64_t active_bytes);
  // The segments of a group that could not be read before.
  void Adopt(RaftGroupId id, Segments segments, RecoveredSegments recovered);
  void SegmentFault(RaftGroupId id, const Status& status);
  // Journals that the segments are synced up to `end`.
  void MoveLog(RaftGroupId id, Group& group, const SyncedEnd& end);
  static SegmentFolder FolderOf(RaftGroupId id, const Group& group) {
    return {.group = id, .number = group.number, .generation = group.log.generation};
  }
  // Gives `done` the outcome of a read of `segments` on the shard.
  template <typename Outcome>
  MoveFunction<void(Result<Outcome>)> WhenRead(RaftGroupId id, const Segments& segments,
                                               MoveFunction<void(Result<Outcome>)> done);
  Status ReadError(RaftGroupId id, const Segments& segments, const Status& why);
  // Runs `work` on the segment executor.
  template <typename Work>
  void OnSegments(Work work) {
    environment_.segment_executor.Post(std::move(work));
  }

  const LogStoreOptions options_;
  Environment environment_;
  std::unique_ptr<journal::Journal> journal_;  // destroyed on the journal's executor
  journal::JournalClient client_;
  std::map<RaftGroupId, Group> groups_;
  std::map<RaftGroupId, ReplicaNumber> removed_;
  LogIndex controller_floor_;
  std::set<RaftGroupId> nameless_;  // known to have existed, their records lost to damage
  bool may_lack_groups_ = false;    // damage may have taken groups without a trace
  MoveFunction<void(RaftGroupId, LogIndex)> segment_listener_;
  MoveFunction<void(RaftGroupId, Status)> segments_state_listener_;
  MoveFunction<void(raft::RecoveredReplica)> recovered_listener_;
  std::unique_ptr<Rewriter> rewriter_;
  uint64_t stalls_ = 0;
  TimerId write_timer_;
  TimerId idle_timer_;
  TimerId disk_timer_;
  uint64_t handed_bytes_ = 0;
  bool is_disk_full_ = false;
  uint32_t unknown_looks_ = 0;  // in a row, that did not tell how much room there is
  Status journal_full_;         // why the journal has no next file
  bool is_stopped_ = false;
  Lifetime lifetime_;  // on the shard
};

}  // namespace millrace::storage

// The broker's shared write-ahead journal: every group's entries, hard states, truncations and
// replica records become durable here, all groups with one fdatasync (design D4, "Journal").
// Segments are written later, from committed entries, so that the journal needs an entry only until
// its segment is synced. docs/formats.md, "Journal", has the bytes and what replay makes of them.
//
// One per broker, living on an Executor of its own (a thread in production) together with the
// FileSystem bound to it. Other threads talk to it through JournalClient. Never retries a sync: an
// I/O error of a file in use calls `fail_stop`, after which nothing is written and nothing is
// reported durable. A next file that cannot be made is no such error: one spare is always made
// ahead, and without one the journal is full, until one can be made.
//
//   Journal::Open(options, {executor, files, fail_stop}, [&](Result<OpenedJournal> opened) {
//     journal = std::move(opened->journal);                 // on the journal's executor
//     Start(journal->client(), std::move(opened->state));   // recovered groups
//   });
//   // on a shard:
//   client.Submit({{.replica = id, .body = LogWrite{.hard_state = hs, .entries = entries}}},
//                 shard_executor, durable);
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/status.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"
#include "raft/runtime/thread_owner.h"
#include "storage/file/file_system.h"
#include "storage/journal/block_writer.h"
#include "storage/journal/file_pool.h"
#include "storage/journal/ledger.h"
#include "storage/journal/records.h"

namespace millrace::storage::journal {

class Journal;

struct Options {
  // Random, of this data directory alone, and known to nobody else; blocks without it are not ours.
  uint64_t key = 0;
  // The journal was opened before, says the superblock: finding none is DATA_LOSS, not a fresh
  // start.
  bool must_exist = false;
  std::string directory = "journal";
  // The size of each file, a multiple of 4096; a file is larger if one commit needs it.
  uint64_t file_bytes = 32 << 20;
  // Live files that are full at pressure 1. Past half of them, groups are asked to sync their
  // segments; past three quarters, files that hold little are written together.
  uint32_t live_files_max = 8;
  // Bytes of one commit, after which the rest waits for the next; the first record always passes.
  uint64_t commit_bytes_max = 8 << 20;
  // A block ends after so many bytes.
  uint64_t block_bytes = 256 << 10;
  // Idle for so long: a marker block makes the last commit's durability provable.
  Duration marker_delay = std::chrono::milliseconds(20);
};

struct Environment {
  Executor& executor;
  FileSystem& files;
  // Ends the process; called once, on the journal's executor. Must not destroy the journal.
  MoveFunction<void(const Status&)> fail_stop;
};

struct OpenedJournal {
  std::unique_ptr<Journal> journal;
  JournalState state;
};

// Asks for one replica's entries from `first` on, as many as `bytes_max` lets pass; the first
// always does.
struct ReadBackRequest {
  raft::ReplicaId replica;
  LogIndex first;
  uint64_t bytes_max = 0;
};

// What other threads hold of a journal. Copy freely. Any thread.
class JournalClient {
 public:
  // Makes the records durable together with everything that waits, then posts `done` to `done_on`.
  // Records of one group become durable, and their dones are posted, in the order of Submit. A
  // batch of nothing but hard states, no-ops and replica records may overtake batches of other
  // groups. Records about a replica that was removed, followed by another or marked faulty before
  // are ignored. Nothing is posted after a failure or after the journal is gone.
  void Submit(std::vector<GroupRecord> records, Executor& done_on, Task done) const;
  // Reads entries back, once the first of them is durable here, and posts `done` to `done_on`. Pre:
  // it was or will be submitted, and no synced segment has it. DATA_LOSS where what was written is
  // not what is read; another error may pass. NOT_FOUND if the group was removed or marked faulty.
  void ReadBack(const ReadBackRequest& request, Executor& done_on, raft::EntriesDone done) const;
  // What is written in files that are needed, as a share of live_files_max whole ones; well above 1
  // while there is no next file. May pass 1, since the journal itself never refuses.
  double pressure() const;

 private:
  friend class Journal;
  struct Shared {
    std::atomic<double> pressure{0};
    Journal* journal = nullptr;  // null once it is gone; journal's executor only
  };
  JournalClient(Executor& executor, std::shared_ptr<Shared> shared)
      : executor_(&executor), shared_(std::move(shared)) {}

  Executor* executor_;
  std::shared_ptr<Shared> shared_;  // by the journal and its clients, which may outlive it
};

// On its executor only.
class Journal {
 public:
  // Reads what is there, makes the accepted tail durable again, starts a new file, and only then
  // calls `done` with the recovered state. Damaged blocks do not fail it: they are in state.damage
  // and in the groups' health. DATA_LOSS if a journal must exist and none is found. I/O errors fail
  // it.
  static void Open(const Options& options, Environment environment,
                   MoveFunction<void(Result<OpenedJournal>)> done);
  // What waits or is being written is neither reported nor certain.
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  JournalClient client() const { return JournalClient(environment_.executor, shared_); }
  // JournalClient::Submit, from the journal's own executor.
  void Submit(std::vector<GroupRecord> records, Executor& done_on, Task done);

  // JournalClient::ReadBack, from the journal's own executor.
  void ReadBack(const ReadBackRequest& request, Executor& done_on, raft::EntriesDone done);

  // Called on the journal's executor with the groups whose entries keep the oldest file alive, when
  // files are wanted back: their segments should be synced and LogMoved submitted. Asked again
  // while it matters. Entries that stay (uncommitted ones) are copied forward.
  using PinListener = MoveFunction<void(const std::vector<RaftGroupId>&)>;
  void SetPinListener(PinListener listener) { pin_listener_ = std::move(listener); }

  // Called on the journal's executor with the error for which there is no next file, and with ok
  // when there is one again. Then or now, if there is none now.
  using FullListener = MoveFunction<void(const Status&)>;
  void SetFullListener(FullListener listener);

  // Writes what was submitted and a marker block, then calls `done`; nothing may be submitted
  // after. Where it takes a file that cannot be made, it is not waited for.
  void Stop(Task done);

  uint64_t live_bytes() const;
  uint64_t live_files() const;
  // Number of the last durable block.
  uint64_t durable_lsn() const { return durable_lsn_; }
  void CheckInvariants() const;

 private:
  friend class JournalClient;
  friend class Recovery;

  // A Submit that waits, or is being written.
  struct Batch {
    std::vector<GroupRecord> records;
    uint64_t bytes = 0;
    bool is_control = false;  // nothing but small records that others wait for
    Executor* done_on = nullptr;
    Task done;
  };
  // An entry read back out of the oldest file, to be written again.
  struct Copy {
    RaftGroupId group;
    LogIndex index;
    EntryPlace place;
    Bytes frame;
  };

  // A ReadBack that waits, or is being read.
  struct Reading {
    ReadBackRequest request;
    std::vector<EntryPlace> places;
    std::vector<raft::core::Entry> entries;  // read so far
    Executor* done_on = nullptr;
    raft::EntriesDone done;
  };

  Journal(const Options& options, Environment environment);

  // journal.cc: the commit.
  void ScheduleFlush();
  void Flush();
  std::vector<Batch> TakeBatches();
  void WriteCommit(std::vector<Batch> batches, std::vector<Copy> copies);
  void WriteCopy(const Copy& copy, BlockWriter* writer);
  void WriteRecord(const GroupRecord& record, BlockWriter* writer);
  void WriteLog(const raft::ReplicaId& replica, const LogWrite& write, BlockWriter* writer);
  BlockWriter StartBlocks(uint16_t flags, uint64_t block_bytes) const;
  // Writes the blocks and syncs them, then calls `synced`.
  void WriteBlocks(BlockWriter writer, Task synced);
  void OnCommitted(std::vector<Batch> batches);
  void ArmMarker();
  void WriteMarker();
  void FinishStop();
  void StopWithoutFile();
  void Fail(const Status& why);

  // read_back.cc: entries for segments that are written again.
  void ServeReadings();
  void ReadOn(std::shared_ptr<Reading> reading);
  void OnReadBack(std::shared_ptr<Reading> reading, const Result<Bytes>& frame);
  void ReadAgain(std::shared_ptr<Reading> reading);
  static void Finish(Reading& reading, const Status& status);

  // roll.cc: files come and go.
  bool HasRoom(uint64_t bytes) const;
  void Roll(uint64_t room_bytes);
  void WriteHead(JournalFile file);
  void OnHeadSynced();
  bool HasManyFiles() const;
  bool IsWorthARoll(size_t files) const;
  bool WantsEarlyRoll() const;
  bool WouldGiveFilesBack() const;  // so many that a roll is worth it
  void AskForSegments();
  void CopyForward();
  void ReadNextCopy(std::vector<std::pair<RaftGroupId, LogIndex>> left);
  void OnCopyRead(Copy copy, const Result<Bytes>& frame);
  void OnFileTrouble(const Status& trouble);
  void PublishPressure();

  const Options options_;
  Environment environment_;
  ThreadOwner owner_;
  std::shared_ptr<JournalClient::Shared> shared_;  // with clients on other threads
  Ledger ledger_;
  std::unique_ptr<FilePool> pool_;
  PinListener pin_listener_;
  FullListener full_listener_;
  Status file_trouble_;  // for which there is no next file
  // Replay needs these; by sequence, the last is written to.
  std::map<uint64_t, JournalFile> live_;
  uint64_t next_file_ = 1;
  uint64_t oldest_file_ = 0;  // as the newest head says
  uint64_t position_ = 0;     // in the newest file

  std::deque<Batch> waiting_;
  std::vector<Copy> copies_;  // to go into the next commit
  // Shared with the reads under way.
  std::vector<std::shared_ptr<Reading>> waiting_readings_;
  bool is_copying_ = false;
  uint64_t copied_up_to_ = 0;  // the last file that was copied forward
  bool is_flush_scheduled_ = false;
  bool is_busy_ = false;  // a commit, a head or a marker is being written
  bool is_waiting_for_file_ = false;
  bool is_recycling_ = false;  // a used file is given its head
  bool is_failed_ = false;
  bool is_stopping_ = false;
  Task stopped_;
  StatusDone opened_;  // recovery waits for the first head
  bool needs_marker_ = false;
  TimerId marker_timer_;

  uint64_t next_lsn_ = 1;
  uint64_t durable_lsn_ = 0;
  uint32_t previous_crc_ = 0;
  Lifetime lifetime_;
};

}  // namespace millrace::storage::journal

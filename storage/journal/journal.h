// The broker's shared write-ahead journal: every group's entries, hard states, truncations and
// replica records become durable here, all groups with one fdatasync (design D4, "Journal").
// Segments are written later, from committed entries, so that the journal needs an entry only until
// its segment is synced. docs/formats.md, "Journal", has the bytes and what replay makes of them.
//
// One per broker, living on an Executor of its own (a thread in production) together with the
// FileSystem bound to it. Other threads talk to it through JournalClient. Never retries a sync: any
// I/O error calls `fail_stop`, after which nothing is written and nothing is reported durable.
//
//   Journal::Open(options, {executor, files, fail_stop}, [&](Result<OpenedJournal> opened) {
//     journal = std::move(opened->journal);                 // on the journal's executor
//     Start(journal->client(), std::move(opened->state));   // recovered groups
//   });
//   // on a shard:
//   client.Submit({{group, LogWrite{.hard_state = hs, .entries = entries}}}, shard_executor,
//   durable);
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/status.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/task.h"
#include "raft/runtime/thread_owner.h"
#include "storage/file/file_system.h"
#include "storage/journal/records.h"

namespace millrace::storage::journal {

class FilePool;
class Journal;
class Ledger;

struct Options {
  // Random, of this data directory alone (its incarnation); blocks of another journal are not ours.
  uint64_t uuid = 0;
  // The journal was opened before, says the superblock: finding none is DATA_LOSS, not a fresh
  // start.
  bool must_exist = false;
  std::string directory = "journal";
  // Of each file; a file is larger if one block needs it.
  uint64_t file_size_bytes = 32 << 20;
  // Live files together; journal_pressure 1. Past half of it, groups are asked to sync their
  // segments.
  uint64_t live_bytes_max = 256 << 20;
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

// What other threads hold of a journal. Copy freely. Any thread.
class JournalClient {
 public:
  // Makes the records durable together with everything that waits, then posts `done` to `done_on`.
  // Records of one group become durable, and their dones are posted, in the order of Submit. A
  // batch of nothing but hard states, no-ops and replica records may overtake entries of other
  // groups. Nothing is posted after a failure or after the journal stopped.
  void Submit(std::vector<GroupRecord> records, Executor& done_on, Task done) const;
  // Live files' bytes as a share of live_bytes_max; may pass 1, since the journal itself never
  // refuses.
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

  // Called on the journal's executor with the groups whose entries keep the oldest file alive, when
  // files are wanted back: their segments should be synced and SegmentSynced submitted. Asked again
  // while it matters. Entries that stay (uncommitted ones) are copied forward.
  using PinListener = MoveFunction<void(const std::vector<RaftGroupId>&)>;
  void SetPinListener(PinListener listener) { pin_listener_ = std::move(listener); }

  // Writes what was submitted and a marker block, then calls `done`; nothing may be submitted
  // after.
  void Stop(Task done);

  uint64_t live_bytes() const;
  uint64_t live_files() const;
  // Number of the last durable block.
  uint64_t durable_lsn() const { return durable_lsn_; }
  void CheckInvariants() const;

 private:
  friend class JournalClient;
  friend class Recovery;

  // A Submit, until all of its records are durable.
  struct Batch {
    size_t units_left = 0;
    Executor* done_on = nullptr;
    Task done;
  };
  // One group's record, waiting.
  struct Unit {
    GroupRecord record;
    uint64_t bytes = 0;
    bool is_control = false;
    uint64_t batch = 0;
  };

  Journal(const Options& options, Environment environment);

  // journal.cc: the commit.
  void ScheduleFlush();
  void Flush();
  std::vector<Unit> TakeUnits();
  void WriteCommit(std::vector<Unit> units);
  void WriteBlocks(std::vector<Bytes> pieces, uint64_t last_lsn, Task synced);
  void OnCommitted(const std::vector<Unit>& units);
  void ArmMarker();
  void WriteMarker(Task done);
  void Fail(const Status& why);

  // roll.cc: files come and go.
  bool NeedsRoll(uint64_t bytes) const;
  void Roll(uint64_t room_bytes);
  void WriteHead();
  void OnHeadSynced();
  void ReclaimFiles();
  void CopyForward(uint64_t file_sequence);
  void OnStragglersRead(uint64_t file_sequence, size_t next);
  void PublishPressure();

  const Options options_;
  Environment environment_;
  ThreadOwner owner_;
  std::shared_ptr<JournalClient::Shared> shared_;  // with clients on other threads
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<FilePool> pool_;
  PinListener pin_listener_;

  std::deque<Unit> waiting_;
  std::map<uint64_t, Batch> batches_;
  uint64_t next_batch_ = 1;
  bool is_flush_scheduled_ = false;
  bool is_busy_ = false;  // a commit, a roll or a marker is being written
  bool is_failed_ = false;
  bool is_copying_ = false;
  Task stopped_;
  TimerId marker_timer_;

  uint64_t next_lsn_ = 1;
  uint64_t durable_lsn_ = 0;
  uint64_t marked_lsn_ = 0;  // durable, says a block on disk
  uint32_t previous_crc_ = 0;
};

}  // namespace millrace::storage::journal

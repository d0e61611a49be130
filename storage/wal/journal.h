// The broker's write-ahead journal: one sequence of files for all groups, one fdatasync for everything that
// came in while the one before ran (design D4; measured there: 256 partitions' commits in 2.4 ms instead of
// 44).
//
// Lives on its own Executor, a thread in production, which waits for the disk; other threads hand it work
// through a JournalClient. Holds the frames of entries that no synced segment has yet, so that checkpoints
// and copies come from what it wrote itself, never from the shards' memory.
//
// An I/O error ends the process through `fail_stop`; nothing is retried (design D4).
//
//   Journal::Open(options, environment, [](Result<OpenedJournal> opened) { ... });
//   client.Submit({{group, LogWrite{.entries = entries}}}, shard, [] { /* durable */ });
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/random.h"
#include "raft/runtime/task.h"
#include "storage/file/file_system.h"
#include "storage/journal/records.h"
#include "storage/wal/format.h"
#include "storage/wal/replay.h"

namespace millrace::storage::wal {

struct Options {
  uint64_t uuid = 0;  // random, of this data directory
  // The journal was opened before: finding none is DATA_LOSS, not a fresh start.
  bool must_exist = false;
  uint64_t file_bytes = 32 << 20;  // a multiple of 1 MiB
  // Files that may hold entries not yet in segments; together the bound on recovery.
  uint32_t live_files_max = 8;
  // After this long without a write, a marker block says that everything before it is durable.
  Duration marker_delay = std::chrono::milliseconds(20);
};

class Journal;

struct OpenedJournal {
  std::unique_ptr<Journal> journal;
  journal::JournalState state;
};

// What other threads hold of a journal. Copy freely. Any thread.
class JournalClient {
 public:
  // Makes the records durable, in order, after all earlier ones; then posts `done` to `done_on`.
  void Submit(std::vector<journal::GroupRecord> records, Executor& done_on, Task done) const;
  // As raft::LogStore::journal_pressure says.
  double pressure() const { return shared_->pressure.load(std::memory_order_relaxed); }

 private:
  friend class Journal;
  struct Shared {
    std::atomic<double> pressure{0};
    Journal* journal = nullptr;  // null once it is gone; touched on the journal's executor only
  };
  JournalClient(Executor& executor, std::shared_ptr<Shared> shared)
      : executor_(&executor), shared_(std::move(shared)) {}

  Executor* executor_;
  std::shared_ptr<Shared> shared_;  // with the journal, which clients may outlive
};

class Journal {
 public:
  struct Environment {
    Executor& executor;
    FileSystem& files;
    // Ends the process (in the simulator, the broker); called on the journal's executor.
    MoveFunction<void(const Status&)> fail_stop;
  };
  using OpenedDone = MoveFunction<void(Result<OpenedJournal>)>;
  // Groups whose entries keep the oldest files from being recycled: their segments should be synced.
  using PinListener = MoveFunction<void(const std::vector<RaftGroupId>&)>;

  // Recovers what is there, makes it durable again, and begins a new file; or makes a first journal.
  static void Open(const Options& options, Environment environment, OpenedDone done);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  JournalClient client() const { return JournalClient(environment_.executor, shared_); }
  void SetPinListener(PinListener listener) { on_space_ = std::move(listener); }

  // Writes the records in order, after all earlier ones; `done` once they are durable, here.
  void Submit(std::vector<Record> records, Task done);
  // Writes a marker block, then calls `done`. Nothing may be submitted after.
  void Stop(Task done);

  uint64_t live_files() const { return live_.size(); }

 private:
  class Opener;
  friend class JournalClient;
  struct Item {
    Record record;
    Task done;  // set on the last record of a submission
  };
  struct OpenFile {
    uint64_t sequence = 0;
    std::string name;
    std::unique_ptr<File> file;
  };

  Journal(const Options& options, Environment environment);

  void Pump();
  void CommitBlock();
  void WriteBlock(const std::vector<Record>& records, StatusDone done);
  void OnCommitted(std::vector<Task> dones);
  void ScheduleMarker();
  void WriteMarker();

  // A new file: its head is a checkpoint, synced before the file is used.
  void Roll(Task done);
  void CreateFile(StatusDone done);
  void ZeroNext(std::shared_ptr<OpenFile> file, uint64_t position, StatusDone done);
  void PrepareSpare();
  void BeginFile(Task done);
  std::vector<Record> Checkpoint(uint64_t oldest) const;
  uint64_t OldestPinned() const;
  std::vector<RaftGroupId> PinnersOf(uint64_t sequence) const;
  void Recycle(uint64_t oldest);
  void AskForSpace();
  void CopyForward(uint64_t sequence);
  void UpdatePressure();
  void ApplyWritten(const Record& record);
  // True if `status` is ok; else ends the process.
  bool Check(const Status& status, const char* what);

  const Options options_;
  Environment environment_;
  std::shared_ptr<JournalClient::Shared> shared_;
  uint64_t uuid_ = 0;
  std::map<RaftGroupId, JournalGroup> groups_;
  Lsn lsn_;
  Lsn durable_lsn_;
  uint32_t last_crc_ = 0;
  std::deque<OpenFile> live_;  // oldest first; the last is written to. Only that one is open.
  std::deque<std::string> free_;
  uint64_t next_sequence_ = 1;
  uint64_t next_file_number_ = 1;
  uint64_t position_ = 0;

  std::deque<Item> queue_;
  bool is_busy_ = false;
  bool is_preparing_ = false;
  bool is_stopping_ = false;
  bool is_failed_ = false;
  bool is_marked_ = true;  // the last block is a marker, or the journal is new
  TimerId marker_timer_;
  double pressure_ = 0;
  PinListener on_space_;
  // Guards completions that outlive the journal; shared with those alone.
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace::storage::wal

// The journal's files that are not in use: recycled ones, and spares made ahead so that a roll does
// not wait. A new file is written with zeros, synced, given its name, and its directory entry
// synced, before anyone gets it; until then it is called `.new`, and recovery removes it.
//
// A file that cannot be made is dropped and tried again under another name, after pauses that grow:
// nothing is in it, so nothing is lost, and who asked for it waits.
//
// Owned by Journal, on its executor.
//
//   pool.Acquire(32 << 20, [this](JournalFile file) { BeginFile(std::move(file)); });
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "proto/base/status.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"
#include "storage/file/file_system.h"

namespace millrace::storage::journal {

struct JournalFile {
  std::string name;
  // Shared with reads under way, which may outlive the file's use by the journal.
  std::shared_ptr<File> file;
  uint64_t bytes = 0;
  bool is_used = false;       // something was once written to it
  uint64_t filled_bytes = 0;  // of a live file that is over: how far it was written
};

class FilePool {
 public:
  struct Options {
    std::string directory;
    uint64_t file_bytes = 0;
    uint64_t next_number = 1;  // above every name in the directory
  };
  // Is told when a file is wanted and none can be made, and why; and, with ok, when that is over.
  using TroubleListener = std::function<void(const Status&)>;
  FilePool(Executor& executor, FileSystem& files, const Options& options, TroubleListener listener);
  ~FilePool();
  FilePool(const FilePool&) = delete;
  FilePool& operator=(const FilePool&) = delete;

  // A file of at least `bytes` (at least Options::file_bytes); one call at a time.
  using Acquired = MoveFunction<void(JournalFile)>;
  void Acquire(uint64_t bytes, Acquired done);
  // Takes a file whose content is not needed any more.
  void Release(JournalFile file);
  // Makes a spare in the background unless there is one.
  void PrepareSpare();

 private:
  struct Creation;  // a file being made

  void StartCreation(uint64_t bytes);
  void WriteZeros();
  void SyncZeros();
  void GiveName();
  void SyncName();
  void OnNamed();
  // Runs `next` if `status` is ok and the pool still exists; abandons the file otherwise.
  StatusDone Then(void (FilePool::*next)());
  void Abandon(const Status& why);
  void TryAgain();
  void Remove(const std::string& name);
  // Tells the listener if there is news.
  void TellTrouble();
  void Serve();
  std::string PathOf(const std::string& name) const;

  Executor& executor_;
  FileSystem& files_;
  const Options options_;
  TroubleListener listener_;
  uint64_t next_number_;
  std::deque<JournalFile> free_;
  std::unique_ptr<Creation> creation_;
  Status trouble_;              // of the last file that could not be made, until one could
  bool is_in_trouble_ = false;  // as the listener knows
  bool is_pausing_ = false;
  Duration pause_;  // before the next try
  Acquired waiting_;
  uint64_t waiting_bytes_ = 0;
  Lifetime lifetime_;
};

// A file's name says how long the file was made, so that one that has lost bytes is known by it,
// whatever it holds: "00000012.33554432.journal", or ".new" while it is being made.
struct JournalFileName {
  uint64_t number = 0;  // counts the files that were made
  uint64_t bytes = 0;
  bool is_new = false;

  std::string ToString() const;
  // Nullopt for the name of anything else.
  static std::optional<JournalFileName> Parse(std::string_view name);
  bool operator==(const JournalFileName&) const = default;
};

}  // namespace millrace::storage::journal

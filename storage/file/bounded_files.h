// A FileSystem over another one that holds at most a given number of its files open, however many
// its callers keep: descriptors are counted, and what clients create takes no more of them than
// there are. A file that was not used for longest is closed where another needs room, and opened
// again when it is used next; callers do not notice. Opening closes nothing under way: it waits.
//
// A file with bytes that are not synced is synced before it is closed, since the kernel tells of an
// error of writing them only to who has it open. Such an error is told to whoever changes or syncs
// the file next, as after any error of the file then, and no sync is tried after it.
//
// Directories are not counted: one is open at a time, for as long as a call takes. Bound to the
// Executor of the file system below, which outlives it.
//
//   BoundedFiles files(executor, real_files, {.open_files_max = 1000});
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "raft/runtime/executor.h"
#include "storage/file/file_system.h"

namespace millrace::storage {

class BoundedFiles final : public FileSystem {
 public:
  struct Options {
    size_t open_files_max = 1;
  };
  BoundedFiles(Executor& executor, FileSystem& files, const Options& options);
  ~BoundedFiles() override;
  BoundedFiles(const BoundedFiles&) = delete;
  BoundedFiles& operator=(const BoundedFiles&) = delete;

  void Open(const std::string& path, OpenMode mode, Caching caching, OpenDone done) override;
  void List(const std::string& directory, ListDone done) override;
  void MakeDirectory(const std::string& directory, StatusDone done) override;
  void Rename(const std::string& from, const std::string& to, StatusDone done) override;
  void Remove(const std::string& path, StatusDone done) override;
  void SyncDirectory(const std::string& directory, StatusDone done) override;
  void FreeBytes(MoveFunction<void(Result<uint64_t>)> done) override;

  // Open now, or being opened or closed.
  size_t open_files() const;

 private:
  friend class BoundedFile;
  struct Core;
  struct State;
  // Shared with the files and with what is under way, which may outlive this object.
  std::shared_ptr<Core> core_;
};

}  // namespace millrace::storage

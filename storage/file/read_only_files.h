// A FileSystem over another one through which nothing can be changed: what would make, change,
// remove or sync anything is refused with FAILED_PRECONDITION and never reaches the one below. For
// who looks at a data directory that is not his to change.
//
// Bound to the Executor of the file system below; both outlive it and its files.
//
//   ReadOnlyFiles files(executor, real_files);
//   files.Open("SUPERBLOCK", OpenMode::kRead, Caching::kPageCache, ...);
#pragma once

#include <string>

#include "raft/runtime/executor.h"
#include "storage/file/file_system.h"

namespace millrace::storage {

class ReadOnlyFiles final : public FileSystem {
 public:
  ReadOnlyFiles(Executor& executor, FileSystem& files) : executor_(executor), files_(files) {}
  ReadOnlyFiles(const ReadOnlyFiles&) = delete;
  ReadOnlyFiles& operator=(const ReadOnlyFiles&) = delete;

  // OpenMode::kRead alone is not refused.
  void Open(const std::string& path, OpenMode mode, Caching caching, OpenDone done) override;
  void List(const std::string& directory, ListDone done) override;
  void MakeDirectory(const std::string& directory, StatusDone done) override;
  void Rename(const std::string& from, const std::string& to, StatusDone done) override;
  void Remove(const std::string& path, StatusDone done) override;
  void SyncDirectory(const std::string& directory, StatusDone done) override;
  void FreeBytes(MoveFunction<void(Result<uint64_t>)> done) override;

 private:
  Executor& executor_;
  FileSystem& files_;
};

}  // namespace millrace::storage

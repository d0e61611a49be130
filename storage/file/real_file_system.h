// The one place of Millrace that calls open, pread, pwrite, fdatasync and rename. An operation runs
// on the thread that asks, whose business it is to wait for the disk; its completion is posted to
// that thread's Executor.
//
// One per thread that uses files; all of a broker's share the data directory, which a DirectoryLock
// keeps to one process.
//
//   RealFileSystem files(journal_thread.executor(), "/var/lib/millrace");
#pragma once

#include <memory>
#include <string>

#include "raft/runtime/executor.h"
#include "storage/file/file_system.h"

namespace millrace::storage {

class RealFileSystem final : public FileSystem {
 public:
  RealFileSystem(Executor& executor, std::string root);

  void Open(const std::string& path, OpenMode mode, Caching caching, OpenDone done) override;
  void List(const std::string& directory, ListDone done) override;
  void MakeDirectory(const std::string& directory, StatusDone done) override;
  void Rename(const std::string& from, const std::string& to, StatusDone done) override;
  void Remove(const std::string& path, StatusDone done) override;
  void SyncDirectory(const std::string& directory, StatusDone done) override;
  void FreeBytes(MoveFunction<void(Result<uint64_t>)> done) override;

 private:
  std::string Path(const std::string& relative) const;
  void Complete(StatusDone done, Status status);

  Executor* executor_;
  const std::string root_;
};

// Holds a data directory for one process. Made at start, before any file is read; the kernel
// releases it when the process ends, however it ends.
class DirectoryLock {
 public:
  // Creates the directory if it is missing. FAILED_PRECONDITION naming it if another process holds
  // it; PERMISSION_DENIED or another error naming it if it can't be used.
  static Result<DirectoryLock> Acquire(const std::string& directory);

  DirectoryLock(DirectoryLock&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  DirectoryLock& operator=(DirectoryLock&&) = delete;
  ~DirectoryLock();

 private:
  explicit DirectoryLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace millrace::storage

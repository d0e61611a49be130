// Files of the operating system below one data directory. Each operation runs as a system call on
// the calling thread, which belongs to a part of the broker that is there to wait for the disk
// (journal, segment writer); its completion is posted to that thread's Executor. Syncs may have
// threads of their own.
//
// What is made is for the broker's user alone: files 0600, directories 0700.
//
// One per Executor; several may share a directory, whose DirectoryLock the process holds. Never
// retries a sync.
//
//   ASSIGN_OR_RETURN(DirectoryLock lock, DirectoryLock::Acquire("./millrace-data"));
//   RealFileSystem files(journal_executor, "./millrace-data");
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "raft/runtime/executor.h"
#include "storage/file/file_system.h"
#include "storage/file/sync_runner.h"

namespace millrace::storage {

// Makes the directory and its missing parents, for this process's user alone; what exists stays as
// it is. An error names the directory that could not be made.
Status MakeDirectories(const std::string& path);

// The process's claim on a data directory, given up when destroyed or when the process ends,
// however it ends. Any one thread.
class DirectoryLock {
 public:
  // Makes the directory, with its missing parents, and locks its file LOCK. FAILED_PRECONDITION
  // naming the directory and the owner's process id if another process holds it.
  static Result<DirectoryLock> Acquire(const std::string& directory);
  // A claim of readers, of whom there may be many at a time, that keeps an owner out. Nothing is
  // made or written: where no LOCK lies, as in a copy, there is nothing to claim, and an owner may
  // come. FAILED_PRECONDITION as above, or if `directory` is none; NOT_FOUND if nothing is there.
  static Result<DirectoryLock> AcquireForReading(const std::string& directory);
  // Whether a file was there to be locked.
  bool is_held() const { return fd_ >= 0; }
  ~DirectoryLock();
  DirectoryLock(DirectoryLock&& other) noexcept;
  DirectoryLock& operator=(DirectoryLock&& other) noexcept;
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

  // The name of the lock's file, which is no data.
  static constexpr const char* kFileName = "LOCK";

 private:
  explicit DirectoryLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

class RealFileSystem final : public FileSystem {
 public:
  // Pre: `root` exists (DirectoryLock made it). By the lock that lies there it is known again.
  RealFileSystem(Executor& executor, std::string root)
      : RealFileSystem(executor, std::move(root), {}) {}
  // Syncs run on `sync_threads`: other operations do not wait for them, not even those on the same
  // file, and may complete before. FreeBytes also looks whether the directories `watched` are the
  // ones that it saw there first.
  RealFileSystem(Executor& executor, std::string root, const std::vector<Executor*>& sync_threads,
                 const std::vector<std::string>& watched = {});

  void Open(const std::string& path, OpenMode mode, Caching caching, OpenDone done) override;
  void List(const std::string& directory, ListDone done) override;
  void MakeDirectory(const std::string& directory, StatusDone done) override;
  void Rename(const std::string& from, const std::string& to, StatusDone done) override;
  void Remove(const std::string& path, StatusDone done) override;
  void SyncDirectory(const std::string& directory, StatusDone done) override;
  void FreeBytes(MoveFunction<void(Result<uint64_t>)> done) override;

 private:
  std::string FullPath(const std::string& path) const;
  struct Identity {
    uint64_t device = 0;
    uint64_t number = 0;
    bool operator==(const Identity&) const = default;
  };
  // Nullopt if there is nothing of the name.
  Result<std::optional<Identity>> Find(const std::string& name) const;
  Status CheckDirectory();

  Executor& executor_;
  const std::shared_ptr<SyncRunner> syncs_;
  const std::string root_;
  // What files write past the page cache from; shared by them and this.
  const std::shared_ptr<Buffer> staging_ = std::make_shared<Buffer>();
  // The lock and what is watched, as first seen; nullopt: not there yet.
  std::map<std::string, std::optional<Identity>> known_;
};

}  // namespace millrace::storage

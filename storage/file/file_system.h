// Files, injected and asynchronous: the only door to open, pread, pwrite, fdatasync and rename. The
// real one runs an operation on the thread that asks (a journal or segment thread, whose business
// it is to wait for the disk), a sync perhaps on another, and posts the completion to that thread's
// Executor; the simulated one delays, reorders, tears, fails and, at a crash, loses whatever was
// not synced.
//
// A FileSystem is bound to one Executor and is called on its thread only. Completions never run
// inside the call. Operations on one File complete in the order they were asked for, but that
// others may overtake a sync, or a write-back; a caller that needs two of them in order on the
// medium waits for the sync between.
//
// Nothing here retries: what to do about an error is the caller's (design D4: fsync is never
// retried).
//
//   fs.Open("journal/000001", OpenMode::kCreate, Caching::kDirect,
//           [..](Result<std::unique_ptr<File>> file) { ... });
//   file->Write(offset, {block}, [..](Status s) { ... });
//   file->Sync([..](Status s) { ... });          // now the bytes are durable, not before
//   fs.SyncDirectory("journal", ...);            // and now the name is
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "raft/runtime/task.h"

namespace millrace::storage {

using StatusDone = MoveFunction<void(Status)>;
using ReadDone = MoveFunction<void(Result<Bytes>)>;

enum class OpenMode {
  kRead,       // NOT_FOUND if missing
  kReadWrite,  // NOT_FOUND if missing
  kCreate,     // ALREADY_EXISTS if there; read and write
};

inline constexpr uint64_t kDirectAlignment = 4096;

enum class Caching {
  kPageCache,
  kDirect,  // past the page cache: reads what the medium holds, after writing dirty pages back.
            // Writes begin and end at multiples of kDirectAlignment, reads anywhere. Where a file
            // system refuses O_DIRECT, falls back.
};

// An open file. Destroying it closes it; operations under way complete.
class File {
 public:
  virtual ~File() = default;
  // Up to `size` bytes from `offset`; fewer only at the end of the file.
  virtual void Read(uint64_t offset, uint64_t size, ReadDone done) = 0;
  // All of `pieces`, one after the other, from `offset` on. RESOURCE_EXHAUSTED when the disk is
  // full.
  virtual void Write(uint64_t offset, std::vector<Bytes> pieces, StatusDone done) = 0;
  // fdatasync. After an error the fate of everything since the last good sync is unknown.
  virtual void Sync(StatusDone done) = 0;
  // Hands what is in the page cache to the disk, which may keep it in a cache of its own: nothing
  // is durable by it, but a later Sync is short. An error is one of Sync.
  virtual void WriteBack(StatusDone done) = 0;
  virtual void Truncate(uint64_t size, StatusDone done) = 0;
  virtual uint64_t size() const = 0;
};

using OpenDone = MoveFunction<void(Result<std::unique_ptr<File>>)>;
using ListDone = MoveFunction<void(Result<std::vector<std::string>>)>;

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  // Paths are relative to the data directory, with '/' between parts, and never made of what a
  // client sends. FAILED_PRECONDITION if what bears the name is no regular file.
  virtual void Open(const std::string& path, OpenMode mode, Caching caching, OpenDone done) = 0;
  // Names in `directory`, sorted; NOT_FOUND if it is missing.
  virtual void List(const std::string& directory, ListDone done) = 0;
  // With its missing parents; ok if it is there. Durable after SyncDirectory of each parent.
  virtual void MakeDirectory(const std::string& directory, StatusDone done) = 0;
  virtual void Rename(const std::string& from, const std::string& to, StatusDone done) = 0;
  virtual void Remove(const std::string& path, StatusDone done) = 0;
  // Makes creations, renames and removals in `directory` durable.
  virtual void SyncDirectory(const std::string& directory, StatusDone done) = 0;
  // Bytes that may still be written to the disk under the data directory. FAILED_PRECONDITION if
  // that is not the directory any more that it was when the file system was made: it was removed,
  // replaced or unmounted, and what is written and synced now is found by nobody.
  virtual void FreeBytes(MoveFunction<void(Result<uint64_t>)> done) = 0;
};

}  // namespace millrace::storage

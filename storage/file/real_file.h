// One open file descriptor as a File. Made by RealFileSystem alone.
//
// O_DIRECT takes aligned memory only: what is written goes through a buffer that all files of a
// file system use in turn. One of its own for each write would be mapped, zeroed and given back by
// the kernel every time.
//
// On the thread of its file system's Executor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <sys/uio.h>

#include "raft/runtime/executor.h"
#include "storage/file/file_system.h"
#include "storage/file/sync_runner.h"

namespace millrace::storage {

class RealFile final : public File {
 public:
  struct Opened {
    std::string path;
    int fd = -1;  // is taken over
    // With O_DIRECT, so that memory must be aligned too.
    bool is_direct = false;
    uint64_t size = 0;
  };
  // `staging` is empty until a file is written past the page cache; shared by the file system and
  // its files.
  RealFile(Executor& executor, std::shared_ptr<SyncRunner> syncs, std::shared_ptr<Buffer> staging,
           Opened opened);
  RealFile(const RealFile&) = delete;
  RealFile& operator=(const RealFile&) = delete;

  void Read(uint64_t offset, uint64_t size, ReadDone done) override;
  void Write(uint64_t offset, std::vector<Bytes> pieces, StatusDone done) override;
  void Sync(StatusDone done) override;
  void WriteBack(StatusDone done) override;
  void Truncate(uint64_t size, StatusDone done) override;
  uint64_t size() const override { return size_; }

 private:
  struct Descriptor {
    Descriptor(int number, Executor& e, std::shared_ptr<SyncRunner> s)
        : fd(number), executor(e), syncs(std::move(s)) {}
    // On any thread.
    ~Descriptor();
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    const int fd;
    Executor& executor;
    const std::shared_ptr<SyncRunner> syncs;
  };

  Result<Bytes> ReadNow(uint64_t offset, uint64_t size);
  Result<Bytes> ReadSpan(uint64_t offset, uint64_t size);
  Status WriteNow(uint64_t offset, const std::vector<Bytes>& pieces);
  Status WriteStaged(uint64_t offset, const std::vector<Bytes>& pieces);
  Status WriteVectors(uint64_t offset, std::vector<iovec> vectors);

  Executor& executor_;
  const std::shared_ptr<SyncRunner> syncs_;
  const std::shared_ptr<SyncRunner::File> own_syncs_ = std::make_shared<SyncRunner::File>();
  const std::string path_;
  const std::shared_ptr<const Descriptor> descriptor_;  // with a sync under way
  const bool is_direct_;
  const std::shared_ptr<Buffer> staging_;
  uint64_t size_;
};

}  // namespace millrace::storage

// One open file descriptor as a File. Made by RealFileSystem alone.
//
// On the thread of its file system's Executor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "raft/runtime/executor.h"
#include "storage/file/file_system.h"
#include "storage/file/sync_runner.h"

namespace millrace::storage {

class RealFile final : public File {
 public:
  // Takes `fd` over. `is_direct`: it was opened with O_DIRECT, so that memory must be aligned too.
  RealFile(Executor& executor, const SyncRunner& syncs, std::string path, int fd, bool is_direct,
           uint64_t size);
  RealFile(const RealFile&) = delete;
  RealFile& operator=(const RealFile&) = delete;

  void Read(uint64_t offset, uint64_t size, ReadDone done) override;
  void Write(uint64_t offset, std::vector<Bytes> pieces, StatusDone done) override;
  void Sync(StatusDone done) override;
  void Truncate(uint64_t size, StatusDone done) override;
  uint64_t size() const override { return size_; }

 private:
  struct Descriptor {
    explicit Descriptor(int number) : fd(number) {}
    ~Descriptor();
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    const int fd;
  };

  Result<Bytes> ReadNow(uint64_t offset, uint64_t size);
  Status WriteNow(uint64_t offset, const std::vector<Bytes>& pieces);

  Executor& executor_;
  const SyncRunner syncs_;
  const std::string path_;
  const std::shared_ptr<const Descriptor> descriptor_;  // with a sync under way
  const bool is_direct_;
  uint64_t size_;
};

}  // namespace millrace::storage

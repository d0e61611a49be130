// FileSystem over a SimDisk, for one simulated process: operations take a time drawn from the seed,
// those of one file happen in order, but that others may overtake a sync, those of different files
// in any. What has not happened when the process dies never does.
//
// Owned by the process's code, like the real one; made anew when the process restarts. One thread.
//
//   SimFileSystem files(disk, process.executor(), process.Fork());
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "raft/runtime/executor.h"
#include "raft/runtime/random.h"
#include "storage/file/file_system.h"
#include "tests/support/sim_file/sim_disk.h"

namespace millrace::sim {

struct SimFileOptions {
  Duration delay_min{5};
  Duration delay_max{60};
  // Added to syncs.
  Duration sync_delay_min{50};
  Duration sync_delay_max{400};
};

class SimFileSystem final : public storage::FileSystem {
 public:
  SimFileSystem(SimDisk& disk, Executor& executor, Random random,
                const SimFileOptions& options = {});
  ~SimFileSystem() override;
  SimFileSystem(const SimFileSystem&) = delete;
  SimFileSystem& operator=(const SimFileSystem&) = delete;

  void Open(const std::string& path, storage::OpenMode mode, storage::Caching caching,
            storage::OpenDone done) override;
  void List(const std::string& directory, storage::ListDone done) override;
  void MakeDirectory(const std::string& directory, storage::StatusDone done) override;
  void Rename(const std::string& from, const std::string& to, storage::StatusDone done) override;
  void Remove(const std::string& path, storage::StatusDone done) override;
  void SyncDirectory(const std::string& directory, storage::StatusDone done) override;
  void FreeBytes(MoveFunction<void(Result<uint64_t>)> done) override;

 private:
  friend class SimFile;
  struct Core;
  // Shared with the files and the operations under way, which may outlive this object.
  std::shared_ptr<Core> core_;
};

}  // namespace millrace::sim

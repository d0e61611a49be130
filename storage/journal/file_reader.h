// Reads journal files whole, past the page cache: what a start and who only looks give to Replay. A
// piece that the disk cannot read, however often it is asked, becomes zeros: damage, which replay
// weighs and which the groups in doubt keep for ever; so it is not believed at once.
//
// On the executor of `files`; keeps itself alive until `done`, which is called once. Changes
// nothing.
//
//   FileReader::Read(executor, files, "journal", {"00000001.33554432.journal"},
//                    [](Result<std::vector<FileImage>> images) { ... });
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proto/base/status.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/task.h"
#include "storage/file/file_system.h"
#include "storage/journal/replay.h"

namespace millrace::storage::journal {

class FileReader : public std::enable_shared_from_this<FileReader> {
 public:
  using Done = MoveFunction<void(Result<std::vector<FileImage>>)>;
  // Pre: each of the names is a whole file's (JournalFileName).
  static void Read(Executor& executor, FileSystem& files, const std::string& directory,
                   std::vector<std::string> names, Done done);

 private:
  FileReader(Executor& executor, FileSystem& files, std::string directory,
             std::vector<std::string> names, Done done);

  void ReadNextFile();
  void ReadNextPiece(const std::string& name, std::shared_ptr<File> file, std::string content);
  void ReadLater(const std::string& name, std::shared_ptr<File> file, std::string content);

  Executor& executor_;
  FileSystem& files_;
  const std::string directory_;
  const std::vector<std::string> names_;
  Done done_;
  std::vector<FileImage> images_;
  size_t next_ = 0;            // into names_
  uint32_t failed_reads_ = 0;  // of the piece that is read
};

}  // namespace millrace::storage::journal

// Reads the journal files that replay needs, whole and past the page cache: what a start and who
// only looks give to Replay. Those that the newest one says replay begins after are left out, which
// may be most of them. A piece that the disk cannot read, however often it is asked, becomes zeros:
// damage, which replay weighs and which the groups in doubt keep for ever; so it is not believed at
// once.
//
// On the executor of `files`; keeps itself alive until `done`, which is called once. Changes
// nothing.
//
//   FileReader::Read(executor, files, {.directory = "journal", .key = key},
//                    {"00000001.33554432.journal"},
//                    [](Result<std::vector<FileImage>> images) { ... });
#pragma once

#include <cstdint>
#include <map>
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
  struct Place {
    std::string directory;
    uint64_t key = 0;  // of the journal
  };
  // In the order of `names`. Pre: each of these is a whole file's (JournalFileName).
  static void Read(Executor& executor, FileSystem& files, Place place,
                   std::vector<std::string> names, Done done);

 private:
  FileReader(Executor& executor, FileSystem& files, Place place, std::vector<std::string> names,
             Done done);

  std::string PathOf(const std::string& name) const { return place_.directory + "/" + name; }
  void ReadNextHead();
  void ReadHead(const std::string& name, std::shared_ptr<File> file);
  void TakeHead(const std::string& name, Bytes head);
  void ReadNewest();
  // What is needed beside the newest one.
  void ChooseOthers();
  void ReadNextFile();
  void ReadNextPiece(const std::string& name, std::shared_ptr<File> file, std::string content);
  void ReadLater(const std::string& name, std::shared_ptr<File> file, std::string content);
  void Finish();

  Executor& executor_;
  FileSystem& files_;
  const Place place_;
  const std::vector<std::string> names_;
  Done done_;
  size_t next_ = 0;                              // into names_, of heads
  std::multimap<uint64_t, std::string> headed_;  // by the sequence that an intact head says
  std::vector<std::string> unread_;              // to be read whole, the last one next
  bool is_newest_read_ = false;
  std::map<std::string, FileImage> images_;  // by name
  uint32_t failed_reads_ = 0;                // of the piece that is read
};

}  // namespace millrace::storage::journal

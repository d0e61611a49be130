// Opens a journal: lists and reads its files past the page cache, replays them, syncs what was
// accepted (before anything is promised again on its ground), and begins a new file.
//
// Made by Journal::Open; on the journal's executor, whose timer owns it until it is done, so that
// it goes when the executor does.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "storage/journal/journal.h"
#include "storage/journal/replay.h"

namespace millrace::storage::journal {

class Recovery : public std::enable_shared_from_this<Recovery> {
 public:
  using Done = MoveFunction<void(Result<OpenedJournal>)>;
  static void Start(std::unique_ptr<Journal> journal, Done done);

 private:
  Recovery(std::unique_ptr<Journal> journal, Done done);

  void Keep();
  void MakeDirectory();
  void ListFiles();
  void RemoveUnfinished();
  void ReadFiles();
  void ReplayFiles(std::vector<FileImage> images);
  void OpenNextFile();
  void SyncNextFile(const std::string& name, std::shared_ptr<File> file);
  void SetAsideUnusable();
  void BeginFirstFile();
  void OnBegun(const Status& status);
  void Finish();
  // Runs `next` if `status` is ok; gives up otherwise.
  StatusDone Then(void (Recovery::*next)());
  void GiveUp(const Status& why);
  std::string PathOf(const std::string& name) const;
  FileSystem& files() { return journal_->environment_.files; }

  std::unique_ptr<Journal> journal_;
  Done done_;
  std::vector<std::string> unfinished_;  // files that were being made
  std::vector<std::string> names_;       // of whole files
  std::vector<JournalFile> opened_;
  uint64_t next_number_ = 1;
  size_t next_ = 0;  // into names_
  TimerId keeper_;
  Replayed replayed_;
};

}  // namespace millrace::storage::journal

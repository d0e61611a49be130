// Recovery, step by step: list and read the files past the page cache, replay them, sync what was
// accepted, and begin a new file whose head names where the journal ended (design D4). A cut file
// is never appended to, so stale blocks past the cut never come back.
//
// Part of Journal; on its executor. Keeps itself alive until it is done.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "storage/wal/journal.h"

namespace millrace::storage::wal {

class Journal::Opener : public std::enable_shared_from_this<Journal::Opener> {
 public:
  Opener(std::unique_ptr<Journal> journal, OpenedDone done)
      : journal_(std::move(journal)), done_(std::move(done)) {}

  void Start();

 private:
  void OnListed(Result<std::vector<std::string>> names);
  void ReadNext();
  void OnRead(const std::string& name, Result<Bytes> bytes);
  void OnAllRead();
  // Makes durable again what was accepted, file by file, before anything depends on it.
  void SyncNext(size_t at);
  void RemoveNext();
  void Begin();
  journal::JournalState Recovered();
  void Fail(Status status) { done_(std::move(status)); }
  FileSystem& files() { return journal_->environment_.files; }

  std::unique_ptr<Journal> journal_;
  OpenedDone done_;
  std::vector<std::string> names_;
  std::vector<JournalFileImage> images_;
  std::vector<std::string> unusable_;  // of another size: their making was interrupted
  std::unique_ptr<File> file_;
  JournalState state_;
};

}  // namespace millrace::storage::wal

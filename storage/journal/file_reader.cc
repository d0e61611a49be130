#include "storage/journal/file_reader.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "storage/journal/file_pool.h"
#include "storage/journal/file_scan.h"
#include "storage/journal/format.h"

namespace millrace::storage::journal {
namespace {

constexpr uint64_t kReadPieceBytes = 1 << 20;
// A piece that cannot be read is asked for so often again, with this pause before each.
constexpr uint32_t kReadsAgainMax = 4;
constexpr Duration kReadAgainPause = std::chrono::milliseconds(500);

}  // namespace

void FileReader::Read(Executor& executor, FileSystem& files, Place place,
                      std::vector<std::string> names, Done done) {
  const std::shared_ptr<FileReader> reader(
      new FileReader(executor, files, std::move(place), std::move(names), std::move(done)));
  reader->ReadNextHead();
}

FileReader::FileReader(Executor& executor, FileSystem& files, Place place,
                       std::vector<std::string> names, Done done)
    : executor_(executor),
      files_(files),
      place_(std::move(place)),
      names_(std::move(names)),
      done_(std::move(done)) {}

void FileReader::ReadNextHead() {
  if (next_ == names_.size()) return ReadNewest();
  const std::string name = names_[next_++];
  files_.Open(PathOf(name), OpenMode::kRead, Caching::kDirect,
              [self = shared_from_this(), name](Result<std::unique_ptr<File>> file) {
                if (!file.ok()) return self->done_(file.status());
                self->ReadHead(name, *std::move(file));
              });
}

// What cannot be read, or is no head, is looked at more closely with the whole file.
void FileReader::ReadHead(const std::string& name, std::shared_ptr<File> file) {
  file->Read(0, kBlockAlignment, [self = shared_from_this(), name, file](Result<Bytes> begin) {
    const auto header = begin.ok() ? ParseBlockHeader(begin->view()) : std::nullopt;
    if (!header.has_value()) return self->TakeHead(name, {});
    if (header->length <= begin->size()) return self->TakeHead(name, *std::move(begin));
    file->Read(0, BlockSize(header->length), [self, name](Result<Bytes> head) {
      self->TakeHead(name, head.ok() ? *std::move(head) : Bytes());
    });
  });
}

void FileReader::TakeHead(const std::string& name, Bytes head) {
  const FileImage image{.name = name, .bytes = std::move(head)};
  const ScannedFile scanned = ScanFile(place_.key, image);
  if (scanned.head.has_value()) {
    headed_.emplace(scanned.sequence, name);
  } else {
    unread_.push_back(name);
  }
  ReadNextHead();
}

void FileReader::ReadNewest() {
  is_newest_read_ = headed_.empty();
  if (!headed_.empty()) unread_.push_back(headed_.rbegin()->second);
  ReadNextFile();
}

// Where a file without a head is newer yet, what it says is no older.
void FileReader::ChooseOthers() {
  is_newest_read_ = true;
  const auto newest = std::prev(headed_.end());
  const uint64_t oldest = OldestFileOf(ScanFile(place_.key, images_.at(newest->second)));
  for (auto needed = headed_.lower_bound(oldest); needed != newest; ++needed) {
    unread_.push_back(needed->second);
  }
  MILLRACE_SOMETIMES_IF("a start passed journal files over", headed_.begin()->first < oldest);
  ReadNextFile();
}

void FileReader::ReadNextFile() {
  if (!images_.empty() && !is_newest_read_) return ChooseOthers();
  if (unread_.empty()) return Finish();
  const std::string name = unread_.back();
  unread_.pop_back();
  files_.Open(PathOf(name), OpenMode::kRead, Caching::kDirect,
              [self = shared_from_this(), name](Result<std::unique_ptr<File>> file) {
                if (!file.ok()) return self->done_(file.status());
                self->ReadNextPiece(name, std::move(file).value(), "");
              });
}

void FileReader::ReadNextPiece(const std::string& name, std::shared_ptr<File> file,
                               std::string content) {
  const uint64_t at = content.size();
  content.reserve(file->size());
  if (at >= file->size()) {
    images_[name] = {.name = name,
                     .made_bytes = JournalFileName::Parse(name)->bytes,
                     .bytes = Bytes::Own(std::move(content))};
    return ReadNextFile();
  }
  const uint64_t size = std::min(kReadPieceBytes, file->size() - at);
  file->Read(at, size,
             [self = shared_from_this(), name, file, at,
              content = std::move(content)](const Result<Bytes>& bytes) mutable {
               if (bytes.ok()) {
                 content += bytes->view();
               } else if (bytes.status().code() != Code::kUnavailable) {
                 return self->done_(bytes.status());
               } else if (self->failed_reads_++ < kReadsAgainMax) {
                 MILLRACE_SOMETIMES("a piece of the journal was read again after an error");
                 LOG(WARNING) << "journal can't be read, trying again offset=" << at << ": "
                              << bytes.status();
                 return self->ReadLater(name, file, std::move(content));
               } else {
                 LOG(ERROR) << "journal can't be read offset=" << at << ": " << bytes.status();
               }
               self->failed_reads_ = 0;
               content.resize(std::min(at + kReadPieceBytes, file->size()), '\0');
               self->ReadNextPiece(name, file, std::move(content));
             });
}

void FileReader::ReadLater(const std::string& name, std::shared_ptr<File> file,
                           std::string content) {
  executor_.RunAfter(kReadAgainPause, [self = shared_from_this(), name, file = std::move(file),
                                       content = std::move(content)]() mutable {
    self->ReadNextPiece(name, std::move(file), std::move(content));
  });
}

void FileReader::Finish() {
  std::vector<FileImage> images;
  for (const std::string& name : names_) {
    const auto read = images_.find(name);
    if (read != images_.end()) images.push_back(std::move(read->second));
  }
  done_(std::move(images));
}

}  // namespace millrace::storage::journal

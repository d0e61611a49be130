#include "storage/journal/file_reader.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "storage/journal/file_pool.h"

namespace millrace::storage::journal {
namespace {

constexpr uint64_t kReadPieceBytes = 1 << 20;
// A piece that cannot be read is asked for so often again, with this pause before each.
constexpr uint32_t kReadsAgainMax = 4;
constexpr Duration kReadAgainPause = std::chrono::milliseconds(500);

}  // namespace

void FileReader::Read(Executor& executor, FileSystem& files, const std::string& directory,
                      std::vector<std::string> names, Done done) {
  const std::shared_ptr<FileReader> reader(
      new FileReader(executor, files, directory, std::move(names), std::move(done)));
  reader->ReadNextFile();
}

FileReader::FileReader(Executor& executor, FileSystem& files, std::string directory,
                       std::vector<std::string> names, Done done)
    : executor_(executor),
      files_(files),
      directory_(std::move(directory)),
      names_(std::move(names)),
      done_(std::move(done)) {}

void FileReader::ReadNextFile() {
  if (next_ == names_.size()) return done_(std::move(images_));
  const std::string name = names_[next_++];
  files_.Open(directory_ + "/" + name, OpenMode::kRead, Caching::kDirect,
              [self = shared_from_this(), name](Result<std::unique_ptr<File>> file) {
                if (!file.ok()) return self->done_(file.status());
                self->ReadNextPiece(name, std::move(file).value(), "");
              });
}

void FileReader::ReadNextPiece(const std::string& name, std::shared_ptr<File> file,
                               std::string content) {
  const uint64_t at = content.size();
  if (at >= file->size()) {
    images_.push_back({.name = name,
                       .made_bytes = JournalFileName::Parse(name)->bytes,
                       .bytes = Bytes::Own(std::move(content))});
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

}  // namespace millrace::storage::journal

#include "storage/journal/file_pool.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "storage/journal/format.h"

namespace millrace::storage::journal {
namespace {

// Zeros are written in pieces, so that commits come through between them.
constexpr uint64_t kZeroPieceBytes = 1 << 20;
// More files than these are given back to the file system.
constexpr size_t kFreeFilesMax = 8;
constexpr size_t kNumberDigits = 8;
constexpr const char* kNewSuffix = ".new";
constexpr const char* kJournalSuffix = ".journal";
// Between two tries to make a file.
constexpr Duration kPauseMin = std::chrono::milliseconds(250);
constexpr Duration kPauseMax = std::chrono::seconds(4);

static_assert(kBlockAlignment % kDirectAlignment == 0, "blocks are written past the page cache");
static_assert(kZeroPieceBytes % kDirectAlignment == 0);

}  // namespace

std::string JournalFileName::ToString() const {
  std::string digits = std::to_string(number);
  if (digits.size() < kNumberDigits) digits.insert(0, kNumberDigits - digits.size(), '0');
  return digits + "." + std::to_string(bytes) + (is_new ? kNewSuffix : kJournalSuffix);
}

std::optional<JournalFileName> JournalFileName::Parse(std::string_view name) {
  JournalFileName parsed;
  const char* const end = name.data() + name.size();
  const auto number = std::from_chars(name.data(), end, parsed.number);
  if (number.ec != std::errc() || number.ptr == end || *number.ptr != '.') return std::nullopt;
  const auto bytes = std::from_chars(number.ptr + 1, end, parsed.bytes);
  if (bytes.ec != std::errc()) return std::nullopt;
  parsed.is_new = name.ends_with(kNewSuffix);
  if (parsed.number == 0 || parsed.ToString() != name) return std::nullopt;
  return parsed;
}

struct FilePool::Creation {
  JournalFileName name;  // as it will be
  std::shared_ptr<File> file;
  uint64_t written = 0;
  const Bytes zeros = Bytes::Own(std::string(kZeroPieceBytes, '\0'));  // of each piece

  std::string NewName() const {
    JournalFileName unfinished = name;
    unfinished.is_new = true;
    return unfinished.ToString();
  }
};

FilePool::FilePool(Executor& executor, FileSystem& files, const Options& options,
                   TroubleListener listener)
    : executor_(executor),
      files_(files),
      options_(options),
      listener_(std::move(listener)),
      next_number_(options.next_number),
      pause_(kPauseMin) {
  CHECK_EQ(options_.file_bytes % kBlockAlignment, 0U);
}

FilePool::~FilePool() = default;

std::string FilePool::PathOf(const std::string& name) const {
  return options_.directory + "/" + name;
}

void FilePool::Acquire(uint64_t bytes, Acquired done) {
  CHECK(!waiting_) << "one Acquire at a time";
  waiting_ = std::move(done);
  waiting_bytes_ = std::max(bytes, options_.file_bytes);
  Serve();
}

void FilePool::Serve() {
  if (!waiting_) return;
  const auto fits = std::find_if(free_.begin(), free_.end(), [this](const JournalFile& file) {
    return file.bytes >= waiting_bytes_;
  });
  if (fits == free_.end()) {
    if (creation_ == nullptr && !is_pausing_) StartCreation(waiting_bytes_);
    return TellTrouble();
  }
  JournalFile file = std::move(*fits);
  free_.erase(fits);
  MILLRACE_SOMETIMES_IF("a journal file was used again", file.is_used);
  Acquired served = std::exchange(waiting_, {});
  TellTrouble();
  served(std::move(file));
}

void FilePool::Release(JournalFile file) {
  file.is_used = true;
  if (free_.size() < kFreeFilesMax) {
    free_.push_back(std::move(file));
    TellTrouble();
    return Serve();
  }
  // Its name may come back after a crash, with blocks of a file long gone: replay ignores those.
  Remove(file.name);
}

// A file that stays takes room and does nothing else; the next start finds it.
void FilePool::Remove(const std::string& name) {
  files_.Remove(PathOf(name), [name](const Status& status) {
    LOG_IF(WARNING, !status.ok() && status.code() != Code::kNotFound)
        << "cannot remove a journal file: " << status;
  });
}

void FilePool::PrepareSpare() {
  if (free_.empty() && creation_ == nullptr && !is_pausing_) StartCreation(options_.file_bytes);
}

StatusDone FilePool::Then(void (FilePool::*next)()) {
  return lifetime_.Guard([this, next](const Status& status) {
    if (!status.ok()) return Abandon(status);
    (this->*next)();
  });
}

void FilePool::StartCreation(uint64_t bytes) {
  CHECK(creation_ == nullptr);
  creation_ = std::make_unique<Creation>();
  creation_->name = {.number = next_number_++, .bytes = BlockSize(bytes)};
  files_.Open(PathOf(creation_->NewName()), OpenMode::kCreate, Caching::kDirect,
              lifetime_.Guard([this](Result<std::unique_ptr<File>> file) {
                if (!file.ok()) return Abandon(file.status());
                creation_->file = std::move(file).value();
                WriteZeros();
              }));
}

void FilePool::WriteZeros() {
  if (creation_->written == creation_->name.bytes) return SyncZeros();
  const uint64_t at = creation_->written;
  const uint64_t size = std::min(kZeroPieceBytes, creation_->name.bytes - at);
  creation_->written += size;
  creation_->file->Write(at, {creation_->zeros.Slice(0, size)}, Then(&FilePool::WriteZeros));
}

void FilePool::SyncZeros() { creation_->file->Sync(Then(&FilePool::GiveName)); }

void FilePool::GiveName() {
  files_.Rename(PathOf(creation_->NewName()), PathOf(creation_->name.ToString()),
                Then(&FilePool::SyncName));
}

// Without this, a crash may take the whole file with the durable bytes in it.
void FilePool::SyncName() {
  if (MILLRACE_MUTANT(kSkipDirectorySync)) return OnNamed();
  files_.SyncDirectory(options_.directory, Then(&FilePool::OnNamed));
}

void FilePool::OnNamed() {
  const std::unique_ptr<Creation> made = std::move(creation_);
  free_.push_back({made->name.ToString(), std::move(made->file), made->name.bytes});
  trouble_ = Status::Ok();
  pause_ = kPauseMin;
  TellTrouble();
  Serve();
}

// After a sync of it failed, too: it is not tried on that file again.
void FilePool::Abandon(const Status& why) {
  MILLRACE_SOMETIMES("a journal file could not be made");
  const std::unique_ptr<Creation> failed = std::move(creation_);
  // It may have either.
  Remove(failed->NewName());
  Remove(failed->name.ToString());
  LOG_IF(ERROR, trouble_.ok()) << "cannot make the journal's next file, trying again: " << why;
  trouble_ = why;
  is_pausing_ = true;
  executor_.RunAfter(pause_, lifetime_.Guard([this] { TryAgain(); }));
  pause_ = std::min(pause_ * 2, kPauseMax);
  TellTrouble();
}

void FilePool::TryAgain() {
  is_pausing_ = false;
  if (waiting_) return Serve();
  // Files came back meanwhile: whether one can be made is seen when one is wanted.
  if (!free_.empty()) trouble_ = Status::Ok();
  PrepareSpare();
}

void FilePool::TellTrouble() {
  // None that is free serves what waits: they are too short.
  const bool has_file = !free_.empty() && !waiting_;
  const bool is_in_trouble = !trouble_.ok() && !has_file;
  if (std::exchange(is_in_trouble_, is_in_trouble) == is_in_trouble) return;
  LOG_IF(INFO, !is_in_trouble) << "the journal has a next file again";
  listener_(is_in_trouble ? trouble_ : Status::Ok());
}

}  // namespace millrace::storage::journal

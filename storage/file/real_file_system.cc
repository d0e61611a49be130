#include "storage/file/real_file_system.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>
#include <utility>

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

namespace millrace::storage {
namespace {

constexpr size_t kDirectAlignment = 4096;
constexpr mode_t kFileMode = 0640;

Status FromErrno(int error, const std::string& what) {
  const std::string message = what + ": " + std::strerror(error);
  switch (error) {
    case ENOENT:
      return NotFound(message);
    case EEXIST:
      return AlreadyExists(message);
    case ENOSPC:
    case EDQUOT:
      return ResourceExhausted(message, Reason::kDiskFull);
    case EACCES:
    case EPERM:
    case EROFS:
      return Status(Code::kPermissionDenied, message);
    case EIO:
      return DataLoss(message);
    default:
      return Internal(message);
  }
}

class RealFile final : public File {
 public:
  RealFile(Executor& executor, int fd, std::string path, bool is_direct, uint64_t size)
      : executor_(&executor), fd_(fd), path_(std::move(path)), is_direct_(is_direct), size_(size) {}
  ~RealFile() override { ::close(fd_); }

  void Read(uint64_t offset, uint64_t size, ReadDone done) override {
    Result<Bytes> bytes = ReadNow(offset, size);
    executor_->Post(
        [done = std::move(done), bytes = std::move(bytes)]() mutable { done(std::move(bytes)); });
  }
  void Write(uint64_t offset, std::vector<Bytes> pieces, StatusDone done) override {
    Complete(std::move(done), WriteNow(offset, pieces));
  }
  void Sync(StatusDone done) override {
    Complete(std::move(done),
             ::fdatasync(fd_) == 0 ? Status::Ok() : FromErrno(errno, "fdatasync " + path_));
  }
  void Truncate(uint64_t size, StatusDone done) override {
    Status status;
    if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) {
      status = FromErrno(errno, "ftruncate " + path_);
    } else {
      size_ = size;
    }
    Complete(std::move(done), std::move(status));
  }
  uint64_t size() const override { return size_; }

 private:
  void Complete(StatusDone done, Status status) {
    executor_->Post([done = std::move(done), status = std::move(status)]() mutable {
      done(std::move(status));
    });
  }
  Result<Bytes> ReadNow(uint64_t offset, uint64_t size) const;
  Status WriteNow(uint64_t offset, const std::vector<Bytes>& pieces);

  Executor* executor_;
  const int fd_;
  const std::string path_;
  const bool is_direct_;
  uint64_t size_;
};

Result<Bytes> RealFile::ReadNow(uint64_t offset, uint64_t size) const {
  Buffer buffer = Buffer::Allocate(size, is_direct_ ? kDirectAlignment : Buffer::kAlignment);
  uint64_t got = 0;
  while (got < size) {
    const ssize_t n =
        ::pread(fd_, buffer.data() + got, size - got, static_cast<off_t>(offset + got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FromErrno(errno, "pread " + path_ + " at " + std::to_string(offset + got));
    if (n == 0) break;
    got += static_cast<uint64_t>(n);
    // A short direct read ends at the end of the file; what follows would not be aligned.
    if (is_direct_ && got % kDirectAlignment != 0) break;
  }
  return std::move(buffer).Freeze(got);
}

Status RealFile::WriteNow(uint64_t offset, const std::vector<Bytes>& pieces) {
  std::vector<iovec> vectors;
  vectors.reserve(pieces.size());
  for (const Bytes& piece : pieces) {
    if (!piece.empty()) vectors.push_back({const_cast<char*>(piece.data()), piece.size()});
  }
  size_t first = 0;
  while (first < vectors.size()) {
    const auto count = static_cast<int>(std::min<size_t>(vectors.size() - first, IOV_MAX));
    const ssize_t n = ::pwritev(fd_, &vectors[first], count, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FromErrno(errno, "pwrite " + path_ + " at " + std::to_string(offset));
    offset += static_cast<uint64_t>(n);
    auto left = static_cast<size_t>(n);
    while (first < vectors.size() && left >= vectors[first].iov_len) {
      left -= vectors[first++].iov_len;
    }
    if (left > 0) {
      vectors[first].iov_base = static_cast<char*>(vectors[first].iov_base) + left;
      vectors[first].iov_len -= left;
    }
  }
  size_ = std::max(size_, offset);
  return {};
}

}  // namespace

RealFileSystem::RealFileSystem(Executor& executor, std::string root)
    : executor_(&executor), root_(std::move(root)) {}

std::string RealFileSystem::Path(const std::string& relative) const {
  CHECK(!relative.starts_with('/')) << relative;
  return relative.empty() ? root_ : root_ + "/" + relative;
}

void RealFileSystem::Complete(StatusDone done, Status status) {
  executor_->Post(
      [done = std::move(done), status = std::move(status)]() mutable { done(std::move(status)); });
}

void RealFileSystem::Open(const std::string& path, OpenMode mode, Caching caching, OpenDone done) {
  int flags = O_CLOEXEC | (mode == OpenMode::kRead ? O_RDONLY : O_RDWR);
  if (mode == OpenMode::kCreate) flags |= O_CREAT | O_EXCL;
  const std::string full = Path(path);
  bool is_direct = caching == Caching::kDirect;
  int fd = ::open(full.c_str(), is_direct ? flags | O_DIRECT : flags, kFileMode);
  if (fd < 0 && is_direct && errno == EINVAL) {
    is_direct = false;  // tmpfs and others know no O_DIRECT.
    fd = ::open(full.c_str(), flags, kFileMode);
  }
  Result<std::unique_ptr<File>> file = FromErrno(errno == 0 ? EIO : errno, "open " + full);
  struct stat facts{};
  if (fd >= 0 && ::fstat(fd, &facts) == 0) {
    file = std::unique_ptr<File>(std::make_unique<RealFile>(*executor_, fd, full, is_direct,
                                                            static_cast<uint64_t>(facts.st_size)));
  } else if (fd >= 0) {
    ::close(fd);
  }
  executor_->Post(
      [done = std::move(done), file = std::move(file)]() mutable { done(std::move(file)); });
}

void RealFileSystem::List(const std::string& directory, ListDone done) {
  std::error_code error;
  std::vector<std::string> names;
  const std::string full = Path(directory);
  std::filesystem::directory_iterator at(full, error);
  for (; !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  Result<std::vector<std::string>> result = std::move(names);
  if (error) result = FromErrno(error.value(), "list " + full);
  executor_->Post(
      [done = std::move(done), result = std::move(result)]() mutable { done(std::move(result)); });
}

void RealFileSystem::MakeDirectory(const std::string& directory, StatusDone done) {
  std::error_code error;
  std::filesystem::create_directories(Path(directory), error);
  Complete(std::move(done),
           error ? FromErrno(error.value(), "mkdir " + Path(directory)) : Status::Ok());
}

void RealFileSystem::Rename(const std::string& from, const std::string& to, StatusDone done) {
  const bool ok = ::rename(Path(from).c_str(), Path(to).c_str()) == 0;
  Complete(std::move(done), ok ? Status::Ok() : FromErrno(errno, "rename " + Path(from)));
}

void RealFileSystem::Remove(const std::string& path, StatusDone done) {
  const bool ok = ::remove(Path(path).c_str()) == 0;
  Complete(std::move(done), ok ? Status::Ok() : FromErrno(errno, "remove " + Path(path)));
}

void RealFileSystem::SyncDirectory(const std::string& directory, StatusDone done) {
  const std::string full = Path(directory);
  const int fd = ::open(full.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Complete(std::move(done), FromErrno(errno, "open " + full));
  const bool ok = ::fsync(fd) == 0;
  const int error = errno;
  ::close(fd);
  Complete(std::move(done), ok ? Status::Ok() : FromErrno(error, "fsync " + full));
}

void RealFileSystem::FreeBytes(MoveFunction<void(Result<uint64_t>)> done) {
  struct statvfs facts{};
  Result<uint64_t> free = uint64_t{0};
  if (::statvfs(root_.c_str(), &facts) == 0) {
    free = static_cast<uint64_t>(facts.f_bavail) * facts.f_frsize;
  } else {
    free = FromErrno(errno, "statvfs " + root_);
  }
  executor_->Post(
      [done = std::move(done), free = std::move(free)]() mutable { done(std::move(free)); });
}

Result<DirectoryLock> DirectoryLock::Acquire(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return FromErrno(error.value(), "data directory " + directory);
  const std::string path = directory + "/LOCK";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kFileMode);
  if (fd < 0) return FromErrno(errno, "data directory " + directory + ": open " + path);
  DirectoryLock lock(fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return FailedPrecondition("data directory " + directory + " is in use by another broker");
  }
  return lock;
}

DirectoryLock::~DirectoryLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace millrace::storage

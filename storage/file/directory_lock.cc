#include <array>
#include <cerrno>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/file/posix_error.h"
#include "storage/file/real_file_system.h"

namespace millrace::storage {
namespace {

// The process id that the lock's holder wrote, or "" if it can't be read.
std::string OwnerOf(int fd) {
  std::array<char, 32> text{};
  const ssize_t count = pread(fd, text.data(), text.size() - 1, 0);
  if (count <= 0) return "";
  const std::string id(text.data(), static_cast<size_t>(count));
  return id.substr(0, id.find('\n'));
}

// `fd` is the lock's file, which this process could not lock.
Status InUse(const std::string& directory, int fd) {
  // Readers let each other in, and have written nothing.
  if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
    return FailedPrecondition("data directory " + directory +
                              " is being read by another process (millrace inspect)");
  }
  const std::string owner = OwnerOf(fd);
  return FailedPrecondition("data directory " + directory + " is already in use" +
                            (owner.empty() ? "" : " by process " + owner));
}

Status WriteOwner(int fd, const std::string& path) {
  const std::string id = std::to_string(getpid()) + "\n";
  if (ftruncate(fd, 0) != 0) return PosixError("write", path, errno);
  if (pwrite(fd, id.data(), id.size(), 0) < 0) return PosixError("write", path, errno);
  return Status::Ok();
}

}  // namespace

Result<DirectoryLock> DirectoryLock::Acquire(const std::string& directory) {
  RETURN_IF_ERROR(MakeDirectories(directory));
  const std::string path = directory + "/" + kFileName;
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return PosixError("open", path, errno);
  DirectoryLock lock(fd);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return PosixError("lock", path, errno);
    return InUse(directory, fd);
  }
  RETURN_IF_ERROR(WriteOwner(fd, path));
  return lock;
}

Result<DirectoryLock> DirectoryLock::AcquireForReading(const std::string& directory) {
  struct stat facts{};
  if (stat(directory.c_str(), &facts) != 0) return PosixError("look at", directory, errno);
  if (!S_ISDIR(facts.st_mode)) return FailedPrecondition(directory + " is no directory");
  const std::string path = directory + "/" + kFileName;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 && errno == ENOENT) return DirectoryLock(-1);
  if (fd < 0) return PosixError("open", path, errno);
  DirectoryLock lock(fd);
  if (flock(fd, LOCK_SH | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) return PosixError("lock", path, errno);
  return InUse(directory, fd);
}

DirectoryLock::~DirectoryLock() {
  if (fd_ >= 0) close(fd_);
}

DirectoryLock::DirectoryLock(DirectoryLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

DirectoryLock& DirectoryLock::operator=(DirectoryLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

}  // namespace millrace::storage

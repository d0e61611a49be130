#include "storage/file/real_file_system.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <glog/logging.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "storage/file/freeing.h"
#include "storage/file/posix_error.h"
#include "storage/file/real_file.h"

namespace millrace::storage {
namespace {

// What is stored is for the broker's user alone.
constexpr mode_t kFileMode = 0600;
constexpr mode_t kDirectoryMode = 0700;

int FlagsOf(OpenMode mode) {
  // A pipe that bears a file's name keeps nobody waiting for its other end.
  constexpr int kAlways = O_CLOEXEC | O_NONBLOCK;
  switch (mode) {
    case OpenMode::kRead:
      return O_RDONLY | kAlways;
    case OpenMode::kReadWrite:
      return O_RDWR | kAlways;
    case OpenMode::kCreate:
      return O_RDWR | O_CREAT | O_EXCL | kAlways;
  }
  LOG(FATAL) << "no such mode";
}

Status NoRegularFile(const std::string& path) {
  return FailedPrecondition("open " + path + ": it is no regular file");
}

Status OpenError(const std::string& path, int error) {
  const bool is_other = error == EISDIR || error == ENXIO;  // a directory; a socket
  return is_other ? NoRegularFile(path) : PosixError("open", path, error);
}

Result<RealFile::Opened> OpenNow(const std::string& path, OpenMode mode, Caching caching) {
  const int flags = FlagsOf(mode);
  bool is_direct = caching == Caching::kDirect;
  int fd = open(path.c_str(), is_direct ? flags | O_DIRECT : flags, kFileMode);
  if (fd < 0 && is_direct && errno == EINVAL) {
    // The file system knows no O_DIRECT. O_EXCL may have made the file before it found out.
    is_direct = false;
    fd = open(path.c_str(), flags & ~O_EXCL, kFileMode);
  }
  if (fd < 0) return OpenError(path, errno);
  const auto refuse = [fd](Status why) {
    close(fd);
    return why;
  };
  if (!HoldFile(fd)) return refuse(PosixError("open", path, ENOENT));
  struct stat facts{};
  if (fstat(fd, &facts) != 0) return refuse(PosixError("stat", path, errno));
  if (!S_ISREG(facts.st_mode)) return refuse(NoRegularFile(path));
  return RealFile::Opened{
      .path = path, .fd = fd, .is_direct = is_direct, .size = static_cast<uint64_t>(facts.st_size)};
}

Result<std::vector<std::string>> ListNow(const std::string& path) {
  DIR* directory = opendir(path.c_str());
  if (directory == nullptr) return PosixError("list", path, errno);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(directory)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  const int error = errno;
  closedir(directory);
  if (error != 0) return PosixError("list", path, error);
  std::sort(names.begin(), names.end());
  return names;
}

Status SyncDirectoryNow(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return PosixError("open directory", path, errno);
  const Status status = fsync(fd) == 0 ? Status::Ok() : PosixError("sync directory", path, errno);
  close(fd);
  return status;
}

// Takes empty directories, too, which cannot be opened like this.
Status RemoveNow(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  const bool is_done = remove(path.c_str()) == 0;
  const Status status = is_done ? Status::Ok() : PosixError("remove", path, errno);
  if (fd < 0) return status;
  if (FreesLargeFile(fd)) {
    CloseInPieces(fd);
  } else {
    close(fd);
  }
  return status;
}

Result<uint64_t> FreeBytesNow(const std::string& path) {
  struct statvfs facts{};
  if (statvfs(path.c_str(), &facts) != 0) return PosixError("ask for free space of", path, errno);
  return uint64_t{facts.f_bavail} * facts.f_frsize;
}

template <typename Done, typename Outcome>
void PostOutcome(Executor& executor, Done done, Outcome outcome) {
  executor.Post([done = std::move(done), outcome = std::move(outcome)]() mutable {
    done(std::move(outcome));
  });
}

}  // namespace

Status MakeDirectories(const std::string& path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (mkdir(part.c_str(), kDirectoryMode) != 0 && errno != EEXIST) {
      // A parent may be there and not ours to write in.
      struct stat facts{};
      const int error = errno;
      if (stat(part.c_str(), &facts) != 0) return PosixError("make directory", part, error);
    }
    if (end == std::string::npos) break;
  }
  struct stat facts{};
  if (stat(path.c_str(), &facts) != 0) return PosixError("make directory", path, errno);
  if (!S_ISDIR(facts.st_mode)) return PosixError("make directory", path, ENOTDIR);
  return Status::Ok();
}

RealFileSystem::RealFileSystem(Executor& executor, std::string root,
                               const std::vector<Executor*>& sync_threads,
                               const std::vector<std::string>& watched)
    : executor_(executor),
      syncs_(std::make_shared<SyncRunner>(executor, sync_threads)),
      root_(std::move(root)) {
  CHECK(!root_.empty());
  // Without a lock the directory is nobody's, and nothing is watched.
  const Result<std::optional<Identity>> lock = Find(DirectoryLock::kFileName);
  if (!lock.ok() || !lock->has_value()) return;
  known_[DirectoryLock::kFileName] = *lock;
  for (const std::string& name : watched) known_[name];
}

Result<std::optional<RealFileSystem::Identity>> RealFileSystem::Find(
    const std::string& name) const {
  const std::string path = FullPath(name);
  struct stat facts{};
  if (stat(path.c_str(), &facts) == 0) {
    return std::optional<Identity>({.device = facts.st_dev, .number = facts.st_ino});
  }
  if (errno == ENOENT || errno == ENOTDIR) return std::optional<Identity>();
  return PosixError("look at", path, errno);
}

Status RealFileSystem::CheckDirectory() {
  for (auto& [name, known] : known_) {
    ASSIGN_OR_RETURN(const std::optional<Identity> found, Find(name));
    if (!known.has_value()) known = found;
    if (found == known) continue;
    const bool is_all = name == DirectoryLock::kFileName;
    return FailedPrecondition((is_all ? "the data directory " + root_ : FullPath(name)) +
                              " was removed, replaced or unmounted under this broker");
  }
  return Status::Ok();
}

std::string RealFileSystem::FullPath(const std::string& path) const {
  return path.empty() ? root_ : root_ + "/" + path;
}

void RealFileSystem::Open(const std::string& path, OpenMode mode, Caching caching, OpenDone done) {
  using Outcome = Result<std::unique_ptr<File>>;
  Result<RealFile::Opened> opened = OpenNow(FullPath(path), mode, caching);
  if (!opened.ok()) return PostOutcome(executor_, std::move(done), Outcome(opened.status()));
  PostOutcome(executor_, std::move(done),
              Outcome(std::make_unique<RealFile>(executor_, syncs_, staging_, std::move(*opened))));
}

void RealFileSystem::List(const std::string& directory, ListDone done) {
  PostOutcome(executor_, std::move(done), ListNow(FullPath(directory)));
}

void RealFileSystem::MakeDirectory(const std::string& directory, StatusDone done) {
  PostOutcome(executor_, std::move(done), MakeDirectories(FullPath(directory)));
}

void RealFileSystem::Rename(const std::string& from, const std::string& to, StatusDone done) {
  const bool is_done = rename(FullPath(from).c_str(), FullPath(to).c_str()) == 0;
  PostOutcome(executor_, std::move(done),
              is_done ? Status::Ok() : PosixError("rename", FullPath(from), errno));
}

// Where syncs are: a file system may take as long for it.
void RealFileSystem::Remove(const std::string& path, StatusDone done) {
  syncs_->Run(
      std::make_shared<SyncRunner::File>(), [path = FullPath(path)] { return RemoveNow(path); },
      std::move(done));
}

void RealFileSystem::SyncDirectory(const std::string& directory, StatusDone done) {
  syncs_->Run(
      std::make_shared<SyncRunner::File>(),
      [path = FullPath(directory)] { return SyncDirectoryNow(path); }, std::move(done));
}

void RealFileSystem::FreeBytes(MoveFunction<void(Result<uint64_t>)> done) {
  const Status status = CheckDirectory();
  PostOutcome(executor_, std::move(done),
              status.ok() ? FreeBytesNow(root_) : Result<uint64_t>(status));
}

}  // namespace millrace::storage

#include "storage/file/freeing.h"

#include <cerrno>

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace millrace::storage {

bool HoldFile(int fd) {
  if (flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK) return true;
  // A file with a name is cut by nobody: some other program has locked it.
  struct stat facts{};
  return fstat(fd, &facts) == 0 && facts.st_nlink > 0;
}

bool FreesLargeFile(int fd) {
  struct stat facts{};
  const bool is_nameless = fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_nlink == 0;
  if (!is_nameless || static_cast<uint64_t>(facts.st_size) <= kFreedAtOnce) return false;
  return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

void CloseInPieces(int fd) {
  struct stat facts{};
  uint64_t size = fstat(fd, &facts) == 0 ? static_cast<uint64_t>(facts.st_size) : 0;
  while (size > kFreedAtOnce) {
    size -= kFreedAtOnce;
    if (ftruncate(fd, static_cast<off_t>(size)) != 0) break;
  }
  close(fd);
}

}  // namespace millrace::storage

#include "storage/file/posix_error.h"

#include <cerrno>
#include <system_error>

namespace millrace::storage {
namespace {

Code CodeOf(int error) {
  switch (error) {
    case ENOENT:
      return Code::kNotFound;
    case EEXIST:
      return Code::kAlreadyExists;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
      return Code::kResourceExhausted;
    case EACCES:
    case EPERM:
    case EROFS:
      return Code::kPermissionDenied;
    // A cable, a path to a disk or a server may come back: damage is what is read and is wrong.
    case EIO:
      return Code::kUnavailable;
    default:
      return Code::kInternal;
  }
}

}  // namespace

Status PosixError(const std::string& operation, const std::string& path, int error) {
  const Reason reason = error == ENOSPC || error == EDQUOT ? Reason::kDiskFull : Reason::kNone;
  return Status(CodeOf(error),
                operation + " " + path + ": " + std::generic_category().message(error), reason);
}

}  // namespace millrace::storage

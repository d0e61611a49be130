#include "storage/file/real_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <glog/logging.h>
#include <sys/uio.h>
#include <unistd.h>

#include "storage/file/posix_error.h"

namespace millrace::storage {
namespace {

constexpr uint64_t kDirectAlignment = 4096;
constexpr size_t kPiecesPerCall = 512;  // under every system's IOV_MAX

// All pieces in one aligned buffer, as O_DIRECT needs them.
Bytes Gather(const std::vector<Bytes>& pieces) {
  Buffer buffer = Buffer::Allocate(TotalSize(pieces), kDirectAlignment);
  size_t at = 0;
  for (const Bytes& piece : pieces) {
    if (!piece.empty()) std::memcpy(buffer.data() + at, piece.data(), piece.size());
    at += piece.size();
  }
  return std::move(buffer).Freeze();
}

std::vector<iovec> VectorsOf(const std::vector<Bytes>& pieces) {
  std::vector<iovec> vectors;
  vectors.reserve(pieces.size());
  for (const Bytes& piece : pieces) {
    if (piece.empty()) continue;
    vectors.push_back({.iov_base = const_cast<char*>(piece.data()), .iov_len = piece.size()});
  }
  return vectors;
}

// Drops the first `count` bytes of vectors[*first, ...).
void Consume(std::vector<iovec>& vectors, size_t* first, size_t count) {
  while (count > 0) {
    iovec& vector = vectors[*first];
    const size_t taken = std::min(count, vector.iov_len);
    vector.iov_base = static_cast<char*>(vector.iov_base) + taken;
    vector.iov_len -= taken;
    count -= taken;
    if (vector.iov_len == 0) ++*first;
  }
}

}  // namespace

RealFile::Descriptor::~Descriptor() { close(fd); }

RealFile::RealFile(Executor& executor, const SyncRunner& syncs, std::string path, int fd,
                   bool is_direct, uint64_t size)
    : executor_(executor),
      syncs_(syncs),
      path_(std::move(path)),
      descriptor_(std::make_shared<const Descriptor>(fd)),
      is_direct_(is_direct),
      size_(size) {
  CHECK_GE(fd, 0);
}

void RealFile::Read(uint64_t offset, uint64_t size, ReadDone done) {
  executor_.Post([done = std::move(done), result = ReadNow(offset, size)]() mutable {
    done(std::move(result));
  });
}

Result<Bytes> RealFile::ReadNow(uint64_t offset, uint64_t size) {
  if (is_direct_) {
    CHECK_EQ(offset % kDirectAlignment, 0U) << path_;
    CHECK_EQ(size % kDirectAlignment, 0U) << path_;
  }
  Buffer buffer = Buffer::Allocate(size, is_direct_ ? kDirectAlignment : Buffer::kAlignment);
  uint64_t have = 0;
  while (have < size) {
    const ssize_t count = pread(descriptor_->fd, buffer.data() + have, size - have,
                                static_cast<off_t>(offset + have));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return PosixError("read", path_, errno);
    have += static_cast<uint64_t>(count);
    // A direct read that ends off the alignment has met the end of the file.
    if (count == 0 || (is_direct_ && have % kDirectAlignment != 0)) break;
  }
  return std::move(buffer).Freeze(have);
}

void RealFile::Write(uint64_t offset, std::vector<Bytes> pieces, StatusDone done) {
  executor_.Post([done = std::move(done), status = WriteNow(offset, pieces)]() mutable {
    done(std::move(status));
  });
}

Status RealFile::WriteNow(uint64_t offset, const std::vector<Bytes>& pieces) {
  const std::vector<Bytes> gathered =
      is_direct_ ? std::vector<Bytes>{Gather(pieces)} : std::vector<Bytes>{};
  std::vector<iovec> vectors = VectorsOf(is_direct_ ? gathered : pieces);
  for (size_t first = 0; first < vectors.size();) {
    const int count = static_cast<int>(std::min(kPiecesPerCall, vectors.size() - first));
    const ssize_t written =
        pwritev(descriptor_->fd, &vectors[first], count, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return PosixError("write", path_, errno);
    offset += static_cast<uint64_t>(written);
    Consume(vectors, &first, static_cast<size_t>(written));
    size_ = std::max(size_, offset);
  }
  return Status::Ok();
}

void RealFile::Sync(StatusDone done) {
  syncs_.Run(
      [descriptor = descriptor_, path = path_] {
        return fdatasync(descriptor->fd) == 0 ? Status::Ok() : PosixError("sync", path, errno);
      },
      std::move(done));
}

void RealFile::Truncate(uint64_t size, StatusDone done) {
  Status status;
  if (ftruncate(descriptor_->fd, static_cast<off_t>(size)) == 0) {
    size_ = size;
  } else {
    status = PosixError("truncate", path_, errno);
  }
  executor_.Post([done = std::move(done), status]() mutable { done(status); });
}

}  // namespace millrace::storage

#include "storage/file/real_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <glog/logging.h>
#include <unistd.h>

#include "storage/file/freeing.h"
#include "storage/file/posix_error.h"

namespace millrace::storage {
namespace {

constexpr size_t kPiecesPerCall = 512;  // under every system's IOV_MAX
// As much is written at a time past the page cache, and kept for it.
constexpr size_t kStagingBytes = 1 << 20;
static_assert(kStagingBytes % kDirectAlignment == 0);

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

// The last descriptor of a large file without a name.
class Last {
 public:
  explicit Last(int fd) : fd_(fd) {}
  ~Last() { CloseInPieces(fd_); }
  Last(const Last&) = delete;
  Last& operator=(const Last&) = delete;

 private:
  const int fd_;
};

}  // namespace

// Large files that nobody can open any more are freed where syncs are: that takes as long.
RealFile::Descriptor::~Descriptor() {
  if (!FreesLargeFile(fd)) {
    close(fd);
    return;
  }
  executor.Post([runner = syncs, last = std::make_unique<Last>(fd)]() mutable {
    auto free = [last = std::move(last)]() mutable {
      last.reset();
      return Status::Ok();
    };
    runner->Run(std::make_shared<SyncRunner::File>(), std::move(free), [](const Status&) {});
  });
}

RealFile::RealFile(Executor& executor, std::shared_ptr<SyncRunner> syncs,
                   std::shared_ptr<Buffer> staging, Opened opened)
    : executor_(executor),
      syncs_(std::move(syncs)),
      path_(std::move(opened.path)),
      descriptor_(std::make_shared<const Descriptor>(opened.fd, executor, syncs_)),
      is_direct_(opened.is_direct),
      staging_(std::move(staging)),
      size_(opened.size) {
  CHECK_GE(opened.fd, 0);
  CHECK(staging_ != nullptr);
}

void RealFile::Read(uint64_t offset, uint64_t size, ReadDone done) {
  executor_.Post([done = std::move(done), result = ReadNow(offset, size)]() mutable {
    done(std::move(result));
  });
}

Result<Bytes> RealFile::ReadNow(uint64_t offset, uint64_t size) {
  if (!is_direct_) return ReadSpan(offset, size);
  const uint64_t begin = offset / kDirectAlignment * kDirectAlignment;
  const uint64_t end = (offset + size + kDirectAlignment - 1) / kDirectAlignment * kDirectAlignment;
  ASSIGN_OR_RETURN(const Bytes span, ReadSpan(begin, end - begin));
  const uint64_t from = std::min<uint64_t>(offset - begin, span.size());
  const Bytes part = span.Slice(from, std::min(size, span.size() - from));
  // Whoever keeps something small does not keep the pages around it.
  return part.size() < span.size() / 2 ? Bytes::CopyOf(part.view()) : part;
}

// Pre: of a direct file, `offset` and `size` are aligned.
Result<Bytes> RealFile::ReadSpan(uint64_t offset, uint64_t size) {
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
  return is_direct_ ? WriteStaged(offset, pieces) : WriteVectors(offset, VectorsOf(pieces));
}

Status RealFile::WriteStaged(uint64_t offset, const std::vector<Bytes>& pieces) {
  CHECK_EQ(offset % kDirectAlignment, 0U) << path_;
  CHECK_EQ(TotalSize(pieces) % kDirectAlignment, 0U) << path_;
  if (staging_->size() == 0) *staging_ = Buffer::Allocate(kStagingBytes, kDirectAlignment);
  size_t filled = 0;
  const auto write = [&] {
    const size_t size = std::exchange(filled, 0);
    offset += size;
    return WriteVectors(offset - size, {{.iov_base = staging_->data(), .iov_len = size}});
  };
  for (const Bytes& piece : pieces) {
    for (size_t taken = 0; taken < piece.size();) {
      const size_t count = std::min(piece.size() - taken, kStagingBytes - filled);
      std::memcpy(staging_->data() + filled, piece.data() + taken, count);
      taken += count;
      filled += count;
      if (filled == kStagingBytes) RETURN_IF_ERROR(write());
    }
  }
  return filled > 0 ? write() : Status::Ok();
}

// Pre: none is empty.
Status RealFile::WriteVectors(uint64_t offset, std::vector<iovec> vectors) {
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
  syncs_->Run(
      own_syncs_,
      [descriptor = descriptor_, path = path_] {
        return fdatasync(descriptor->fd) == 0 ? Status::Ok() : PosixError("sync", path, errno);
      },
      std::move(done));
}

void RealFile::WriteBack(StatusDone done) {
  constexpr unsigned kAndWait =
      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  syncs_->Run(
      own_syncs_,
      [descriptor = descriptor_, path = path_] {
        const bool is_done = sync_file_range(descriptor->fd, 0, 0, kAndWait) == 0;
        // Where there is no such call, a sync does it all.
        return is_done || errno == ENOSYS ? Status::Ok() : PosixError("write back", path, errno);
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

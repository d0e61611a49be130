#include "storage/segment/frame_cursor.h"

#include <algorithm>
#include <string>
#include <utility>

#include <glog/logging.h>

namespace millrace::storage {

void FrameCursor::Walk(std::shared_ptr<File> file, const Range& range, Visit visit, Done done) {
  CHECK_LE(range.begin, range.end);
  CHECK_GT(range.piece_bytes, 0U);
  const std::shared_ptr<FrameCursor> cursor(
      new FrameCursor(std::move(file), range, std::move(visit), std::move(done)));
  cursor->ReadPiece(std::max<uint64_t>(range.piece_bytes, kFrameHeaderSize));
}

void FrameCursor::Finish(const Status& status) {
  done_(status.With("at byte " + std::to_string(position_)), position_);
}

void FrameCursor::ReadPiece(uint64_t size) {
  size = std::min(size, range_.end - position_);
  if (size == 0) return Finish(Status::Ok());
  file_->Read(position_, size, [self = shared_from_this(), size](Result<Bytes> bytes) {
    if (!bytes.ok()) return self->Finish(bytes.status());
    if (bytes->size() < size) return self->Finish(DataLoss("the file ends too early"));
    self->OnPiece(*bytes);
  });
}

void FrameCursor::OnPiece(const Bytes& piece) {
  uint64_t at = 0;
  while (at < piece.size()) {
    const Bytes rest = piece.Slice(at, piece.size() - at);
    if (rest.size() < kFrameHeaderSize) return ReadOn(rest);
    const Result<FrameHeader> header = ParseFrameHeader(rest.view());
    if (!header.ok()) return Finish(header.status());
    const uint64_t size = FrameSize(header->payload_size);
    if (size > rest.size()) return ReadOn(rest);
    const Result<bool> is_taken = visit_(Frame::OfChecked(rest.Slice(0, size)));
    if (!is_taken.ok()) return Finish(is_taken.status());
    if (!*is_taken) return Finish(Status::Ok());
    at += size;
    position_ += size;
  }
  ReadPiece(range_.piece_bytes);
}

void FrameCursor::ReadOn(const Bytes& rest) {
  uint64_t needed = kFrameHeaderSize;
  if (rest.size() >= kFrameHeaderSize) {
    const Result<FrameHeader> header = ParseFrameHeader(rest.view());
    CHECK(header.ok()) << header.status();
    needed = FrameSize(header->payload_size);
  }
  if (position_ + needed > range_.end) {
    return Finish(DataLoss("the frame is cut off by the end of the frames"));
  }
  ReadPiece(std::max(needed, range_.piece_bytes));
}

}  // namespace millrace::storage

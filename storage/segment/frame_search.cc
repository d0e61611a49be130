#include "storage/segment/frame_search.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "storage/segment/format.h"

namespace millrace::storage {
namespace {

constexpr uint64_t kPieceBytes = 4 << 20;
static_assert(kPieceBytes % kFrameAlignment == 0);

}  // namespace

void FrameSearch::Find(std::shared_ptr<File> file, const Range& range, IsWanted is_wanted,
                       Done done) {
  CHECK_EQ(range.begin % kFrameAlignment, 0U);
  const uint64_t end = std::min(range.end, file->size());
  const std::shared_ptr<FrameSearch> search(
      new FrameSearch(std::move(file), end, std::move(is_wanted), std::move(done)));
  search->SearchFrom(range.begin);
}

// A piece has the whole header of each frame that begins in it.
void FrameSearch::SearchFrom(uint64_t at) {
  if (at + kFrameHeaderSize > end_) return done_(Position());
  const uint64_t size = std::min(kPieceBytes + kFrameHeaderSize - kFrameAlignment, end_ - at);
  file_->Read(at, size, [self = shared_from_this(), at](Result<Bytes> piece) {
    if (!piece.ok()) return self->done_(piece.status());
    if (const auto place = self->FindIn(piece->view())) return self->done_(Position(at + *place));
    self->SearchFrom(at + kPieceBytes);
  });
}

FrameSearch::Position FrameSearch::FindIn(std::string_view piece) {
  for (uint64_t place = 0; place + kFrameHeaderSize <= piece.size(); place += kFrameAlignment) {
    const std::string_view bytes = piece.substr(place);
    if (!bytes.starts_with(kFrameMagicBytes)) continue;
    const Result<FrameHeader> header = ParseFrameHeader(bytes);
    if (header.ok() && is_wanted_(*header)) return place;
  }
  return std::nullopt;
}

}  // namespace millrace::storage

#include "storage/segment/ending.h"

#include <optional>
#include <utility>

namespace millrace::storage {
namespace {

using EndingDone = MoveFunction<void(Result<SegmentEnding>)>;

// `size`: of the segment, or of what it would be.
void ReadFooter(const std::shared_ptr<File>& file, uint64_t size, const SegmentFolder& folder,
                LogIndex first_index, const SegmentTrailer& trailer, EndingDone done) {
  const uint64_t behind_footer = sizeof(SegmentTrailer) + trailer.footer_size;
  file->Read(file->size() - behind_footer, trailer.footer_size,
             [file, folder, first_index, trailer, footer_at = size - behind_footer,
              done = std::move(done)](Result<Bytes> bytes) mutable {
               if (!bytes.ok()) return done(bytes.status());
               Result<internal::v1::SegmentFooter> footer =
                   ParseSegmentFooter(bytes->view(), trailer, footer_at, folder, first_index);
               if (!footer.ok()) return done(footer.status());
               Result<VoidIndex> void_index = VoidIndex::LoadFrom(*footer);
               if (!void_index.ok()) return done(void_index.status());
               done(SegmentEnding{.footer = std::move(*footer),
                                  .void_index = std::move(*void_index),
                                  .frames_end = trailer.frames_end});
             });
}

}  // namespace

void ReadSegmentEnding(std::shared_ptr<File> file, EndingIn in, const SegmentFolder& folder,
                       LogIndex first_index, EndingDone done) {
  const uint64_t frames_min = in == EndingIn::kSegment ? sizeof(SegmentHeader) : 0;
  const uint64_t size = file->size();
  if (size < frames_min + sizeof(SegmentTrailer)) {
    return done(DataLoss("the segment was sealed, but is cut off"));
  }
  const uint64_t trailer_at = size - sizeof(SegmentTrailer);
  File& trailers_file = *file;
  trailers_file.Read(
      trailer_at, sizeof(SegmentTrailer),
      [file = std::move(file), in, folder, first_index, size, trailer_at,
       done = std::move(done)](Result<Bytes> bytes) mutable {
        if (!bytes.ok()) return done(bytes.status());
        const std::optional<SegmentTrailer> trailer = ParseSegmentTrailer(bytes->view());
        if (!trailer.has_value() || trailer->footer_size > trailer_at ||
            trailer->frames_end < sizeof(SegmentHeader)) {
          return done(DataLoss("the segment was sealed, but its trailer is damaged"));
        }
        const uint64_t frames = in == EndingIn::kSegment ? 0 : trailer->frames_end;
        if (trailer->frames_end > frames + trailer_at - trailer->footer_size) {
          return done(DataLoss("the segment was sealed, but its trailer is damaged"));
        }
        ReadFooter(file, frames + size, folder, first_index, *trailer, std::move(done));
      });
}

}  // namespace millrace::storage

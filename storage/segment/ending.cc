#include "storage/segment/ending.h"

#include <optional>
#include <utility>

namespace millrace::storage {
namespace {

using EndingDone = MoveFunction<void(Result<SegmentEnding>)>;

void ReadFooter(const std::shared_ptr<File>& file, const SegmentFolder& folder,
                LogIndex first_index, const SegmentTrailer& trailer, EndingDone done) {
  const uint64_t footer_at = file->size() - sizeof(SegmentTrailer) - trailer.footer_size;
  file->Read(footer_at, trailer.footer_size,
             [file, folder, first_index, trailer, footer_at,
              done = std::move(done)](Result<Bytes> bytes) mutable {
               if (!bytes.ok()) return done(bytes.status());
               Result<internal::v1::SegmentFooter> footer =
                   ParseSegmentFooter(bytes->view(), trailer, footer_at, folder, first_index);
               if (!footer.ok()) return done(footer.status());
               done(SegmentEnding{.footer = std::move(*footer), .frames_end = trailer.frames_end});
             });
}

}  // namespace

void ReadSegmentEnding(std::shared_ptr<File> file, const SegmentFolder& folder,
                       LogIndex first_index, EndingDone done) {
  const uint64_t size = file->size();
  if (size < sizeof(SegmentHeader) + sizeof(SegmentTrailer)) {
    return done(DataLoss("the segment was sealed, but is cut off"));
  }
  const uint64_t trailer_at = size - sizeof(SegmentTrailer);
  File& trailers_file = *file;
  trailers_file.Read(
      trailer_at, sizeof(SegmentTrailer),
      [file = std::move(file), folder, first_index, trailer_at,
       done = std::move(done)](Result<Bytes> bytes) mutable {
        if (!bytes.ok()) return done(bytes.status());
        const std::optional<SegmentTrailer> trailer = ParseSegmentTrailer(bytes->view());
        if (!trailer.has_value() || trailer->footer_size > trailer_at ||
            trailer->frames_end < sizeof(SegmentHeader) ||
            trailer->frames_end > trailer_at - trailer->footer_size) {
          return done(DataLoss("the segment was sealed, but its trailer is damaged"));
        }
        ReadFooter(file, folder, first_index, *trailer, std::move(done));
      });
}

}  // namespace millrace::storage

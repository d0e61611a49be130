// Finding an entry by its records' time. What segments and index points keep is a running maximum
// (design D6), so records may come in any order of time: the first entry that reaches a timestamp
// lies in the first segment that does, between the last index point that does not and the next one.

#include <algorithm>
#include <utility>

#include "storage/segment/frame_cursor.h"
#include "storage/segment/group_segments.h"

namespace millrace::storage {
namespace {

// More than most stretches between two index points.
constexpr uint64_t kPieceBytes = 128 << 10;

}  // namespace

class GroupSegments::Finder : public std::enable_shared_from_this<GroupSegments::Finder> {
 public:
  Finder(std::shared_ptr<GroupSegments> segments, int64_t timestamp_ms, LogIndex before,
         raft::IndexDone done)
      : segments_(std::move(segments)),
        timestamp_ms_(timestamp_ms),
        before_(before),
        done_(std::move(done)) {}

  void Start() {
    auto& all = segments_->segments_;
    const auto segment = std::find_if(all.begin(), all.end(), [this](const Segment& candidate) {
      return candidate.max_timestamp_ms >= timestamp_ms_;
    });
    if (segment == all.end() || segment->first_index >= before_) return done_(LogIndex());
    name_ = segments_->Name(*segment);
    const FrameCursor::Range range{
        .begin = StretchBegin(*segment), .end = segment->frames_end, .piece_bytes = kPieceBytes};
    segments_->OpenSegment(*segment,
                           [self = shared_from_this(), range](Result<std::shared_ptr<File>> file) {
                             if (!file.ok()) return self->done_(file.status());
                             self->Walk(std::move(*file), range);
                           });
  }

 private:
  uint64_t StretchBegin(const Segment& segment) const {
    const auto reaches = std::partition_point(
        segment.points.begin(), segment.points.end(),
        [this](const Point& point) { return point.max_timestamp_ms < timestamp_ms_; });
    return reaches == segment.points.begin() ? sizeof(SegmentHeader) : std::prev(reaches)->position;
  }

  void Walk(std::shared_ptr<File> file, const FrameCursor::Range& range) {
    FrameCursor::Walk(
        std::move(file), range,
        [self = shared_from_this()](const Frame& frame) -> Result<bool> {
          const FrameHeader header = frame.header();
          if (header.group != self->segments_->folder_.group) {
            return DataLoss("another group's entry lies here");
          }
          if (header.index >= self->before_) return false;
          if (!HasRecordSince(header, self->timestamp_ms_)) return true;
          self->found_ = header.index;
          return false;
        },
        [self = shared_from_this()](const Status& status, uint64_t) {
          if (!status.ok()) return self->done_(status.With(self->name_));
          self->done_(self->found_);
        });
  }

  std::shared_ptr<GroupSegments> segments_;
  const int64_t timestamp_ms_;
  const LogIndex before_;
  raft::IndexDone done_;
  std::string name_;
  LogIndex found_;
};

void GroupSegments::FindTimestamp(int64_t timestamp_ms, LogIndex before, raft::IndexDone done) {
  std::make_shared<Finder>(shared_from_this(), timestamp_ms, before, std::move(done))->Start();
}

}  // namespace millrace::storage

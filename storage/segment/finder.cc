// Finding an entry by its records' time. What segments and index points keep is a running maximum
// (design D6), so records may come in any order of time: the first entry that reaches a timestamp
// lies in the first segment that does, between the last index point that does not and the next one.
// Where it is reached before the first record that is meant, what follows is looked at, too.

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
  Finder(std::shared_ptr<GroupSegments> segments, int64_t timestamp_ms, Offset from,
         LogIndex before, raft::IndexDone done)
      : segments_(std::move(segments)),
        timestamp_ms_(timestamp_ms),
        from_(from),
        before_(before),
        done_(std::move(done)) {}

  // In the segments from `first` on.
  void Look(LogIndex first) {
    auto& all = segments_->segments_;
    auto segment = all.begin();
    while (segment != all.end() &&
           (segment->first_index < first || segments_->EndOf(segment) <= from_ ||
            segment->max_timestamp_ms < timestamp_ms_)) {
      ++segment;
    }
    if (segment == all.end() || segment->first_index >= before_) return done_(LogIndex());
    // From the last point before which nothing is meant.
    const auto stretch = segment->StretchBehind([this](const Point& point) {
      return point.max_timestamp_ms < timestamp_ms_ || point.base_offset <= from_;
    });
    const FrameCursor::Range range{
        .begin = stretch.begin, .end = segment->frames_end, .piece_bytes = kPieceBytes};
    segments_->OpenSegment(*segment,
                           [self = shared_from_this(), range,
                            begun = segment->first_index](Result<std::shared_ptr<File>> file) {
                             if (file.status().code() == Code::kAborted) return self->Look(begun);
                             // Its records lie before any that is asked for by now.
                             if (!file.ok() && self->segments_->WasDropped(begun))
                               return self->Look(begun + 1);
                             if (!file.ok()) return self->done_(file.status());
                             self->Walk(std::move(*file), range, begun);
                           });
  }

 private:
  void Walk(std::shared_ptr<File> file, const FrameCursor::Range& range, LogIndex begun) {
    FrameCursor::Walk(
        std::move(file), range,
        [self = shared_from_this()](const Frame& frame) -> Result<bool> {
          const FrameHeader header = frame.header();
          if (header.group != self->segments_->folder_.group) {
            return DataLoss("another group's entry lies here");
          }
          if (header.index >= self->before_) return false;
          const bool is_meant = header.base_offset + header.offset_span > self->from_;
          if (!is_meant || !HasRecordSince(header, self->timestamp_ms_)) return true;
          self->found_ = header.index;
          return false;
        },
        [self = shared_from_this(), begun](const Status& status, uint64_t) {
          if (!status.ok() && self->segments_->WasDropped(begun)) return self->Look(begun + 1);
          if (!status.ok()) return self->done_(self->segments_->Met(begun, status));
          // The time was reached before `from`, and is not after it.
          if (self->found_ == LogIndex()) return self->Look(begun + 1);
          self->done_(self->found_);
        });
  }

  std::shared_ptr<GroupSegments> segments_;
  const int64_t timestamp_ms_;
  const Offset from_;
  const LogIndex before_;
  raft::IndexDone done_;
  LogIndex found_;
};

// Points are times of entries, which grow with the index: that of the last one at or before the
// record is no later than its own, and that of the next one no earlier.
Result<raft::AppendTime> GroupSegments::AppendTimeOf(Offset offset) const {
  const auto behind =
      std::partition_point(segments_.begin(), segments_.end(),
                           [&](const Segment& segment) { return segment.base_offset <= offset; });
  const bool is_held = behind != segments_.begin() && offset < EndOf(std::prev(behind));
  if (!is_held) {
    return OutOfRange("no segment holds offset " + std::to_string(offset.value()));
  }
  const Segment& segment = *std::prev(behind);
  const auto next =
      std::partition_point(segment.points.begin(), segment.points.end(),
                           [&](const Point& point) { return point.base_offset <= offset; });
  return raft::AppendTime{
      .min_ms = next == segment.points.begin() ? segment.first_append_time_ms
                                               : std::prev(next)->append_time_ms,
      .max_ms = next == segment.points.end() ? segment.last_append_time_ms : next->append_time_ms};
}

Result<std::vector<VoidRange>> GroupSegments::VoidRangesOf(Offset first, Offset end) const {
  std::vector<VoidRange> ranges;
  for (auto segment = segments_.begin(); segment != segments_.end(); ++segment) {
    if (EndOf(segment) <= first) continue;
    if (!segment->knows_void) {
      return DataLoss("what " + Name(*segment) + " says of transactions is damaged");
    }
    segment->void_index.AddOverlapping(first, end, &ranges);
  }
  return ranges;
}

// Segments know the newest time of all that they hold; of the one that `from` lies in the rest is
// read, unless others are newer anyway.
void GroupSegments::FindNewestTime(Offset from, raft::TimeDone done) {
  int64_t newest_ms = 0;
  Segment* holder = nullptr;
  for (auto segment = segments_.begin(); segment != segments_.end(); ++segment) {
    if (EndOf(segment) <= from) continue;
    if (segment->base_offset < from) {
      holder = &*segment;
    } else {
      newest_ms = std::max(newest_ms, segment->max_timestamp_ms);
    }
  }
  if (holder == nullptr || holder->max_timestamp_ms <= newest_ms) return done(newest_ms);
  const auto stretch =
      holder->StretchBehind([from](const Point& point) { return point.base_offset <= from; });
  const FrameCursor::Range range{
      .begin = stretch.begin, .end = holder->frames_end, .piece_bytes = kPieceBytes};
  auto walk = [self = shared_from_this(), range, from, newest_ms, begun = holder->first_index,
               done = std::move(done)](Result<std::shared_ptr<File>> file) mutable {
    if (file.status().code() == Code::kAborted) return self->FindNewestTime(from, std::move(done));
    if (!file.ok() && self->WasDropped(begun)) return done(newest_ms);
    if (!file.ok()) return done(file.status());
    auto newest = std::make_shared<int64_t>(newest_ms);
    FrameCursor::Walk(
        std::move(*file), range,
        [from, newest](const Frame& frame) -> Result<bool> {
          const FrameHeader header = frame.header();
          if (header.base_offset + header.offset_span > from) {
            *newest = std::max(*newest, header.max_timestamp_ms);
          }
          return true;
        },
        [self, begun, newest, done = std::move(done)](const Status& status, uint64_t) mutable {
          if (!status.ok() && !self->WasDropped(begun)) return done(self->Met(begun, status));
          done(*newest);
        });
  };
  OpenSegment(*holder, std::move(walk));
}

void GroupSegments::FindTimestamp(int64_t timestamp_ms, Offset from, LogIndex before,
                                  raft::IndexDone done) {
  std::make_shared<Finder>(shared_from_this(), timestamp_ms, from, before, std::move(done))
      ->Look(LogIndex());
}

}  // namespace millrace::storage

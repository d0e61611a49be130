// Reading sealed segments through for nothing but to find damage before somebody needs what is
// damaged (design-log C3, "Scrubber"): past the page cache, which it leaves to readers, and which
// would tell what the disk does not hold any more.
#include <algorithm>
#include <utility>

#include "proto/base/checksum.h"
#include "raft/codec/entry_codec.h"
#include "storage/segment/ending.h"
#include "storage/segment/frame_cursor.h"
#include "storage/segment/group_segments.h"

namespace millrace::storage {

class GroupSegments::Scrub : public std::enable_shared_from_this<GroupSegments::Scrub> {
 public:
  Scrub(std::shared_ptr<GroupSegments> segments, LogIndex first, uint64_t bytes_max,
        MoveFunction<void(Result<Scrubbed>)> done)
      : segments_(std::move(segments)),
        first_(first),
        bytes_max_(bytes_max),
        done_(std::move(done)) {}

  void Start() {
    const auto& all = segments_->segments_;
    const auto segment = std::find_if(all.begin(), all.end(), [this](const Segment& candidate) {
      return candidate.is_sealed && candidate.last_index >= first_;
    });
    if (segment == all.end()) return done_(OutOfRange("no sealed segment holds it"));
    first_ = std::max(first_, segment->first_index);
    begun_ = segment->first_index;
    scrubbed_.last = segment->last_index;
    range_ = RangeOf(*segment);
    segments_->files_->Open(segments_->Name(*segment), OpenMode::kRead, Caching::kDirect,
                            [self = shared_from_this(),
                             version = segment->version](Result<std::unique_ptr<File>> file) {
                              if (self->IsAnew(version)) return self->Start();
                              if (!file.ok()) return self->Finish(file.status());
                              self->file_ = std::move(*file);
                              const bool is_begin = self->first_ == self->begun_;
                              return is_begin ? self->CheckHeader() : self->Walk();
                            });
  }

 private:
  // From the last index point that is not behind the first entry to one that is far enough.
  FrameCursor::Range RangeOf(const Segment& segment) const {
    const auto& points = segment.points;
    const Segment::Stretch at =
        segment.StretchBehind([this](const Point& point) { return point.index <= first_; });
    const auto beyond = std::partition_point(at.next, points.end(), [&](const Point& point) {
      return point.position - at.begin < bytes_max_;
    });
    const uint64_t end = beyond == points.end() ? segment.frames_end : beyond->position;
    return {.begin = at.begin, .end = end, .piece_bytes = std::max<uint64_t>(end - at.begin, 1)};
  }

  // Entries lie elsewhere in another file.
  bool IsAnew(uint64_t version) const {
    const auto now = std::ranges::find(segments_->segments_, begun_, &Segment::first_index);
    return now != segments_->segments_.end() && now->version != version;
  }

  void CheckHeader() {
    file_->Read(0, sizeof(SegmentHeader), [self = shared_from_this()](Result<Bytes> header) {
      const Status status =
          header.ok()
              ? ParseSegmentHeader(header->view(), self->segments_->folder_, self->begun_).status()
              : header.status();
      if (!status.ok()) return self->Finish(status);
      self->CheckEnding();
    });
  }

  void CheckEnding() {
    ReadSegmentEnding(file_, EndingIn::kSegment, segments_->folder_, begun_,
                      [self = shared_from_this()](Result<SegmentEnding> ending) {
                        if (!ending.ok()) return self->Finish(ending.status());
                        if (!ending->footer.has_state_size()) return self->Walk();
                        self->CheckState(*ending);
                      });
  }

  void CheckState(const SegmentEnding& ending) {
    scrubbed_.bytes += ending.footer.state_size();
    file_->Read(ending.frames_end, ending.footer.state_size(),
                [self = shared_from_this(), crc = ending.footer.state_crc()](Result<Bytes> state) {
                  if (!state.ok()) return self->Finish(state.status());
                  if (Crc32c(state->view()) != crc) {
                    return self->Finish(DataLoss("the state's checksum does not match"));
                  }
                  self->Walk();
                });
  }

  void Walk() {
    FrameCursor::Walk(
        file_, range_,
        [self = shared_from_this()](const Frame& frame) -> Result<bool> {
          const FrameHeader header = frame.header();
          if (self->is_any_) {
            RETURN_IF_ERROR(CheckFollows(self->end_, self->segments_->folder_.group, header));
          }
          RETURN_IF_ERROR(raft::DecodeStored(frame).status());
          self->end_ = EndAfter(header);
          self->is_any_ = true;
          return true;
        },
        [self = shared_from_this()](const Status& status, uint64_t) { self->Finish(status); });
  }

  void Finish(const Status& status) {
    scrubbed_.bytes += range_.end - range_.begin;
    if (status.ok()) {
      scrubbed_.last = end_.index;
      return done_(scrubbed_);
    }
    if (segments_->WasDropped(begun_)) return done_(scrubbed_);
    // The rest of the file is looked at when it is made anew.
    const Status met = segments_->Met(begun_, status);
    if (met.code() == Code::kDataLoss) return done_(scrubbed_);
    done_(met);
  }

  std::shared_ptr<GroupSegments> segments_;
  LogIndex first_;
  const uint64_t bytes_max_;
  MoveFunction<void(Result<Scrubbed>)> done_;
  LogIndex begun_;  // of the segment
  FrameCursor::Range range_;
  std::shared_ptr<File> file_;  // shared with reads of it
  LogPoint end_;
  bool is_any_ = false;
  Scrubbed scrubbed_;
};

void GroupSegments::ScrubFrom(LogIndex first, uint64_t bytes_max,
                              MoveFunction<void(Result<Scrubbed>)> done) {
  std::make_shared<Scrub>(shared_from_this(), first, bytes_max, std::move(done))->Start();
}

}  // namespace millrace::storage

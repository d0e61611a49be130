// Reading entries back: find the segment, find the index point before, read a piece, and take frames from it
// until enough.

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/frame/frame.h"
#include "storage/segment/group_segments.h"

namespace millrace::storage {
namespace {

using raft::core::Entry;

// Read beyond what was asked for, so that the way from the index point is in the same piece.
constexpr uint64_t kSlack = 128 << 10;

}  // namespace

class GroupSegments::Reader : public std::enable_shared_from_this<GroupSegments::Reader> {
 public:
  struct Request {
    bool by_offset = false;
    LogIndex first;
    Offset offset;
    uint64_t bytes_max = 0;
  };
  Reader(std::shared_ptr<GroupSegments> segments, const Request& request, raft::EntriesDone done)
      : segments_(std::move(segments)), request_(request), done_(std::move(done)) {}

  void Start() {
    const auto segment = FindSegment();
    if (segment == segments_->segments_.end()) {
      return done_(OutOfRange("the entry is not in the segments of group " +
                              std::to_string(segments_->group_.value())));
    }
    position_ = FindPoint(*segment);
    frames_end_ = segment->frames_end;
    name_ = segments_->Name(*segment);
    segments_->OpenSegment(*segment,
                           [self = shared_from_this()](Result<std::shared_ptr<File>> file) {
                             if (!file.ok()) return self->done_(file.status());
                             self->file_ = std::move(*file);
                             self->ReadPiece(self->request_.bytes_max + kSlack);
                           });
  }

 private:
  std::deque<Segment>::iterator FindSegment() {
    auto& all = segments_->segments_;
    for (auto at = all.begin(); at != all.end(); ++at) {
      if (at->last_index < at->first_index) continue;
      const auto next = std::next(at);
      const Offset end =
          next == all.end() ? segments_->end_.next_offset : next->base_offset;
      const bool holds = request_.by_offset
                             ? request_.offset < end
                             : at->first_index <= request_.first && request_.first <= at->last_index;
      if (holds) return at;
    }
    return all.end();
  }

  uint64_t FindPoint(const Segment& segment) const {
    const auto after = std::partition_point(
        segment.points.begin(), segment.points.end(), [this](const Point& point) {
          return request_.by_offset ? point.base_offset <= request_.offset
                                    : point.index <= request_.first;
        });
    return after == segment.points.begin() ? sizeof(SegmentHeader) : std::prev(after)->position;
  }

  void ReadPiece(uint64_t size) {
    size = std::min(size, frames_end_ - position_);
    if (size == 0) return Finish();
    file_->Read(position_, size, [self = shared_from_this(), size](Result<Bytes> bytes) {
      if (!bytes.ok()) return self->done_(bytes.status());
      self->OnPiece(*bytes, size);
    });
  }

  void OnPiece(const Bytes& piece, uint64_t asked) {
    uint64_t at = 0;
    while (at + kFrameHeaderSize <= piece.size()) {
      const Bytes rest = piece.Slice(at, piece.size() - at);
      const Result<FrameHeader> header = ParseFrameHeader(rest.view());
      if (!header.ok()) return Damaged(at, header.status());
      const uint64_t size = FrameSize(header->payload_size);
      if (at + size > piece.size()) break;
      const bool is_before = request_.by_offset
                                 ? header->base_offset + header->offset_span <= request_.offset
                                 : header->index < request_.first;
      if (!is_before) {
        if (!entries_.empty() && bytes_ + size > request_.bytes_max) return Finish();
        Result<Entry> entry = ParseEntry(rest);
        if (!entry.ok()) return Damaged(at, entry.status());
        bytes_ += size;
        entries_.push_back(std::move(*entry));
      }
      at += size;
    }
    position_ += at;
    if (position_ >= frames_end_ || bytes_ >= request_.bytes_max) return Finish();
    if (entries_.empty() && at == 0) return ReadPiece(asked + kFrameSizeMax);
    if (!entries_.empty()) return Finish();
    ReadPiece(asked);
  }

  void Damaged(uint64_t at, const Status& status) {
    done_(status.With(name_ + " at byte " + std::to_string(position_ + at)));
  }

  void Finish() {
    if (entries_.empty()) return done_(OutOfRange(name_ + " does not hold the entry"));
    done_(std::move(entries_));
  }

  std::shared_ptr<GroupSegments> segments_;
  const Request request_;
  raft::EntriesDone done_;
  std::shared_ptr<File> file_;
  std::string name_;
  uint64_t position_ = 0;
  uint64_t frames_end_ = 0;
  uint64_t bytes_ = 0;
  std::vector<Entry> entries_;
};

void GroupSegments::OpenSegment(Segment& segment,
                                MoveFunction<void(Result<std::shared_ptr<File>>)> done) {
  if (segment.file != nullptr) return done(segment.file);
  files_->Open(Name(segment), OpenMode::kRead, Caching::kPageCache,
               [done = std::move(done)](Result<std::unique_ptr<File>> file) mutable {
                 if (!file.ok()) return done(file.status());
                 done(std::shared_ptr<File>(std::move(*file)));
               });
}

void GroupSegments::Read(LogIndex first, uint64_t bytes_max, raft::EntriesDone done) {
  std::make_shared<Reader>(
      shared_from_this(),
      Reader::Request{.by_offset = false, .first = first, .offset = {}, .bytes_max = bytes_max},
      std::move(done))
      ->Start();
}

void GroupSegments::ReadFromOffset(Offset offset, uint64_t bytes_max, raft::EntriesDone done) {
  std::make_shared<Reader>(
      shared_from_this(),
      Reader::Request{.by_offset = true, .first = {}, .offset = offset, .bytes_max = bytes_max},
      std::move(done))
      ->Start();
}

}  // namespace millrace::storage

// Reading entries back: find the segment, find the index points before and behind, and take the
// frames between them. No byte is read that is not asked for, but for the way from the point; where
// that is damaged, to salvage an entry, what lies between the damage and the entry; and for a
// reader of records a bounded stretch that holds none.

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "raft/codec/entry_codec.h"
#include "storage/segment/frame_cursor.h"
#include "storage/segment/frame_search.h"
#include "storage/segment/group_segments.h"

namespace millrace::storage {
namespace {

using raft::core::Entry;

// A reader with a large budget does not need it in one piece.
constexpr uint64_t kPieceBytesMax = 4 << 20;
// A reader of records looks through so many times what it asks for, and so much at least, where it
// meets no batch: who gets none asks again, which costs more.
constexpr uint64_t kLookedThroughTimes = 4;
constexpr uint64_t kLookedThroughMin = 1 << 20;

}  // namespace

class GroupSegments::Reader : public std::enable_shared_from_this<GroupSegments::Reader> {
 public:
  struct Request {
    bool by_offset = false;
    LogIndex first;
    Offset offset;
    uint64_t bytes_max = 0;
    bool past_damage = false;  // by index alone
  };
  Reader(std::shared_ptr<GroupSegments> segments, const Request& request, raft::EntriesDone done)
      : segments_(std::move(segments)), request_(request), done_(std::move(done)) {}

  void Start() {
    const auto segment = FindSegment();
    if (segment == segments_->segments_.end()) {
      return done_(OutOfRange("the entry is not in the segments of group " +
                              std::to_string(segments_->folder_.group.value())));
    }
    const FrameCursor::Range range = FindRange(*segment);
    name_ = segments_->Name(*segment);
    first_index_ = segment->first_index;
    // A file that was found empty, or not at all.
    if (range.begin >= range.end) return Finish(Status::Ok());
    segments_->OpenSegment(
        *segment, [self = shared_from_this(), range](Result<std::shared_ptr<File>> file) {
          MILLRACE_SOMETIMES_IF("a segment was dropped while a read was about to open it",
                                !file.ok() && self->segments_->WasDropped(self->first_index_));
          if (file.status().code() == Code::kAborted) return self->Start();
          if (!file.ok()) return self->Finish(file.status());
          self->Walk(*file, range);
        });
  }

 private:
  // The last one that does not begin behind what is asked for, if it goes so far. What follows
  // records that were dropped is no answer to who asks for them.
  std::deque<Segment>::iterator FindSegment() {
    auto& all = segments_->segments_;
    const auto next = std::partition_point(all.begin(), all.end(), [this](const Segment& segment) {
      return request_.by_offset ? segment.base_offset <= request_.offset
                                : segment.first_index <= request_.first;
    });
    if (next == all.begin()) return all.end();
    const auto last = std::prev(next);
    const bool holds = request_.by_offset ? request_.offset < segments_->EndOf(last)
                                          : request_.first <= last->last_index;
    return holds ? last : all.end();
  }

  // From the last point that is not behind the first entry to the last one that is within what was
  // asked for; but the first entry is in it.
  FrameCursor::Range FindRange(const Segment& segment) {
    const Segment::Stretch at = segment.StretchBehind([this](const Point& point) {
      return request_.by_offset ? point.base_offset <= request_.offset
                                : point.index <= request_.first;
    });
    const uint64_t end = EndWithin(segment, at, request_.bytes_max);
    const uint64_t looked_through =
        kLookedThroughTimes * std::min(request_.bytes_max, kPieceBytesMax);
    look_end_ = EndWithin(segment, at, std::max(looked_through, kLookedThroughMin));
    return {.begin = at.begin, .end = end, .piece_bytes = std::min(end - at.begin, kPieceBytesMax)};
  }

  // The last point that is at most `bytes` behind the beginning; the first one of all at least.
  static uint64_t EndWithin(const Segment& segment, const Segment::Stretch& at, uint64_t bytes) {
    const auto& points = segment.points;
    if (at.next == points.end() || segment.frames_end - at.begin <= bytes) {
      return segment.frames_end;
    }
    const auto beyond = std::partition_point(at.next, points.end(), [&](const Point& point) {
      return point.position - at.begin <= bytes;
    });
    return beyond == at.next ? at.next->position : std::prev(beyond)->position;
  }

  void Walk(const std::shared_ptr<File>& file, const FrameCursor::Range& range) {
    FrameCursor::Walk(
        file, range, [self = shared_from_this()](const Frame& frame) { return self->Take(frame); },
        [self = shared_from_this(), file, range](const Status& status, uint64_t position) {
          if (status.ok() && self->MustLookOn(position)) {
            return self->Walk(file, {position, self->look_end_, range.piece_bytes});
          }
          const bool is_damaged = status.code() == Code::kDataLoss && self->entries_.empty();
          const bool has_more = position + kFrameAlignment < range.end;
          if (!self->request_.past_damage || !is_damaged || !has_more) return self->Finish(status);
          self->SearchOn(file, {position + kFrameAlignment, range.end, range.piece_bytes}, status);
        });
  }

  // Whether a reader of records was given none up to `position`, and there may be some behind it.
  bool MustLookOn(uint64_t position) const {
    const bool has_found_none = !entries_.empty() && bytes_ == 0;
    return request_.by_offset && has_found_none && position < look_end_;
  }

  // The way to the entry was damaged: it may lie intact behind that.
  void SearchOn(const std::shared_ptr<File>& file, const FrameCursor::Range& range,
                const Status& why) {
    FrameSearch::Find(
        file, {.begin = range.begin, .end = range.end},
        [self = shared_from_this()](const FrameHeader& header) {
          return header.group == self->segments_->folder_.group &&
                 header.index <= self->request_.first &&
                 self->request_.first <= LastIndexOf(header);
        },
        [self = shared_from_this(), file, range, why](Result<FrameSearch::Position> found) {
          if (!found.ok() || !found->has_value()) return self->Finish(why);
          MILLRACE_SOMETIMES("an entry was found behind a damaged frame");
          // Whoever asks may be another replica, to which that damage is nothing.
          (void)self->segments_->Met(self->first_index_, why);
          self->Walk(file, {**found, range.end, range.piece_bytes});
        });
  }

  // False: enough.
  Result<bool> Take(const Frame& frame) {
    const FrameHeader header = frame.header();
    const bool is_before = request_.by_offset
                               ? header.base_offset + header.offset_span <= request_.offset
                               : LastIndexOf(header) < request_.first;
    if (is_before) return true;
    const bool counts = !request_.by_offset || header.type == FrameType::kRecordBatch;
    if (counts && bytes_ > 0 && bytes_ + frame.size() > request_.bytes_max) return false;
    if (!entries_.empty()) {
      RETURN_IF_ERROR(CheckFollows(end_, segments_->folder_.group, header));
    } else if (header.group != segments_->folder_.group ||
               (!request_.by_offset && header.index > request_.first)) {
      return DataLoss("another entry lies where entry " + std::to_string(request_.first.value()) +
                      " is looked for");
    }
    end_ = EndAfter(header);
    // A reader of records has no use for it.
    if (request_.by_offset && header.offset_span == 0) return true;
    ASSIGN_OR_RETURN(Entry entry, raft::DecodeStored(frame));
    if (counts) bytes_ += frame.size();
    entries_.push_back(std::move(entry));
    return true;
  }

  void Finish(const Status& status) {
    // What was read before the damage is good; who goes on reading finds it then.
    if (!entries_.empty()) return done_(std::move(entries_));
    // Its file may be opened anew for any piece of it, and is gone then.
    if (!status.ok() && segments_->WasDropped(first_index_)) {
      MILLRACE_SOMETIMES("a segment was dropped under a read");
      return done_(OutOfRange(name_ + " was dropped"));
    }
    if (!status.ok()) return done_(segments_->Met(first_index_, status));
    done_(segments_->Met(first_index_, DataLoss("it does not hold the entry")));
  }

  std::shared_ptr<GroupSegments> segments_;
  const Request request_;
  raft::EntriesDone done_;
  std::string name_;
  LogIndex first_index_;   // of the segment that is read
  LogPoint end_;           // after the last entry that was taken
  uint64_t look_end_ = 0;  // a reader of records that found none does not look behind it
  uint64_t bytes_ = 0;     // of what counts
  std::vector<Entry> entries_;
};

Status GroupSegments::Met(LogIndex first, const Status& status) {
  const std::string path = SegmentPath(folder_, first);
  Status met = status.With(path);
  if (status.code() == Code::kNotFound) met = DataLoss(path + " is missing");
  if (IsDamage(first, status)) met = DataLoss(std::string(met.message()));
  const bool is_told = met.code() == Code::kDataLoss || met.code() == Code::kUnavailable;
  if (damage_listener_ && is_told) damage_listener_(first, met);
  return met;
}

void GroupSegments::OpenSegment(Segment& segment,
                                MoveFunction<void(Result<std::shared_ptr<File>>)> done) {
  if (segment.file != nullptr) return done(segment.file);
  files_->Open(
      Name(segment), OpenMode::kRead, Caching::kPageCache,
      [this, self = shared_from_this(), first = segment.first_index, version = segment.version,
       done = std::move(done)](Result<std::unique_ptr<File>> file) mutable {
        const auto now = std::ranges::find(segments_, first, &Segment::first_index);
        if (now != segments_.end() && now->version != version) {
          MILLRACE_SOMETIMES("a segment was made anew under a read");
          return done(Aborted(SegmentPath(folder_, first) + " was made anew"));
        }
        if (!file.ok()) return done(file.status());
        done(std::shared_ptr<File>(std::move(*file)));
      });
}

void GroupSegments::Read(LogIndex first, uint64_t bytes_max, raft::EntriesDone done) {
  std::make_shared<Reader>(shared_from_this(),
                           Reader::Request{.by_offset = false,
                                           .first = first,
                                           .offset = {},
                                           .bytes_max = bytes_max,
                                           .past_damage = false},
                           std::move(done))
      ->Start();
}

void GroupSegments::Salvage(LogIndex first, uint64_t bytes_max, raft::EntriesDone done) {
  std::make_shared<Reader>(shared_from_this(),
                           Reader::Request{.by_offset = false,
                                           .first = first,
                                           .offset = {},
                                           .bytes_max = bytes_max,
                                           .past_damage = true},
                           std::move(done))
      ->Start();
}

void GroupSegments::ReadFromOffset(Offset offset, uint64_t bytes_max, raft::EntriesDone done) {
  if (MILLRACE_MUTANT(kReadSkipsDropped) && !segments_.empty()) {
    offset = std::max(offset, segments_.front().base_offset);
  }
  std::make_shared<Reader>(shared_from_this(),
                           Reader::Request{.by_offset = true,
                                           .first = {},
                                           .offset = offset,
                                           .bytes_max = bytes_max,
                                           .past_damage = false},
                           std::move(done))
      ->Start();
}

}  // namespace millrace::storage

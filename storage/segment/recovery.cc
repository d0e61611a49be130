// Finding a group's segments again: sealed ones by their footers, the active one frame by frame up to the
// synced end that the journal names. Below that end, damage or absence is corruption; above it, bytes are
// discarded (design D4).

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"
#include "proto/frame/frame.h"
#include "storage/segment/group_segments.h"

namespace millrace::storage {
namespace {

using internal::v1::SegmentFooter;
using raft::core::Entry;

}  // namespace

class GroupSegments::Recovery : public std::enable_shared_from_this<GroupSegments::Recovery> {
 public:
  Recovery(std::shared_ptr<GroupSegments> segments, const SegmentEnd& end,
           MoveFunction<void(Result<RecoveredSegments>)> done)
      : segments_(std::move(segments)), end_(end), done_(std::move(done)) {}

  void Start() {
    files().List(SegmentDirectory(segments_->group_),
                 [self = shared_from_this()](Result<std::vector<std::string>> names) {
                   const bool is_missing = names.status().code() == Code::kNotFound;
                   if (!names.ok() && !is_missing) return self->Fail(names.status());
                   self->segments_->has_directory_ = !is_missing;
                   if (!is_missing) {
                     for (const std::string& name : *names) {
                       if (auto first = ParseSegmentName(name)) self->firsts_.push_back(*first);
                     }
                   }
                   std::sort(self->firsts_.begin(), self->firsts_.end());
                   self->Next();
                 });
  }

 private:
  FileSystem& files() { return *segments_->files_; }
  LogIndex reached() const { return segments_->end_.index; }
  void Fail(const Status& status) { done_(status.With(current_)); }

  void Next() {
    if (at_ == firsts_.size() || firsts_[at_] > end_.index) return DiscardRest();
    const LogIndex first = firsts_[at_++];
    current_ = SegmentPath(segments_->group_, first);
    if (first != reached() + 1) {
      return Fail(DataLoss("the segment with entry " + std::to_string(reached().value() + 1) +
                           " is missing before it"));
    }
    Segment& segment = segments_->segments_.emplace_back();
    segment.first_index = first;
    segment.last_index = first - 1;
    segment.base_offset = segments_->end_.next_offset;
    segment.frames_end = sizeof(SegmentHeader);
    files().Open(current_, OpenMode::kReadWrite, Caching::kPageCache,
                 [self = shared_from_this()](Result<std::unique_ptr<File>> file) {
                   if (!file.ok()) return self->Fail(file.status());
                   self->segments_->segments_.back().file = std::move(*file);
                   self->ReadEnds();
                 });
  }

  Segment& segment() { return segments_->segments_.back(); }

  void ReadEnds() {
    segment().file->Read(
        0, sizeof(SegmentHeader), [self = shared_from_this()](Result<Bytes> header) {
          if (!header.ok()) return self->Fail(header.status());
          const Status status = CheckSegmentHeader(header->view(), self->segments_->group_,
                                                   self->segment().first_index);
          if (!status.ok()) return self->Fail(status);
          const uint64_t size = self->segment().file->size();
          if (size < sizeof(SegmentHeader) + sizeof(SegmentTrailer)) return self->Scan();
          self->segment().file->Read(
              size - sizeof(SegmentTrailer), sizeof(SegmentTrailer), [self](Result<Bytes> tail) {
                if (!tail.ok()) return self->Fail(tail.status());
                self->OnTrailer(ParseSegmentTrailer(tail->view()));
              });
        });
  }

  void OnTrailer(const std::optional<SegmentTrailer>& trailer) {
    if (!trailer.has_value()) return Scan();
    segment().file->Read(
        trailer->frames_end, trailer->footer_size,
        [self = shared_from_this(), trailer](Result<Bytes> bytes) {
          if (!bytes.ok()) return self->Fail(bytes.status());
          SegmentFooter footer;
          const bool is_whole =
              Crc32c(bytes->view()) == trailer->footer_crc &&
              footer.ParseFromArray(bytes->data(), static_cast<int>(bytes->size()));
          if (!is_whole) return self->Scan();
          // Sealed, though the journal does not know it yet: what is synced counts, the rest comes again.
          if (LogIndex(footer.last_index()) > self->end_.index) return self->Scan();
          self->Adopt(footer, trailer->frames_end);
        });
  }

  void Adopt(const SegmentFooter& footer, uint64_t frames_end) {
    Segment& sealed = segment();
    sealed.is_sealed = true;
    sealed.last_index = LogIndex(footer.last_index());
    sealed.frames_end = frames_end;
    for (const auto& point : footer.points()) {
      sealed.points.push_back({.index = LogIndex(point.index()),
                               .base_offset = Offset(point.base_offset()),
                               .max_timestamp_ms = point.max_timestamp_ms(),
                               .position = point.position()});
    }
    for (const auto& start : footer.term_starts()) {
      sealed.term_starts.push_back(
          {.term = Term(start.term()), .first_index = LogIndex(start.first_index())});
    }
    segments_->end_ = {.index = sealed.last_index,
                       .term = Term(footer.last_term()),
                       .chain = footer.chain(),
                       .next_offset = Offset(footer.next_offset())};
    recovered_.state_index = sealed.last_index;
    recovered_.state = Bytes::CopyOf(footer.state());
    sealed.file.reset();
    Next();
  }

  void Scan() {
    const uint64_t size = segment().file->size();
    segment().file->Read(sizeof(SegmentHeader), size - sizeof(SegmentHeader),
                         [self = shared_from_this()](Result<Bytes> bytes) {
                           if (!bytes.ok()) return self->Fail(bytes.status());
                           self->OnScanned(*bytes);
                         });
  }

  void OnScanned(const Bytes& bytes) {
    uint64_t at = 0;
    while (reached() < end_.index && at < bytes.size()) {
      const Bytes rest = bytes.Slice(at, bytes.size() - at);
      const Result<Entry> entry = ParseEntry(rest);
      if (!entry.ok()) break;
      if (entry->index != reached() + 1) break;
      GroupSegments::Note(*entry, sizeof(SegmentHeader) + at, &segment(), &segments_->end_);
      at += entry->size_bytes();
    }
    if (reached() < end_.index) {
      return Fail(DataLoss("entry " + std::to_string(reached().value() + 1) + " at byte " +
                           std::to_string(sizeof(SegmentHeader) + at) +
                           " is damaged or missing, though entries up to " +
                           std::to_string(end_.index.value()) + " were synced"));
    }
    if (segments_->end_.chain != end_.chain) {
      return Fail(DataLoss("the chain at entry " + std::to_string(end_.index.value()) +
                           " is not the one that the journal names"));
    }
    segment().file->Truncate(segment().frames_end, [self = shared_from_this()](Status status) {
      if (!status.ok()) return self->Fail(status);
      self->Next();
    });
  }

  void DiscardRest() {
    if (at_ == firsts_.size()) return Finish();
    files().Remove(SegmentPath(segments_->group_, firsts_[at_++]),
                   [self = shared_from_this()](Status status) {
                     if (!status.ok()) return self->Fail(status);
                     self->DiscardRest();
                   });
  }

  void Finish() {
    current_ = SegmentDirectory(segments_->group_);
    if (reached() < end_.index) {
      return Fail(DataLoss("the segment with entry " + std::to_string(reached().value() + 1) +
                           " is missing, though entries up to " +
                           std::to_string(end_.index.value()) + " were synced"));
    }
    for (const Segment& found : segments_->segments_) {
      for (const raft::core::TermStart& start : found.term_starts) {
        auto& starts = recovered_.term_starts;
        if (starts.empty() || starts.back().term != start.term) starts.push_back(start);
      }
    }
    recovered_.next_offset = segments_->end_.next_offset;
    done_(std::move(recovered_));
  }

  std::shared_ptr<GroupSegments> segments_;
  const SegmentEnd end_;
  MoveFunction<void(Result<RecoveredSegments>)> done_;
  std::vector<LogIndex> firsts_;
  size_t at_ = 0;
  std::string current_;
  RecoveredSegments recovered_;
};

void GroupSegments::Recover(const SegmentEnd& synced_end,
                            MoveFunction<void(Result<RecoveredSegments>)> done) {
  std::make_shared<Recovery>(shared_from_this(), synced_end, std::move(done))->Start();
}

}  // namespace millrace::storage

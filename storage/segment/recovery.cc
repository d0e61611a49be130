// Finding a group's segments again: all but the last by their footers, the last frame by frame up
// to the synced end that the journal names. Below that end, damage or absence is corruption; above
// it, bytes are discarded (design D4).
//
// The last one is not taken by its footer alone: while it is written on, its last bytes are a
// producer's, who could write what looks like a footer.
//
// After an error the last one is made anew: copied as the medium has it, so that the scan proves
// what will be synced, and then put in the place of the file that had the error.

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "raft/codec/entry_codec.h"
#include "storage/segment/frame_cursor.h"
#include "storage/segment/group_segments.h"

namespace millrace::storage {
namespace {

using internal::v1::SegmentFooter;

constexpr uint64_t kScanPieceBytes = 4 << 20;
constexpr uint64_t kCopyPieceBytes = 1 << 20;  // a multiple of what direct reads are aligned to

}  // namespace

class GroupSegments::Recovery : public std::enable_shared_from_this<GroupSegments::Recovery> {
 public:
  Recovery(std::shared_ptr<GroupSegments> segments, const SegmentEnd& end, LastFile last_file,
           MoveFunction<void(Result<RecoveredSegments>)> done)
      : segments_(std::move(segments)), end_(end), last_file_(last_file), done_(std::move(done)) {}

  void Start() {
    current_ = SegmentDirectory(segments_->group_);
    files().List(current_, [self = shared_from_this()](Result<std::vector<std::string>> names) {
      const bool is_missing = names.status().code() == Code::kNotFound;
      if (!names.ok() && !is_missing) return self->Fail(names.status());
      self->segments_->has_directory_ = !is_missing;
      // An earlier life may have removed a file and died before that was durable; this one can't
      // tell. It must be gone for good before a synced end passes its first index.
      self->segments_->has_new_names_ = !is_missing;
      if (!is_missing) {
        for (const std::string& name : *names) {
          if (auto first = ParseSegmentName(name)) self->firsts_.push_back(*first);
          if (name.ends_with(kAnewSuffix)) self->leftovers_.push_back(name);
        }
      }
      std::sort(self->firsts_.begin(), self->firsts_.end());
      self->RemoveLeftovers();
    });
  }

 private:
  FileSystem& files() { return *segments_->files_; }
  Segment& segment() { return segments_->segments_.back(); }
  File& file() { return *segment().file; }
  LogIndex reached() const { return segments_->end_.index; }
  bool IsLast() const { return at_ == firsts_.size() || firsts_[at_] > end_.index; }

  // The replica stays silent; its files stay as they are, for whoever repairs it.
  void Fail(const Status& status) {
    segments_->fault_ = status.With(current_);
    segments_->segments_.clear();
    done_(segments_->fault_);
  }
  Status Missing() const {
    return DataLoss("entry " + std::to_string(reached().value() + 1) +
                    " is missing, though entries up to " + std::to_string(end_.index.value()) +
                    " were synced");
  }

  // Of files that were being made anew when that ended.
  void RemoveLeftovers() {
    if (leftovers_.empty()) return Next();
    const std::string path = SegmentDirectory(segments_->group_) + "/" + leftovers_.back();
    leftovers_.pop_back();
    files().Remove(path, [self = shared_from_this()](Status status) {
      if (!status.ok()) return self->Fail(status);
      self->RemoveLeftovers();
    });
  }

  void Next() {
    if (IsLast()) return DiscardRest();
    const LogIndex first = firsts_[at_++];
    if (first != reached() + 1) return Fail(Missing());
    current_ = SegmentPath(segments_->group_, first);
    Segment& begun = segments_->segments_.emplace_back();
    begun.first_index = first;
    begun.last_index = first - 1;
    begun.base_offset = segments_->end_.next_offset;
    begun.frames_end = sizeof(SegmentHeader);
    if (IsLast() && last_file_ == LastFile::kMadeAnew) return BeginCopy();
    files().Open(current_, OpenMode::kReadWrite, Caching::kPageCache,
                 [self = shared_from_this()](Result<std::unique_ptr<File>> opened) {
                   if (!opened.ok()) return self->Fail(opened.status());
                   self->segment().file = std::move(*opened);
                   self->ReadHeader();
                 });
  }

  void ReadHeader() {
    file().Read(0, sizeof(SegmentHeader), [self = shared_from_this()](Result<Bytes> header) {
      if (!header.ok()) return self->Fail(header.status());
      const Status status =
          CheckSegmentHeader(header->view(), self->segments_->group_, self->segment().first_index);
      if (!status.ok()) return self->Fail(status);
      if (self->IsLast()) return self->Scan();
      self->ReadEnding([self](Result<Ending> ending) {
        if (!ending.ok()) return self->Fail(ending.status());
        self->Adopt(*ending);
      });
    });
  }

  // Sealed segments
  // ---------------------------------------------------------------------------------

  struct Ending {
    SegmentFooter footer;
    uint64_t frames_end = 0;
  };

  // Footer and trailer at the end of the file.
  void ReadEnding(MoveFunction<void(Result<Ending>)> done) {
    const uint64_t size = file().size();
    if (size < sizeof(SegmentHeader) + sizeof(SegmentTrailer)) {
      return done(DataLoss("the segment was sealed, but is cut off"));
    }
    file().Read(
        size - sizeof(SegmentTrailer), sizeof(SegmentTrailer),
        [self = shared_from_this(), size, done = std::move(done)](Result<Bytes> bytes) mutable {
          if (!bytes.ok()) return done(bytes.status());
          const std::optional<SegmentTrailer> trailer = ParseSegmentTrailer(bytes->view());
          if (!trailer.has_value() || trailer->frames_end < sizeof(SegmentHeader) ||
              trailer->frames_end + trailer->footer_size + sizeof(SegmentTrailer) != size) {
            return done(DataLoss("the segment was sealed, but its trailer is damaged"));
          }
          self->ReadFooter(*trailer, std::move(done));
        });
  }

  void ReadFooter(const SegmentTrailer& trailer, MoveFunction<void(Result<Ending>)> done) {
    file().Read(
        trailer.frames_end, trailer.footer_size,
        [self = shared_from_this(), trailer, done = std::move(done)](Result<Bytes> bytes) mutable {
          if (!bytes.ok()) return done(bytes.status());
          Result<SegmentFooter> footer = ParseSegmentFooter(
              bytes->view(), trailer, self->segments_->group_, self->segment().first_index);
          if (!footer.ok()) return done(footer.status());
          done(Ending{.footer = std::move(*footer), .frames_end = trailer.frames_end});
        });
  }

  void Adopt(const Ending& ending) {
    const SegmentFooter& footer = ending.footer;
    Segment& sealed = segment();
    sealed.last_index = LogIndex(footer.last_index());
    sealed.frames_end = ending.frames_end;
    sealed.max_timestamp_ms = footer.max_timestamp_ms();
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
    MarkSealed(footer);
    Next();
  }

  void MarkSealed(const SegmentFooter& footer) {
    segment().is_sealed = true;
    segment().file.reset();
    // An index without a state would let the state machine begin there empty.
    if (!footer.has_state()) return;
    recovered_.snapshot =
        raft::Snapshot{.index = segment().last_index, .state = Bytes::CopyOf(footer.state())};
  }

  // The last segment
  // --------------------------------------------------------------------------------

  void Scan() {
    const FrameCursor::Range range{
        .begin = sizeof(SegmentHeader), .end = file().size(), .piece_bytes = kScanPieceBytes};
    position_ = range.begin;
    FrameCursor::Walk(
        segment().file, range,
        [self = shared_from_this()](const FrameHeader& header, const Bytes& frame) -> Result<bool> {
          if (self->reached() == self->end_.index) return false;
          RETURN_IF_ERROR(CheckFollows(self->segments_->end_, self->segments_->group_, header));
          if (Result<raft::core::Entry> entry = raft::DecodeEntry(frame); !entry.ok()) {
            return entry.status();
          }
          self->segments_->Note(header, self->position_);
          self->position_ += frame.size();
          return true;
        },
        [self = shared_from_this()](const Status& status, uint64_t) { self->OnScanned(status); });
  }

  // `status` may tell of what lies above the synced end, which does not matter.
  void OnScanned(const Status& status) {
    if (reached() < end_.index) {
      const std::string entry = "synced entry " + std::to_string(reached().value() + 1);
      return Fail(status.ok() ? Missing() : status.With(entry));
    }
    if (segments_->end_ != end_) {
      return Fail(DataLoss("entry " + std::to_string(end_.index.value()) +
                           " is not the one that the journal names"));
    }
    ReadEnding([self = shared_from_this()](Result<Ending> ending) {
      const bool is_sealed = ending.ok() && ending->frames_end == self->segment().frames_end &&
                             LogIndex(ending->footer.last_index()) == self->end_.index &&
                             ending->footer.chain() == self->end_.chain;
      if (!is_sealed) return self->DiscardTail();
      self->MarkSealed(ending->footer);
      self->PutCopyInPlace();
    });
  }

  void DiscardTail() {
    recovered_.active_bytes = segment().frames_end;
    if (file().size() == segment().frames_end) return PutCopyInPlace();
    LOG(INFO) << "rebuilding the end of a segment from the journal, which has it file=" << current_
              << " from=" << segment().frames_end << " to=" << file().size();
    file().Truncate(segment().frames_end, [self = shared_from_this()](Status status) {
      if (!status.ok()) return self->Fail(status);
      self->PutCopyInPlace();
    });
  }

  // The last segment made anew
  // ----------------------------------------------------------------------

  void BeginCopy() {
    files().Open(current_, OpenMode::kRead, Caching::kDirect,
                 [self = shared_from_this()](Result<std::unique_ptr<File>> opened) {
                   if (!opened.ok()) return self->Fail(opened.status());
                   self->original_ = std::move(*opened);
                   self->OpenCopy();
                 });
  }

  void OpenCopy() {
    files().Open(CopyPath(), OpenMode::kCreate, Caching::kPageCache,
                 [self = shared_from_this()](Result<std::unique_ptr<File>> opened) {
                   if (!opened.ok()) return self->Fail(opened.status());
                   self->segment().file = std::move(*opened);
                   self->copy_ = self->segment().file;
                   self->CopyPiece(0);
                 });
  }

  void CopyPiece(uint64_t at) {
    original_->Read(at, kCopyPieceBytes, [self = shared_from_this(), at](Result<Bytes> piece) {
      if (!piece.ok()) return self->Fail(piece.status());
      if (piece->empty()) {
        self->original_.reset();
        return self->ReadHeader();
      }
      const uint64_t next = at + piece->size();
      const bool is_end = piece->size() < kCopyPieceBytes;
      self->copy_->Write(at, {std::move(*piece)}, [self, next, is_end](Status status) {
        if (!status.ok()) return self->Fail(status);
        if (!is_end) return self->CopyPiece(next);
        self->original_.reset();
        self->ReadHeader();
      });
    });
  }

  // The copy is proven up to the synced end: it is made durable and takes the name. The directory
  // is synced with the group's next sync; until then either file has all that the journal counts
  // on.
  void PutCopyInPlace() {
    if (copy_ == nullptr) return Next();
    MILLRACE_SOMETIMES("a segment's file was made anew after an error");
    std::exchange(copy_, nullptr)->Sync([self = shared_from_this()](Status synced) {
      if (!synced.ok()) return self->Fail(synced);
      self->files().Rename(self->CopyPath(), self->current_, [self](Status renamed) {
        if (!renamed.ok()) return self->Fail(renamed);
        self->Next();
      });
    });
  }

  std::string CopyPath() const { return current_ + std::string(kAnewSuffix); }

  // Files that begin above the synced end.
  void DiscardRest() {
    if (reached() < end_.index) return Fail(Missing());
    if (at_ == firsts_.size()) return Finish();
    current_ = SegmentPath(segments_->group_, firsts_[at_++]);
    LOG(INFO) << "rebuilding a segment from the journal, which has it file=" << current_;
    files().Remove(current_, [self = shared_from_this()](Status status) {
      if (!status.ok()) return self->Fail(status);
      self->DiscardRest();
    });
  }

  void Finish() {
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
  const LastFile last_file_;
  MoveFunction<void(Result<RecoveredSegments>)> done_;
  std::vector<LogIndex> firsts_;  // of the files found, sorted
  std::vector<std::string> leftovers_;
  std::shared_ptr<File> original_;  // being copied
  std::shared_ptr<File> copy_;      // the last segment's file while it is made anew
  size_t at_ = 0;                   // the next of them
  std::string current_;             // what an error is about
  uint64_t position_ = 0;           // of the scan
  RecoveredSegments recovered_;
};

void GroupSegments::Recover(const SegmentEnd& synced_end, LastFile last_file,
                            MoveFunction<void(Result<RecoveredSegments>)> done) {
  Enqueue([this, synced_end, last_file, done = std::move(done)](Task next) mutable {
    std::make_shared<Recovery>(
        shared_from_this(), synced_end, last_file,
        [done = std::move(done), next = std::move(next)](Result<RecoveredSegments> found) mutable {
          done(std::move(found));
          next();
        })
        ->Start();
  });
}

}  // namespace millrace::storage

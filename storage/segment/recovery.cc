// Finding a replica's segments again: all but the last by their footers, the last frame by frame up
// to the synced end that the journal names. Between the log's begin, which the journal names too,
// and that end, damage or absence is corruption; above it, bytes are discarded (design D4); below
// the begin they are what was dropped, and died before it was gone.
//
// The newest of the states in the footers is the only one that is read: the others would take the
// start's memory and time, and are for the case that it is rotten.
//
// The last one is not taken by its footer alone: while it is written on, its last bytes are a
// producer's, who could write what looks like a footer.
//
// After an error the last one is made anew: copied as the medium has it, so that the scan proves
// what will be synced, and then put in the place of the file that had the error.

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"
#include "proto/base/coverage.h"
#include "raft/codec/entry_codec.h"
#include "storage/segment/ending.h"
#include "storage/segment/frame_cursor.h"
#include "storage/segment/group_segments.h"

namespace millrace::storage {
namespace {

using internal::v1::SegmentFooter;

constexpr uint64_t kScanPieceBytes = 4 << 20;
constexpr uint64_t kCopyPieceBytes = 1 << 20;

}  // namespace

class GroupSegments::Recovery : public std::enable_shared_from_this<GroupSegments::Recovery> {
 public:
  Recovery(std::shared_ptr<GroupSegments> segments, const journal::LogRecord& log,
           LastFile last_file, MoveFunction<void(Result<RecoveredSegments>)> done)
      : segments_(std::move(segments)),
        log_(log),
        end_(log.end),
        last_file_(last_file),
        done_(std::move(done)) {}

  void Start() {
    segments_->end_ = log_.begin;
    segments_->in_force_ = {};
    current_ = SegmentDirectory(folder());
    if (end_.index < log_.begin.index || (end_.index == log_.begin.index && end_ != log_.begin)) {
      return Fail(DataLoss("the log's end " + Told(end_) + " does not follow its begin " +
                           Told(log_.begin)));
    }
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
          if (IsAnewName(name)) self->leftovers_.push_back(name);
        }
      }
      std::sort(self->firsts_.begin(), self->firsts_.end());
      self->SetDroppedAside();
      self->Next();
    });
  }

 private:
  const SegmentFolder& folder() const { return segments_->folder_; }
  FileSystem& files() { return *segments_->files_; }
  Segment& segment() { return segments_->segments_.back(); }
  File& file() { return *segment().file; }
  LogIndex reached() const { return segments_->end_.index; }
  bool IsOnlyRead() const { return last_file_ == LastFile::kOnlyRead; }
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

  // Whole segments below the begin. One that reaches past it stays, and is damage: a begin is where
  // a segment ends.
  void SetDroppedAside() {
    const LogIndex begin = log_.begin.index;
    size_t dropped = 0;
    while (dropped < firsts_.size() && firsts_[dropped] <= begin) {
      const bool is_last = dropped + 1 == firsts_.size();
      const bool ends_below = is_last ? end_.index == begin : firsts_[dropped + 1] <= begin + 1;
      if (!ends_below) break;
      leftovers_.push_back(SegmentName(firsts_[dropped]));
      ++dropped;
    }
    firsts_.erase(firsts_.begin(), firsts_.begin() + static_cast<ptrdiff_t>(dropped));
  }

  static std::string Told(const LogPoint& point) {
    return "at entry " + std::to_string(point.index.value()) + " of term " +
           std::to_string(point.term.value()) + ", offset " +
           std::to_string(point.next_offset.value());
  }

  static bool IsAnewName(std::string_view name) {
    if (!name.ends_with(kAnewSuffix)) return false;
    name.remove_suffix(kAnewSuffix.size());
    return ParseSegmentName(name).has_value();
  }

  // Removes files that were being made anew when that ended, and what was dropped. Not before the
  // segments are known to be ones that this build may change.
  void RemoveLeftovers(Task then) {
    if (leftovers_.empty() || IsOnlyRead()) return then();
    const std::string path = SegmentDirectory(folder()) + "/" + leftovers_.back();
    leftovers_.pop_back();
    files().Remove(path,
                   [self = shared_from_this(), then = std::move(then)](Status status) mutable {
                     if (!status.ok()) return self->Fail(status);
                     self->RemoveLeftovers(std::move(then));
                   });
  }

  void Next() {
    if (IsLast()) return DiscardRest();
    const LogIndex first = firsts_[at_++];
    if (first <= reached()) {
      current_ = SegmentPath(folder(), first);
      return Fail(DataLoss(
          "a file of this name cannot be here: the segment before it holds entries up to " +
          std::to_string(reached().value())));
    }
    if (first != reached() + 1) return Fail(Missing());
    current_ = SegmentPath(folder(), first);
    Segment& begun = segments_->segments_.emplace_back();
    begun.first_index = first;
    begun.last_index = first - 1;
    begun.base_offset = segments_->end_.next_offset;
    begun.frames_end = sizeof(SegmentHeader);
    if (IsLast() && last_file_ == LastFile::kMadeAnew) {
      return RemoveLeftovers([self = shared_from_this()] { self->BeginCopy(); });
    }
    const OpenMode mode = IsOnlyRead() ? OpenMode::kRead : OpenMode::kReadWrite;
    files().Open(current_, mode, Caching::kPageCache,
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
          CheckSegmentHeader(header->view(), self->segments_->folder_, self->segments_->end_);
      if (!status.ok()) return self->Fail(status);
      if (self->IsLast()) return self->Scan();
      self->ReadEnding([self](Result<SegmentEnding> ending) {
        if (!ending.ok()) return self->Fail(ending.status());
        self->Adopt(*ending);
      });
    });
  }

  // Sealed segments
  // ---------------------------------------------------------------------------------

  void ReadEnding(MoveFunction<void(Result<SegmentEnding>)> done) {
    ReadSegmentEnding(segment().file, folder(), segment().first_index, std::move(done));
  }

  void Adopt(const SegmentEnding& ending) {
    const SegmentFooter& footer = ending.footer;
    Segment& sealed = segment();
    sealed.last_index = LogIndex(footer.last_index());
    sealed.frames_end = ending.frames_end;
    sealed.max_timestamp_ms = footer.max_timestamp_ms();
    sealed.first_append_time_ms = footer.first_append_time_ms();
    sealed.last_append_time_ms = footer.last_append_time_ms();
    for (const auto& point : footer.points()) {
      sealed.points.push_back({.index = LogIndex(point.index()),
                               .base_offset = Offset(point.base_offset()),
                               .max_timestamp_ms = point.max_timestamp_ms(),
                               .append_time_ms = point.append_time_ms(),
                               .position = point.position()});
    }
    for (const auto& term : footer.term_starts()) {
      sealed.terms.push_back(
          {.start = {.term = Term(term.term()), .first_index = LogIndex(term.first_index())},
           .base_offset = Offset(term.base_offset())});
    }
    segments_->end_ = {.index = sealed.last_index,
                       .term = Term(footer.last_term()),
                       .chain = footer.chain(),
                       .next_offset = Offset(footer.next_offset())};
    segments_->in_force_.index = LogIndex(footer.configuration_index());
    MarkSealed(footer);
    Next();
  }

  void MarkSealed(const SegmentFooter& footer) {
    segment().is_sealed = true;
    segment().file.reset();
    // An index without a state would let the state machine begin there empty.
    if (footer.has_state_size()) {
      states_.push_back({.place = segments_->segments_.size() - 1,
                         .size = footer.state_size(),
                         .crc = footer.state_crc()});
    }
  }

  // The last segment
  // --------------------------------------------------------------------------------

  void Scan() {
    const FrameCursor::Range range{
        .begin = sizeof(SegmentHeader), .end = file().size(), .piece_bytes = kScanPieceBytes};
    position_ = range.begin;
    FrameCursor::Walk(
        segment().file, range,
        [self = shared_from_this()](const Frame& frame) -> Result<bool> {
          const FrameHeader header = frame.header();
          if (self->reached() == self->end_.index) return false;
          RETURN_IF_ERROR(
              CheckFollows(self->segments_->end_, self->segments_->folder_.group, header));
          ASSIGN_OR_RETURN(const raft::core::Entry entry, raft::DecodeEntry(frame));
          self->segments_->Note(header, entry, self->position_);
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
    ReadEnding([self = shared_from_this()](Result<SegmentEnding> ending) {
      const bool is_sealed = ending.ok() && ending->frames_end == self->segment().frames_end &&
                             LogIndex(ending->footer.last_index()) == self->end_.index &&
                             ending->footer.chain() == self->end_.chain;
      if (!is_sealed) return self->DiscardTail();
      self->CheckFramesEnd(std::move(*ending));
    });
  }

  // All that the footer says is right; but a producer's entry may lie above the synced end, and its
  // own beginning, or what a power cut left of that, would be the state.
  void CheckFramesEnd(SegmentEnding ending) {
    const uint64_t at = ending.frames_end;
    file().Read(at, kMayFollowBytes,
                [self = shared_from_this(), ending = std::move(ending)](Result<Bytes> bytes) {
                  if (!bytes.ok()) return self->Fail(bytes.status());
                  if (!MayFollowFrames(bytes->view())) return self->DiscardTail();
                  self->MarkSealed(ending.footer);
                  self->PutCopyInPlace();
                });
  }

  void DiscardTail() {
    recovered_.active_bytes = segment().frames_end;
    if (file().size() == segment().frames_end || IsOnlyRead()) return PutCopyInPlace();
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
    if (at_ == firsts_.size() || IsOnlyRead()) {
      return RemoveLeftovers([self = shared_from_this()] { self->Finish(); });
    }
    current_ = SegmentPath(folder(), firsts_[at_++]);
    LOG(INFO) << "rebuilding a segment from the journal, which has it file=" << current_;
    files().Remove(current_, [self = shared_from_this()](Status status) {
      if (!status.ok()) return self->Fail(status);
      self->DiscardRest();
    });
  }

  void Finish() {
    // The journal's is of exactly this end, and entries that segments do not hold may have told of
    // it: a replica's first one, or one below the begin.
    if (segments_->in_force_.index > log_.configuration_index) {
      return Fail(DataLoss("entry " + std::to_string(segments_->in_force_.index.value()) +
                           " is a configuration that the journal does not know of"));
    }
    segments_->in_force_ = {.index = log_.configuration_index, .configuration = log_.configuration};
    for (const Segment& found : segments_->segments_) {
      for (const TermBegin& term : found.terms) {
        auto& starts = recovered_.term_starts;
        if (starts.empty() || starts.back().term != term.start.term) starts.push_back(term.start);
      }
    }
    recovered_.next_offset = segments_->end_.next_offset;
    ReadNewestState();
  }

  // The newest state that is whole. What lies above an older one is applied again.
  void ReadNewestState() {
    if (states_.empty()) return done_(std::move(recovered_));
    const Segment& sealed = segments_->segments_[states_.back().place];
    current_ = segments_->Name(sealed);
    files().Open(current_, OpenMode::kRead, Caching::kPageCache,
                 [self = shared_from_this(), at = sealed.frames_end,
                  last = sealed.last_index](Result<std::unique_ptr<File>> opened) {
                   if (!opened.ok()) return self->Fail(opened.status());
                   self->ReadState(std::move(*opened), at, last);
                 });
  }

  void ReadState(std::shared_ptr<File> file, uint64_t at, LogIndex last) {
    file->Read(
        at, states_.back().size, [self = shared_from_this(), file, last](Result<Bytes> state) {
          if (!state.ok()) return self->Fail(state.status());
          const StateAt expected = self->states_.back();
          self->states_.pop_back();
          if (state->size() == expected.size && Crc32c(state->view()) == expected.crc) {
            self->recovered_.snapshot = raft::Snapshot{.index = last, .state = std::move(*state)};
            self->states_.clear();
          } else {
            MILLRACE_SOMETIMES("a rotten state in a segment was passed over");
            self->recovered_.rotten_states.push_back(self->current_);
            LOG(ERROR) << "a segment's state is damaged, "
                       << (self->states_.empty() ? "all entries are applied"
                                                 : "an older one is taken")
                       << " file=" << self->current_;
          }
          self->ReadNewestState();
        });
  }

  // Where a state lies that may be taken.
  struct StateAt {
    size_t place = 0;  // in the segments
    uint64_t size = 0;
    uint32_t crc = 0;
  };

  std::shared_ptr<GroupSegments> segments_;
  const journal::LogRecord log_;
  const LogPoint end_;
  const LastFile last_file_;
  MoveFunction<void(Result<RecoveredSegments>)> done_;
  std::vector<LogIndex> firsts_;  // of the files found, sorted
  std::vector<std::string> leftovers_;
  std::shared_ptr<File> original_;  // being copied
  std::shared_ptr<File> copy_;      // the last segment's file while it is made anew
  size_t at_ = 0;                   // the next of them
  std::string current_;             // what an error is about
  uint64_t position_ = 0;           // of the scan
  std::vector<StateAt> states_;     // oldest first
  RecoveredSegments recovered_;
};

void GroupSegments::Recover(const journal::LogRecord& log, LastFile last_file,
                            MoveFunction<void(Result<RecoveredSegments>)> done) {
  Enqueue([this, log, last_file, done = std::move(done)](Task next) mutable {
    std::make_shared<Recovery>(
        shared_from_this(), log, last_file,
        [done = std::move(done), next = std::move(next)](Result<RecoveredSegments> found) mutable {
          done(std::move(found));
          next();
        })
        ->Start();
  });
}

}  // namespace millrace::storage

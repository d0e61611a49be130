#include "storage/segment/verifier.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "proto/base/checksum.h"
#include "raft/codec/entry_codec.h"
#include "storage/segment/ending.h"
#include "storage/segment/frame_cursor.h"

namespace millrace::storage {
namespace {

using journal::LogPoint;

constexpr uint64_t kPieceBytes = 4 << 20;
// Of one file; a file that is rotten all over needs no more to be known by.
constexpr size_t kFaultsPerFileMax = 16;

class Verifier : public std::enable_shared_from_this<Verifier> {
 public:
  Verifier(FileSystem& files, const SegmentFolder& folder, const journal::LogRecord& log,
           MoveFunction<void(VerifiedSegments)> done)
      : files_(&files), folder_(folder), log_(log), done_(std::move(done)), reached_(log.begin) {}

  void Start() {
    path_ = SegmentDirectory(folder_);
    files_->List(path_, [self = shared_from_this()](Result<std::vector<std::string>> names) {
      if (!names.ok() && names.status().code() != Code::kNotFound) {
        self->Blame(std::nullopt, names.status());
        return self->Finish();
      }
      if (names.ok()) self->TakeNames(*names);
      self->NextFile();
    });
  }

 private:
  // Files that count: none that lies below the begin, and none that begins above the end.
  void TakeNames(const std::vector<std::string>& names) {
    std::vector<LogIndex> found;
    for (const std::string& name : names) {
      if (const auto first = ParseSegmentName(name)) found.push_back(*first);
    }
    std::sort(found.begin(), found.end());
    for (size_t i = 0; i < found.size() && found[i] <= log_.segments_end(); ++i) {
      const bool is_last = i + 1 == found.size();
      const bool ends_below =
          is_last ? log_.segments_end() == log_.begin.index : found[i + 1] <= log_.begin.index + 1;
      if (found[i] <= log_.begin.index && ends_below) continue;
      firsts_.push_back(found[i]);
    }
  }

  bool IsLast() const { return at_ == firsts_.size(); }
  // Of what the file that is read, or the last one that was, must hold.
  LogIndex LastIndex() const {
    if (IsLast()) return log_.segments_end();
    return ending_.has_value() ? LogIndex(ending_->footer.last_index()) : firsts_[at_] - 1;
  }
  bool IsAllThere() const { return reached_.index >= LastIndex(); }

  void Blame(std::optional<uint64_t> position, const Status& why) {
    if (faults_of_file_++ >= kFaultsPerFileMax) return;
    verified_.faults.push_back({.path = path_, .position = position, .why = why});
  }
  Status Missing(LogIndex last) const {
    return DataLoss("entries " + std::to_string(reached_.index.value() + 1) + " to " +
                    std::to_string(last.value()) + " are missing");
  }
  // What follows need not follow on anything, and what was to come up to there is not missed again.
  void PassOver(LogIndex last) {
    if (reached_.index < last) reached_ = {.index = last};
    is_known_ = false;
  }

  void NextFile() {
    file_.reset();
    ending_.reset();
    faults_of_file_ = 0;
    if (IsLast()) {
      path_ = SegmentDirectory(folder_);
      if (!IsAllThere()) Blame(std::nullopt, Missing(LastIndex()));
      return Finish();
    }
    first_ = firsts_[at_++];
    if (first_ > reached_.index + 1) {
      path_ = SegmentDirectory(folder_);
      Blame(std::nullopt, Missing(first_ - 1));
      PassOver(first_ - 1);
    }
    path_ = SegmentPath(folder_, first_);
    files_->Open(path_, OpenMode::kRead, Caching::kPageCache,
                 [self = shared_from_this()](Result<std::unique_ptr<File>> file) {
                   if (!file.ok()) return self->GiveUpFile(std::nullopt, file.status());
                   ++self->verified_.files;
                   self->file_ = std::move(*file);
                   self->ReadHeader();
                 });
  }

  // Nothing more is read of the file.
  void GiveUpFile(std::optional<uint64_t> position, const Status& why) {
    Blame(position, why);
    PassOver(LastIndex());
    NextFile();
  }

  void ReadHeader() {
    file_->Read(0, sizeof(SegmentHeader), [self = shared_from_this()](Result<Bytes> bytes) {
      if (!bytes.ok()) return self->GiveUpFile(0, bytes.status());
      const Result<LogPoint> stated =
          ParseSegmentHeader(bytes->view(), self->folder_, self->first_);
      if (stated.status().code() == Code::kUnimplemented) {
        return self->GiveUpFile(0, stated.status());
      }
      if (!stated.ok()) {
        self->Blame(0, stated.status());
      } else {
        if (self->is_known_ && self->reached_ != *stated) {
          self->Blame(0, DataLoss("segment does not follow on what is before it"));
        }
        self->reached_ = *stated;
        self->is_known_ = true;
      }
      self->ReadEnding();
    });
  }

  void ReadEnding() {
    ReadSegmentEnding(file_, EndingIn::kSegment, folder_, first_,
                      [self = shared_from_this()](Result<SegmentEnding> ending) {
                        self->OnEnding(std::move(ending));
                      });
  }

  // The last file need not be sealed, and is not believed to be by its last bytes alone.
  void OnEnding(Result<SegmentEnding> ending) {
    ending_.reset();
    if (ending.ok()) {
      ending_ = std::move(*ending);
    } else if (!IsLast()) {
      Blame(file_->size(), ending.status());
    }
    const bool is_sealed = ending_.has_value() && !IsLast();
    void_index_ = VoidIndex();
    frames_end_ = is_sealed ? ending_->frames_end : file_->size();
    ends_with_entry_ = !is_sealed;
    Walk(sizeof(SegmentHeader));
  }

  void Walk(uint64_t begin) {
    position_ = begin;
    if (begin >= frames_end_) return OnWalked(Status::Ok());
    FrameCursor::Walk(
        file_, {.begin = begin, .end = frames_end_, .piece_bytes = kPieceBytes},
        [self = shared_from_this()](const Frame& frame) { return self->Take(frame); },
        [self = shared_from_this()](const Status& status, uint64_t) { self->OnWalked(status); });
  }

  Result<bool> Take(const Frame& frame) {
    if (ends_with_entry_ && IsAllThere()) return false;
    const FrameHeader header = frame.header();
    if (header.group != folder_.group) {
      Blame(position_, DataLoss("an entry of group " + std::to_string(header.group.value())));
    } else if (is_known_) {
      const Status status = CheckFollows(reached_, folder_.group, header);
      if (!status.ok()) Blame(position_, status);
    }
    if (const Status status = raft::DecodeStored(frame).status(); !status.ok()) {
      Blame(position_, status.With("entry " + std::to_string(header.index.value())));
    }
    const auto void_range = VoidRangeOf(header);
    if (void_range.has_value() && faults_of_file_ == 0) void_index_.Add(*void_range);
    reached_ = EndAfter(header);
    is_known_ = true;
    CheckNamed();
    position_ += frame.size();
    ++verified_.frames;
    return true;
  }

  void OnWalked(const Status& status) {
    if (!status.ok() && !(ends_with_entry_ && IsAllThere())) {
      Blame(position_, status);
      if (const auto next = PointAfter(position_)) {
        is_known_ = false;
        return Walk(*next);
      }
      PassOver(LastIndex());
    } else if (!IsAllThere()) {
      Blame(position_, Missing(LastIndex()));
      PassOver(LastIndex());
    }
    if (is_known_) {
      CheckEnd();
    } else if (IsLast()) {
      ending_.reset();
    }
    CheckState();
  }

  // Where a frame begins behind `position`, says the footer.
  std::optional<uint64_t> PointAfter(uint64_t position) const {
    if (!ending_.has_value()) return std::nullopt;
    for (const auto& point : ending_->footer.points()) {
      const bool is_frame = point.position() > position && point.position() < frames_end_;
      if (is_frame) return point.position();
    }
    return std::nullopt;
  }

  void CheckNamed() {
    if (reached_.index != log_.end.index || reached_ == log_.end) return;
    Blame(position_, DataLoss("entry " + std::to_string(reached_.index.value()) +
                              " is not the one that the journal names"));
  }

  void CheckEnd() {
    if (IsLast()) {
      // Else what looks like an ending is a producer's, above the synced end.
      if (ending_.has_value() && ending_->frames_end != position_) ending_.reset();
    }
    if (!ending_.has_value()) return;
    const internal::v1::SegmentFooter& footer = ending_->footer;
    const LogPoint stated{.index = LogIndex(footer.last_index()),
                          .term = Term(footer.last_term()),
                          .chain = footer.chain(),
                          .next_offset = Offset(footer.next_offset())};
    if (reached_ != stated) {
      Blame(ending_->frames_end, DataLoss("the frames do not end as the footer says"));
    } else if (faults_of_file_ == 0 && void_index_ != ending_->void_index) {
      Blame(ending_->frames_end,
            DataLoss("the footer does not say what the markers among the frames make void"));
    }
  }

  void CheckState() {
    if (!ending_.has_value() || !ending_->footer.has_state_size()) return NextFile();
    file_->Read(ending_->frames_end, ending_->footer.state_size(),
                [self = shared_from_this(), at = ending_->frames_end](Result<Bytes> state) {
                  const internal::v1::SegmentFooter& footer = self->ending_->footer;
                  if (!state.ok()) {
                    self->Blame(at, state.status());
                  } else if (state->size() != footer.state_size() ||
                             Crc32c(state->view()) != footer.state_crc()) {
                    self->Blame(at, DataLoss("the state's checksum does not match"));
                  }
                  self->NextFile();
                });
  }

  void Finish() { done_(std::move(verified_)); }

  FileSystem* files_;
  const SegmentFolder folder_;
  const journal::LogRecord log_;
  MoveFunction<void(VerifiedSegments)> done_;
  VerifiedSegments verified_;
  std::vector<LogIndex> firsts_;  // of the files that count, sorted
  size_t at_ = 0;                 // the next of them
  LogIndex first_;                // of the file that is read
  std::string path_;              // what a fault is about
  std::shared_ptr<File> file_;    // shared with reads of it
  std::optional<SegmentEnding> ending_;
  uint64_t frames_end_ = 0;
  bool ends_with_entry_ = false;  // the frames end with an entry that is known, not at a position
  size_t faults_of_file_ = 0;
  VoidIndex void_index_;  // of the frames of the file, as long as it has no fault
  uint64_t position_ = 0;
  LogPoint reached_;
  bool is_known_ = true;  // all of reached_, not its index alone
};

}  // namespace

void VerifySegments(FileSystem& files, const SegmentFolder& folder, const journal::LogRecord& log,
                    MoveFunction<void(VerifiedSegments)> done) {
  std::make_shared<Verifier>(files, folder, log, std::move(done))->Start();
}

}  // namespace millrace::storage

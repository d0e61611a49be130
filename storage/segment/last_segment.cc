// The last segment of a recovery: frame by frame up to the log's end, then what is written above,
// and the file made anew where a write or a sync of it failed.
#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/frame/frame.h"
#include "raft/codec/entry_codec.h"
#include "storage/segment/frame_cursor.h"
#include "storage/segment/frame_search.h"
#include "storage/segment/recovery.h"

namespace millrace::storage {
namespace {

constexpr uint64_t kScanPieceBytes = 4 << 20;
constexpr uint64_t kCopyPieceBytes = 1 << 20;

}  // namespace

using internal::v1::SegmentFooter;

void GroupSegments::Recovery::Scan() {
  checkpoint_.reset();
  if (reached() == end_.index) return OnScanned(Status::Ok());
  const FrameCursor::Range range{
      .begin = segment().frames_end, .end = file().size(), .piece_bytes = kScanPieceBytes};
  FrameCursor::Walk(
      segment().file, range,
      [self = shared_from_this()](const Frame& frame) -> Result<bool> {
        const FrameHeader header = frame.header();
        if (self->reached() == self->end_.index) return false;
        RETURN_IF_ERROR(
            CheckFollows(self->segments_->end_, self->segments_->folder_.group, header));
        ASSIGN_OR_RETURN(const raft::core::Entry entry, raft::DecodeStored(frame));
        self->segments_->TakeWritten(entry);
        self->segments_->Note();
        return true;
      },
      [self = shared_from_this()](const Status& status, uint64_t) { self->OnScanned(status); });
}

Status GroupSegments::Recovery::AtLost(const Status& status) const {
  const std::string entry = "synced entry " + std::to_string(reached().value() + 1);
  return status.ok() ? Missing() : status.With(entry);
}

// What is committed others have. What is not, and lies above, nobody else may have, though it was
// told to be stored here: a file that is made anew takes it along.
void GroupSegments::Recovery::OnLastDamaged(const Status& why) {
  if (copy_ != nullptr || last_file_ == LastFile::kMadeAnew) return Fail(why);
  SearchAbove(why);
}

void GroupSegments::Recovery::SearchAbove(const Status& why) {
  FrameSearch::Find(
      segment().file, {.begin = 0, .end = file().size()},
      [self = shared_from_this()](const FrameHeader& header) {
        return CheckFollows(self->end_, self->folder().group, header).ok();
      },
      [self = shared_from_this(), why](const Result<FrameSearch::Position>& found) {
        if (!found.ok()) return self->Fail(found.status());
        self->OnAboveFound(found->value_or(0), why);
      });
}

void GroupSegments::Recovery::OnAboveFound(uint64_t at, const Status& why) {
  // A file that is made anew has the name of the first that is damaged.
  const bool is_lost = at == 0 ? written_ > end_.index : hole_.has_value();
  if (is_lost) return Fail(why);
  MILLRACE_SOMETIMES_IF("a damaged segment had entries above the committed end", at > 0);
  segments_->uncommitted_.clear();
  segments_->end_ = before_;
  GiveUpFile(why);
  CloseHole(end_);
  segment().above_at = at;
  Finish();
}

void GroupSegments::Recovery::OnScanned(const Status& status) {
  const bool may_pass_over = status.ok() || status.code() == Code::kDataLoss;
  if (reached() < end_.index) {
    const Status why = AtLost(status);
    return may_pass_over && !IsOnlyRead() ? OnLastDamaged(why) : Fail(why);
  }
  if (segments_->end_ != end_) {
    return Fail(DataLoss("entry " + std::to_string(end_.index.value()) +
                         " is not the one that the journal names"));
  }
  const bool is_all = file().size() == segment().frames_end && reached() >= written_;
  if (is_all) return DiscardTail();
  // A copy is read as it was: past the page cache.
  if (copy_ != nullptr || IsOnlyRead()) return CheckSealed(segment().file);
  files().Open(current_, OpenMode::kRead, Caching::kDirect,
               [self = shared_from_this()](Result<std::unique_ptr<File>> opened) {
                 if (!opened.ok()) return self->Fail(opened.status());
                 self->CheckSealed(std::move(*opened));
               });
}

void GroupSegments::Recovery::CheckSealed(std::shared_ptr<File> medium) {
  medium_ = std::move(medium);
  ReadEnding([self = shared_from_this()](Result<SegmentEnding> ending) {
    // It may be there: what cannot be read just now must not be cut off, for the log may begin
    // where no other state reaches.
    if (!ending.ok() && ending.status().code() != Code::kDataLoss) {
      return self->Fail(ending.status());
    }
    const bool is_sealed = ending.ok() && ending->frames_end == self->segment().frames_end &&
                           LogIndex(ending->footer.last_index()) == self->end_.index &&
                           ending->footer.chain() == self->end_.chain;
    if (!is_sealed || self->reached() < self->written_) return self->ScanAbove();
    self->CheckFramesEnd(std::move(*ending));
  });
}

void GroupSegments::Recovery::CheckFramesEnd(SegmentEnding ending) {
  const uint64_t at = ending.frames_end;
  medium_->Read(at, kMayFollowBytes,
                [self = shared_from_this(), ending = std::move(ending)](Result<Bytes> bytes) {
                  if (!bytes.ok()) return self->Fail(bytes.status());
                  if (!MayFollowFrames(bytes->view())) return self->ScanAbove();
                  self->TakeSealed(ending.footer);
                });
}

void GroupSegments::Recovery::TakeSealed(SegmentFooter footer) {
  if (IsOnlyRead()) {
    MarkSealed(footer);
    return PutCopyInPlace();
  }
  file().Sync([self = shared_from_this(), footer = std::move(footer)](const Status& synced) {
    if (!synced.ok()) return self->Fail(synced);
    self->MarkSealed(footer);
    self->PutCopyInPlace();
  });
}

void GroupSegments::Recovery::ScanAbove() {
  if (reached() == written_ && !MayHaveAbove()) return DiscardTail();
  const uint64_t begin = std::min(segment().frames_end, medium_->size());
  FrameCursor::Walk(
      medium_, {.begin = begin, .end = medium_->size(), .piece_bytes = kScanPieceBytes},
      [self = shared_from_this()](const Frame& frame) { return self->TakeAbove(frame); },
      [self = shared_from_this()](const Status& status, uint64_t) { self->OnAbove(status); });
}

Result<bool> GroupSegments::Recovery::TakeAbove(const Frame& frame) {
  if (reached() == written_ && !MayHaveAbove()) return false;
  RETURN_IF_ERROR(CheckFollows(segments_->written_end(), folder().group, frame.header()));
  ASSIGN_OR_RETURN(raft::core::Entry entry, raft::DecodeStored(frame));
  segments_->TakeWritten(entry);
  recovered_.written.push_back(std::move(entry));
  return true;
}

void GroupSegments::Recovery::OnAbove(const Status& status) {
  if (!status.ok() && status.code() != Code::kDataLoss) return Fail(status);
  if (reached() < written_) return Fail(AtLost(status));
  MILLRACE_SOMETIMES_IF("entries that the journal does not name were taken from a segment",
                        reached() > written_);
  DiscardTail();
}

void GroupSegments::Recovery::DiscardBegun() {
  medium_.reset();
  segments_->segments_.pop_back();
  --at_;
  DiscardRest();
}

void GroupSegments::Recovery::DiscardTail() {
  if (BeginsAbove() && recovered_.written.empty()) return DiscardBegun();
  const uint64_t end = segments_->written_position();
  const auto& above = segments_->uncommitted_;
  const bool has_committed = segment().last_index >= segment().first_index;
  recovered_.active.bytes = end;
  recovered_.active.base_offset = segment().base_offset;
  recovered_.active.next_offset = segments_->written_end().next_offset;
  if (has_committed || !above.empty()) {
    recovered_.active.first_append_ms =
        has_committed ? segment().first_append_time_ms : above.front().header.append_time_ms;
    recovered_.active.last_append_ms =
        above.empty() ? segment().last_append_time_ms : above.back().header.append_time_ms;
  }
  if (file().size() == end || IsOnlyRead()) return SyncWritten();
  LOG(INFO) << "discarding what no sync had covered file=" << current_ << " from=" << end
            << " to=" << file().size();
  file().Truncate(end, [self = shared_from_this()](Status status) {
    if (!status.ok()) return self->Fail(status);
    self->SyncWritten();
  });
}

void GroupSegments::Recovery::SyncWritten() {
  if (recovered_.written.empty() || IsOnlyRead() || copy_ != nullptr) return PutCopyInPlace();
  segments_->SyncNow([self = shared_from_this()](const Result<SegmentsEnd>& synced) {
    if (!synced.ok()) return self->Fail(synced.status());
    // What is removed next is another change of names.
    self->segments_->has_new_names_ = true;
    self->PutCopyInPlace();
  });
}

void GroupSegments::Recovery::BeginCopy() {
  files().Open(current_, OpenMode::kRead, Caching::kDirect,
               [self = shared_from_this()](Result<std::unique_ptr<File>> opened) {
                 if (!opened.ok()) return self->Fail(opened.status());
                 self->original_ = std::move(*opened);
                 self->OpenCopy();
               });
}

void GroupSegments::Recovery::OpenCopy() {
  files().Open(CopyPath(), OpenMode::kCreate, Caching::kPageCache,
               [self = shared_from_this()](Result<std::unique_ptr<File>> opened) {
                 if (!opened.ok()) return self->Fail(opened.status());
                 self->segment().file = std::move(*opened);
                 self->copy_ = self->segment().file;
                 self->CopyPiece(0);
               });
}

void GroupSegments::Recovery::CopyPiece(uint64_t at) {
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

void GroupSegments::Recovery::PutCopyInPlace() {
  medium_.reset();
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

}  // namespace millrace::storage

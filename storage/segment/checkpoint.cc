// A group's checkpoint: what its newest segment would be sealed with at some entry, in a file
// beside it, so that a start reads no frame below that entry; or that the newest segment is sealed
// (docs/formats.md, "Checkpoint of a segment").
//
// It is never synced. Whoever finds it missing, torn or old reads the frames.
#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"
#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "storage/segment/frame_cursor.h"
#include "storage/segment/recovery.h"

namespace millrace::storage {
namespace {

// About what lies between two points of the index.
constexpr uint64_t kPlacePieceBytes = 64 << 10;

}  // namespace

using internal::v1::SegmentFooter;

void GroupSegments::Checkpoint(Bytes state, MoveFunction<void(Result<SegmentsEnd>)> done) {
  Enqueue([this, state = std::move(state), done = std::move(done)](Task next) mutable {
    auto ending = Ending(std::move(done), std::move(next));
    if (!fault_.ok()) return ending(fault_);
    SyncNow([this, self = shared_from_this(), state = std::move(state),
             ending = std::move(ending)](Result<SegmentsEnd> end) mutable {
      // It may hold nothing that is committed.
      const bool is_any = end.ok() && !segments_.empty() && !segments_.back().is_sealed &&
                          segments_.back().first_index <= segments_.back().last_index;
      if (!is_any) return ending(std::move(end));
      const Segment& active = segments_.back();
      PutCheckpoint(
          EncodeSegmentEnding(MakeFooter(active), active.frames_end, state),
          [ending = std::move(ending), end = std::move(end)]() mutable { ending(std::move(end)); });
    });
  });
}

void GroupSegments::PutCheckpoint(std::vector<Bytes> pieces, Task done) {
  auto ended = [group = folder_.group, done = std::move(done)](const Status& status) mutable {
    // The next start reads more than it needs to.
    if (!status.ok()) {
      LOG_EVERY_T(WARNING, 10) << "cannot write a checkpoint group=" << group << " why=" << status;
    }
    done();
  };
  auto write = [pieces = std::move(pieces),
                ended = std::move(ended)](Result<std::unique_ptr<File>> opened) mutable {
    if (!opened.ok()) return ended(opened.status());
    const std::shared_ptr<File> file = *std::move(opened);
    const uint64_t size = TotalSize(pieces);
    file->Write(
        0, std::move(pieces), [file, size, ended = std::move(ended)](Status status) mutable {
          if (!status.ok() || file->size() == size) return ended(status);
          file->Truncate(
              size, [file, ended = std::move(ended)](const Status& cut) mutable { ended(cut); });
        });
  };
  const std::string path = CheckpointPath(folder_);
  files_->Open(path, OpenMode::kReadWrite, Caching::kPageCache,
               [this, self = shared_from_this(), path,
                write = std::move(write)](Result<std::unique_ptr<File>> opened) mutable {
                 if (opened.status().code() != Code::kNotFound) return write(std::move(opened));
                 files_->Open(path, OpenMode::kCreate, Caching::kPageCache, std::move(write));
               });
}

void GroupSegments::Recovery::LookForCheckpoint() {
  // What is made anew is proven frame by frame, and of what begins above nothing is committed.
  if (copy_ != nullptr || BeginsAbove()) return Scan();
  files().Open(CheckpointPath(folder()), OpenMode::kRead, Caching::kPageCache,
               [self = shared_from_this()](Result<std::unique_ptr<File>> opened) {
                 if (!opened.ok()) return self->Scan();
                 self->checkpoint_ = std::move(*opened);
                 self->ReadTrailer();
               });
}

void GroupSegments::Recovery::ReadTrailer() {
  if (file().size() < sizeof(SegmentHeader) + sizeof(SegmentTrailer)) return ReadCheckpoint();
  file().Read(file().size() - sizeof(SegmentTrailer), sizeof(SegmentTrailer),
              [self = shared_from_this()](Result<Bytes> trailer) {
                if (!trailer.ok()) return self->Scan();
                if (!ParseSegmentTrailer(trailer->view()).has_value()) {
                  return self->ReadCheckpoint();
                }
                self->CompareTrailer(std::move(*trailer));
              });
}

// What a producer wrote is in no checkpoint.
void GroupSegments::Recovery::CompareTrailer(Bytes trailer) {
  checkpoint_->Read(0, checkpoint_->size(),
                    [self = shared_from_this(), trailer = std::move(trailer)](Result<Bytes> told) {
                      if (!told.ok() || told->view() != trailer.view()) return self->Scan();
                      self->ReadEnding([self](Result<SegmentEnding> ending) {
                        if (!ending.ok() || !self->EndsLog(ending->footer)) return self->Scan();
                        MILLRACE_SOMETIMES("a start took the last segment by its footer");
                        self->Adopt(*ending);
                      });
                    });
}

bool GroupSegments::Recovery::EndsLog(const SegmentFooter& footer) const {
  return written_ <= end_.index && EndOf(footer) == end_;
}

void GroupSegments::Recovery::ReadCheckpoint() {
  ReadSegmentEnding(checkpoint_, EndingIn::kCheckpoint, folder(), segment().first_index,
                    [self = shared_from_this()](Result<SegmentEnding> ending) {
                      if (!ending.ok() || !self->MayBegin(*ending)) return self->Scan();
                      self->CheckPlace(std::move(*ending));
                    });
}

// Up to the journal's end what is in the file was synced, and is what is committed.
bool GroupSegments::Recovery::MayBegin(const SegmentEnding& ending) const {
  const LogPoint at = EndOf(ending.footer);
  const bool is_committed =
      at.index < end_.index || at == end_ || MILLRACE_MUTANT(kCheckpointAboveEnd);
  const auto& points = ending.footer.points();
  const bool has_place = !points.empty() && ending.frames_end <= segment().file->size() &&
                         points.rbegin()->position() < ending.frames_end;
  return is_committed && has_place && ending.footer.has_state_size();
}

// In a file that was made anew since, in which something was left out, and in another log's they
// lie elsewhere. The chain of the last one is proof of all before it.
void GroupSegments::Recovery::CheckPlace(SegmentEnding ending) {
  const FrameCursor::Range last_frames{.begin = ending.footer.points().rbegin()->position(),
                                       .end = ending.frames_end,
                                       .piece_bytes = kPlacePieceBytes};
  FrameCursor::Walk(
      segment().file, last_frames,
      [self = shared_from_this()](const Frame& frame) -> Result<bool> {
        self->checkpoint_place_ = EndAfter(frame.header());
        return true;
      },
      [self = shared_from_this(), ending = std::move(ending)](const Status& status,
                                                              uint64_t) mutable {
        const bool fits = status.ok() && self->checkpoint_place_ == EndOf(ending.footer);
        if (!fits) return self->Scan();
        self->ReadCheckpointState(std::move(ending));
      });
}

void GroupSegments::Recovery::ReadCheckpointState(SegmentEnding ending) {
  const uint64_t size = ending.footer.state_size();
  checkpoint_->Read(
      0, size, [self = shared_from_this(), ending = std::move(ending)](Result<Bytes> state) {
        const bool is_intact = state.ok() && state->size() == ending.footer.state_size() &&
                               Crc32c(state->view()) == ending.footer.state_crc();
        if (!is_intact) return self->Scan();
        MILLRACE_SOMETIMES("a start began at a checkpoint");
        self->TakeFooter(ending);
        self->recovered_.active.checkpointed = ending.frames_end;
        self->checkpoint_state_ =
            raft::Snapshot{.index = self->segment().last_index, .state = std::move(*state)};
        self->Scan();
      });
}

}  // namespace millrace::storage

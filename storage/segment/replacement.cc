#include "storage/segment/replacement.h"

#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"
#include "proto/base/coverage.h"
#include "raft/codec/entry_codec.h"
#include "storage/segment/frame_cursor.h"

namespace millrace::storage {
namespace {

constexpr uint64_t kPieceBytes = 4 << 20;

}  // namespace

GroupSegments::Segment* GroupSegments::Replacement::Damaged() {
  for (Segment& segment : segments_->segments_) {
    if (segment.first_index == first_) return segment.is_sealed ? &segment : nullptr;
  }
  return nullptr;
}

bool GroupSegments::Replacement::IsLost(const Status& status) const {
  const bool is_lost = status.code() == Code::kDataLoss || status.code() == Code::kNotFound;
  return is_lost && purpose_ == Purpose::kRepair;
}

bool GroupSegments::Replacement::IsUnreadable(const Status& status) const {
  return IsLost(status) || (purpose_ == Purpose::kRepair && segments_->IsDamage(first_, status));
}

Status GroupSegments::Replacement::Gone() const {
  return OutOfRange(SegmentPath(segments_->folder_, first_) + " was dropped");
}

void GroupSegments::Replacement::Start() {
  if (Damaged() == nullptr) return done_(Gone());
  // To be written, too: so it can be freed in pieces once another has its name.
  segments_->files_->Open(SegmentPath(segments_->folder_, first_), OpenMode::kReadWrite,
                          Caching::kPageCache,
                          [self = shared_from_this()](Result<std::unique_ptr<File>> file) {
                            if (file.ok()) return self->OnOpened(std::move(*file));
                            if (!self->IsUnreadable(file.status()))
                              return self->done_(file.status());
                            self->Seal(std::nullopt);
                          });
}

void GroupSegments::Replacement::OnOpened(std::shared_ptr<File> file) {
  const Segment* damaged = Damaged();
  if (damaged == nullptr) return done_(Gone());
  former_ = file;
  if (damaged->above_at == 0) return ReadEnding(std::move(file));
  end_ = rebuilt_->end_;
  FrameCursor::Walk(
      file, {.begin = damaged->above_at, .end = file->size(), .piece_bytes = kPieceBytes},
      [self = shared_from_this()](const Frame& frame) -> Result<bool> {
        RETURN_IF_ERROR(CheckFollows(self->end_, self->segments_->folder_.group, frame.header()));
        ASSIGN_OR_RETURN(raft::core::Entry entry, raft::DecodeStored(frame));
        self->end_ = EndAfter(frame.header());
        self->above_.push_back(std::move(entry));
        return true;
      },
      [self = shared_from_this()](const Status& status, uint64_t) {
        // Where they end, what follows may be anything.
        if (!status.ok() && !self->IsLost(status)) return self->done_(status);
        self->AppendAbove();
      });
}

void GroupSegments::Replacement::AppendAbove() {
  if (above_.empty()) return done_(DataLoss("entries above the committed end are gone"));
  rebuilt_->Append(std::move(above_), [](const Status&) {});
  // Its error is the one before's, too.
  rebuilt_->Sync([self = shared_from_this()](const Result<SegmentsEnd>& end) {
    if (!end.ok()) return self->done_(end.status());
    self->ListInner();
  });
}

void GroupSegments::Replacement::ReadEnding(std::shared_ptr<File> file) {
  ReadSegmentEnding(file, EndingIn::kSegment, segments_->folder_, first_,
                    [self = shared_from_this(), file](Result<SegmentEnding> ending) {
                      if (ending.ok()) return self->ReadState(file, *ending);
                      if (!self->IsUnreadable(ending.status())) return self->done_(ending.status());
                      self->Seal(std::nullopt);
                    });
}

void GroupSegments::Replacement::ReadState(const std::shared_ptr<File>& file,
                                           const SegmentEnding& ending) {
  const internal::v1::SegmentFooter& footer = ending.footer;
  rebuilt_->SetSettledPass(footer.settled_pass());
  // It may have ended before the stretch that is damaged with it does.
  const Segment* damaged = Damaged();
  if (damaged == nullptr) return done_(Gone());
  if (LogIndex(footer.last_index()) != damaged->last_index) return Seal(std::nullopt);
  if (footer.has_configuration()) {
    Result<raft::core::Configuration> configuration =
        raft::DecodeConfiguration(footer.configuration().SerializeAsString());
    if (!configuration.ok()) return done_(configuration.status());
    rebuilt_->TakeConfiguration(LogIndex(footer.configuration_index()), *std::move(configuration));
  }
  if (!footer.has_state_size()) return Seal(std::nullopt);
  file->Read(
      ending.frames_end, footer.state_size(),
      [self = shared_from_this(), file, size = footer.state_size(),
       crc = footer.state_crc()](Result<Bytes> state) {
        if (!state.ok() && !self->IsUnreadable(state.status())) return self->done_(state.status());
        const bool is_intact = state.ok() && state->size() == size && Crc32c(state->view()) == crc;
        if (!is_intact && self->purpose_ == Purpose::kRewrite) {
          return self->done_(self->segments_->Met(self->first_, DataLoss("the state is damaged")));
        }
        if (!is_intact) return self->Seal(std::nullopt);
        self->Seal(*std::move(state));
      });
}

void GroupSegments::Replacement::Seal(std::optional<Bytes> state) {
  rebuilt_->Seal(std::move(state), [self = shared_from_this()](Result<SegmentsEnd> end) {
    if (!end.ok()) return self->done_(end.status());
    self->sealed_ = end->sealed;
    self->ListInner();
  });
}

// Files of the same stretch that begin within it, and did not tell where they follow on.
void GroupSegments::Replacement::ListInner() {
  segments_->files_->List(SegmentDirectory(segments_->folder_),
                          [self = shared_from_this()](Result<std::vector<std::string>> names) {
                            if (!names.ok() && !self->IsLost(names.status()))
                              return self->done_(names.status());
                            const Segment* damaged = self->Damaged();
                            if (damaged == nullptr) return self->done_(self->Gone());
                            const std::vector<std::string> found =
                                names.ok() ? *std::move(names) : std::vector<std::string>();
                            for (const std::string& name : found) {
                              const auto first = ParseSegmentName(name);
                              const bool is_inner = first.has_value() && *first > self->first_ &&
                                                    *first <= damaged->last_index;
                              if (is_inner) self->inner_.push_back(*first);
                            }
                            self->RemoveInner();
                          });
}

void GroupSegments::Replacement::RemoveInner() {
  if (inner_.empty()) return MakeFolder();
  const std::string path = SegmentPath(segments_->folder_, inner_.back());
  inner_.pop_back();
  segments_->files_->Remove(path, [self = shared_from_this()](Status removed) {
    if (!removed.ok() && !self->IsLost(removed)) return self->done_(std::move(removed));
    self->RemoveInner();
  });
}

// A start may have found none.
void GroupSegments::Replacement::MakeFolder() {
  if (segments_->has_directory_) return Rename();
  segments_->files_->MakeDirectory(SegmentDirectory(segments_->folder_),
                                   [self = shared_from_this()](Status made) {
                                     if (!made.ok()) return self->done_(std::move(made));
                                     self->segments_->has_directory_ = true;
                                     self->Rename();
                                   });
}

void GroupSegments::Replacement::Rename() {
  Segment* damaged = Damaged();
  if (damaged == nullptr) return done_(Gone());
  const Segment& made = rebuilt_->segments_.front();
  const bool fits = rebuilt_->segments_.size() == 1 && made.first_index == first_ &&
                    made.last_index == damaged->last_index &&
                    made.base_offset == damaged->base_offset;
  CHECK(fits) << "group=" << segments_->folder_.group << " first=" << first_;
  // Reads that are under way go on with the file that they opened, and others with that until this
  // is known to be in its place: entries lie elsewhere in it.
  damaged->file = former_;
  ++damaged->version;
  const std::string from = rebuilt_->Name(made);
  segments_->files_->Rename(
      from, segments_->Name(*damaged), [self = shared_from_this()](Status renamed) {
        if (!renamed.ok()) {
          if (Segment* kept = self->Damaged()) kept->file.reset();
          return self->done_(std::move(renamed));
        }
        const SegmentFolder& folder = self->segments_->folder_;
        self->segments_->SyncNames({GroupDirectory(folder.group), SegmentDirectory(folder)},
                                   [self](Status synced) {
                                     if (!synced.ok()) return self->done_(std::move(synced));
                                     self->Take();
                                   });
      });
}

void GroupSegments::Replacement::Take() {
  Segment* damaged = Damaged();
  if (damaged == nullptr) return done_(Gone());
  if (!sealed_.has_value()) sealed_ = segments_->Told(rebuilt_->segments_.front(), false);
  segments_->unreadable_.erase(first_);
  rebuilt_->segments_.front().version = damaged->version;
  *damaged = std::move(rebuilt_->segments_.front());
  rebuilt_->segments_.clear();
  MILLRACE_SOMETIMES("a damaged segment was replaced");
  if (damaged->is_sealed && damaged == &segments_->segments_.back()) return MoveCheckpoint();
  done_(*std::move(sealed_));
}

void GroupSegments::Replacement::MoveCheckpoint() {
  segments_->files_->Rename(CheckpointPath(rebuilt_->folder_), CheckpointPath(segments_->folder_),
                            [self = shared_from_this()](const Status& renamed) {
                              LOG_IF(WARNING, !renamed.ok())
                                  << "the next start reads a segment that it need not group="
                                  << self->segments_->folder_.group << " why=" << renamed;
                              self->done_(*std::move(self->sealed_));
                            });
}

void GroupSegments::Replace(LogIndex first, std::shared_ptr<GroupSegments> rebuilt, Purpose purpose,
                            MoveFunction<void(Result<raft::SealedSegment>)> done) {
  Enqueue([this, first, rebuilt = std::move(rebuilt), purpose,
           done = std::move(done)](Task next) mutable {
    std::make_shared<Replacement>(shared_from_this(), first, std::move(rebuilt), purpose,
                                  [done = std::move(done), next = std::move(next)](
                                      Result<raft::SealedSegment> sealed) mutable {
                                    done(std::move(sealed));
                                    next();
                                  })
        ->Start();
  });
}

}  // namespace millrace::storage

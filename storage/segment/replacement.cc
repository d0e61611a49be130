#include "storage/segment/replacement.h"

#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"
#include "proto/base/coverage.h"
#include "raft/codec/entry_codec.h"

namespace millrace::storage {
namespace {

// What is damaged, or not there, is done without; an error that passes is not.
bool IsLost(const Status& status) {
  return status.code() == Code::kDataLoss || status.code() == Code::kNotFound;
}

}  // namespace

GroupSegments::Segment* GroupSegments::Replacement::Damaged() {
  for (Segment& segment : segments_->segments_) {
    if (segment.first_index == first_) return segment.is_sealed ? &segment : nullptr;
  }
  return nullptr;
}

Status GroupSegments::Replacement::Gone() const {
  return OutOfRange(SegmentPath(segments_->folder_, first_) + " was dropped");
}

void GroupSegments::Replacement::Start() {
  if (Damaged() == nullptr) return done_(Gone());
  segments_->files_->Open(SegmentPath(segments_->folder_, first_), OpenMode::kRead,
                          Caching::kPageCache,
                          [self = shared_from_this()](Result<std::unique_ptr<File>> file) {
                            if (file.ok()) return self->ReadEnding(std::move(*file));
                            if (!IsLost(file.status())) return self->done_(file.status());
                            self->Seal(std::nullopt);
                          });
}

void GroupSegments::Replacement::ReadEnding(std::shared_ptr<File> file) {
  ReadSegmentEnding(file, segments_->folder_, first_,
                    [self = shared_from_this(), file](Result<SegmentEnding> ending) {
                      if (ending.ok()) return self->ReadState(file, *ending);
                      if (!IsLost(ending.status())) return self->done_(ending.status());
                      self->Seal(std::nullopt);
                    });
}

void GroupSegments::Replacement::ReadState(const std::shared_ptr<File>& file,
                                           const SegmentEnding& ending) {
  const internal::v1::SegmentFooter& footer = ending.footer;
  if (footer.has_configuration()) {
    Result<raft::core::Configuration> configuration =
        raft::DecodeConfiguration(footer.configuration().SerializeAsString());
    if (!configuration.ok()) return done_(configuration.status());
    rebuilt_->TakeConfiguration(LogIndex(footer.configuration_index()), *std::move(configuration));
  }
  if (!footer.has_state_size()) return Seal(std::nullopt);
  file->Read(ending.frames_end, footer.state_size(),
             [self = shared_from_this(), file, size = footer.state_size(),
              crc = footer.state_crc()](Result<Bytes> state) {
               if (!state.ok() && !IsLost(state.status())) return self->done_(state.status());
               const bool is_intact =
                   state.ok() && state->size() == size && Crc32c(state->view()) == crc;
               if (!is_intact) return self->Seal(std::nullopt);
               self->Seal(*std::move(state));
             });
}

void GroupSegments::Replacement::Seal(std::optional<Bytes> state) {
  rebuilt_->Seal(std::move(state), [self = shared_from_this()](Result<SegmentsEnd> end) {
    if (!end.ok()) return self->done_(end.status());
    self->sealed_ = end->sealed;
    self->Rename();
  });
}

void GroupSegments::Replacement::Rename() {
  const Segment* damaged = Damaged();
  if (damaged == nullptr) return done_(Gone());
  const Segment& made = rebuilt_->segments_.front();
  const bool fits = rebuilt_->segments_.size() == 1 && made.first_index == first_ &&
                    made.last_index == damaged->last_index &&
                    made.base_offset == damaged->base_offset;
  CHECK(fits) << "group=" << segments_->folder_.group << " first=" << first_;
  const std::string from = rebuilt_->Name(made);
  segments_->files_->Rename(
      from, segments_->Name(*damaged), [self = shared_from_this()](Status renamed) {
        if (!renamed.ok()) return self->done_(std::move(renamed));
        self->segments_->SyncNames({SegmentDirectory(self->segments_->folder_)},
                                   [self](Status synced) {
                                     if (!synced.ok()) return self->done_(std::move(synced));
                                     self->Take();
                                   });
      });
}

void GroupSegments::Replacement::Take() {
  Segment* damaged = Damaged();
  if (damaged == nullptr) return done_(Gone());
  *damaged = std::move(rebuilt_->segments_.front());
  rebuilt_->segments_.clear();
  MILLRACE_SOMETIMES("a damaged segment was replaced");
  done_(*std::move(sealed_));
}

void GroupSegments::Replace(LogIndex first, std::shared_ptr<GroupSegments> rebuilt,
                            MoveFunction<void(Result<raft::SealedSegment>)> done) {
  Enqueue([this, first, rebuilt = std::move(rebuilt), done = std::move(done)](Task next) mutable {
    std::make_shared<Replacement>(shared_from_this(), first, std::move(rebuilt),
                                  [done = std::move(done), next = std::move(next)](
                                      Result<raft::SealedSegment> sealed) mutable {
                                    done(std::move(sealed));
                                    next();
                                  })
        ->Start();
  });
}

}  // namespace millrace::storage

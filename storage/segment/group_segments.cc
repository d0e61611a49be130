#include "storage/segment/group_segments.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "proto/frame/frame.h"
#include "raft/codec/entry_codec.h"
#include "storage/segment/folders.h"

namespace millrace::storage {
namespace {

using raft::core::Entry;

// One index point for so many bytes of frames.
constexpr uint64_t kPointEvery = 64 << 10;

}  // namespace

void ActiveSegment::Add(const std::vector<Entry>& entries) {
  if (entries.empty()) return;
  bytes += raft::core::TotalBytes(entries);
  const FrameHeader first = entries.front().frame.header();
  const FrameHeader last = entries.back().frame.header();
  if (!first_append_ms.has_value()) {
    first_append_ms = first.append_time_ms;
    base_offset = first.base_offset;
  }
  last_append_ms = last.append_time_ms;
  next_offset = last.base_offset + last.offset_span;
}

void GroupSegments::Enqueue(Operation operation) {
  operations_.push_back(std::move(operation));
  if (!is_running_) RunNext();
}

void GroupSegments::RunNext() {
  if (operations_.empty()) {
    is_running_ = false;
    return;
  }
  is_running_ = true;
  Operation operation = std::move(operations_.front());
  operations_.pop_front();
  operation([self = shared_from_this()] { self->RunNext(); });
}

template <typename Outcome>
MoveFunction<void(Outcome)> GroupSegments::Ending(MoveFunction<void(Outcome)> done, Task next) {
  return [this, done = std::move(done), next = std::move(next)](Outcome outcome) mutable {
    if constexpr (std::is_same_v<Outcome, Status>) {
      if (fault_.ok()) fault_ = outcome;
    } else {
      if (fault_.ok()) fault_ = outcome.status();
    }
    done(std::move(outcome));
    next();
  };
}

void GroupSegments::Append(std::vector<Entry> entries, StatusDone done) {
  CHECK(!entries.empty());
  Enqueue([this, entries = std::move(entries), done = std::move(done)](Task next) mutable {
    StatusDone ending = Ending(std::move(done), std::move(next));
    if (!fault_.ok()) return ending(fault_);
    AppendNow(std::move(entries), std::move(ending));
  });
}

void GroupSegments::AppendNow(std::vector<Entry> entries, StatusDone done) {
  CHECK_EQ(entries.front().index, written_end().index + 1) << "group=" << folder_.group;
  if (!segments_.empty() && !segments_.back().is_sealed) {
    return WriteEntries(std::move(entries), std::move(done));
  }
  const LogIndex first = entries.front().index;
  BeginSegment(first,
               [this, entries = std::move(entries), done = std::move(done)](Status begun) mutable {
                 if (!begun.ok()) return done(std::move(begun));
                 WriteEntries(std::move(entries), std::move(done));
               });
}

void GroupSegments::BeginSegment(LogIndex first_index, StatusDone done) {
  CHECK(uncommitted_.empty()) << "group=" << folder_.group;
  auto create = [this, self = shared_from_this(), first_index,
                 done = std::move(done)](Status made) mutable {
    if (!made.ok()) return done(std::move(made));
    has_directory_ = true;
    files_->Open(SegmentPath(folder_, first_index), OpenMode::kCreate, Caching::kPageCache,
                 [this, self, first_index,
                  done = std::move(done)](Result<std::unique_ptr<File>> file) mutable {
                   if (!file.ok()) return done(file.status());
                   has_new_names_ = true;
                   Segment& segment = segments_.emplace_back();
                   segment.first_index = first_index;
                   segment.last_index = first_index - 1;
                   segment.base_offset = end_.next_offset;
                   segment.frames_end = sizeof(SegmentHeader);
                   segment.file = std::move(*file);
                   segment.file->Write(0, {EncodeSegmentHeader(folder_, end_)}, std::move(done));
                 });
  };
  if (has_directory_) return create(Status::Ok());
  files_->MakeDirectory(SegmentDirectory(folder_), std::move(create));
}

uint64_t GroupSegments::written_position() const {
  if (uncommitted_.empty()) return segments_.back().frames_end;
  const Written& last = uncommitted_.back();
  return last.position + FrameSize(last.header.payload_size);
}

void GroupSegments::TakeWritten(const Entry& entry) {
  const FrameHeader header = entry.frame.header();
  const Status follows = CheckFollows(written_end(), folder_.group, header);
  CHECK(follows.ok()) << "group=" << folder_.group << " " << follows;
  uncommitted_.push_back(
      {.header = header, .configuration = entry.configuration, .position = written_position()});
}

void GroupSegments::Commit(LogIndex index, MoveFunction<void(Result<SegmentsEnd>)> done) {
  Enqueue([this, index, done = std::move(done)](Task next) mutable {
    auto ending = Ending(std::move(done), std::move(next));
    if (!fault_.ok()) return ending(fault_);
    while (!uncommitted_.empty() && uncommitted_.front().header.index <= index) Note();
    ending(Reached());
  });
}

void GroupSegments::Note() {
  const auto [header, configuration, position] = std::move(uncommitted_.front());
  uncommitted_.pop_front();
  Segment& segment = segments_.back();
  if (segment.last_index < segment.first_index) {
    segment.first_append_time_ms = header.append_time_ms;
  }
  segment.last_append_time_ms = header.append_time_ms;
  segment.max_timestamp_ms = std::max(segment.max_timestamp_ms, header.max_timestamp_ms);
  if (segment.points.empty() || position - segment.points.back().position >= kPointEvery) {
    segment.points.push_back({.index = header.index,
                              .base_offset = header.base_offset,
                              .max_timestamp_ms = segment.max_timestamp_ms,
                              .append_time_ms = header.append_time_ms,
                              .position = position});
  }
  if (segment.terms.empty() || segment.terms.back().start.term != header.term) {
    segment.terms.push_back({.start = {.term = header.term, .first_index = header.index},
                             .base_offset = header.base_offset});
  }
  if (configuration != nullptr) {
    in_force_ = {.index = header.index, .configuration = *configuration};
  }
  if (const auto range = VoidRangeOf(header)) segment.void_index.Add(*range);
  segment.last_index = LastIndexOf(header);
  segment.is_rewritten = segment.is_rewritten || IsRewritten(header);
  segment.frames_end = position + FrameSize(header.payload_size);
  end_ = EndAfter(header);
}

void GroupSegments::WriteEntries(std::vector<Entry> entries, StatusDone done) {
  std::vector<Bytes> pieces;
  pieces.reserve(entries.size());
  for (const Entry& entry : entries) pieces.push_back(entry.frame.bytes());
  Segment& segment = segments_.back();
  segment.file->Write(
      MILLRACE_MUTANT(kExtentOverwritesLive) ? segment.frames_end : written_position(),
      std::move(pieces),
      [this, self = shared_from_this(), entries = std::move(entries),
       done = std::move(done)](Status status) mutable {
        if (status.ok()) {
          for (const Entry& entry : entries) TakeWritten(entry);
        }
        done(std::move(status));
      });
}

void GroupSegments::Truncate(LogIndex from, StatusDone done) {
  Enqueue([this, from, done = std::move(done)](Task next) mutable {
    StatusDone ending = Ending(std::move(done), std::move(next));
    if (!fault_.ok()) return ending(fault_);
    TruncateNow(from, std::move(ending));
  });
}

void GroupSegments::TruncateNow(LogIndex from, StatusDone done) {
  CHECK(!uncommitted_.empty() && uncommitted_.front().header.index <= from &&
        from <= uncommitted_.back().header.index)
      << "group=" << folder_.group << " from=" << from;
  while (!uncommitted_.empty() && uncommitted_.back().header.index >= from) uncommitted_.pop_back();
  segments_.back().file->Truncate(written_position(), std::move(done));
}

void GroupSegments::WriteBack(StatusDone done) {
  Enqueue([this, done = std::move(done)](Task next) mutable {
    StatusDone ending = Ending(std::move(done), std::move(next));
    if (!fault_.ok()) return ending(fault_);
    const bool is_open = !segments_.empty() && !segments_.back().is_sealed;
    if (!is_open) return ending(Status::Ok());
    segments_.back().file->WriteBack(std::move(ending));
  });
}

void GroupSegments::Sync(MoveFunction<void(Result<SegmentsEnd>)> done) {
  Enqueue([this, done = std::move(done)](Task next) mutable {
    auto ending = Ending(std::move(done), std::move(next));
    if (!fault_.ok()) return ending(fault_);
    SyncNow(std::move(ending));
  });
}

SegmentsEnd GroupSegments::Reached() const {
  return {.end = end_,
          .written = written_end(),
          .configuration_index = in_force_.index,
          .configuration = in_force_.configuration,
          .sealed = std::nullopt};
}

void GroupSegments::SyncNow(MoveFunction<void(Result<SegmentsEnd>)> done) {
  auto sync_names = [this, self = shared_from_this(), reached = Reached(),
                     done = std::move(done)](Status synced) mutable {
    if (!synced.ok()) return done(std::move(synced));
    if (!has_new_names_) return done(std::move(reached));
    SyncNames(
        {"", "groups", GroupDirectory(folder_.group), SegmentDirectory(folder_)},
        [this, self, reached = std::move(reached), done = std::move(done)](Status status) mutable {
          if (!status.ok()) return done(std::move(status));
          has_new_names_ = false;
          done(std::move(reached));
        });
  };
  const bool is_open = !segments_.empty() && !segments_.back().is_sealed;
  if (!is_open) return sync_names(Status::Ok());
  segments_.back().file->Sync(std::move(sync_names));
}

// The file's name, then those of the directories above it, which may be new; last first.
void GroupSegments::SyncNames(std::vector<std::string> directories, StatusDone done) {
  if (directories.empty()) return done(Status::Ok());
  const std::string directory = std::move(directories.back());
  directories.pop_back();
  files_->SyncDirectory(directory,
                        [this, self = shared_from_this(), directories = std::move(directories),
                         done = std::move(done)](Status status) mutable {
                          if (!status.ok()) return done(std::move(status));
                          SyncNames(std::move(directories), std::move(done));
                        });
}

void GroupSegments::Seal(std::optional<Bytes> state, MoveFunction<void(Result<SegmentsEnd>)> done) {
  CHECK(!state.has_value() || MayFollowFrames(state->view())) << "group=" << folder_.group;
  Enqueue([this, state = std::move(state), done = std::move(done)](Task next) mutable {
    auto ending = Ending(std::move(done), std::move(next));
    if (!fault_.ok()) return ending(fault_);
    SealNow(std::move(state), std::move(ending));
  });
}

internal::v1::SegmentFooter GroupSegments::MakeFooter(const Segment& segment) const {
  internal::v1::SegmentFooter footer;
  footer.set_group_id(folder_.group.value());
  footer.set_first_index(segment.first_index.value());
  footer.set_last_index(segment.last_index.value());
  footer.set_last_term(end_.term.value());
  footer.set_chain(end_.chain);
  footer.set_next_offset(end_.next_offset.value());
  for (const TermBegin& term : segment.terms) {
    auto& out = *footer.add_term_starts();
    out.set_term(term.start.term.value());
    out.set_first_index(term.start.first_index.value());
    out.set_base_offset(term.base_offset.value());
  }
  for (const Point& point : segment.points) {
    auto& out = *footer.add_points();
    out.set_index(point.index.value());
    out.set_base_offset(point.base_offset.value());
    out.set_max_timestamp_ms(point.max_timestamp_ms);
    out.set_position(point.position);
    out.set_append_time_ms(point.append_time_ms);
  }
  footer.set_max_timestamp_ms(segment.max_timestamp_ms);
  footer.set_first_append_time_ms(segment.first_append_time_ms);
  footer.set_last_append_time_ms(segment.last_append_time_ms);
  footer.set_configuration_index(in_force_.index.value());
  if (!in_force_.configuration.voters.empty()) {
    CHECK(footer.mutable_configuration()->ParseFromString(
        raft::EncodeConfiguration(in_force_.configuration)));
  }
  footer.set_number(folder_.number.value());
  footer.set_is_rewritten(segment.is_rewritten);
  footer.set_settled_pass(segment.settled_pass);
  if (!MILLRACE_MUTANT(kVoidRangeLostAtRoll)) segment.void_index.SaveTo(&footer);
  return footer;
}

void GroupSegments::SealNow(std::optional<Bytes> state,
                            MoveFunction<void(Result<SegmentsEnd>)> done) {
  CHECK(!segments_.empty() && !segments_.back().is_sealed) << "group=" << folder_.group;
  CHECK(uncommitted_.empty()) << "group=" << folder_.group;
  Segment& segment = segments_.back();
  segment.settled_pass = settled_pass_;
  const uint64_t at = segment.frames_end;
  std::vector<Bytes> pieces = EncodeSegmentEnding(MakeFooter(segment), at, state);
  const Bytes& last = pieces.back();
  Bytes trailer = last.Slice(last.size() - sizeof(SegmentTrailer), sizeof(SegmentTrailer));
  segment.file->Write(
      at, std::move(pieces),
      [this, self = shared_from_this(), has_state = state.has_value(), trailer = std::move(trailer),
       done = std::move(done)](Status written) mutable {
        if (!written.ok()) return done(std::move(written));
        SyncNow([this, self, has_state, trailer = std::move(trailer),
                 done = std::move(done)](Result<SegmentsEnd> end) mutable {
          if (!end.ok()) return done(std::move(end));
          end->sealed = Told(segments_.back(), has_state);
          segments_.back().is_sealed = true;
          // Many sealed segments must not hold many descriptors.
          segments_.back().file.reset();
          PutCheckpoint(
              {std::move(trailer)},
              [done = std::move(done), end = std::move(end)]() mutable { done(std::move(end)); });
        });
      });
}

raft::SealedSegment GroupSegments::Told(const Segment& sealed, bool has_state) const {
  return {.end = end_,
          .base_offset = sealed.base_offset,
          .bytes = sealed.frames_end - sizeof(SegmentHeader),
          .last_append_ms = sealed.last_append_time_ms,
          .has_state = has_state,
          .is_rewritten = sealed.is_rewritten,
          .settled = sealed.settled_pass};
}

void GroupSegments::TakeConfiguration(LogIndex index, raft::core::Configuration configuration) {
  Enqueue([this, index, configuration = std::move(configuration)](Task next) mutable {
    if (index >= in_force_.index) {
      in_force_ = {.index = index, .configuration = std::move(configuration)};
    }
    next();
  });
}

void GroupSegments::DropTo(LogIndex begin, StatusDone done) {
  Enqueue([this, begin, done = std::move(done)](Task next) mutable {
    auto ending = [this, begin, done = std::move(done),
                   next = std::move(next)](const Result<bool>& dropped) mutable {
      if (dropped.ok() && *dropped) {
        DropTo(begin, std::move(done));
      } else {
        done(dropped.status());
      }
      next();
    };
    // Whoever makes these segments anew does it.
    if (!fault_.ok()) return ending(fault_);
    DropOldest(begin, std::move(ending));
  });
}

void GroupSegments::DropOldest(LogIndex begin, MoveFunction<void(Result<bool>)> done) {
  const bool is_any =
      !segments_.empty() && segments_.front().is_sealed && segments_.front().last_index <= begin;
  if (!is_any) return done(false);
  // Not found by a read from now on.
  auto dropped = std::make_shared<Segment>(std::move(segments_.front()));
  segments_.pop_front();
  files_->Remove(Name(*dropped), [this, self = shared_from_this(), dropped,
                                  done = std::move(done)](Status removed) mutable {
    if (!removed.ok() && removed.code() != Code::kNotFound) {
      segments_.push_front(std::move(*dropped));
      return done(std::move(removed));
    }
    MILLRACE_SOMETIMES("a segment was dropped");
    done(true);
  });
}

void GroupSegments::Remove(StatusDone done) {
  Enqueue([this, done = std::move(done)](Task next) mutable {
    segments_.clear();
    RemoveFolders(
        *files_, folder_.group,
        [folder = folder_](const SegmentFolder& found) { return found == folder; },
        [self = shared_from_this(), done = std::move(done),
         next = std::move(next)](Status status) mutable {
          done(std::move(status));
          next();
        });
  });
}

}  // namespace millrace::storage

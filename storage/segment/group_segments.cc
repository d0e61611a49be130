#include "storage/segment/group_segments.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include <glog/logging.h>

#include "proto/frame/frame.h"

namespace millrace::storage {
namespace {

using raft::core::Entry;

// One index point for so many bytes of frames.
constexpr uint64_t kPointEvery = 64 << 10;

}  // namespace

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
  CHECK_EQ(entries.front().index, end_.index + 1) << "group=" << group_;
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
  auto create = [this, self = shared_from_this(), first_index,
                 done = std::move(done)](Status made) mutable {
    if (!made.ok()) return done(std::move(made));
    has_directory_ = true;
    files_->Open(SegmentPath(group_, first_index), OpenMode::kCreate, Caching::kPageCache,
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
                   segment.file->Write(0, {EncodeSegmentHeader(group_, first_index)},
                                       std::move(done));
                 });
  };
  if (has_directory_) return create(Status::Ok());
  files_->MakeDirectory(SegmentDirectory(group_), std::move(create));
}

void GroupSegments::Note(const FrameHeader& header, uint64_t position) {
  Segment& segment = segments_.back();
  segment.max_timestamp_ms = std::max(segment.max_timestamp_ms, header.max_timestamp_ms);
  if (segment.points.empty() || position - segment.points.back().position >= kPointEvery) {
    segment.points.push_back({.index = header.index,
                              .base_offset = header.base_offset,
                              .max_timestamp_ms = segment.max_timestamp_ms,
                              .position = position});
  }
  if (segment.term_starts.empty() || segment.term_starts.back().term != header.term) {
    segment.term_starts.push_back({.term = header.term, .first_index = header.index});
  }
  segment.last_index = header.index;
  segment.frames_end = position + FrameSize(header.payload_size);
  end_ = EndAfter(header);
}

void GroupSegments::WriteEntries(std::vector<Entry> entries, StatusDone done) {
  Segment& segment = segments_.back();
  const uint64_t position = segment.frames_end;
  std::vector<Bytes> pieces;
  pieces.reserve(entries.size());
  for (const Entry& entry : entries) pieces.push_back(entry.frame);
  segment.file->Write(position, std::move(pieces),
                      [this, self = shared_from_this(), position, entries = std::move(entries),
                       done = std::move(done)](Status status) mutable {
                        if (status.ok()) {
                          uint64_t at = position;
                          for (const Entry& entry : entries) {
                            const Result<FrameHeader> header = ParseFrameHeader(entry.frame.view());
                            CHECK(header.ok()) << header.status();
                            const Status follows = CheckFollows(end_, group_, *header);
                            CHECK(follows.ok()) << "group=" << group_ << " " << follows;
                            Note(*header, at);
                            at += entry.frame.size();
                          }
                        }
                        done(std::move(status));
                      });
}

void GroupSegments::Sync(MoveFunction<void(Result<SegmentEnd>)> done) {
  Enqueue([this, done = std::move(done)](Task next) mutable {
    auto ending = Ending(std::move(done), std::move(next));
    if (!fault_.ok()) return ending(fault_);
    SyncNow(std::move(ending));
  });
}

void GroupSegments::SyncNow(MoveFunction<void(Result<SegmentEnd>)> done) {
  if (segments_.empty() || segments_.back().is_sealed) return done(end_);
  segments_.back().file->Sync(
      [this, self = shared_from_this(), end = end_, done = std::move(done)](Status synced) mutable {
        if (!synced.ok()) return done(std::move(synced));
        SyncNames([end, done = std::move(done)](Status status) mutable {
          if (!status.ok()) return done(std::move(status));
          done(end);
        });
      });
}

// The file's name, and those of the directories above it, which may be new.
void GroupSegments::SyncNames(StatusDone done) {
  if (!has_new_names_) return done(Status::Ok());
  files_->SyncDirectory(SegmentDirectory(group_), [this, self = shared_from_this(),
                                                   done = std::move(done)](Status group) mutable {
    if (!group.ok()) return done(std::move(group));
    files_->SyncDirectory("groups", [this, self, done = std::move(done)](Status all) mutable {
      if (!all.ok()) return done(std::move(all));
      files_->SyncDirectory("", [this, self, done = std::move(done)](Status root) mutable {
        if (root.ok()) has_new_names_ = false;
        done(std::move(root));
      });
    });
  });
}

void GroupSegments::Seal(Bytes state, MoveFunction<void(Result<SegmentEnd>)> done) {
  Enqueue([this, state = std::move(state), done = std::move(done)](Task next) mutable {
    auto ending = Ending(std::move(done), std::move(next));
    if (!fault_.ok()) return ending(fault_);
    SealNow(std::move(state), std::move(ending));
  });
}

internal::v1::SegmentFooter GroupSegments::MakeFooter(const Segment& segment,
                                                      const Bytes& state) const {
  internal::v1::SegmentFooter footer;
  footer.set_group_id(group_.value());
  footer.set_first_index(segment.first_index.value());
  footer.set_last_index(segment.last_index.value());
  footer.set_last_term(end_.term.value());
  footer.set_chain(end_.chain);
  footer.set_next_offset(end_.next_offset.value());
  footer.set_state(state.data(), state.size());
  for (const raft::core::TermStart& start : segment.term_starts) {
    auto& out = *footer.add_term_starts();
    out.set_term(start.term.value());
    out.set_first_index(start.first_index.value());
  }
  for (const Point& point : segment.points) {
    auto& out = *footer.add_points();
    out.set_index(point.index.value());
    out.set_base_offset(point.base_offset.value());
    out.set_max_timestamp_ms(point.max_timestamp_ms);
    out.set_position(point.position);
  }
  footer.set_max_timestamp_ms(segment.max_timestamp_ms);
  return footer;
}

void GroupSegments::SealNow(Bytes state, MoveFunction<void(Result<SegmentEnd>)> done) {
  CHECK(!segments_.empty() && !segments_.back().is_sealed) << "group=" << group_;
  const Segment& segment = segments_.back();
  const uint64_t at = segment.frames_end;
  segment.file->Write(
      at, {EncodeSegmentEnding(MakeFooter(segment, state), at)},
      [this, self = shared_from_this(), done = std::move(done)](Status written) mutable {
        if (!written.ok()) return done(std::move(written));
        SyncNow([this, self, done = std::move(done)](Result<SegmentEnd> end) mutable {
          if (end.ok()) {
            segments_.back().is_sealed = true;
            // Many sealed segments must not hold many descriptors.
            segments_.back().file.reset();
          }
          done(std::move(end));
        });
      });
}

void GroupSegments::Remove(StatusDone done) {
  Enqueue([this, done = std::move(done)](Task next) mutable {
    auto finish = [done = std::move(done), next = std::move(next)](Status status) mutable {
      done(std::move(status));
      next();
    };
    segments_.clear();
    files_->List(SegmentDirectory(group_), [this, self = shared_from_this(),
                                            finish = std::move(finish)](
                                               Result<std::vector<std::string>> names) mutable {
      if (names.status().code() == Code::kNotFound) return finish(Status::Ok());
      if (!names.ok()) return finish(names.status());
      RemoveNext(std::make_shared<std::vector<std::string>>(std::move(*names)), std::move(finish));
    });
  });
}

void GroupSegments::RemoveNext(std::shared_ptr<std::vector<std::string>> names, StatusDone done) {
  const bool is_last = names->empty();
  const std::string path =
      is_last ? SegmentDirectory(group_) : SegmentDirectory(group_) + "/" + names->back();
  files_->Remove(path, [this, self = shared_from_this(), names, is_last,
                        done = std::move(done)](Status removed) mutable {
    if (!removed.ok() || is_last) return done(std::move(removed));
    names->pop_back();
    RemoveNext(names, std::move(done));
  });
}

}  // namespace millrace::storage

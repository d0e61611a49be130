#include "storage/segment/recovery.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"
#include "proto/base/coverage.h"

namespace millrace::storage {

using internal::v1::SegmentFooter;

void GroupSegments::Recovery::Start() {
  segments_->end_ = log_.begin;
  segments_->in_force_ = {};
  current_ = SegmentDirectory(folder());
  if (end_.index < log_.begin.index || (end_.index == log_.begin.index && end_ != log_.begin)) {
    return Fail(
        DataLoss("the log's end " + Told(end_) + " does not follow its begin " + Told(log_.begin)));
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

void GroupSegments::Recovery::Fail(const Status& status) {
  segments_->fault_ = status.With(current_);
  segments_->segments_.clear();
  segments_->uncommitted_.clear();
  done_(segments_->fault_);
}

Status GroupSegments::Recovery::Missing() const {
  return DataLoss("entry " + std::to_string(reached().value() + 1) +
                  " is missing, though entries up to " + std::to_string(written_.value()) +
                  " were synced");
}

void GroupSegments::Recovery::SetDroppedAside() {
  const LogIndex begin = log_.begin.index;
  size_t dropped = 0;
  while (dropped < firsts_.size() && firsts_[dropped] <= begin) {
    const bool is_last = dropped + 1 == firsts_.size();
    const bool ends_below = is_last ? written_ == begin : firsts_[dropped + 1] <= begin + 1;
    if (!ends_below) break;
    leftovers_.push_back(SegmentName(firsts_[dropped]));
    ++dropped;
  }
  firsts_.erase(firsts_.begin(), firsts_.begin() + static_cast<ptrdiff_t>(dropped));
}

std::string GroupSegments::Recovery::Told(const LogPoint& point) {
  return "at entry " + std::to_string(point.index.value()) + " of term " +
         std::to_string(point.term.value()) + ", offset " +
         std::to_string(point.next_offset.value());
}

bool GroupSegments::Recovery::IsAnewName(std::string_view name) {
  if (!name.ends_with(kAnewSuffix)) return false;
  name.remove_suffix(kAnewSuffix.size());
  return ParseSegmentName(name).has_value();
}

void GroupSegments::Recovery::RemoveLeftovers(Task then) {
  if (leftovers_.empty() || IsOnlyRead()) return then();
  const std::string path = SegmentDirectory(folder()) + "/" + leftovers_.back();
  leftovers_.pop_back();
  files().Remove(path, [self = shared_from_this(), then = std::move(then)](Status status) mutable {
    if (!status.ok()) return self->Fail(status);
    self->RemoveLeftovers(std::move(then));
  });
}

void GroupSegments::Recovery::Next() {
  if (IsLast() && hole_.has_value()) CloseHole(end_);
  if (IsLast()) return LookAbove();
  const LogIndex first = firsts_[at_++];
  if (first <= reached()) {
    current_ = SegmentPath(folder(), first);
    return Fail(
        DataLoss("a file of this name cannot be here: the segment before it holds entries up to " +
                 std::to_string(reached().value())));
  }
  if (first != reached() + 1 && IsOnlyRead()) return Fail(Missing());
  if (first != reached() + 1) OpenHole(reached() + 1, Missing());
  Begin(first);
}

void GroupSegments::Recovery::OpenHole(LogIndex first, const Status& why) {
  if (hole_.has_value()) return;
  if (IsGivenUp(why)) segments_->TakeErrorsForDamage(first);
  hole_ = {.first = first, .why = DataLoss(std::string(why.message())).With(current_)};
}

void GroupSegments::Recovery::OnDamaged(const Status& why) {
  const bool is_damage = why.code() == Code::kDataLoss || (IsGivenUp(why) && !IsLast());
  const bool may_pass_over = is_damage && !IsOnlyRead();
  if (!may_pass_over) return Fail(why);
  if (IsLast()) return OnLastDamaged(why);
  GiveUpFile(why);
  Next();
}

void GroupSegments::Recovery::GiveUpFile(const Status& why) {
  if (!hole_.has_value()) hole_bytes_ = file().size();
  OpenHole(segment().first_index, why);
  segments_->segments_.pop_back();
}

void GroupSegments::Recovery::CloseHole(const LogPoint& end) {
  MILLRACE_SOMETIMES("a start met a damaged segment");
  Segment damaged;
  damaged.first_index = hole_->first;
  damaged.last_index = end.index;
  damaged.base_offset = segments_->end_.next_offset;
  damaged.frames_end = std::max<uint64_t>(std::exchange(hole_bytes_, 0), sizeof(SegmentHeader));
  damaged.is_sealed = true;
  damaged.knows_void = false;
  segments_->end_ = end;
  recovered_.sealed.push_back(segments_->Told(damaged, /*has_state=*/false));
  recovered_.damaged.push_back(*std::exchange(hole_, std::nullopt));
  segments_->segments_.push_back(std::move(damaged));
}

void GroupSegments::Recovery::LookAbove() {
  if (reached() < end_.index) {
    if (IsOnlyRead()) return Fail(Missing());
    OpenHole(reached() + 1, Missing());
    CloseHole(end_);
  }
  if (reached() < written_) return Fail(Missing());
  // What lies above is looked at once the log is whole.
  if (!recovered_.damaged.empty()) return Finish();
  const bool is_open = !segments_->segments_.empty() && !segment().is_sealed;
  const bool is_next = at_ < firsts_.size() && firsts_[at_] == reached() + 1;
  if (is_open || !is_next || !MayHaveAbove()) return DiscardRest();
  Begin(firsts_[at_++]);
}

void GroupSegments::Recovery::Begin(LogIndex first) {
  current_ = SegmentPath(folder(), first);
  Segment& begun = segments_->segments_.emplace_back();
  begun.first_index = first;
  begun.last_index = first - 1;
  begun.base_offset = segments_->end_.next_offset;
  begun.frames_end = sizeof(SegmentHeader);
  before_ = segments_->end_;
  if (IsLast() && !BeginsAbove() && last_file_ == LastFile::kMadeAnew) {
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

// Behind a hole the file says itself what it begins behind.
Status GroupSegments::Recovery::CheckHeader(std::string_view header) {
  if (!hole_.has_value()) return CheckSegmentHeader(header, folder(), segments_->end_);
  ASSIGN_OR_RETURN(const LogPoint stated,
                   ParseSegmentHeader(header, folder(), segment().first_index));
  const LogPoint& before = segments_->end_;
  if (stated.term < before.term || stated.next_offset < before.next_offset) {
    return DataLoss("segment begins before what lies before it");
  }
  Segment begun = std::move(segment());
  segments_->segments_.pop_back();
  CloseHole(stated);
  begun.base_offset = stated.next_offset;
  segments_->segments_.push_back(std::move(begun));
  before_ = stated;
  return {};
}

void GroupSegments::Recovery::ReadHeader() {
  file().Read(0, sizeof(SegmentHeader), [self = shared_from_this()](Result<Bytes> header) {
    if (!header.ok()) return self->OnDamaged(header.status());
    const Status status = self->CheckHeader(header->view());
    // Begun, but never synced.
    if (status.code() == Code::kDataLoss && self->BeginsAbove()) return self->DiscardBegun();
    if (!status.ok()) return self->OnDamaged(status);
    if (self->IsLast()) return self->LookForCheckpoint();
    self->ReadEnding([self](Result<SegmentEnding> ending) {
      if (!ending.ok()) return self->OnDamaged(ending.status());
      self->Adopt(*ending);
    });
  });
}

void GroupSegments::Recovery::ReadEnding(MoveFunction<void(Result<SegmentEnding>)> done) {
  const auto& file = medium_ != nullptr ? medium_ : segment().file;
  ReadSegmentEnding(file, EndingIn::kSegment, folder(), segment().first_index, std::move(done));
}

LogPoint GroupSegments::Recovery::EndOf(const SegmentFooter& footer) {
  return {.index = LogIndex(footer.last_index()),
          .term = Term(footer.last_term()),
          .chain = footer.chain(),
          .next_offset = Offset(footer.next_offset())};
}

void GroupSegments::Recovery::Adopt(const SegmentEnding& ending) {
  TakeFooter(ending);
  MarkSealed(ending.footer);
  Next();
}

void GroupSegments::Recovery::TakeFooter(const SegmentEnding& ending) {
  const SegmentFooter& footer = ending.footer;
  Segment& sealed = segment();
  sealed.last_index = LogIndex(footer.last_index());
  sealed.frames_end = ending.frames_end;
  sealed.max_timestamp_ms = footer.max_timestamp_ms();
  sealed.first_append_time_ms = footer.first_append_time_ms();
  sealed.last_append_time_ms = footer.last_append_time_ms();
  sealed.is_rewritten = footer.is_rewritten();
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
  sealed.void_index = ending.void_index;
  segments_->end_ = EndOf(footer);
  segments_->in_force_.index = LogIndex(footer.configuration_index());
}

void GroupSegments::Recovery::MarkSealed(const SegmentFooter& footer) {
  segment().is_sealed = true;
  segment().settled_pass = footer.settled_pass();
  segment().file.reset();
  recovered_.sealed.push_back(segments_->Told(segment(), footer.has_state_size()));
  // An index without a state would let the state machine begin there empty.
  if (footer.has_state_size()) {
    states_.push_back({.place = segments_->segments_.size() - 1,
                       .size = footer.state_size(),
                       .crc = footer.state_crc()});
  }
}

void GroupSegments::Recovery::DiscardRest() {
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

void GroupSegments::Recovery::Finish() {
  // The journal's is of exactly this end, and entries that segments do not hold may have told of
  // it: a replica's first one, or one below the begin.
  if (segments_->in_force_.index > log_.configuration_index) {
    return Fail(DataLoss("entry " + std::to_string(segments_->in_force_.index.value()) +
                         " is a configuration that the journal does not know of"));
  }
  segments_->in_force_ = {.index = log_.configuration_index, .configuration = log_.configuration};
  for (const Segment& found : segments_->segments_) {
    if (found.is_rewritten) recovered_.rewritten_end = found.last_index;
    for (const TermBegin& term : found.terms) {
      auto& starts = recovered_.term_starts;
      if (starts.empty() || starts.back().term != term.start.term) starts.push_back(term.start);
    }
  }
  recovered_.next_offset = segments_->end_.next_offset;
  // Its log is not begun with as it is.
  if (!recovered_.damaged.empty()) {
    states_.clear();
    checkpoint_state_.reset();
  }
  if (checkpoint_state_.has_value()) {
    recovered_.snapshot = std::move(checkpoint_state_);
    return done_(std::move(recovered_));
  }
  ReadNewestState();
}

void GroupSegments::Recovery::ReadNewestState() {
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

void GroupSegments::Recovery::ReadState(std::shared_ptr<File> file, uint64_t at, LogIndex last) {
  file->Read(at, states_.back().size, [self = shared_from_this(), file, last](Result<Bytes> state) {
    if (!state.ok() && !self->IsGivenUp(state.status())) return self->Fail(state.status());
    const StateAt expected = self->states_.back();
    self->states_.pop_back();
    const bool is_intact =
        state.ok() && state->size() == expected.size && Crc32c(state->view()) == expected.crc;
    if (is_intact) {
      self->recovered_.snapshot = raft::Snapshot{.index = last, .state = std::move(*state)};
      self->states_.clear();
    } else {
      MILLRACE_SOMETIMES("a rotten state in a segment was passed over");
      self->recovered_.rotten_states.push_back(self->current_);
      LOG(ERROR) << "a segment's state is damaged, "
                 << (self->states_.empty() ? "all entries are applied" : "an older one is taken")
                 << " file=" << self->current_;
    }
    self->ReadNewestState();
  });
}

void GroupSegments::Recover(const journal::LogRecord& log, LogAbove above, LastFile last_file,
                            MoveFunction<void(Result<RecoveredSegments>)> done) {
  Enqueue([this, log, above, last_file, done = std::move(done)](Task next) mutable {
    std::make_shared<Recovery>(
        shared_from_this(), log, above, last_file,
        [done = std::move(done), next = std::move(next)](Result<RecoveredSegments> found) mutable {
          done(std::move(found));
          next();
        })
        ->Start();
  });
}

}  // namespace millrace::storage

#include "storage/logstore/rereader.h"

#include <string>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "raft/runtime/run_on.h"

namespace millrace::storage {
namespace {

constexpr Duration kPause = std::chrono::seconds(10);
// So many in a row, and it is damage.
constexpr uint32_t kErrorsMax = 6;
// A disk of which none can be read need not be known by all of them.
constexpr size_t kFilesMax = 64;
constexpr uint64_t kPieceBytes = 1 << 20;

}  // namespace

void JournalLogStore::Rereader::Add(RaftGroupId group, LogIndex first) {
  if (errors_.size() >= kFilesMax || !LastOf({group, first}).has_value()) return;
  errors_.try_emplace({group, first}, 0);
  if (!std::exchange(is_on_, true)) Later();
}

void JournalLogStore::Rereader::Later() {
  store_.environment_.shard.RunAfter(kPause, store_.lifetime_.Guard([this] { BeginRound(); }));
}

void JournalLogStore::Rereader::BeginRound() {
  for (const auto& [file, errors] : errors_) round_.push_back(file);
  Next();
}

void JournalLogStore::Rereader::Next() {
  if (round_.empty()) {
    is_on_ = !errors_.empty();
    if (is_on_) Later();
    return;
  }
  next_ = round_.back().first;
  ReadOn();
}

std::optional<LogIndex> JournalLogStore::Rereader::LastOf(const File& file) const {
  const auto found = store_.groups_.find(file.group);
  if (found == store_.groups_.end()) return std::nullopt;
  LogIndex before = found->second.log.begin.index;
  for (const raft::SealedSegment& segment : found->second.sealed) {
    if (before + 1 == file.first) return segment.end.index;
    before = segment.end.index;
  }
  return std::nullopt;
}

void JournalLogStore::Rereader::ReadOn() {
  const File file = round_.back();
  const auto last = LastOf(file);
  if (!last.has_value() || next_ > *last) {
    errors_.erase(file);
    round_.pop_back();
    return Next();
  }
  store_.OnSegments(
      [segments = store_.groups_.at(file.group).segments, first = next_,
       done = RunOn(store_.environment_.shard,
                    store_.lifetime_.Guard([this](const Result<GroupSegments::Scrubbed>& read) {
                      OnRead(read);
                    }))]() mutable { segments->ScrubFrom(first, kPieceBytes, std::move(done)); });
}

void JournalLogStore::Rereader::OnRead(const Result<GroupSegments::Scrubbed>& read) {
  if (!read.ok()) return OnError(read.status());
  next_ = read->last + 1;
  ReadOn();
}

void JournalLogStore::Rereader::OnError(const Status& why) {
  const File file = round_.back();
  round_.pop_back();
  if (why.code() != Code::kUnavailable || !LastOf(file).has_value()) return Next();
  const Group& group = store_.groups_.at(file.group);
  // Where nobody else has it, it is better late than never.
  if (++errors_[file] >= kErrorsMax && HasOthers(group)) {
    store_.OnSegments(
        [segments = group.segments, first = file.first] { segments->TakeErrorsForDamage(first); });
    MILLRACE_SOMETIMES("a file that could not be read counted as damaged");
    store_.OnDamage(FolderOf(file.group, group), file.first,
                    DataLoss("it cannot be read: " + std::string(why.message())));
    errors_.erase(file);
  }
  Next();
}

}  // namespace millrace::storage

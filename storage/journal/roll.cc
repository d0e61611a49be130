// The journal's files: when a new one begins, when old ones are given back, and what is done to
// free them (docs/formats.md, "Journal").
#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "proto/frame/frame.h"
#include "storage/journal/journal.h"

namespace millrace::storage::journal {
namespace {

// Leaders and followers refuse entries by far.
constexpr double kPressureWithoutFile = 2;
// Fewer come back than a roll takes, or none the more.
constexpr size_t kFilesWorthARollMin = 2;

}  // namespace

uint64_t Journal::live_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [sequence, file] : live_) bytes += file.bytes;
  return bytes;
}

uint64_t Journal::live_files() const { return live_.size(); }

bool Journal::HasRoom(uint64_t bytes) const {
  return !live_.empty() && position_ + bytes <= live_.rbegin()->second.bytes;
}

// Begins a new file with room for `room_bytes` behind its head. Everything before is synced, since
// commits are written one at a time: a head never promises what is not there.
void Journal::Roll(uint64_t room_bytes) {
  CHECK(!is_busy_);
  is_busy_ = true;
  MILLRACE_SOMETIMES("the journal began a new file");
  environment_.executor.Cancel(marker_timer_);
  if (MILLRACE_MUTANT(kRecycleBeforeCheckpoint) && live_.size() > 1) {
    const uint64_t oldest = ledger_.OldestPinned().value_or(live_.rbegin()->first);
    while (live_.begin()->first < oldest) {
      pool_->Release(std::move(live_.begin()->second));
      live_.erase(live_.begin());
    }
  }
  const uint64_t head_bytes = kBlockHeaderSize + ledger_.CheckpointBytes() + kBlockAlignment;
  is_waiting_for_file_ = true;
  pool_->Acquire(head_bytes + room_bytes, lifetime_.Guard([this](JournalFile file) {
    is_waiting_for_file_ = false;
    if (!is_failed_) WriteHead(std::move(file));
  }));
  StopWithoutFile();
}

void Journal::WriteHead(JournalFile file) {
  const uint64_t sequence = next_file_++;
  const HeadRecord head{.file_bytes = file.bytes,
                        .group_count = ledger_.groups().size(),
                        .controller_floor = ledger_.controller_floor()};
  is_recycling_ = file.is_used;
  file.filled_bytes = 0;
  if (!live_.empty() && position_ > 0) live_.rbegin()->second.filled_bytes = position_;
  live_[sequence] = std::move(file);
  oldest_file_ = std::min(ledger_.OldestPinned().value_or(sequence), sequence);
  position_ = 0;
  const uint16_t flags = ledger_.may_lack_groups() ? kHeadBlock | kLackingHead : kHeadBlock;
  BlockWriter writer = StartBlocks(flags, UINT32_MAX);
  ledger_.WriteCheckpoint(head, &writer);
  WriteBlocks(std::move(writer), [this] { OnHeadSynced(); });
}

// Now that a later checkpoint is durable, the files before the oldest one that it needs may be
// written over.
void Journal::OnHeadSynced() {
  is_recycling_ = false;
  while (live_.begin()->first < oldest_file_) {
    JournalFile file = std::move(live_.begin()->second);
    live_.erase(live_.begin());
    pool_->Release(std::move(file));
  }
  ledger_.ForgetTruncationsBefore(oldest_file_);
  // The head covers everything before it, and nothing is lost with it alone.
  needs_marker_ = false;
  is_busy_ = false;
  PublishPressure();
  pool_->PrepareSpare();
  if (opened_) {
    environment_.executor.Post(
        [opened = std::exchange(opened_, {})]() mutable { opened(Status::Ok()); });
  }
  AskForSegments();
  CopyForward();
  Flush();
}

// Too many files are live for their own sake: what is in them matters little.
bool Journal::HasManyFiles() const {
  return live_.size() * 4 > uint64_t{options_.live_files_max} * 3;
}

// Whether it is worth beginning a new file to get so many back: each roll adds one.
bool Journal::IsWorthARoll(size_t files) const {
  return files >= kFilesWorthARollMin && files * 4 >= live_.size();
}

// Files come back at a roll only. When appends are refused for want of space nothing would fill the
// newest file, so that it is given up early.
bool Journal::WantsEarlyRoll() const { return HasManyFiles() && WouldGiveFilesBack(); }

bool Journal::WouldGiveFilesBack() const {
  if (live_.empty()) return false;
  const uint64_t newest = live_.rbegin()->first;
  const uint64_t oldest = std::min(ledger_.OldestPinned().value_or(newest), newest);
  return IsWorthARoll(static_cast<size_t>(std::distance(live_.begin(), live_.lower_bound(oldest))));
}

void Journal::AskForSegments() {
  if (!pin_listener_ || live_.size() < 2 || live_.size() * 2 <= options_.live_files_max) return;
  // The older half is wanted back.
  auto middle = live_.begin();
  std::advance(middle, (live_.size() - 1) / 2);
  const std::vector<RaftGroupId> groups = ledger_.PinningGroups(middle->first);
  if (!groups.empty()) pin_listener_(groups);
}

// Writes together what is left in the oldest files, as many as are worth a roll, once that is
// little. Entries that can't be committed keep their files alive otherwise, and each start adds a
// file: a broker that is killed again and again would be full of files that hold next to nothing,
// and take no entries, not even those that would commit the others.
void Journal::CopyForward() {
  if (is_copying_ || !HasManyFiles()) return;
  uint64_t bytes = 0;
  size_t files = 0;
  auto last = live_.begin();
  for (; std::next(last) != live_.end(); ++last) {
    ++files;
    bytes += ledger_.PinnedBytes(last->first);
    if (IsWorthARoll(files) && bytes * 4 <= files * options_.file_bytes) break;
  }
  const bool is_found = std::next(last) != live_.end();
  if (!is_found || bytes == 0 || last->first <= copied_up_to_) return;
  std::vector<std::pair<RaftGroupId, LogIndex>> entries;
  for (auto at = live_.begin(); at != std::next(last); ++at) {
    const auto found = ledger_.EntriesIn(at->first);
    entries.insert(entries.end(), found.begin(), found.end());
  }
  is_copying_ = true;
  copied_up_to_ = last->first;
  ReadNextCopy(std::move(entries));
}

void Journal::ReadNextCopy(std::vector<std::pair<RaftGroupId, LogIndex>> left) {
  while (!left.empty()) {
    const auto [group, index] = left.back();
    left.pop_back();
    if (!ledger_.IsLive(group)) continue;
    const auto& entries = ledger_.at(group).entries;
    const auto entry = entries.find(index);
    if (entry == entries.end() || entry->second.place.file > copied_up_to_) continue;
    const auto file = live_.find(entry->second.place.file);
    if (file == live_.end()) continue;
    Copy copy{.group = group, .index = index, .place = entry->second.place};
    const std::shared_ptr<File> open = file->second.file;
    open->Read(copy.place.offset, copy.place.size,
               lifetime_.Guard(
                   [this, open, copy, left = std::move(left)](const Result<Bytes>& frame) mutable {
                     if (is_failed_) return;
                     OnCopyRead(std::move(copy), frame);
                     ReadNextCopy(std::move(left));
                   }));
    return;
  }
  is_copying_ = false;
  if (!copies_.empty()) ScheduleFlush();
}

void Journal::OnCopyRead(Copy copy, const Result<Bytes>& frame) {
  if (!frame.ok()) return Fail(frame.status());
  // The file may have been recycled while it was read; then nobody needs the copy.
  if (!live_.contains(copy.place.file)) return;
  const Result<FrameHeader> header = ParseFrame(frame->view());
  if (!header.ok()) return Fail(header.status().With("read an entry back from the journal"));
  if (header->group != copy.group || header->index != copy.index) {
    return Fail(DataLoss("the journal's file holds another entry than was written there"));
  }
  copy.frame = *frame;
  copies_.push_back(std::move(copy));
}

// A file that waits for the next roll to come back counts no more: were its bytes held against
// entries, none would come to fill the newest file, and no roll.
void Journal::PublishPressure() {
  const uint64_t oldest = ledger_.OldestPinned().value_or(UINT64_MAX);
  uint64_t filled = position_;
  for (auto at = live_.lower_bound(oldest); at != live_.end(); ++at) {
    filled += at->second.filled_bytes;
  }
  const double share = static_cast<double>(filled) /
                       static_cast<double>(options_.live_files_max * options_.file_bytes);
  const double pressure = file_trouble_.ok() ? share : std::max(share, kPressureWithoutFile);
  shared_->pressure.store(pressure, std::memory_order_relaxed);
}

void Journal::OnFileTrouble(const Status& trouble) {
  MILLRACE_SOMETIMES_IF("the journal waited for a file", !trouble.ok());
  file_trouble_ = trouble;
  PublishPressure();
  if (full_listener_) full_listener_(trouble);
  StopWithoutFile();
}

void Journal::SetFullListener(FullListener listener) {
  full_listener_ = std::move(listener);
  if (!file_trouble_.ok()) full_listener_(file_trouble_);
}

}  // namespace millrace::storage::journal

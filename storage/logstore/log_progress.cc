#include "storage/logstore/log_progress.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <glog/logging.h>

namespace millrace::storage {

using raft::core::Entry;

LogProgress::LogProgress(LogIndex committed, LogIndex in_segments, LogIndex journalled,
                         std::vector<Entry> kept)
    : told_(committed),
      durable_(in_segments + kept.size()),
      committed_(committed),
      synced_(in_segments),
      given_(in_segments),
      journalled_(journalled),
      kept_(std::make_move_iterator(kept.begin()), std::make_move_iterator(kept.end())) {
  CHECK_LE(committed_, synced_);
  CHECK(kept_.empty() || kept_.front().index == given_ + 1);
}

void LogProgress::Append(const std::vector<Entry>& entries) {
  if (entries.empty()) return;
  CHECK_EQ(entries.front().index, last() + 1);
  kept_.insert(kept_.end(), entries.begin(), entries.end());
}

bool LogProgress::Truncate(LogIndex from) {
  CHECK_GT(from, committed_);
  ExpectTruncation(from);
  while (last() >= from && !kept_.empty()) kept_.pop_back();
  journalled_ = std::min(journalled_, from - 1);
  if (given_ < from) return false;
  given_ = from - 1;
  synced_ = std::min(synced_, given_);
  return true;
}

void LogProgress::OnDurable(LogIndex index) {
  CHECK_LE(index, last());
  durable_ = std::max(durable_, index);
  Advance();
}

void LogProgress::Commit(LogIndex index) {
  CHECK_GE(index, told_);
  told_ = index;
  Advance();
}

void LogProgress::Advance() {
  const LogIndex index = std::min(told_, durable_);
  for (LogIndex at = std::max(committed_, given_) + 1; at <= index; ++at) {
    committed_bytes_ += kept_[at.value() - given_.value() - 1].size_bytes();
  }
  committed_ = std::max(committed_, index);
}

std::vector<Entry> LogProgress::GiveCommitted(LogIndex limit) {
  std::vector<Entry> entries;
  while (given_ < std::min(committed_, limit)) {
    committed_bytes_ -= kept_.front().size_bytes();
    entries.push_back(std::move(kept_.front()));
    kept_.pop_front();
    ++given_;
  }
  return entries;
}

std::vector<Entry> LogProgress::GiveAll() {
  std::vector<Entry> entries(std::make_move_iterator(kept_.begin()),
                             std::make_move_iterator(kept_.end()));
  given_ = last();
  kept_.clear();
  committed_bytes_ = 0;
  return entries;
}

void LogProgress::TakeBack(std::vector<Entry> kept, uint64_t dropped) {
  CHECK(kept_.empty());
  given_ = LogIndex(given_.value() - dropped - kept.size());
  CHECK(kept.empty() || kept.front().index == given_ + 1);
  CHECK_LE(synced_, given_);
  kept_.assign(std::make_move_iterator(kept.begin()), std::make_move_iterator(kept.end()));
  durable_ = std::min(durable_, last());
  for (const Entry& entry : kept_) {
    if (entry.index <= committed_) committed_bytes_ += entry.size_bytes();
  }
}

void LogProgress::OnSynced(LogIndex index) {
  CHECK_LE(index, given_);
  synced_ = std::max(synced_, index);
}

}  // namespace millrace::storage

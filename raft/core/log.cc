#include "raft/core/log.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

namespace millrace::raft::core {

Log::Log(const LogPoint& begin, Prefix prefix, std::vector<TermStart> term_starts,
         std::vector<Entry> tail)
    : begin_(begin), prefix_(prefix), term_starts_(std::move(term_starts)) {
  CHECK_LE(begin_.index, prefix_.index);
  CHECK_LE(begin_.term, prefix_.term);
  CHECK(begin_.index < prefix_.index || begin_.term == prefix_.term);
  CHECK(std::is_sorted(term_starts_.begin(), term_starts_.end()));
  for (Entry& entry : tail) Append(std::move(entry));
}

LogIndex Log::last_index() const { return prefix_.index + tail_.size(); }

Term Log::last_term() const { return tail_.empty() ? prefix_.term : tail_.back().term; }

uint32_t Log::last_chain() const { return tail_.empty() ? prefix_.chain : tail_.back().chain; }

std::optional<Term> Log::TermAt(LogIndex index) const {
  if (index == LogIndex()) return Term();
  if (index == prefix_.index) return prefix_.term;
  if (InTail(index)) return At(index).term;
  if (index == begin_.index) return begin_.term;
  if (index > last_index() || index < begin_.index) return std::nullopt;
  // The last run that begins at or before `index`.
  auto after =
      std::upper_bound(term_starts_.begin(), term_starts_.end(), index,
                       [](LogIndex at, const TermStart& start) { return at < start.first_index; });
  if (after == term_starts_.begin()) return std::nullopt;
  return std::prev(after)->term;
}

LogIndex Log::LastIndexWithTermAtMost(Term term, LogIndex index) const {
  LogIndex at = std::min(index, last_index());
  for (auto start = term_starts_.rbegin(); start != term_starts_.rend(); ++start) {
    if (start->first_index > at) continue;
    if (start->term <= term) return at;
    at = start->first_index - 1;
  }
  return at;
}

const Entry& Log::At(LogIndex index) const {
  CHECK(InTail(index)) << "index=" << index << " tail=(" << prefix_.index << ", " << last_index()
                       << "]";
  return tail_[index - prefix_.index - 1];
}

bool Log::InTail(LogIndex index) const { return index > prefix_.index && index <= last_index(); }

std::vector<Entry> Log::Slice(LogIndex first, LogIndex last, uint64_t bytes_max) const {
  std::vector<Entry> slice;
  uint64_t bytes = 0;
  for (LogIndex at = first; at <= std::min(last, last_index()); ++at) {
    const Entry& entry = At(at);
    if (!slice.empty() && bytes + entry.size_bytes() > bytes_max) break;
    bytes += entry.size_bytes();
    slice.push_back(entry);
  }
  return slice;
}

void Log::Append(Entry entry) {
  CHECK_EQ(entry.index, last_index() + 1);
  CHECK_GE(entry.term, last_term()) << "index=" << entry.index;
  if (term_starts_.empty() || term_starts_.back().term != entry.term) {
    term_starts_.push_back({.term = entry.term, .first_index = entry.index});
  }
  tail_bytes_ += entry.size_bytes();
  tail_.push_back(std::move(entry));
}

void Log::TruncateFrom(LogIndex from) {
  CHECK(InTail(from)) << "from=" << from;
  while (last_index() >= from) {
    tail_bytes_ -= tail_.back().size_bytes();
    tail_.pop_back();
  }
  while (!term_starts_.empty() && term_starts_.back().first_index >= from) {
    term_starts_.pop_back();
  }
}

void Log::MoveBeginTo(const LogPoint& begin) {
  CHECK_GE(begin.index, begin_.index);
  CHECK_LE(begin.index, prefix_.index);
  CHECK(TermAt(begin.index) == begin.term) << "index=" << begin.index;
  begin_ = begin;
  if (first_index() > last_index()) return term_starts_.clear();
  // The run that the first entry belongs to begins with it now.
  auto after =
      std::upper_bound(term_starts_.begin(), term_starts_.end(), first_index(),
                       [](LogIndex at, const TermStart& start) { return at < start.first_index; });
  CHECK(after != term_starts_.begin()) << "index=" << first_index();
  --after;
  after->first_index = first_index();
  term_starts_.erase(term_starts_.begin(), after);
}

void Log::TrimTo(LogIndex index) {
  CHECK_LE(index, last_index());
  while (prefix_.index < index) {
    const Entry& first = tail_.front();
    prefix_ = {.index = first.index, .term = first.term, .chain = first.chain};
    tail_bytes_ -= first.size_bytes();
    tail_.pop_front();
  }
}

}  // namespace millrace::raft::core

#include "raft/host/append_admission.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "proto/frame/frame.h"

namespace millrace::raft {
namespace {

// The chain at `index`, if this log holds that entry of `term` there and still knows its chain.
std::optional<uint32_t> ChainAt(const core::Log& log, LogIndex index, Term term) {
  if (index == LogIndex()) return 0;
  if (log.TermAt(index) != term) return std::nullopt;
  if (log.InTail(index)) return log.At(index).chain;
  if (index == log.prefix().index) return log.prefix().chain;
  return std::nullopt;
}

bool IsControl(const core::Entry& entry) {
  return (entry.frame.header().flags & kFrameControl) != 0;
}

}  // namespace

bool FollowsOn(const core::Log& log, const core::AppendRequest& append) {
  if (append.entries.empty()) return true;
  const std::optional<uint32_t> before = ChainAt(log, append.prev_index, append.prev_term);
  if (!before.has_value()) return true;
  const core::Entry& first = append.entries.front();
  return FrameChain(*before, first.frame.header()) == first.chain;
}

bool KeepWhatMakesRoom(const core::Log& log, LogIndex commit_index, core::AppendRequest* append) {
  auto& entries = append->entries;
  const auto first_new = std::find_if(entries.begin(), entries.end(), [&log](const auto& entry) {
    return log.TermAt(entry.index) != entry.term;
  });
  // It takes the place of another, whose room in the journal is worth more than its own.
  if (first_new != entries.end() && log.TermAt(first_new->index).has_value()) return true;
  const auto first_bulk = std::find_if_not(first_new, entries.end(), IsControl);
  const bool has_control = first_bulk != first_new;
  entries.erase(first_bulk, entries.end());
  return has_control || commit_index < std::min(append->commit_index, log.last_index());
}

}  // namespace millrace::raft

// The replica's log as the core knows it: the recent entries in memory (the tail), and of
// everything below only the terms, as the short list of where each term begins. Entries below the
// tail are in segments, and the host reads them when asked. What retention dropped lies at and
// below the log's begin; of the entry there term and chain are kept, for a follower whose log ends
// with it needs exactly what follows.
//
//     begin ] [ begin+1 ............. prefix ] [ prefix+1 ............ last_index
//     dropped    in segments, terms known here     the tail, in memory
//
// Owned by the core, on its shard's thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "proto/base/ids.h"
#include "proto/base/mutants.h"
#include "raft/core/entry.h"

namespace millrace::raft::core {

// The first index of a run of entries of one term.
struct TermStart {
  Term term;
  LogIndex first_index;
  auto operator<=>(const TermStart&) const = default;
};

// A place in a log, told by the entry before it: the end of what is synced, or the begin of a log
// whose older entries are gone. All zero before the first entry of all.
struct LogPoint {
  LogIndex index;  // of the entry before it
  Term term;
  uint32_t chain = 0;
  Offset next_offset;  // of the first record after it
  auto operator<=>(const LogPoint&) const = default;
};

// How far a log, or a part of one, is compacted (docs/adr/0016-compaction.md). Numbers of passes;
// 0: none.
struct CompactionPoint {
  uint32_t pass = 0;     // the newest that is done
  uint32_t settled = 0;  // the newest of which tombstones went that all members had done
  bool operator==(const CompactionPoint&) const = default;

  // What is put together of this and `other` is like.
  CompactionPoint With(const CompactionPoint& other) const {
    return {.pass = std::min(pass, other.pass), .settled = std::max(settled, other.settled)};
  }
  // Not where a tombstone went in one part that an older value in another part waits for.
  bool IsWhole() const { return pass >= settled || MILLRACE_MUTANT(kTombstoneBeforeAll); }
};

class Log {
 public:
  // What lies at the tail's lower edge; all zero if that is the first entry of all.
  struct Prefix {
    LogIndex index;  // the last entry that is not in the tail
    Term term;
    uint32_t chain = 0;
  };

  Log() = default;
  // `term_starts` covers (begin.index, prefix.index], sorted; empty if these are the same.
  Log(const LogPoint& begin, Prefix prefix, std::vector<TermStart> term_starts,
      std::vector<Entry> tail);

  // What it does not hold any more ends there.
  const LogPoint& begin() const { return begin_; }
  LogIndex first_index() const { return begin_.index + 1; }
  LogIndex last_index() const;
  Term last_term() const;
  // Chain of the last entry: what the next entry's chain is computed from.
  uint32_t last_chain() const;
  const Prefix& prefix() const { return prefix_; }
  // Whoever lacks what lies at and below it is not sent it as entries: it is gone, or compaction
  // left something else of it.
  LogIndex unsendable_end() const { return std::max(begin_.index, rewritten_end_); }

  // The term of `index`; nullopt if outside [begin().index, last_index]. Term of 0 is 0.
  std::optional<Term> TermAt(LogIndex index) const;
  // The largest index <= `index` whose term is <= `term` (for append hints). What lies at and below
  // the begin counts as such: there the logs must agree, or nothing here can mend it.
  LogIndex LastIndexWithTermAtMost(Term term, LogIndex index) const;

  // The tail's entry at `index`. Pre: prefix().index < index <= last_index().
  const Entry& At(LogIndex index) const;
  bool InTail(LogIndex index) const;
  // Entries from `first` on while their bytes stay within `bytes_max`; the first always passes.
  // Pre: first is in the tail, or last_index() + 1.
  std::vector<Entry> Slice(LogIndex first, LogIndex last, uint64_t bytes_max) const;
  uint64_t tail_bytes() const { return tail_bytes_; }

  // Pre: entry.index == last_index() + 1; its term is not below last_term().
  void Append(Entry entry);
  // Removes the entries at `from` and after. Pre: from is in the tail.
  void TruncateFrom(LogIndex from);
  // Moves the tail's lower edge up to `index`, which is at most last_index().
  void TrimTo(LogIndex index);
  // Forgets the entries up to begin.index, which the log does not hold any more.
  // Pre: begin().index <= begin.index <= prefix().index, and it is the entry that the log had
  // there.
  void MoveBeginTo(const LogPoint& begin);
  // That entry was found to be what compaction left.
  void NoteRewritten(LogIndex last) { rewritten_end_ = std::max(rewritten_end_, last); }

 private:
  LogPoint begin_;
  LogIndex rewritten_end_;  // as far as it was met
  Prefix prefix_;
  std::vector<TermStart> term_starts_;  // of everything after the begin, tail included
  std::deque<Entry> tail_;
  uint64_t tail_bytes_ = 0;
};

}  // namespace millrace::raft::core

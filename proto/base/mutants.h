// The bank of deliberately broken variants: "who tests the tests". Each names one bug that has cost
// another system data; the simulator must find every one by random seeds. Compiled in only where
// the build sets MILLRACE_MUTANTS (the test presets); in a release MILLRACE_MUTANT(x) is the
// constant false and this header adds no code.
//
// Set by a simulation before it starts; read on its thread.
//
//   if (entry.term != term_ && !MILLRACE_MUTANT(kCommitOlderTerm)) return;
#pragma once

namespace millrace {

enum class Mutant {
  kNone,
  kAcknowledgeBeforeFsync,    // a follower's append reply does not wait for its disk
  kVoteNotPersisted,          // a vote leaves before it is durable, and is not written
  kLeaderCountsUnsyncedSelf,  // the leader counts its own append before it is durable
  kCommitOlderTerm,           // an entry of an older term is committed by counting (Raft §5.4.2)
  kTruncateMatchingTail,      // a late append cuts entries that match
  kLateCompletionMarksRewritten,  // a completion from before a truncation counts for what replaced
                                  // it
  kCutAtFirstBadChecksum,         // recovery takes any damage for a torn tail
  kSequencesLostOnLeaderChange,   // a new leader forgets the producers' sequences
  kJournalSkipsSync,              // the journal reports durable without fdatasync
  kRecycleBeforeCheckpoint,       // a journal file is recycled before a later checkpoint is synced
  kIgnoreTruncationEpoch,         // replay takes entries older than their group's epoch
  kSkipDirectorySync,             // a new file's directory entry is not synced
  kVoteIgnoresLog,                // a vote goes to a candidate whose log is behind (Raft §5.4.1)
  kLeaderKeepsTalkingWithoutQuorum,  // a leader that nobody answers does not fall silent
  kLostWindowIsNeverProbed,  // a follower whose window was lost is not asked where it stands
  kReadWithoutRound,         // a read is served without asking a quorum (thesis §6.4)
};

#if defined(MILLRACE_MUTANTS)
inline Mutant active_mutant = Mutant::kNone;
#define MILLRACE_MUTANT(name) (::millrace::active_mutant == ::millrace::Mutant::name)
#else
#define MILLRACE_MUTANT(name) false
#endif

}  // namespace millrace

// The bank of deliberately broken variants: "who tests the tests". Each names one bug that has cost
// another system data; the simulator must find every one by random seeds. Compiled in only where
// the build sets MILLRACE_MUTANTS (the test presets); in a release MILLRACE_MUTANT(x) is the
// constant false and this header adds no code.
//
// Set by a simulation, or by main() from the environment, before anything starts; only read after.
//
//   if (entry.term != term_ && !MILLRACE_MUTANT(kCommitOlderTerm)) return;
#pragma once

#include <string_view>
#include <utility>

namespace millrace {

enum class Mutant {
  kNone,
  kAckBeforeFsync,                // the journal reports durable without fdatasync
  kFollowerAcknowledgesUnsynced,  // a follower's append reply does not wait for its disk
  kVoteNotPersisted,              // a vote leaves before it is durable, and is not written
  kLeaderCountsUnsyncedSelf,      // the leader counts its own append before it is durable
  kCommitOlderTerm,       // an entry of an older term is committed by counting (Raft §5.4.2)
  kTruncateMatchingTail,  // a late append cuts entries that match
  kLateCompletionMarksRewritten,  // a completion from before a truncation counts for what replaced
                                  // it
  kCutAtFirstBadChecksum,         // recovery takes any damage for a torn tail
  kSequencesLostOnLeaderChange,   // a new leader forgets the producers' sequences
  kRecycleBeforeCheckpoint,       // a journal file is recycled before a later checkpoint is synced
  kIgnoreTruncationEpoch,         // replay takes entries older than their group's epoch
  kSkipDirectorySync,             // a new file's directory entry is not synced
  kVoteIgnoresLog,                // a vote goes to a candidate whose log is behind (Raft §5.4.1)
  kLeaderKeepsTalkingWithoutQuorum,  // a leader that nobody answers does not fall silent
  kLostWindowIsNeverProbed,     // a follower whose window was lost is not asked where it stands
  kReadWithoutRound,            // a read is served without asking a quorum (thesis §6.4)
  kVoteTwice,                   // a second candidate of a term gets a vote too (Raft §5.2)
  kHeartbeatCommitsUnmatched,   // a heartbeat's commit index may pass what is known to match
  kSkipsLogMatching,            // entries are taken whatever stands before them (Raft §5.3)
  kFetchServesUncommitted,      // a reader is given what may yet be cut
  kProducersLostAtRestore,      // a restored partition knows no producers
  kRetriesFailedSync,           // after an error, fdatasync is asked again, and believed
  kSnapshotWithoutState,        // the controller's snapshot does not hold its image
  kRetriesFailedSegmentSync,    // ... of a segment
  kPassingErrorIsDamage,        // an error of a segment's call stops its replica for good
  kClientTakesSentForStored,    // a broken stream's batches count as acknowledged
  kOldLifeCounts,               // what a former life of a replica promised counts for its successor
  kConfigurationFromCreation,   // a restart takes the configuration that the replica began with
  kExtentNamedBeforeSynced,     // a large write counts before its segment is synced
  kDeadExtentComesBack,         // a truncation leaves the written end where it was
  kCommittedEndFromWrittenEnd,  // what is written in a segment counts as committed
  kExtentOverwritesLive,        // a large write begins at the committed end
  kUnlinkBeforeBegin,           // segments go before the journal knows where the log begins then
  kStateGoesWithItsLog,         // the segment with the newest state goes like any other
  kReadSkipsDropped,            // a read of what was dropped is answered with what follows
  kLogStartGoesBack,            // the last command says where the log starts, not the largest
  kRetentionTrustsOwnClock,     // records expire by a wall clock that no other broker has
  kTombstoneBeforeAll,          // a log is put together of parts that had different passes
  kGapForgetsSpan,              // a gap says nothing of the offsets that it stands for
  kKeysSupersededByChance,      // replicas compact the same log to different records
  kDeltaIgnored,                // a record's offset is its place in its batch, whatever went before
  kPulledFromMemory,            // who pulls from a compacted log is given what was appended
  kOffsetsFromMemory,           // committed offsets are told without asking a majority who leads
  kSnapshotDropsAGroup,         // a coordinator's snapshot lacks a group
  kCommitAnsweredTooSoon,       // a coordinator answers when it proposes
  kCheckpointAboveEnd,          // a start believes a checkpoint above the journal's end
  kCheckpointStateAhead,        // a checkpoint has a state of entries that its segment has not yet
  kAssignBeforeRelease,         // a partition has a new owner before the old one has let go
  kCommitIgnoresAssignedEpoch,  // a member commits for whatever it had once
  kExpireAfterPause,            // a coordinator that was stopped takes its silence for the members'
  kConfirmIsDelta,              // whoever does not say what it owns has let go of all
  kTwoSessions,                 // a member's older stream counts beside its newer one
  kCommitsWhatIsFetched,        // a group's reader marks as done what it has only taken
  kConditionBeforeSequence,     // a duplicate is refused for the end that it moved itself
  kEndWithoutNumber,            // an End ends whatever its producer has open
  kStagedVisibleEarly,        // a partition is given away before it is known what was staged counts
  kStageIgnoresMemberEpoch,   // offsets are staged for partitions that the member lost
  kPrepareNotDurable,         // an End is answered before its outcome is durable
  kAppendBeforeRegister,      // a transaction's first batch does not wait for its registration
  kMarkerEndsWhateverIsOpen,  // a marker ends the producer's transaction, whatever its number
  kLsoFromHighWatermark,      // readers of what is committed read up to the high watermark
  kVoidRangeLostAtRoll,       // a sealed segment does not say what its markers make void
  // Not broken, but a build of the next feature level: it knows that level, and writes batches at
  // it once the cluster is of it.
  kNextFeatureLevel,
  kNextLevelTooSoon,  // the same, but it does not wait for the cluster
};

#if defined(MILLRACE_MUTANTS)
inline Mutant active_mutant = Mutant::kNone;
#define MILLRACE_MUTANT(name) (::millrace::active_mutant == ::millrace::Mutant::name)

// Every variant by the name that simulators, tests and MILLRACE_MUTANT in the environment take.
inline constexpr std::pair<std::string_view, Mutant> kMutantNames[] = {
    {"ack_before_fsync", Mutant::kAckBeforeFsync},
    {"follower_acknowledges_unsynced", Mutant::kFollowerAcknowledgesUnsynced},
    {"vote_not_persisted", Mutant::kVoteNotPersisted},
    {"leader_counts_unsynced_self", Mutant::kLeaderCountsUnsyncedSelf},
    {"commit_older_term", Mutant::kCommitOlderTerm},
    {"truncate_matching_tail", Mutant::kTruncateMatchingTail},
    {"late_completion_marks_rewritten", Mutant::kLateCompletionMarksRewritten},
    {"cut_at_first_bad_checksum", Mutant::kCutAtFirstBadChecksum},
    {"sequences_lost_on_leader_change", Mutant::kSequencesLostOnLeaderChange},
    {"recycle_before_checkpoint", Mutant::kRecycleBeforeCheckpoint},
    {"ignore_truncation_epoch", Mutant::kIgnoreTruncationEpoch},
    {"skip_directory_sync", Mutant::kSkipDirectorySync},
    {"vote_ignores_log", Mutant::kVoteIgnoresLog},
    {"leader_keeps_talking_without_quorum", Mutant::kLeaderKeepsTalkingWithoutQuorum},
    {"lost_window_is_never_probed", Mutant::kLostWindowIsNeverProbed},
    {"read_without_round", Mutant::kReadWithoutRound},
    {"vote_twice", Mutant::kVoteTwice},
    {"heartbeat_commits_unmatched", Mutant::kHeartbeatCommitsUnmatched},
    {"skips_log_matching", Mutant::kSkipsLogMatching},
    {"fetch_serves_uncommitted", Mutant::kFetchServesUncommitted},
    {"producers_lost_at_restore", Mutant::kProducersLostAtRestore},
    {"retries_failed_sync", Mutant::kRetriesFailedSync},
    {"snapshot_without_state", Mutant::kSnapshotWithoutState},
    {"retries_failed_segment_sync", Mutant::kRetriesFailedSegmentSync},
    {"passing_error_is_damage", Mutant::kPassingErrorIsDamage},
    {"client_takes_sent_for_stored", Mutant::kClientTakesSentForStored},
    {"old_life_acknowledges", Mutant::kOldLifeCounts},
    {"configuration_from_creation", Mutant::kConfigurationFromCreation},
    {"extent_named_before_synced", Mutant::kExtentNamedBeforeSynced},
    {"dead_extent_comes_back", Mutant::kDeadExtentComesBack},
    {"committed_end_from_written_end", Mutant::kCommittedEndFromWrittenEnd},
    {"extent_overwrites_live", Mutant::kExtentOverwritesLive},
    {"unlink_before_begin", Mutant::kUnlinkBeforeBegin},
    {"state_goes_with_its_log", Mutant::kStateGoesWithItsLog},
    {"read_skips_dropped", Mutant::kReadSkipsDropped},
    {"log_start_goes_back", Mutant::kLogStartGoesBack},
    {"retention_trusts_own_clock", Mutant::kRetentionTrustsOwnClock},
    {"tombstone_before_all", Mutant::kTombstoneBeforeAll},
    {"gap_forgets_span", Mutant::kGapForgetsSpan},
    {"keys_superseded_by_chance", Mutant::kKeysSupersededByChance},
    {"delta_ignored", Mutant::kDeltaIgnored},
    {"pulled_from_memory", Mutant::kPulledFromMemory},
    {"offsets_from_memory", Mutant::kOffsetsFromMemory},
    {"snapshot_drops_a_group", Mutant::kSnapshotDropsAGroup},
    {"commit_answered_too_soon", Mutant::kCommitAnsweredTooSoon},
    {"checkpoint_above_end", Mutant::kCheckpointAboveEnd},
    {"checkpoint_state_ahead", Mutant::kCheckpointStateAhead},
    {"assign_before_release", Mutant::kAssignBeforeRelease},
    {"commit_ignores_assigned_epoch", Mutant::kCommitIgnoresAssignedEpoch},
    {"expire_after_pause", Mutant::kExpireAfterPause},
    {"confirm_is_delta", Mutant::kConfirmIsDelta},
    {"two_sessions", Mutant::kTwoSessions},
    {"commits_what_is_fetched", Mutant::kCommitsWhatIsFetched},
    {"condition_before_sequence", Mutant::kConditionBeforeSequence},
    {"end_without_number", Mutant::kEndWithoutNumber},
    {"staged_visible_early", Mutant::kStagedVisibleEarly},
    {"stage_ignores_member_epoch", Mutant::kStageIgnoresMemberEpoch},
    {"prepare_not_durable", Mutant::kPrepareNotDurable},
    {"append_before_register", Mutant::kAppendBeforeRegister},
    {"marker_ends_whatever_is_open", Mutant::kMarkerEndsWhateverIsOpen},
    {"lso_from_high_watermark", Mutant::kLsoFromHighWatermark},
    {"void_range_lost_at_roll", Mutant::kVoidRangeLostAtRoll},
    {"next_feature_level", Mutant::kNextFeatureLevel},
    {"next_level_too_soon", Mutant::kNextLevelTooSoon},
};

// Turns the named variant on, for the process; false if there is none of that name.
inline bool SetMutant(std::string_view name) {
  for (const auto& [known, mutant] : kMutantNames) {
    if (known != name) continue;
    active_mutant = mutant;
    return true;
  }
  return false;
}
inline std::string_view NameOf(Mutant mutant) {
  for (const auto& [name, known] : kMutantNames) {
    if (known == mutant) return name;
  }
  return "none";
}
#else
#define MILLRACE_MUTANT(name) false
inline bool SetMutant(std::string_view) { return false; }
#endif

}  // namespace millrace

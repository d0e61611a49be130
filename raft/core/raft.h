// The Raft protocol of one replica of one group, pure: no thread, clock, file, socket or log
// output, and the same inputs give the same outputs. The shape is etcd/raft's with asynchronous
// storage: feed inputs (Step, Tick, Propose, PeerConnected, OnDurable, OnEntriesRead and the like),
// then take what is to be done (TakeReady) and do it. raft/host drives it.
//
// Owned by its host's group and called on its shard's thread only.
//
// What it promises about disks:
//   - No vote and no append reply is handed out before what it promises was reported durable
//     (else: double vote, acknowledgement before fsync).
//   - The leader sends entries while its own disk still writes them, and counts itself only up to
//     what was reported durable.
//   - A durability report is bound to the truncation epoch it was asked in, so that a late one
//     never marks entries that replaced others.
//
//   raft.Step(from, message);
//   for (Ready ready = raft.TakeReady(); ...) {
//     send(ready.messages);                            // at once
//     store.Write(ready.write, [&] { raft.OnDurable(ready.write->durable_point); ... });
//     apply(raft.log(), ready.commit_index);
//   }
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <variant>
#include <vector>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/core/configuration.h"
#include "raft/core/configuration_log.h"
#include "raft/core/durability.h"
#include "raft/core/entry.h"
#include "raft/core/log.h"
#include "raft/core/message.h"
#include "raft/core/progress.h"
#include "raft/core/read_rounds.h"
#include "raft/runtime/random.h"

namespace millrace::raft::core {

struct Options {
  Voter self;
  // A follower campaigns after a time drawn from [election_timeout_ticks, 2 *
  // election_timeout_ticks). The same span is check-quorum's: a leader without a majority's answers
  // for that long falls silent.
  uint32_t election_timeout_ticks = 12;
  uint32_t heartbeat_ticks = 2;
  // After a connection to the leader broke: pre-votes every this many ticks for one election
  // timeout.
  uint32_t fast_pre_vote_ticks = 1;
  // Bytes of entries sent to one follower and not yet acknowledged; the first entry always passes.
  uint64_t inflight_bytes_max = 4 << 20;
  // Bytes of entries in one AppendRequest; the first entry always passes.
  uint64_t append_bytes_max = 1 << 20;
  // Bytes proposed and not yet committed, past which Propose refuses.
  uint64_t uncommitted_bytes_max = 64 << 20;
  uint64_t random_seed = 1;
};

// What a replica starts from, as storage recovered it; for a new replica all but the configuration
// empty.
struct InitialState {
  HardState hard_state;
  Log log;  // begin, prefix boundary, terms, and the entries above the segments
  TruncationEpoch epoch;
  LogIndex commit_index;        // known committed: the synced segment end at least
  Configuration configuration;  // in force at the log's prefix boundary, or the first one
};

enum class Role : uint8_t { kFollower, kPreCandidate, kCandidate, kLeader };

// To be made durable as one unit, after all earlier ones of the group.
struct StorageWrite {
  std::optional<HardState> hard_state;
  // Entries at and after this index are void; `epoch` is the truncation's.
  std::optional<LogIndex> truncate_from;
  TruncationEpoch epoch;
  std::vector<Entry> entries;
  DurablePoint durable_point;
};

// Entries below the log's in-memory tail that a follower needs. Answer with OnEntriesRead.
struct EntriesWanted {
  Voter peer;
  LogIndex first_index;
  uint64_t bytes_max = 0;
};

// A follower said that it needs entries that lie below the log's begin. It cannot be caught up from
// here, and is asked again, without entries, with every heartbeat that it answers: what it said may
// have been late, and it may be restored by other means.
struct FollowerBehind {
  Voter peer;
  LogIndex needed;
};

struct Ready {
  std::vector<OutgoingMessage> messages;
  std::optional<StorageWrite> write;
  std::vector<EntriesWanted> wanted;
  std::vector<FollowerBehind> behind;  // each once, until it has caught up with the begin
  // The leader does not have any more what this replica needs next: it is to be restored.
  std::optional<Voter> left_behind_by;
  LogIndex commit_index;
  // Role, term or leader changed since the last Ready.
  bool leadership_changed = false;
  std::vector<ReadState> read_states;  // by the id that was given to ReadIndex
  // A new leader's no-op is due: the host seals one and proposes it before anything else.
  bool wants_no_op = false;
  // Set if the replica found that its log and the leader's diverged (same term and index, another
  // chain), that it would truncate below its commit index, or that another leads its own term. The
  // host stops the replica for good.
  Status fault;
};

class Raft {
 public:
  // Pre: options.self.broker is not 0; the initial state is consistent (CHECKed).
  Raft(const Options& options, InitialState initial);

  // Inputs ------------------------------------------------------------------------------------

  // A message from `sender`. Stale and misaddressed ones are ignored, so any message is safe to
  // give; so is what comes from a replica after which its broker is known to have another one.
  void Step(const Voter& sender, Message message);
  // One tick of the host's timer.
  void Tick();
  // Appends one entry as leader. Pre: is_leader(); entry.index == log().last_index() + 1 and
  // entry.term == term(). RESOURCE_EXHAUSTED past uncommitted_bytes_max; UNAVAILABLE if not leader.
  // A configuration is refused (FAILED_PRECONDITION, INVALID_ARGUMENT) while another one or the
  // leader's own term is uncommitted, and if it is no single step (CheckChange).
  Status Propose(Entry entry);
  // Starts an election at once; a single voter wins it at once (once its vote is durable). Whoever
  // led before is followed no longer.
  void Campaign();
  // A connection to `peer` stands (anew). A leader's entries and a candidate's request for its vote
  // are sent at once. Where no leader is known the peer may complete a majority: pre-votes begin
  // within `delay_ticks`.
  void PeerConnected(const BrokerIncarnation& peer, uint32_t delay_ticks);
  // The connection to `peer` broke. If it is the leader, pre-votes begin within `delay_ticks`. Who
  // has different delays does not split the votes.
  void PeerDisconnected(BrokerId peer, uint32_t delay_ticks);
  // Asks for a linearizable read point (thesis §6.4). UNAVAILABLE unless leader with a commit in
  // its term. Answered in Ready::read_states, or never if leadership is lost.
  Status ReadIndex(uint64_t request_id);
  // Everything up to `point` is durable. Points of earlier epochs count only for what still stands.
  void OnDurable(const DurablePoint& point);
  // The entries asked for by EntriesWanted; empty if they could not be read (asked for again
  // later).
  void OnEntriesRead(const Voter& peer, LogIndex first_index, std::vector<Entry> entries);
  // Gives up leadership for a reason of the host's (a stalled disk).
  void StepDown();
  // From now on it votes and stores, but neither leads nor campaigns.
  void StopLeading();
  // Ends what StopLeading began.
  void LeadAgain() { may_lead_ = true; }
  // Forgets in-memory entries up to `index`, readable from segments from now on.
  // Pre: index <= commit_index().
  void TrimTail(LogIndex index);
  // Tells the leader, if there is another one, what it may know already, so that it hears what the
  // host has to say beside.
  void AnswerAgain();
  // The log does not hold the entries up to begin.index any more. Pre: as Log::MoveBeginTo.
  void MoveBeginTo(const LogPoint& begin) { log_.MoveBeginTo(begin); }

  // Outputs -----------------------------------------------------------------------------------

  bool HasReady() const;
  // Takes all outputs; the caller carries them out. Writes of successive Readys are carried out in
  // order.
  Ready TakeReady();

  // State -------------------------------------------------------------------------------------

  Role role() const;
  bool is_leader() const { return role() == Role::kLeader; }
  Term term() const { return hard_state_.term; }
  // The leader of term(), if known; broker 0 otherwise.
  Voter leader() const { return leader_; }
  LogIndex commit_index() const { return commit_index_; }
  // Whether this leader has committed an entry of its own term.
  bool has_committed_in_term() const;
  const Log& log() const { return log_; }
  const Configuration& configuration() const;
  // The newest configuration at or before `index`, and the entry that says so; 0: it was in force
  // before all that this knows of. Pre: log().prefix().index <= index <= log().last_index().
  std::pair<LogIndex, Configuration> ConfigurationAt(LogIndex index) const;
  const HardState& hard_state() const { return hard_state_; }
  TruncationEpoch epoch() const { return durability_.epoch(); }
  // CHECKs everything that must hold between inputs; for tests and simulation, after every step.
  void CheckInvariants() const;

 private:
  struct Follower {};
  struct Candidate {
    bool is_pre_vote = true;
    std::map<Voter, bool> votes;
  };
  struct Leader {
    std::map<Voter, Progress> progress;
    uint32_t heartbeat_elapsed = 0;
    uint64_t uncommitted_bytes = 0;
    ReadRounds reads;
  };

  // raft.cc: terms, roles' shared state and durability.
  Voter MemberOf(const Voter& sender) const;
  void StepNewerTerm(const Voter& from, const Message& message);
  void StepOlderTerm(const Voter& from, const Message& message);
  void SetHardState(Term term, Voter vote);
  void AppendToLog(Entry entry);
  void TruncateLog(LogIndex from);
  void SetCommitIndex(LogIndex index);
  void SendNow(const Voter& to, Message message);
  void SendWhenDurable(const Voter& to, Message message, LogIndex index);
  void NoteLeadershipChange() { is_leadership_changed_ = true; }
  void Fail(Status why);
  std::vector<Voter> Others() const;

  // election.cc
  void BecomeFollower(Term term, const Voter& leader);
  void StartPreVote();
  void StartElection();
  void RequestVotes();
  void RequestVote(const Voter& voter);
  void BecomeLeader();
  void TickElection();
  bool TickFastPreVote();
  void MemberConnected(const Voter& member, uint32_t delay_ticks);
  void HurryPreVotes(uint32_t delay_ticks);
  void ResetElectionTimer();
  bool HasLiveLeader() const;
  bool IsUpToDate(const VoteRequest& request) const;
  bool CanVoteFor(const Voter& candidate) const;
  void OnVoteRequest(const Voter& from, const VoteRequest& request);
  void OnVoteReply(const Voter& from, const VoteReply& reply);
  void CountBallots();

  // follower.cc
  void OnAppendRequest(const Voter& from, AppendRequest request);
  void RefuseAppend(const Voter& from, const AppendRequest& request);
  bool TakeEntries(AppendRequest* request);
  void OnHeartbeat(const Voter& from, const Heartbeat& heartbeat);
  void OnBehind(const Voter& from, const Behind& behind);
  void FailBesideAnotherLeader(const Voter& other);

  // leader.cc
  void TickLeader();
  bool IsHeardByQuorum() const;
  void SendHeartbeats();
  void SendHeartbeat(const Voter& to, const Progress& progress);
  void SendEntries(const Voter& to, Progress* progress);
  void SendAppend(const Voter& to, Progress* progress, std::vector<Entry> entries);
  Progress* ProgressOf(const Voter& peer);
  void ProbeNow(const Voter& peer, Progress* progress);
  void OnAppendReply(const Voter& from, const AppendReply& reply);
  void OnHeartbeatReply(const Voter& from, const HeartbeatReply& reply);
  void MaybeCommit();
  void ConfirmReads();
  void UpdateProgressMembers();
  void SendToAll();

  Leader* leader_state() { return std::get_if<Leader>(&role_); }

  const Options options_;
  Random random_;
  Log log_;
  HardState hard_state_;
  Voter leader_;
  LogIndex commit_index_;
  std::variant<Follower, Candidate, Leader> role_;
  ConfigurationLog configurations_;
  Durability durability_;

  uint32_t election_elapsed_ = 0;
  uint32_t election_timeout_ = 0;
  uint32_t fast_pre_vote_left_ = 0;  // ticks that pre-votes go on at the fast pace
  uint32_t fast_pre_vote_wait_ = 0;  // ticks to the next of them
  uint32_t fast_pre_vote_turn_ = 0;  // ticks that others go first, after an election was lost too
  std::set<BrokerId> disconnected_;  // no candidate waits for their votes

  // What the next Ready takes.
  std::vector<OutgoingMessage> messages_;
  std::vector<EntriesWanted> wanted_;
  std::vector<FollowerBehind> behind_;
  std::optional<Voter> left_behind_by_;
  std::vector<ReadState> read_states_;
  bool is_hard_state_dirty_ = false;
  std::optional<LogIndex> truncate_from_;
  std::vector<Entry> unwritten_;
  bool is_leadership_changed_ = false;
  bool is_commit_changed_ = false;
  bool wants_no_op_ = false;
  bool may_lead_ = true;
  Status fault_;
};

}  // namespace millrace::raft::core

// Elections: pre-vote (thesis §9.6), votes (Raft §5.2, §5.4.1), and leader stickiness (thesis
// §4.2.3).

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/mutants.h"
#include "raft/core/quorum.h"
#include "raft/core/raft.h"

namespace millrace::raft::core {

void Raft::ResetElectionTimer() {
  election_elapsed_ = 0;
  const uint32_t base = options_.election_timeout_ticks;
  election_timeout_ = base + static_cast<uint32_t>(random_.Below(base));
}

void Raft::BecomeFollower(Term term, const Voter& leader) {
  if (term > hard_state_.term) {
    SetHardState(term, Voter{});
    durability_.DropDelayed();  // Promises of older terms are worth nothing to anybody.
  }
  if (!std::holds_alternative<Follower>(role_) || leader_ != leader) NoteLeadershipChange();
  role_ = Follower{};
  leader_ = leader;
  wants_no_op_ = false;
  ResetElectionTimer();
}

bool Raft::HasLiveLeader() const {
  return is_leader() ||
         (leader_.broker != BrokerId() && election_elapsed_ < options_.election_timeout_ticks);
}

void Raft::TickElection() {
  ++election_elapsed_;
  if (TickFastPreVote()) return;
  if (election_elapsed_ < election_timeout_) return;
  if (leader_.broker != BrokerId()) {
    leader_ = Voter{};
    NoteLeadershipChange();
  }
  StartPreVote();
}

bool Raft::TickFastPreVote() {
  if (fast_pre_vote_left_ == 0) return false;
  --fast_pre_vote_left_;
  // A real election under way, or a leader found, is not disturbed.
  if (role() == Role::kCandidate || leader_.broker != BrokerId()) return false;
  if (fast_pre_vote_wait_ > 0) {
    --fast_pre_vote_wait_;
    return true;
  }
  fast_pre_vote_wait_ = options_.fast_pre_vote_ticks - 1;
  StartPreVote();
  return true;
}

void Raft::Campaign() {
  if (!fault_.ok() || is_leader()) return;
  // A new group: the others may be made a moment later, and there is nobody yet to disturb.
  if (term() == Term()) HurryPreVotes(options_.fast_pre_vote_ticks - 1);
  StartPreVote();
}

void Raft::PeerConnected(const BrokerIncarnation& peer, uint32_t delay_ticks) {
  if (!fault_.ok()) return;
  disconnected_.erase(peer.broker);
  // Two of its replicas are members while a configuration is left in which it has another number.
  for (const Voter& member : Others()) {
    if (member.holder() == peer) MemberConnected(member, delay_ticks);
  }
}

void Raft::MemberConnected(const Voter& member, uint32_t delay_ticks) {
  if (Progress* progress = ProgressOf(member)) return ProbeNow(member, progress);
  if (!configuration().IsVoter(member)) return;
  const auto* candidate = std::get_if<Candidate>(&role_);
  if (candidate != nullptr && !candidate->is_pre_vote) {
    if (!candidate->votes.contains(member)) RequestVote(member);
  } else if (leader_.broker == BrokerId()) {
    HurryPreVotes(delay_ticks);
  }
}

void Raft::PeerDisconnected(BrokerId peer, uint32_t delay_ticks) {
  if (!fault_.ok()) return;
  disconnected_.insert(peer);
  if (Leader* leader = leader_state()) {
    for (auto& [voter, progress] : leader->progress) {
      if (voter.broker == peer) progress.BecomeProbe(log_);
    }
    return;
  }
  CountBallots();
  if (leader_.broker != peer) return;
  leader_ = Voter{};
  NoteLeadershipChange();
  HurryPreVotes(delay_ticks);
  if (delay_ticks == 0) TickFastPreVote();
}

void Raft::HurryPreVotes(uint32_t delay_ticks) {
  fast_pre_vote_left_ = options_.election_timeout_ticks;
  fast_pre_vote_wait_ = delay_ticks;
  fast_pre_vote_turn_ = delay_ticks;
}

void Raft::StepDown() {
  if (is_leader()) BecomeFollower(term(), Voter{});
}

void Raft::StopLeading() {
  may_lead_ = false;
  if (!std::holds_alternative<Follower>(role_)) BecomeFollower(term(), Voter{});
}

void Raft::StartPreVote() {
  ResetElectionTimer();
  if (!may_lead_ || !configuration().IsVoter(options_.self)) return;
  leader_ = Voter{};  // Loyal to nobody, it grants what others ask for.
  Candidate candidate;
  candidate.votes[options_.self] = true;
  role_ = std::move(candidate);
  NoteLeadershipChange();
  RequestVotes();
  CountBallots();
}

void Raft::StartElection() {
  ResetElectionTimer();
  role_ = Candidate{.is_pre_vote = false, .votes = {}};
  leader_ = Voter{};
  NoteLeadershipChange();
  SetHardState(term() + 1, options_.self);
  durability_.DropDelayed();
  if (MILLRACE_MUTANT(kVoteNotPersisted)) {
    std::get<Candidate>(role_).votes[options_.self] = true;
  }
  RequestVotes();
  CountBallots();
}

void Raft::RequestVotes() {
  for (const Voter& voter : Others()) {
    if (configuration().IsVoter(voter)) RequestVote(voter);
  }
}

void Raft::RequestVote(const Voter& voter) {
  const bool is_pre_vote = std::get<Candidate>(role_).is_pre_vote;
  const VoteRequest request{.term = is_pre_vote ? term() + 1 : term(),
                            .is_pre_vote = is_pre_vote,
                            .last_log_term = log_.last_term(),
                            .last_log_index = log_.last_index()};
  if (is_pre_vote || MILLRACE_MUTANT(kVoteNotPersisted)) {
    SendNow(voter, request);
  } else {
    // The candidate's own vote goes with its request: it must not be cast twice.
    SendWhenDurable(voter, request, LogIndex());
  }
}

bool Raft::IsUpToDate(const VoteRequest& request) const {
  if (MILLRACE_MUTANT(kVoteIgnoresLog)) return true;
  // Raft §5.4.1.
  if (request.last_log_term != log_.last_term()) return request.last_log_term > log_.last_term();
  return request.last_log_index >= log_.last_index();
}

// Whether its vote in this term can be `candidate`'s.
bool Raft::CanVoteFor(const Voter& candidate) const {
  return hard_state_.vote == candidate || MILLRACE_MUTANT(kVoteTwice) ||
         (hard_state_.vote.broker == BrokerId() && leader_.broker == BrokerId());
}

void Raft::OnVoteRequest(const Voter& from, const VoteRequest& request) {
  if (HasLiveLeader() && !request.is_transfer && leader_ != from) return;
  if (request.is_pre_vote) {
    // Thesis §9.6: granted if the vote itself would be. That may be one in this very term, which a
    // candidate that is a term behind would take: to refuse it would cost it a timeout.
    const bool is_open = request.term > term() || (request.term == term() && CanVoteFor(from));
    const bool granted = is_open && IsUpToDate(request);
    SendWhenDurable(
        from,
        VoteReply{.term = granted ? request.term : term(), .is_pre_vote = true, .granted = granted},
        LogIndex());
    return;
  }
  if (request.term != term()) return;
  const bool granted = CanVoteFor(from) && IsUpToDate(request);
  const VoteReply reply{.term = term(), .is_pre_vote = false, .granted = granted};
  if (granted && MILLRACE_MUTANT(kVoteNotPersisted)) {
    hard_state_.vote = from;
    return SendNow(from, reply);
  }
  if (granted) {
    SetHardState(term(), from);
    ResetElectionTimer();
  }
  SendWhenDurable(from, reply, LogIndex());
}

void Raft::OnVoteReply(const Voter& from, const VoteReply& reply) {
  auto* candidate = std::get_if<Candidate>(&role_);
  if (candidate == nullptr || candidate->is_pre_vote != reply.is_pre_vote) return;
  const Term expected = candidate->is_pre_vote && reply.granted ? term() + 1 : term();
  if (reply.term != expected || !configuration().IsVoter(from)) return;
  candidate->votes.emplace(from, reply.granted);
  CountBallots();
}

void Raft::CountBallots() {
  const auto* candidate = std::get_if<Candidate>(&role_);
  if (candidate == nullptr) return;
  const VoteResult result = CountVotes(configuration(), [this, candidate](const Voter& voter) {
    auto vote = candidate->votes.find(voter);
    if (vote == candidate->votes.end()) {
      // Who is gone gives no vote: a vote that those who are left have split is lost, not pending.
      return disconnected_.contains(voter.broker) ? Ballot::kRejected : Ballot::kMissing;
    }
    return vote->second ? Ballot::kGranted : Ballot::kRejected;
  });
  if (result == VoteResult::kPending) return;
  if (result == VoteResult::kLost) {
    // Waits for its next timeout; the fast pace, if any, goes on, and in turn if votes were split.
    if (!candidate->is_pre_vote) fast_pre_vote_wait_ = fast_pre_vote_turn_;
    role_ = Follower{};
    NoteLeadershipChange();
  } else if (candidate->is_pre_vote) {
    StartElection();
  } else {
    BecomeLeader();
  }
}

void Raft::BecomeLeader() {
  role_ = Leader{};
  leader_ = options_.self;
  fast_pre_vote_left_ = 0;
  wants_no_op_ = true;
  NoteLeadershipChange();
  Leader& leader = std::get<Leader>(role_);
  for (LogIndex at = commit_index_ + 1; at <= log_.last_index(); ++at) {
    leader.uncommitted_bytes += log_.At(at).size_bytes();
  }
  UpdateProgressMembers();
}

}  // namespace millrace::raft::core

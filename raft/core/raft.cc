#include "raft/core/raft.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "raft/core/quorum.h"

namespace millrace::raft::core {
namespace {

// More elections than a group holds while one replica is away: a message so far ahead is no
// replica's, and a few of them would leave no terms to elect in.
constexpr uint64_t kTermJumpMax = uint64_t{1} << 32;

}  // namespace

Term TermOf(const Message& message) {
  return std::visit([](const auto& kind) { return kind.term; }, message);
}

Raft::Raft(const Options& options, InitialState initial)
    : options_(options),
      random_(options.random_seed),
      log_(std::move(initial.log)),
      hard_state_(initial.hard_state),
      commit_index_(std::max(initial.commit_index, log_.prefix().index)),
      configurations_(std::move(initial.configuration), log_),
      durability_(log_.last_index(), initial.epoch) {
  CHECK_NE(options_.self.broker, BrokerId());
  CHECK_GT(options_.election_timeout_ticks, options_.heartbeat_ticks);
  CHECK_LE(commit_index_, log_.last_index());
  CHECK_GE(hard_state_.term, log_.last_term());
  ResetElectionTimer();
}

Role Raft::role() const {
  if (std::holds_alternative<Leader>(role_)) return Role::kLeader;
  const auto* candidate = std::get_if<Candidate>(&role_);
  if (candidate == nullptr) return Role::kFollower;
  return candidate->is_pre_vote ? Role::kPreCandidate : Role::kCandidate;
}

const Configuration& Raft::configuration() const { return configurations_.latest(); }

std::pair<LogIndex, Configuration> Raft::ConfigurationAt(LogIndex index) const {
  return configurations_.InForceAt(index);
}

std::vector<Voter> Raft::Others() const {
  std::vector<Voter> others = configuration().Members();
  std::erase(others, options_.self);
  return others;
}

bool Raft::has_committed_in_term() const { return log_.TermAt(commit_index_) == term(); }

// The member that the sender's broker holds; the sender if there is none.
Voter Raft::MemberOf(const Voter& sender) const {
  for (const Voter& member : configuration().Members()) {
    if (member.holder() == sender.holder()) return member;
  }
  return sender;
}

void Raft::Step(const Voter& sender, Message message) {
  const Voter from = MILLRACE_MUTANT(kOldLifeCounts) ? MemberOf(sender) : sender;
  if (!fault_.ok() || from == options_.self || configurations_.IsSuperseded(from)) return;
  const Term their_term = TermOf(message);
  if (their_term.value() > term().value() && their_term.value() - term().value() > kTermJumpMax) {
    return;
  }
  if (their_term > term()) {
    StepNewerTerm(from, message);
  } else if (their_term < term()) {
    StepOlderTerm(from, message);
    return;
  }
  if (auto* vote = std::get_if<VoteRequest>(&message)) return OnVoteRequest(from, *vote);
  if (auto* vote = std::get_if<VoteReply>(&message)) return OnVoteReply(from, *vote);
  if (their_term != term()) return;
  if (auto* append = std::get_if<AppendRequest>(&message)) {
    OnAppendRequest(from, std::move(*append));
  } else if (auto* heartbeat = std::get_if<Heartbeat>(&message)) {
    OnHeartbeat(from, *heartbeat);
  } else if (auto* append_reply = std::get_if<AppendReply>(&message)) {
    OnAppendReply(from, *append_reply);
  } else if (auto* heartbeat_reply = std::get_if<HeartbeatReply>(&message)) {
    OnHeartbeatReply(from, *heartbeat_reply);
  } else if (auto* behind = std::get_if<Behind>(&message)) {
    OnBehind(from, *behind);
  }
}

void Raft::StepNewerTerm(const Voter& from, const Message& message) {
  const Term their_term = TermOf(message);
  if (const auto* vote = std::get_if<VoteRequest>(&message)) {
    // A pre-vote changes nothing; and whoever hears a live leader keeps its term (thesis §4.2.3).
    const bool is_loyal = HasLiveLeader() && leader_ != from;
    if (vote->is_pre_vote || (is_loyal && !vote->is_transfer)) return;
  }
  if (const auto* reply = std::get_if<VoteReply>(&message)) {
    // A granted pre-vote names the term that the candidate would take.
    if (reply->is_pre_vote && reply->granted) return;
  }
  const bool is_from_leader = std::holds_alternative<AppendRequest>(message) ||
                              std::holds_alternative<Heartbeat>(message) ||
                              std::holds_alternative<Behind>(message);
  BecomeFollower(their_term, is_from_leader ? from : Voter{});
}

void Raft::StepOlderTerm(const Voter& from, const Message& message) {
  if (const auto* vote = std::get_if<VoteRequest>(&message)) {
    SendWhenDurable(from, VoteReply{.term = term(), .is_pre_vote = vote->is_pre_vote}, LogIndex());
  } else if (std::holds_alternative<AppendRequest>(message) ||
             std::holds_alternative<Heartbeat>(message)) {
    // Tells a deposed leader of the newer term.
    SendWhenDurable(from, HeartbeatReply{.term = term()}, LogIndex());
  }
}

void Raft::Tick() {
  if (!fault_.ok()) return;
  if (is_leader()) {
    TickLeader();
  } else {
    TickElection();
  }
}

Status Raft::Propose(Entry entry) {
  Leader* leader = leader_state();
  if (leader == nullptr || !fault_.ok()) return Unavailable("not the leader", Reason::kNotLeader);
  CHECK_EQ(entry.index, log_.last_index() + 1);
  CHECK_EQ(entry.term, term());
  const bool is_first_in_term = log_.last_term() != term();
  CHECK_EQ(is_first_in_term, entry.type == EntryType::kNoOp) << "index=" << entry.index;
  CHECK_EQ(entry.configuration != nullptr, entry.type == EntryType::kConfiguration);
  const uint64_t bytes = leader->uncommitted_bytes + entry.size_bytes();
  // The no-op always passes: it is what commits the bytes that older terms left.
  if (!is_first_in_term && leader->uncommitted_bytes > 0 &&
      bytes > options_.uncommitted_bytes_max) {
    return ResourceExhausted("too many bytes wait to be committed", Reason::kThrottled)
        .RetryAfterMs(20);
  }
  if (entry.type == EntryType::kConfiguration) {
    if (!has_committed_in_term()) {
      return FailedPrecondition("the leader has not committed in its term yet");
    }
    RETURN_IF_ERROR(configurations_.CheckMayAppend(*entry.configuration, commit_index_));
  }
  leader->uncommitted_bytes = bytes;
  const bool is_configuration = entry.type == EntryType::kConfiguration;
  AppendToLog(std::move(entry));
  if (is_configuration) UpdateProgressMembers();
  MaybeCommit();
  // Where voters went, those that are left may have answered long since.
  if (is_configuration) ConfirmReads();
  return {};
}

void Raft::SetHardState(Term term, Voter vote) {
  CHECK_GE(term, hard_state_.term);
  const HardState next{.term = term, .vote = vote};
  if (next == hard_state_) return;
  hard_state_ = next;
  durability_.OnHardStateChanged();
  is_hard_state_dirty_ = true;
}

void Raft::AppendToLog(Entry entry) {
  if (entry.configuration) configurations_.Append(entry.index, *entry.configuration);
  unwritten_.push_back(entry);
  log_.Append(std::move(entry));
}

void Raft::TruncateLog(LogIndex from) {
  CHECK_GT(from, commit_index_);
  MILLRACE_SOMETIMES_IF("two or more uncommitted entries were cut", from < log_.last_index());
  log_.TruncateFrom(from);
  configurations_.TruncateFrom(from);
  std::erase_if(unwritten_, [from](const Entry& entry) { return entry.index >= from; });
  truncate_from_ = truncate_from_.has_value() ? std::min(*truncate_from_, from) : from;
  durability_.Truncate(from);
}

void Raft::TrimTail(LogIndex index) {
  CHECK_LE(index, commit_index_);
  log_.TrimTo(index);
  configurations_.TrimTo(index);
}

void Raft::SetCommitIndex(LogIndex index) {
  CHECK_LE(index, log_.last_index());
  if (index <= commit_index_) return;
  commit_index_ = index;
  is_commit_changed_ = true;
}

void Raft::OnDurable(const DurablePoint& point) {
  durability_.OnDurable(point, log_.last_index());
  durability_.ReleaseInto(&messages_);
  if (auto* candidate = std::get_if<Candidate>(&role_)) {
    if (!candidate->is_pre_vote && durability_.is_hard_state_durable()) {
      candidate->votes[options_.self] = true;
      CountBallots();
    }
  }
  MaybeCommit();
}

void Raft::SendNow(const Voter& to, Message message) {
  messages_.push_back({.to = to, .message = std::move(message)});
}

void Raft::SendWhenDurable(const Voter& to, Message message, LogIndex index) {
  if (durability_.Covers(index)) return SendNow(to, std::move(message));
  durability_.Delay({.to = to, .message = std::move(message)}, index);
}

void Raft::Fail(Status why) {
  BecomeFollower(term(), Voter{});
  fault_ = std::move(why);
  messages_.clear();
  durability_.DropDelayed();
}

bool Raft::HasReady() const {
  return !messages_.empty() || !wanted_.empty() || !behind_.empty() ||
         left_behind_by_.has_value() || !read_states_.empty() || is_hard_state_dirty_ ||
         truncate_from_.has_value() || !unwritten_.empty() || is_leadership_changed_ ||
         is_commit_changed_ || wants_no_op_ || !fault_.ok();
}

Ready Raft::TakeReady() {
  Ready ready;
  // What was proposed since the last Ready leaves as one append for each follower.
  if (is_leader() && !unwritten_.empty()) SendToAll();
  ready.messages = std::exchange(messages_, {});
  ready.wanted = std::exchange(wanted_, {});
  ready.behind = std::exchange(behind_, {});
  ready.left_behind_by = std::exchange(left_behind_by_, std::nullopt);
  ready.read_states = std::exchange(read_states_, {});
  ready.commit_index = commit_index_;
  ready.leadership_changed = std::exchange(is_leadership_changed_, false);
  ready.wants_no_op = std::exchange(wants_no_op_, false);
  ready.fault = fault_;
  is_commit_changed_ = false;
  if (Leader* leader = leader_state()) leader->reads.Close();
  if (!is_hard_state_dirty_ && !truncate_from_.has_value() && unwritten_.empty()) return ready;
  StorageWrite& write = ready.write.emplace();
  if (std::exchange(is_hard_state_dirty_, false)) write.hard_state = hard_state_;
  write.truncate_from = std::exchange(truncate_from_, std::nullopt);
  write.epoch = durability_.epoch();
  write.entries = std::exchange(unwritten_, {});
  write.durable_point = {.hard_state_version = durability_.hard_state_version(),
                         .last_term = log_.last_term(),
                         .last_index = log_.last_index(),
                         .epoch = durability_.epoch()};
  return ready;
}

void Raft::CheckInvariants() const {
  CHECK_LE(commit_index_, log_.last_index());
  durability_.CheckInvariants(log_.last_index());
  CHECK_GE(hard_state_.term, log_.last_term());
  configurations_.CheckInvariants(log_.prefix().index);
  const auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return;
  CHECK_EQ(leader_, options_.self);
  CHECK_EQ(hard_state_.vote, options_.self);
  for (const auto& [voter, progress] : leader->progress) {
    progress.CheckInvariants(log_.last_index());
  }
}

}  // namespace millrace::raft::core

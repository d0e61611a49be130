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
      epoch_(initial.epoch),
      durable_index_(log_.last_index()),
      durable_epoch_(initial.epoch) {
  CHECK_NE(options_.self.broker, BrokerId());
  CHECK_GT(options_.election_timeout_ticks, options_.heartbeat_ticks);
  CHECK_LE(commit_index_, log_.last_index());
  CHECK_GE(hard_state_.term, log_.last_term());
  configurations_.push_back({LogIndex(), std::move(initial.configuration)});
  for (LogIndex at = log_.prefix().index + 1; at <= log_.last_index(); ++at) {
    const Entry& entry = log_.At(at);
    if (entry.configuration) configurations_.push_back({at, *entry.configuration});
  }
  NoteMemberNumbers();
  ResetElectionTimer();
}

Role Raft::role() const {
  if (std::holds_alternative<Leader>(role_)) return Role::kLeader;
  const auto* candidate = std::get_if<Candidate>(&role_);
  if (candidate == nullptr) return Role::kFollower;
  return candidate->is_pre_vote ? Role::kPreCandidate : Role::kCandidate;
}

const Configuration& Raft::configuration() const { return configurations_.back().configuration; }

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

// A message that a former life of a replica sent may come late. What that one promised must not
// count for its successor, nor what it asks disturb anybody.
bool Raft::IsSuperseded(const Voter& from) {
  LatestNumber& latest = LatestOf(from.broker);
  if (from.number > latest.heard) {
    latest.heard = from.number;
    latest.known = std::max(latest.known, from.number);
  }
  return from.number < latest.known;
}

Raft::LatestNumber& Raft::LatestOf(BrokerId broker) {
  const auto found = std::ranges::find(latest_, broker, &LatestNumber::broker);
  return found != latest_.end() ? *found : latest_.emplace_back(LatestNumber{.broker = broker});
}

// What only a configuration told is forgotten with it.
void Raft::NoteMemberNumbers() {
  for (LatestNumber& latest : latest_) latest.known = latest.heard;
  for (const ConfigurationAt& at : configurations_) {
    for (const Voter& member : at.configuration.Members()) {
      ReplicaNumber& known = LatestOf(member.broker).known;
      known = std::max(known, member.number);
    }
  }
}

void Raft::Step(const Voter& sender, Message message) {
  const Voter from = MILLRACE_MUTANT(kOldLifeCounts) ? MemberOf(sender) : sender;
  if (!fault_.ok() || from == options_.self || IsSuperseded(from)) return;
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
  const bool is_from_leader =
      std::holds_alternative<AppendRequest>(message) || std::holds_alternative<Heartbeat>(message);
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
    if (configurations_.back().index > commit_index_) {
      return FailedPrecondition("another configuration change is under way");
    }
    RETURN_IF_ERROR(CheckChange(configuration(), *entry.configuration));
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
  ++hard_state_version_;
  is_hard_state_dirty_ = true;
}

void Raft::AppendToLog(Entry entry) {
  if (entry.configuration) {
    configurations_.push_back({entry.index, *entry.configuration});
    NoteMemberNumbers();
  }
  unwritten_.push_back(entry);
  log_.Append(std::move(entry));
}

void Raft::TruncateLog(LogIndex from) {
  CHECK_GT(from, commit_index_);
  MILLRACE_SOMETIMES_IF("two or more uncommitted entries were cut", from < log_.last_index());
  log_.TruncateFrom(from);
  while (configurations_.back().index >= from) configurations_.pop_back();
  NoteMemberNumbers();
  std::erase_if(unwritten_, [from](const Entry& entry) { return entry.index >= from; });
  truncate_from_ = truncate_from_.has_value() ? std::min(*truncate_from_, from) : from;
  ++epoch_;
  cuts_.push_back({.epoch = epoch_, .from = from});
  durable_index_ = std::min(durable_index_, from - 1);
  // What was promised of the entries that are gone must not be said any more.
  std::erase_if(delayed_, [from](const Delayed& delayed) { return delayed.index >= from; });
}

void Raft::TrimTail(LogIndex index) {
  CHECK_LE(index, commit_index_);
  log_.TrimTo(index);
  // Of those at and below the edge the last one alone is in force anywhere in the tail.
  while (configurations_.size() > 1 && configurations_[1].index <= index) {
    configurations_.pop_front();
  }
}

void Raft::SetCommitIndex(LogIndex index) {
  CHECK_LE(index, log_.last_index());
  if (index <= commit_index_) return;
  commit_index_ = index;
  is_commit_changed_ = true;
}

void Raft::OnDurable(const DurablePoint& point) {
  durable_hard_state_version_ = std::max(durable_hard_state_version_, point.hard_state_version);
  LogIndex reached = point.last_index;
  // Of an older epoch's write only what lies below every later cut still stands.
  for (const Cut& cut : cuts_) {
    if (cut.epoch > point.epoch && !MILLRACE_MUTANT(kLateCompletionMarksRewritten)) {
      reached = std::min(reached, cut.from - 1);
    }
  }
  // A report that was overtaken by one of a later truncation says nothing new of the log.
  MILLRACE_SOMETIMES_IF("a write completed after a later truncation", point.epoch < epoch_);
  if (point.epoch < durable_epoch_ && !MILLRACE_MUTANT(kLateCompletionMarksRewritten)) {
    reached = LogIndex();
  }
  durable_epoch_ = std::max(durable_epoch_, point.epoch);
  std::erase_if(cuts_, [&point](const Cut& cut) { return cut.epoch <= point.epoch; });
  durable_index_ = std::max(durable_index_, std::min(reached, log_.last_index()));
  ReleaseDelayed();
  if (auto* candidate = std::get_if<Candidate>(&role_)) {
    if (!candidate->is_pre_vote && durable_hard_state_version_ >= hard_state_version_) {
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
  if (durable_hard_state_version_ >= hard_state_version_ && durable_index_ >= index) {
    SendNow(to, std::move(message));
    return;
  }
  delayed_.push_back({.message = {.to = to, .message = std::move(message)},
                      .hard_state_version = hard_state_version_,
                      .index = index});
}

void Raft::ReleaseDelayed() {
  std::deque<Delayed> still;
  for (Delayed& delayed : delayed_) {
    if (durable_hard_state_version_ >= delayed.hard_state_version &&
        durable_index_ >= delayed.index) {
      messages_.push_back(std::move(delayed.message));
    } else {
      still.push_back(std::move(delayed));
    }
  }
  delayed_ = std::move(still);
}

void Raft::Fail(Status why) {
  BecomeFollower(term(), Voter{});
  fault_ = std::move(why);
  messages_.clear();
  delayed_.clear();
}

bool Raft::HasReady() const {
  return !messages_.empty() || !wanted_.empty() || !behind_.empty() || !read_states_.empty() ||
         is_hard_state_dirty_ || truncate_from_.has_value() || !unwritten_.empty() ||
         is_leadership_changed_ || is_commit_changed_ || wants_no_op_ || !fault_.ok();
}

Ready Raft::TakeReady() {
  Ready ready;
  // What was proposed since the last Ready leaves as one append for each follower.
  if (is_leader() && !unwritten_.empty()) SendToAll();
  ready.messages = std::exchange(messages_, {});
  ready.wanted = std::exchange(wanted_, {});
  ready.behind = std::exchange(behind_, {});
  ready.read_states = std::exchange(read_states_, {});
  ready.commit_index = commit_index_;
  ready.leadership_changed = std::exchange(is_leadership_changed_, false);
  ready.wants_no_op = std::exchange(wants_no_op_, false);
  ready.fault = fault_;
  is_commit_changed_ = false;
  if (Leader* leader = leader_state()) leader->is_read_round_open = false;
  if (!is_hard_state_dirty_ && !truncate_from_.has_value() && unwritten_.empty()) return ready;
  StorageWrite& write = ready.write.emplace();
  if (std::exchange(is_hard_state_dirty_, false)) write.hard_state = hard_state_;
  write.truncate_from = std::exchange(truncate_from_, std::nullopt);
  write.epoch = epoch_;
  write.entries = std::exchange(unwritten_, {});
  write.durable_point = {.hard_state_version = hard_state_version_,
                         .last_term = log_.last_term(),
                         .last_index = log_.last_index(),
                         .epoch = epoch_};
  return ready;
}

void Raft::CheckInvariants() const {
  CHECK_LE(commit_index_, log_.last_index());
  CHECK_LE(durable_index_, log_.last_index());
  CHECK_LE(durable_hard_state_version_, hard_state_version_);
  CHECK_GE(hard_state_.term, log_.last_term());
  CHECK(!configurations_.empty());
  CHECK_LE(configurations_.front().index, log_.prefix().index);
  const auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return;
  CHECK_EQ(leader_, options_.self);
  CHECK_EQ(hard_state_.vote, options_.self);
  for (const auto& [voter, progress] : leader->progress) {
    CHECK_LE(progress.match, log_.last_index()) << voter;
    CHECK_LT(progress.match, progress.next) << voter;
    CHECK_EQ(progress.inflight.empty(), progress.inflight_bytes == 0) << voter;
  }
}

}  // namespace millrace::raft::core

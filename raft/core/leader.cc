// What a leader does: replication with bounded bytes in flight (Raft §5.3), commitment (§5.4.2),
// check quorum, and linearizable reads (thesis §6.4).

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/mutants.h"
#include "raft/core/quorum.h"
#include "raft/core/raft.h"

namespace millrace::raft::core {
void Raft::UpdateProgressMembers() {
  Leader& leader = std::get<Leader>(role_);
  const std::vector<Voter> others = Others();
  std::erase_if(leader.progress, [&others](const auto& entry) {
    return !std::binary_search(others.begin(), others.end(), entry.first);
  });
  for (const Voter& voter : others) {
    const auto [at, is_new] = leader.progress.try_emplace(voter, log_.last_index() + 1);
    if (!is_new) continue;
    // Before its first entries, so that its answer tells whether it was there to take them.
    SendHeartbeat(voter, at->second);
  }
}

void Raft::TickLeader() {
  Leader& leader = std::get<Leader>(role_);
  for (auto& [voter, progress] : leader.progress) progress.TickSilence();
  if (!IsHeardByQuorum() && !MILLRACE_MUTANT(kLeaderKeepsTalkingWithoutQuorum)) {
    // A leader without a quorum must fall silent, or it keeps the voters of a healthy majority
    // loyal to it.
    return BecomeFollower(term(), Voter{});
  }
  for (auto& [voter, progress] : leader.progress) {
    progress.TickWindow(options_.election_timeout_ticks, log_);
  }
  if (++leader.heartbeat_elapsed >= options_.heartbeat_ticks) {
    leader.heartbeat_elapsed = 0;
    SendHeartbeats();
  }
}

bool Raft::IsHeardByQuorum() const {
  const Leader& leader = std::get<Leader>(role_);
  return HasQuorum(configuration(), [&](const Voter& voter) {
    if (voter == options_.self) return true;
    auto progress = leader.progress.find(voter);
    return progress != leader.progress.end() &&
           progress->second.silent_ticks() < options_.election_timeout_ticks;
  });
}

void Raft::SendHeartbeats() {
  Leader& leader = std::get<Leader>(role_);
  leader.reads.Begin();
  for (const auto& [voter, progress] : leader.progress) SendHeartbeat(voter, progress);
}

void Raft::SendHeartbeat(const Voter& to, const Progress& progress) {
  // min(match, commit): the follower may take it as it is.
  SendNow(to, Heartbeat{.term = term(),
                        .commit_index = MILLRACE_MUTANT(kHeartbeatCommitsUnmatched)
                                            ? commit_index_
                                            : std::min(progress.match(), commit_index_),
                        .round = std::get<Leader>(role_).reads.current()});
}

void Raft::SendToAll() {
  for (auto& [voter, progress] : std::get<Leader>(role_).progress) SendEntries(voter, &progress);
}

void Raft::SendEntries(const Voter& to, Progress* progress) {
  for (;;) {
    switch (progress->NextStep(log_, options_.inflight_bytes_max)) {
      case Progress::Step::kWait:
        return;
      case Progress::Step::kAsk:
        return SendAppend(to, progress, {});
      case Progress::Step::kRead:
        wanted_.push_back(
            {.peer = to, .first_index = progress->next(), .bytes_max = options_.append_bytes_max});
        return;
      case Progress::Step::kSend:
        SendAppend(to, progress,
                   log_.Slice(progress->next(), log_.last_index(), options_.append_bytes_max));
        break;
    }
  }
}

void Raft::SendAppend(const Voter& to, Progress* progress, std::vector<Entry> entries) {
  const LogIndex prev = progress->next() - 1;
  const std::optional<Term> prev_term = log_.TermAt(prev);
  CHECK(prev_term.has_value()) << "index=" << prev << " begin=" << log_.begin().index;
  const bool is_catching_up = !entries.empty() && entries.front().index <= log_.prefix().index;
  progress->OnSend(entries, is_catching_up, std::get<Leader>(role_).reads.current());
  SendNow(to, AppendRequest{.term = term(),
                            .prev_index = prev,
                            .prev_term = *prev_term,
                            .commit_index = commit_index_,
                            .entries = std::move(entries)});
}

// Null if this is no leader, or `peer` no member.
Progress* Raft::ProgressOf(const Voter& peer) {
  Leader* leader = leader_state();
  if (leader == nullptr) return nullptr;
  const auto found = leader->progress.find(peer);
  return found == leader->progress.end() ? nullptr : &found->second;
}

void Raft::ProbeNow(const Voter& peer, Progress* progress) {
  progress->OnReturned(log_);
  // Before the entries, so that the answer tells whether it was there to take them.
  SendHeartbeat(peer, *progress);
  SendEntries(peer, progress);
}

void Raft::OnEntriesRead(const Voter& peer, LogIndex first_index, std::vector<Entry> entries) {
  Progress* progress = ProgressOf(peer);
  if (progress == nullptr || !progress->is_reading()) return;
  for (const Entry& entry : entries) {
    const FrameHeader header = entry.frame.header();
    if (IsRewritten(header)) log_.NoteRewritten(LastIndexOf(header));
  }
  const bool is_wanted = progress->OnRead(first_index, log_);
  // After a failed read the next heartbeat's answer asks again.
  if (entries.empty()) return;
  if (is_wanted) {
    CHECK_EQ(entries.front().index, first_index);
    SendAppend(peer, progress, std::move(entries));
  }
  SendEntries(peer, progress);
}

void Raft::OnAppendReply(const Voter& from, const AppendReply& reply) {
  Progress* progress = ProgressOf(from);
  if (progress == nullptr) return;
  progress->OnHeard();
  if (reply.success) {
    if (reply.index > log_.last_index()) return;
    progress->Acknowledge(reply.index, log_);
    MaybeCommit();
  } else {
    const Progress::Refused refused = progress->OnRefused(reply, log_);
    if (refused.is_behind) SendNow(from, Behind{.term = term(), .begin = log_.unsendable_end()});
    if (refused.is_newly_behind) behind_.push_back({.peer = from, .needed = refused.needed});
    if (!refused.wants_entries) return;
  }
  SendEntries(from, progress);
}

void Raft::OnHeartbeatReply(const Voter& from, const HeartbeatReply& reply) {
  Progress* progress = ProgressOf(from);
  if (progress == nullptr) return;
  progress->OnHeard();
  progress->OnHeartbeatReply(reply.round, log_);
  if (progress->match() < log_.last_index()) SendEntries(from, progress);
  ConfirmReads();
}

void Raft::MaybeCommit() {
  Leader* leader = leader_state();
  if (leader == nullptr) return;
  const LogIndex own =
      MILLRACE_MUTANT(kLeaderCountsUnsyncedSelf) ? log_.last_index() : durability_.index();
  const LogIndex reached = QuorumIndex(configuration(), [&](const Voter& voter) {
    if (voter == options_.self) return own;
    auto progress = leader->progress.find(voter);
    return progress == leader->progress.end() ? LogIndex() : progress->second.match();
  });
  if (reached <= commit_index_) return;
  // Raft §5.4.2: entries of older terms are committed by one of this term only.
  if (log_.TermAt(reached) != term() && !MILLRACE_MUTANT(kCommitOlderTerm)) return;
  for (LogIndex at = commit_index_ + 1; at <= reached; ++at) {
    leader->uncommitted_bytes -= std::min(leader->uncommitted_bytes, log_.At(at).size_bytes());
  }
  SetCommitIndex(reached);
}

Status Raft::ReadIndex(uint64_t request_id) {
  Leader* leader = leader_state();
  if (leader == nullptr) return Unavailable("not the leader", Reason::kNotLeader);
  if (!has_committed_in_term()) {
    return Unavailable("the leader has not committed in its term yet", Reason::kNotLeader);
  }
  if (leader->reads.Join()) SendHeartbeats();
  leader->reads.Add(request_id, commit_index_);
  ConfirmReads();
  return {};
}

void Raft::ConfirmReads() {
  Leader& leader = std::get<Leader>(role_);
  const auto is_confirmed = [&](uint64_t round) {
    return HasQuorum(configuration(), [&](const Voter& voter) {
      if (voter == options_.self || MILLRACE_MUTANT(kReadWithoutRound)) return true;
      auto progress = leader.progress.find(voter);
      return progress != leader.progress.end() && progress->second.answered_round() >= round;
    });
  };
  leader.reads.Serve(is_confirmed, &read_states_);
}

}  // namespace millrace::raft::core

// What a leader does: replication with bounded bytes in flight (Raft §5.3), commitment (§5.4.2),
// check quorum, and linearizable reads (thesis §6.4).

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/mutants.h"
#include "raft/core/quorum.h"
#include "raft/core/raft.h"

namespace millrace::raft::core {
namespace {

// Of doublings of the election timeout, in waiting for an answer: 5 s by default. A follower whose
// journal is full drops entries, and is not to wait much longer than that itself.
constexpr uint32_t kLostWindowsMax = 4;

}  // namespace

void Raft::UpdateProgressMembers() {
  Leader& leader = std::get<Leader>(role_);
  const std::vector<Voter> others = Others();
  std::erase_if(leader.progress, [&others](const auto& entry) {
    return !std::binary_search(others.begin(), others.end(), entry.first);
  });
  for (const Voter& voter : others) {
    auto [at, is_new] = leader.progress.try_emplace(voter);
    if (!is_new) continue;
    at->second.next = log_.last_index() + 1;
    // Before its first entries, so that its answer tells whether it was there to take them.
    SendHeartbeat(voter, at->second);
  }
}

void Raft::TickLeader() {
  Leader& leader = std::get<Leader>(role_);
  for (auto& [voter, progress] : leader.progress) ++progress.silent_ticks;
  if (!IsHeardByQuorum() && !MILLRACE_MUTANT(kLeaderKeepsTalkingWithoutQuorum)) {
    // A leader without a quorum must fall silent, or it keeps the voters of a healthy majority
    // loyal to it.
    return BecomeFollower(term(), Voter{});
  }
  for (auto& [voter, progress] : leader.progress) {
    if (progress.inflight.empty() || MILLRACE_MUTANT(kLostWindowIsNeverProbed)) continue;
    // What was sent and never answered was lost, or its answer was; or the way there is slow, and
    // sending it again at the same pace would fill it with copies.
    const uint32_t patience = options_.election_timeout_ticks << progress.lost_windows;
    if (++progress.ticks_without_answer >= patience) {
      BecomeProbe(&progress);
      progress.lost_windows = std::min(progress.lost_windows + 1, kLostWindowsMax);
    }
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
           progress->second.silent_ticks < options_.election_timeout_ticks;
  });
}

void Raft::SendHeartbeats() {
  Leader& leader = std::get<Leader>(role_);
  ++leader.round;
  for (const auto& [voter, progress] : leader.progress) SendHeartbeat(voter, progress);
}

void Raft::SendHeartbeat(const Voter& to, const Progress& progress) {
  // min(match, commit): the follower may take it as it is.
  SendNow(to, Heartbeat{.term = term(),
                        .commit_index = MILLRACE_MUTANT(kHeartbeatCommitsUnmatched)
                                            ? commit_index_
                                            : std::min(progress.match, commit_index_),
                        .round = std::get<Leader>(role_).round});
}

void Raft::SendToAll() {
  for (auto& [voter, progress] : std::get<Leader>(role_).progress) SendEntries(voter, &progress);
}

void Raft::SendEntries(const Voter& to, Progress* progress) {
  while (!progress->is_reading) {
    const bool is_probe = progress->state == Progress::kProbe;
    if (is_probe && progress->is_probe_sent) return;
    if (!is_probe && progress->next > log_.last_index()) return;
    if (!progress->inflight.empty() && progress->inflight_bytes >= options_.inflight_bytes_max) {
      return;
    }
    if (progress->next < log_.first_index()) BecomeProbe(progress);  // asks it at the begin
    if (progress->is_behind) return SendAppend(to, progress, {});
    if (progress->next <= log_.prefix().index) {
      progress->is_reading = true;
      wanted_.push_back(
          {.peer = to, .first_index = progress->next, .bytes_max = options_.append_bytes_max});
      return;
    }
    // Catching up goes by another lane, which the tail must not overtake: it would be refused.
    if (!progress->inflight.empty() && progress->inflight.back().is_catching_up) return;
    SendAppend(to, progress,
               log_.Slice(progress->next, log_.last_index(), options_.append_bytes_max));
  }
}

void Raft::SendAppend(const Voter& to, Progress* progress, std::vector<Entry> entries) {
  const LogIndex prev = progress->next - 1;
  const std::optional<Term> prev_term = log_.TermAt(prev);
  CHECK(prev_term.has_value()) << "index=" << prev << " begin=" << log_.begin().index;
  if (progress->state == Progress::kProbe) {
    progress->inflight.clear();  // A probe replaces the one before it.
    progress->inflight_bytes = 0;
  }
  if (!entries.empty()) {
    Progress::Sent sent{.last = entries.back().index,
                        .is_catching_up = entries.front().index <= log_.prefix().index,
                        .round = std::get<Leader>(role_).round};
    for (const Entry& entry : entries) sent.bytes += entry.size_bytes();
    if (progress->inflight.empty()) progress->ticks_without_answer = 0;
    progress->inflight_bytes += sent.bytes;
    progress->inflight.push_back(sent);
    if (progress->state == Progress::kReplicate) progress->next = sent.last + 1;
  }
  progress->is_probe_sent = true;
  SendNow(to, AppendRequest{.term = term(),
                            .prev_index = prev,
                            .prev_term = *prev_term,
                            .commit_index = commit_index_,
                            .entries = std::move(entries)});
}

// Null if this is no leader, or `peer` no member.
Raft::Progress* Raft::ProgressOf(const Voter& peer) {
  Leader* leader = leader_state();
  if (leader == nullptr) return nullptr;
  const auto found = leader->progress.find(peer);
  return found == leader->progress.end() ? nullptr : &found->second;
}

void Raft::BecomeProbe(Progress* progress) {
  progress->state = Progress::kProbe;
  // At the begin at least: it is a refusal there that shows a follower to need what lies below.
  progress->next = std::max(progress->match + 1, log_.first_index());
  progress->is_probe_sent = false;
  progress->inflight.clear();
  progress->inflight_bytes = 0;
  progress->ticks_without_answer = 0;
}

// To a peer that is there again: what was sent before it was is lost, and no reason to wait.
void Raft::ProbeNow(const Voter& peer, Progress* progress) {
  BecomeProbe(progress);
  progress->lost_windows = 0;
  // Before the entries, so that the answer tells whether it was there to take them.
  SendHeartbeat(peer, *progress);
  SendEntries(peer, progress);
}

void Raft::OnEntriesRead(const Voter& peer, LogIndex first_index, std::vector<Entry> entries) {
  Progress* known = ProgressOf(peer);
  if (known == nullptr || !known->is_reading) return;
  Progress& progress = *known;
  progress.is_reading = false;
  // The log's begin may have passed what was read for it.
  const bool is_wanted = progress.next == first_index && first_index >= log_.first_index() &&
                         !(progress.state == Progress::kProbe && progress.is_probe_sent);
  // After a failed read the next heartbeat's answer asks again.
  if (entries.empty()) return;
  if (is_wanted) {
    CHECK_EQ(entries.front().index, first_index);
    SendAppend(peer, &progress, std::move(entries));
  }
  SendEntries(peer, &progress);
}

void Raft::Acknowledge(Progress* progress, LogIndex index) {
  if (index > progress->match) {
    progress->match = index;
    progress->lost_windows -= std::min(progress->lost_windows, 1u);
  }
  progress->next = std::max(progress->next, progress->match + 1);
  if (progress->match >= log_.begin().index) progress->is_behind = false;
  while (!progress->inflight.empty() && progress->inflight.front().last <= index) {
    progress->inflight_bytes -= progress->inflight.front().bytes;
    progress->inflight.pop_front();
    progress->ticks_without_answer = 0;
  }
}

void Raft::OnAppendReply(const Voter& from, const AppendReply& reply) {
  Progress* known = ProgressOf(from);
  if (known == nullptr) return;
  Progress& progress = *known;
  progress.silent_ticks = 0;
  if (reply.success) {
    if (reply.index > log_.last_index()) return;
    Acknowledge(&progress, reply.index);
    if (progress.state == Progress::kProbe) {
      BecomeProbe(&progress);
      progress.state = Progress::kReplicate;
    }
    MaybeCommit();
  } else {
    // A refusal of something older than what the follower acknowledged since is stale; so is, while
    // probing, one of anything but the probe (the rest of a pipeline after its first refusal).
    if (reply.index <= progress.match || reply.hint_index >= reply.index) return;
    if (progress.state == Progress::kProbe && reply.index != progress.next - 1) return;
    const LogIndex common = log_.LastIndexWithTermAtMost(reply.hint_term, reply.hint_index);
    BecomeProbe(&progress);
    const LogIndex needed = std::max(progress.match, common) + 1;
    if (reply.index <= log_.begin().index) {
      // The follower needs what lies below the begin, or did: the refusal may be older than what it
      // has got since. So it is sent nothing but the same question, with each heartbeat that it
      // answers.
      if (!std::exchange(progress.is_behind, true)) {
        behind_.push_back({.peer = from, .needed = needed});
      }
      progress.is_probe_sent = true;
      return;
    }
    progress.next = needed;
  }
  SendEntries(from, &progress);
}

void Raft::OnHeartbeatReply(const Voter& from, const HeartbeatReply& reply) {
  Progress* known = ProgressOf(from);
  if (known == nullptr) return;
  Progress& progress = *known;
  progress.silent_ticks = 0;
  const uint64_t answered_before = progress.answered_round;
  progress.answered_round = std::max(progress.answered_round, reply.round);
  // Heartbeats are answered in turn. Where the last one before what is under way was passed over,
  // nobody was there then (a broker or a replica that was yet to come), and what is under way went
  // to nobody. On a way that is merely slow each one is answered.
  if (!progress.inflight.empty() && answered_before < progress.inflight.front().round &&
      progress.inflight.front().round < reply.round) {
    BecomeProbe(&progress);
    progress.lost_windows = 0;
  }
  // Otherwise a probe with entries is under way until TickLeader gives it up.
  if (progress.state == Progress::kProbe && progress.inflight.empty()) {
    progress.is_probe_sent = false;
  }
  if (progress.match < log_.last_index()) SendEntries(from, &progress);
  ConfirmReads();
}

void Raft::MaybeCommit() {
  Leader* leader = leader_state();
  if (leader == nullptr) return;
  const LogIndex own =
      MILLRACE_MUTANT(kLeaderCountsUnsyncedSelf) ? log_.last_index() : durable_index_;
  const LogIndex reached = QuorumIndex(configuration(), [&](const Voter& voter) {
    if (voter == options_.self) return own;
    auto progress = leader->progress.find(voter);
    return progress == leader->progress.end() ? LogIndex() : progress->second.match;
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
  if (!std::exchange(leader->is_read_round_open, true)) SendHeartbeats();
  leader->reads.push_back(
      {.request_id = request_id, .index = commit_index_, .round = leader->round});
  ConfirmReads();
  return {};
}

void Raft::ConfirmReads() {
  Leader& leader = std::get<Leader>(role_);
  while (!leader.reads.empty()) {
    const PendingRead& read = leader.reads.front();
    const bool is_confirmed = HasQuorum(configuration(), [&](const Voter& voter) {
      if (voter == options_.self || MILLRACE_MUTANT(kReadWithoutRound)) return true;
      auto progress = leader.progress.find(voter);
      return progress != leader.progress.end() && progress->second.answered_round >= read.round;
    });
    if (!is_confirmed) return;
    read_states_.push_back({.request_id = read.request_id, .index = read.index});
    leader.reads.pop_front();
  }
}

}  // namespace millrace::raft::core

// What a follower does with its leader's messages (Raft §5.3).

#include <algorithm>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "proto/base/mutants.h"
#include "raft/core/raft.h"

namespace millrace::raft::core {
namespace {

// Entries follow each other and `prev`, in terms that never fall and never pass the sender's;
// before the first entry there is no term.
bool IsWellFormed(const AppendRequest& request) {
  if (request.prev_index == LogIndex() && request.prev_term != Term()) return false;
  if (request.prev_term > request.term) return false;
  Term term = request.prev_term;
  LogIndex index = request.prev_index;
  for (const Entry& entry : request.entries) {
    if (entry.index != index + 1 || entry.term < term || entry.term > request.term) return false;
    index = entry.index;
    term = entry.term;
  }
  return true;
}

}  // namespace

// Some voter forgot that it had voted, or the message is forged: nobody can tell whose log is the
// group's, so nothing more is promised here.
void Raft::FailBesideAnotherLeader(const Voter& other) {
  Fail(DataLoss("two leaders in term " + std::to_string(term().value()) + ": this broker and " +
                std::to_string(other.broker.value())));
}

void Raft::OnAppendRequest(const Voter& from, AppendRequest request) {
  if (is_leader()) return FailBesideAnotherLeader(from);
  if (leader_ != from || !std::holds_alternative<Follower>(role_)) BecomeFollower(term(), from);
  election_elapsed_ = 0;
  if (!IsWellFormed(request)) return;
  const std::optional<Term> term_before = log_.TermAt(request.prev_index);
  if (request.prev_index <= commit_index_ &&
      term_before.value_or(request.prev_term) != request.prev_term) {
    return Fail(DataLoss("the leader has another entry at the committed index " +
                         std::to_string(request.prev_index.value())));
  }
  const bool matches =
      request.prev_index <= commit_index_ || term_before == request.prev_term ||
      (MILLRACE_MUTANT(kSkipsLogMatching) && request.prev_index <= log_.last_index());
  if (!matches) return RefuseAppend(from, request);
  const LogIndex last_new = request.prev_index + request.entries.size();
  if (!TakeEntries(&request)) return;
  SetCommitIndex(std::max(commit_index_, std::min(request.commit_index, last_new)));
  const AppendReply reply{.term = term(),
                          .success = true,
                          .index = std::max(last_new, std::min(commit_index_, request.prev_index)),
                          .hint_index = LogIndex(),
                          .hint_term = Term()};
  if (MILLRACE_MUTANT(kFollowerAcknowledgesUnsynced)) return SendNow(from, reply);
  SendWhenDurable(from, reply, reply.index);
}

void Raft::RefuseAppend(const Voter& from, const AppendRequest& request) {
  // Where the logs may still agree: before prev, which does not match, and in no newer term.
  const LogIndex at = std::min(request.prev_index - 1, log_.last_index());
  const LogIndex hint = log_.LastIndexWithTermAtMost(request.prev_term, at);
  SendWhenDurable(from,
                  AppendReply{.term = term(),
                              .success = false,
                              .index = request.prev_index,
                              .hint_index = hint,
                              .hint_term = log_.TermAt(hint).value_or(Term())},
                  LogIndex());
}

// Appends what is new; false if the logs turned out to have diverged and the replica failed.
bool Raft::TakeEntries(AppendRequest* request) {
  for (Entry& entry : request->entries) {
    const std::optional<Term> ours = log_.TermAt(entry.index);
    if (ours == entry.term) {
      const bool in_tail = log_.InTail(entry.index);
      if (in_tail && log_.At(entry.index).chain != entry.chain) {
        Fail(DataLoss("the log diverged from its leader's at index " +
                      std::to_string(entry.index.value()) + ", term " +
                      std::to_string(entry.term.value())));
        return false;
      }
      continue;
    }
    if (entry.index <= log_.last_index()) {
      if (entry.index <= commit_index_) {
        // A committed entry whose term is unknown here lies in the dropped prefix.
        if (!ours.has_value()) continue;
        Fail(DataLoss("the leader would replace the committed entry " +
                      std::to_string(entry.index.value())));
        return false;
      }
      TruncateLog(entry.index);
    }
    CHECK_EQ(entry.index, log_.last_index() + 1);
    AppendToLog(std::move(entry));
  }
  const LogIndex end = request->prev_index + request->entries.size();
  if (MILLRACE_MUTANT(kTruncateMatchingTail) && end < log_.last_index() && end >= commit_index_ &&
      log_.InTail(end + 1)) {
    TruncateLog(end + 1);
  }
  return true;
}

// What is committed is the same in every leader's log.
void Raft::AnswerAgain() {
  if (is_leader() || leader_.broker == BrokerId()) return;
  SendWhenDurable(leader_, AppendReply{.term = term(), .success = true, .index = commit_index_},
                  commit_index_);
}

void Raft::OnBehind(const Voter& from, const Behind& behind) {
  if (is_leader()) return FailBesideAnotherLeader(from);
  if (leader_ != from || !std::holds_alternative<Follower>(role_)) BecomeFollower(term(), from);
  election_elapsed_ = 0;
  // What is committed here reaches as far: the refusal that it answers was late.
  if (commit_index_ < behind.begin) left_behind_by_ = from;
}

void Raft::OnHeartbeat(const Voter& from, const Heartbeat& heartbeat) {
  if (is_leader()) return FailBesideAnotherLeader(from);
  if (leader_ != from || !std::holds_alternative<Follower>(role_)) BecomeFollower(term(), from);
  election_elapsed_ = 0;
  SetCommitIndex(std::max(commit_index_, std::min(heartbeat.commit_index, log_.last_index())));
  SendWhenDurable(from, HeartbeatReply{.term = term(), .round = heartbeat.round}, LogIndex());
}

}  // namespace millrace::raft::core

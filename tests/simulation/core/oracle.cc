#include "tests/simulation/core/oracle.h"

#include <algorithm>
#include <sstream>
#include <utility>

namespace millrace::simulation::core {
namespace {

template <typename... Parts>
std::string Text(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

}  // namespace

void Oracle::Report(std::string name, std::string details) {
  if (ok()) anomaly_ = {.name = std::move(name), .details = std::move(details)};
}

LogIndex Oracle::HeldByAll() const {
  LogIndex index = committed();
  for (const DiskImage* disk : disks_) index = std::min(index, disk->last_index());
  if (index == LogIndex()) return index;
  const uint32_t chain = committed_[index.value() - 1].chain;
  const bool is_equal = std::all_of(disks_.begin(), disks_.end(), [&](const DiskImage* disk) {
    return disk->entries[index.value() - 1].chain == chain;
  });
  return is_equal ? index : LogIndex();
}

void Oracle::OnAppended(const Voter& who, const raft::core::Entry& entry) {
  const uint64_t place = entry.term.value() << 40 | entry.index.value();
  auto [known, is_new] = chains_.emplace(place, entry.chain);
  if (is_new || known->second == entry.chain) return;
  Report("two entries of one place",
         Text("replica ", who, " holds another entry ", entry.index, " of term ", entry.term));
}

void Oracle::OnBecameLeader(const Voter& who, Term term, const raft::core::Log& log) {
  auto [leader, is_new] = leaders_.emplace(term, who);
  if (!is_new) {
    Report("two leaders in a term", Text("term ", term, ": ", leader->second, " and ", who));
  }
  // Leader completeness (Raft §5.4.3) is of what earlier terms committed: one who wins an old term
  // late, after a newer one has begun to commit, is harmless.
  const auto last = std::find_if(committed_.rbegin(), committed_.rend(),
                                 [term](const Committed& entry) { return entry.in_term < term; });
  if (last == committed_.rend()) return;
  const LogIndex at(static_cast<uint64_t>(committed_.rend() - last));
  const bool holds =
      log.TermAt(at) == last->term && (!log.InTail(at) || log.At(at).chain == last->chain);
  if (!holds) {
    Report("lost write", Text("leader ", who, " of term ", term, " ends at ", log.last_index(),
                              " and lacks the committed entry ", at, " of term ", last->term));
  }
}

void Oracle::OnSent(const raft::core::Raft& from, const Voter& who,
                    const raft::core::OutgoingMessage& message, const DiskImage& disk) {
  using raft::core::AppendReply;
  using raft::core::VoteReply;
  using raft::core::VoteRequest;
  if (const auto* request = std::get_if<VoteRequest>(&message.message)) {
    if (!request->is_pre_vote) CheckVote(who, request->term, who, disk);
  } else if (const auto* reply = std::get_if<VoteReply>(&message.message)) {
    if (!reply->is_pre_vote && reply->granted) CheckVote(who, reply->term, message.to, disk);
  } else if (const auto* ack = std::get_if<AppendReply>(&message.message)) {
    if (ack->success) CheckAcknowledgement(from, who, ack->index, disk);
  }
}

void Oracle::CheckVote(const Voter& voter, Term term, const Voter& candidate,
                       const DiskImage& disk) {
  auto [vote, is_new] = votes_.emplace(std::make_pair(voter, term), candidate);
  if (!is_new && vote->second != candidate) {
    Report("second vote in a term",
           Text(voter, " voted for ", vote->second, " and ", candidate, " in term ", term));
  }
  const raft::core::HardState& durable = disk.hard_state;
  if (durable.term > term || (durable.term == term && durable.vote == candidate)) return;
  Report("vote not durable",
         Text(voter, " votes for ", candidate, " in term ", term, " while its disk says term ",
              durable.term, ", vote ", durable.vote));
}

void Oracle::CheckAcknowledgement(const raft::core::Raft& from, const Voter& who, LogIndex index,
                                  const DiskImage& disk) {
  const bool is_durable =
      index <= disk.last_index() && (!from.log().InTail(index) || disk.Holds(from.log().At(index)));
  if (is_durable) return;
  Report("acknowledgement before fsync",
         Text(who, " acknowledges entry ", index, " in term ", from.term(),
              ", which its durable log, up to ", disk.last_index(), ", does not hold"));
}

void Oracle::CheckMajorityHolds(const raft::core::Entry& entry) {
  const auto holders = std::count_if(disks_.begin(), disks_.end(),
                                     [&](const DiskImage* disk) { return disk->Holds(entry); });
  if (static_cast<size_t>(holders) * 2 > disks_.size()) return;
  Report("commit without a durable majority",
         Text("entry ", entry.index, " of term ", entry.term, " is durable on ", holders, " of ",
              disks_.size()));
}

void Oracle::OnCommitted(const Voter& who, const raft::core::Raft& raft, LogIndex before,
                         LogIndex after) {
  const raft::core::Log& log = raft.log();
  if (after < before) {
    return Report("commit index went back", Text(who, " from ", before, " to ", after));
  }
  const LogIndex known = committed();
  for (LogIndex at = std::max(before, log.prefix().index) + 1; at <= after; ++at) {
    const raft::core::Entry& entry = log.At(at);
    if (at > committed()) {
      committed_.push_back({.term = entry.term, .chain = entry.chain, .in_term = raft.term()});
      continue;
    }
    const Committed& was = committed_[at.value() - 1];
    if (was.term != entry.term || was.chain != entry.chain) {
      return Report("committed entry changed",
                    Text(who, " committed entry ", at, " of term ", entry.term, " where term ",
                         committed_[at.value() - 1].term, " was committed"));
    }
  }
  if (committed() == known) return;
  CheckMajorityHolds(log.At(after));
  if (raft.is_leader() && !raft.has_committed_in_term()) {
    Report("older term committed by counting",
           Text("leader ", who, " of term ", raft.term(), " commits up to ", after,
                ", an entry of term ", log.At(after).term));
  }
}

void Oracle::OnRead(const Voter& who, LogIndex committed_then, LogIndex index) {
  if (index >= committed_then) return;
  Report("stale read", Text(who, " serves a read at ", index, ", asked for when ", committed_then,
                            " was committed"));
}

}  // namespace millrace::simulation::core

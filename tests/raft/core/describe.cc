// How messages read in scripts.

#include <sstream>

#include "tests/raft/core/lab.h"

namespace millrace::raft::core {
namespace {

struct Describer {
  std::ostringstream& out;

  void operator()(const VoteRequest& m) const {
    out << (m.is_pre_vote ? "pre-vote" : "vote") << " term=" << m.term
        << " last=" << m.last_log_index << "@" << m.last_log_term;
  }
  void operator()(const VoteReply& m) const {
    out << (m.is_pre_vote ? "pre-vote-reply" : "vote-reply") << " term=" << m.term
        << (m.granted ? " granted" : " refused");
  }
  void operator()(const AppendRequest& m) const {
    out << "append term=" << m.term << " prev=" << m.prev_index << "@" << m.prev_term
        << " entries=";
    if (m.entries.empty()) out << "none";
    for (const Entry& entry : m.entries) {
      out << (&entry == &m.entries.front() ? "" : ",") << entry.index << "@" << entry.term;
    }
    out << " commit=" << m.commit_index;
  }
  void operator()(const AppendReply& m) const {
    out << "append-reply term=" << m.term;
    if (m.success) {
      out << " durable=" << m.index;
    } else {
      out << " refused=" << m.index << " hint=" << m.hint_index << "@" << m.hint_term;
    }
  }
  void operator()(const Heartbeat& m) const {
    out << "heartbeat term=" << m.term << " commit=" << m.commit_index;
    if (m.round != 0) out << " round=" << m.round;
  }
  void operator()(const HeartbeatReply& m) const {
    out << "heartbeat-reply term=" << m.term;
    if (m.round != 0) out << " round=" << m.round;
  }
  void operator()(const Behind& m) const {
    out << "behind term=" << m.term << " begin=" << m.begin;
  }
};

}  // namespace

std::string Describe(const Message& message) {
  std::ostringstream out;
  std::visit(Describer{out}, message);
  return out.str();
}

}  // namespace millrace::raft::core

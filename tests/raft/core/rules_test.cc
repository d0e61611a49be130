// The paper's rules as tables: whose log is up to date (Raft §5.4.1), and what a follower does with
// an append (figure 7 and §5.3).

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/raft/core/lab.h"

namespace millrace::raft::core {
namespace {

struct VoteRow {
  std::string voter_log;
  std::string candidate_last;  // index@term
  bool is_granted;
};

TEST(VoteRuleTest, VoterGrants_OnlyToLogsThatAreAtLeastAsUpToDate) {
  const std::vector<VoteRow> rows = {
      {"1,1", "2@1", true},        // the same
      {"1,1", "3@1", true},        // longer
      {"1,1", "1@1", false},       // shorter
      {"1,1", "1@2", true},        // shorter, but of a newer term
      {"1,2", "9@1", false},       // longer, but of an older term
      {"1,2,2", "3@2", true},      // the same
      {"1,1,1,1,1", "2@2", true},  // much shorter, of a newer term
  };
  for (const VoteRow& row : rows) {
    for (const std::string kind : {"vote", "pre-vote"}) {
      Lab lab;
      lab.Run(Command("cluster voters=3"));
      lab.Run(Command("node id=1 term=3 log=" + row.voter_log));
      lab.Run(Command("inject from=2 to=1 term=4 kind=" + kind + " last=" + row.candidate_last));
      const std::string reply = lab.Run(Command("messages"));
      EXPECT_EQ(reply.ends_with("granted\n"), row.is_granted)
          << kind << " voter=" << row.voter_log << " candidate=" << row.candidate_last << "\n"
          << reply;
    }
  }
}

struct AppendRow {
  std::string log;
  std::string append;
  std::string reply;
  std::string log_after;
};

TEST(AppendRuleTest, FollowerKeepsWhatMatches_AndReplacesFromTheFirstConflict) {
  const std::vector<AppendRow> rows = {
      {"1,1", "prev=2@1 entries=3@5", "durable=3", " 1@1 2@1 3@5"},
      // Nothing new: a late or repeated append cuts nothing.
      {"1,1,1", "prev=1@1 entries=2@1", "durable=2", " 1@1 2@1 3@1"},
      {"1,1,1", "prev=1@1", "durable=1", " 1@1 2@1 3@1"},
      // A conflict: from there on everything goes.
      {"1,1,1,1", "prev=1@1 entries=2@1,3@4", "durable=3", " 1@1 2@1 3@4"},
      // Too short a log: its end is the hint.
      {"1,1", "prev=5@3 entries=6@5", "refused=5 hint=2@1", " 1@1 2@1"},
      // Another term there: the hint skips all terms newer than the leader's.
      {"1,2,3,3,3", "prev=5@2 entries=6@5", "refused=5 hint=2@2", " 1@1 2@2 3@3 4@3 5@3"},
      // The very first entries.
      {"", "prev=0@0 entries=1@1,2@1", "durable=2", " 1@1 2@1"},
  };
  for (const AppendRow& row : rows) {
    Lab lab;
    lab.Run(Command("cluster voters=3"));
    lab.Run(Command("node id=1 term=5 log=" + row.log));
    lab.Run(Command("inject from=2 to=1 term=5 kind=append " + row.append));
    EXPECT_EQ(lab.Run(Command("messages")), "1->2 append-reply term=5 " + row.reply + "\n")
        << "log=" << row.log << " " << row.append;
    EXPECT_TRUE(lab.Run(Command("log node=1")).starts_with("1:" + row.log_after + " voters"))
        << "log=" << row.log << " " << row.append;
  }
}

TEST(AppendRuleTest, MalformedAppend_IsIgnored) {
  for (const std::string append :
       {"prev=0@0 entries=2@1", "prev=0@0 entries=1@2,2@1", "prev=0@0 entries=1@1,3@1",
        "prev=0@0 entries=1@9", "prev=0@3", "prev=0@3 entries=1@3", "prev=4@9"}) {
    Lab lab;
    lab.Run(Command("cluster voters=3"));
    lab.Run(Command("inject from=2 to=1 term=5 kind=append " + append));
    EXPECT_EQ(lab.Run(Command("messages")), "") << append;
    EXPECT_EQ(lab.Run(Command("log node=1")), "1: voters=1,2,3,\n") << append;
  }
}

}  // namespace
}  // namespace millrace::raft::core

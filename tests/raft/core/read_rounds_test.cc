#include "raft/core/read_rounds.h"

#include <vector>

#include <gtest/gtest.h>

namespace millrace::raft::core {
namespace {

class ReadRoundsTest : public testing::Test {
 protected:
  // As a leader does: heartbeats leave for the first read of a round.
  void Ask(uint64_t id, LogIndex commit_index) {
    if (rounds_.Join()) rounds_.Begin();
    rounds_.Add(id, commit_index);
  }
  std::vector<uint64_t> ServeUpTo(uint64_t answered_round) {
    std::vector<ReadState> served;
    rounds_.Serve([&](uint64_t round) { return round <= answered_round; }, &served);
    std::vector<uint64_t> ids;
    for (const ReadState& read : served) ids.push_back(read.request_id);
    return ids;
  }

  ReadRounds rounds_;
};

// A majority that answered earlier heartbeats may follow another leader by now.
TEST_F(ReadRoundsTest, ARead_IsNotServedByAnswersToWhatLeftBeforeIt) {
  const uint64_t before = rounds_.current();
  Ask(1, LogIndex(5));
  EXPECT_TRUE(ServeUpTo(before).empty());
  EXPECT_EQ(ServeUpTo(rounds_.current()), std::vector<uint64_t>{1});
}

TEST_F(ReadRoundsTest, ReadsThatComeBeforeHeartbeatsLeave_ShareThem) {
  Ask(1, LogIndex(5));
  const uint64_t shared = rounds_.current();
  Ask(2, LogIndex(6));
  EXPECT_EQ(rounds_.current(), shared);
  rounds_.Close();
  Ask(3, LogIndex(6));
  EXPECT_EQ(rounds_.current(), shared + 1);
  EXPECT_EQ(ServeUpTo(shared), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(ServeUpTo(shared + 1), std::vector<uint64_t>{3});
}

TEST_F(ReadRoundsTest, ARead_TellsTheCommitIndexOfItsTime) {
  Ask(1, LogIndex(5));
  std::vector<ReadState> served;
  rounds_.Serve([](uint64_t) { return true; }, &served);
  ASSERT_EQ(served.size(), 1U);
  EXPECT_EQ(served[0].index, LogIndex(5));
  rounds_.Serve([](uint64_t) { return true; }, &served);
  EXPECT_EQ(served.size(), 1U) << "each is served once";
}

}  // namespace
}  // namespace millrace::raft::core

// Where partitions end: what is known here, and what leaders are asked for.
#include "broker/coordinator/partition_ends.h"

#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

constexpr RaftGroupId kPartition{7};

class PartitionEndsTest : public testing::Test {
 protected:
  void Ask() {
    ends_.Ask(kPartition,
              [this](const Result<Offset>& end) { told_.push_back(end.ok() ? end->value() : -1); });
  }
  // The leader's answer to the oldest question.
  void Answer(Result<Offset> end) {
    PartitionEnds::Done done = std::move(questions_.front());
    questions_.pop_front();
    done(std::move(end));
  }

  std::deque<PartitionEnds::Done> questions_;
  std::optional<Offset> here_;
  std::vector<int64_t> told_;
  PartitionEnds ends_{
      {.applied_here = [this](RaftGroupId) { return here_; },
       .ask = [this](RaftGroupId,
                     PartitionEnds::Done done) { questions_.push_back(std::move(done)); }}};
};

TEST_F(PartitionEndsTest, AnOffsetIsReached_ByTheReplicaHere_OrByWhatTheLeaderSaid) {
  EXPECT_TRUE(ends_.Reaches(kPartition, Offset(0))) << "there is nothing before it";
  EXPECT_FALSE(ends_.Reaches(kPartition, Offset(1)));
  here_ = Offset(3);
  EXPECT_TRUE(ends_.Reaches(kPartition, Offset(3)));
  EXPECT_FALSE(ends_.Reaches(kPartition, Offset(4)));
  Ask();
  Answer(Offset(5));
  EXPECT_TRUE(ends_.Reaches(kPartition, Offset(5)));
  EXPECT_FALSE(ends_.Reaches(kPartition, Offset(6)));
}

// A record may be stored, and read, while an older answer is on its way.
TEST_F(PartitionEndsTest, WhoAsksLater_IsNotToldWhatWasAskedBefore) {
  Ask();
  Ask();
  Ask();
  ASSERT_EQ(questions_.size(), 1U);
  Answer(Offset(10));
  EXPECT_EQ(told_, (std::vector<int64_t>{10}));
  ASSERT_EQ(questions_.size(), 1U) << "one question for all that came meanwhile";
  Answer(Offset(11));
  EXPECT_EQ(told_, (std::vector<int64_t>{10, 11, 11}));
  EXPECT_TRUE(questions_.empty());
}

TEST_F(PartitionEndsTest, ALeaderThatDoesNotAnswer_IsAskedAgainForThoseThatCameMeanwhile) {
  Ask();
  Ask();
  Answer(Unavailable("lost"));
  Answer(Offset(4));
  EXPECT_EQ(told_, (std::vector<int64_t>{-1, 4}));
  Ask();
  EXPECT_EQ(questions_.size(), 1U);
}

}  // namespace
}  // namespace millrace::broker

#include "raft/host/read_barriers.h"

#include <optional>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::raft {
namespace {

class ReadBarriersTest : public testing::Test {
 protected:
  // A read that waits; its id.
  uint64_t Add(std::optional<Status>* answer) {
    const uint64_t id = barriers_.NewId();
    barriers_.Add(id, [answer](Status status) { *answer = std::move(status); });
    return id;
  }

  ReadBarriers barriers_;
};

TEST_F(ReadBarriersTest, ARead_WaitsForItsConfirmation_AndThenForWhatItMustSee) {
  std::optional<Status> answer;
  const uint64_t id = Add(&answer);
  barriers_.Complete(LogIndex(100));
  EXPECT_FALSE(answer.has_value()) << "nobody confirmed the leader";
  barriers_.OnConfirmed(id, LogIndex(7));
  barriers_.Complete(LogIndex(6));
  EXPECT_FALSE(answer.has_value());
  barriers_.Complete(LogIndex(7));
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->ok()) << *answer;
}

TEST_F(ReadBarriersTest, LostLeadership_FailsThoseThatWait_NotThoseThatMayBeServed) {
  std::optional<Status> reached;
  std::optional<Status> confirmed;
  std::optional<Status> unconfirmed;
  barriers_.OnConfirmed(Add(&reached), LogIndex(3));
  barriers_.OnConfirmed(Add(&confirmed), LogIndex(4));
  Add(&unconfirmed);
  barriers_.CompleteOrFail(LogIndex(3));
  EXPECT_TRUE(reached.value().ok());
  EXPECT_EQ(confirmed.value().reason(), Reason::kNotLeader);
  EXPECT_EQ(unconfirmed.value().reason(), Reason::kNotLeader);
}

TEST_F(ReadBarriersTest, AConfirmationOfAReadThatIsAnswered_IsIgnored) {
  std::optional<Status> answer;
  const uint64_t id = Add(&answer);
  barriers_.CompleteOrFail(LogIndex());
  answer.reset();
  barriers_.OnConfirmed(id, LogIndex(1));
  barriers_.Complete(LogIndex(1));
  EXPECT_FALSE(answer.has_value());
}

// Whoever is answered may ask again at once, and is not answered by what answered it.
TEST_F(ReadBarriersTest, AReadThatIsAddedByAnAnswer_WaitsForItsOwn) {
  std::optional<Status> second;
  const uint64_t id = barriers_.NewId();
  barriers_.Add(id, [&](Status) { Add(&second); });
  barriers_.OnConfirmed(id, LogIndex(1));
  barriers_.Complete(LogIndex(1));
  EXPECT_FALSE(second.has_value());
  barriers_.CompleteOrFail(LogIndex(1));
  EXPECT_TRUE(second.has_value());
}

TEST_F(ReadBarriersTest, ReadsThatAreForgotten_AreNotAnswered) {
  std::optional<Status> answer;
  Add(&answer);
  barriers_.Clear();
  barriers_.CompleteOrFail(LogIndex(9));
  EXPECT_FALSE(answer.has_value());
}

}  // namespace
}  // namespace millrace::raft

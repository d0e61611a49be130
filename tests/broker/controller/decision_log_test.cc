#include "broker/controller/decision_log.h"

#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

// Counts up, and refuses what does not follow.
struct Counter {
  int value = 0;
  Status Apply(int next) {
    if (next != value + 1) return DataLoss("it does not follow");
    value = next;
    return {};
  }
};
struct Steps {
  std::vector<int> all;
  const std::vector<int>& records() const { return all; }
};

Result<Steps> Refuse(const Counter&) { return NotFound("nothing"); }
Result<Steps> ChangeNothing(const Counter&) { return Steps{}; }

class DecisionLogTest : public testing::Test {
 protected:
  void Lead(uint64_t term) {
    decisions_.OnLeadership(
        {.is_leader = true, .is_ready = true, .term = Term(term), .leader = {}});
  }
  void Lose(uint64_t term) { decisions_.OnLeadership({.term = Term(term), .leader = {}}); }
  // Counts on by one; null until it is answered.
  std::optional<Status>& CountOn() {
    return Run(
        [](const Counter& counter) -> Result<Steps> { return Steps{.all = {counter.value + 1}}; });
  }
  std::optional<Status>& Run(DecisionLog<Counter, Steps>::Decide decide) {
    auto& answer = *answers_.emplace_back(std::make_unique<std::optional<Status>>());
    decisions_.Execute(std::move(decide), [&answer](Status status) { answer = std::move(status); });
    return answer;
  }
  // The oldest entry that was proposed is committed and applied here.
  void ApplyNext(uint64_t term) {
    const auto [index, steps] = log_.at(next_++);
    for (const int step : steps.all) ASSERT_TRUE(applied_.Apply(step).ok());
    decisions_.OnApplied(index, Term(term));
  }

  Counter applied_;
  Status refusal_;
  std::vector<std::pair<LogIndex, Steps>> log_;
  size_t next_ = 0;
  std::vector<std::unique_ptr<std::optional<Status>>> answers_;
  // What waits for a majority to confirm who leads.
  std::vector<MoveFunction<void(Status)>> unconfirmed_;
  void Confirm(const Status& status = Status::Ok()) {
    for (MoveFunction<void(Status)>& done : std::exchange(unconfirmed_, {})) done(status);
  }
  DecisionLog<Counter, Steps> decisions_{
      applied_,
      [this](const Counter&, const Steps& steps) -> Result<LogIndex> {
        if (!refusal_.ok()) return refusal_;
        log_.emplace_back(LogIndex(log_.size() + 1), steps);
        return log_.back().first;
      },
      [this](MoveFunction<void(Status)> done) { unconfirmed_.push_back(std::move(done)); }};
};

TEST_F(DecisionLogTest, ADecision_IsAnsweredOnceItIsApplied) {
  Lead(1);
  const auto& answer = CountOn();
  EXPECT_FALSE(answer.has_value());
  ApplyNext(1);
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->ok());
  EXPECT_EQ(applied_.value, 1);
}

TEST_F(DecisionLogTest, Decisions_SeeWhatIsInFlight) {
  Lead(1);
  CountOn();
  CountOn();
  EXPECT_EQ(log_.at(1).second.all, std::vector<int>{2});
  ApplyNext(1);
  CountOn();
  EXPECT_EQ(log_.at(2).second.all, std::vector<int>{3}) << "one is in flight still";
  ApplyNext(1);
  ApplyNext(1);
  CountOn();
  EXPECT_EQ(log_.at(3).second.all, std::vector<int>{4}) << "none is";
}

TEST_F(DecisionLogTest, ARefusal_IsTold_AndChangesNothing) {
  Lead(1);
  const auto& refused = Run(Refuse);
  EXPECT_FALSE(refused.has_value()) << "another one may lead already";
  Confirm();
  EXPECT_EQ(refused->code(), Code::kNotFound);
  refusal_ = ResourceExhausted("the journal is full", Reason::kThrottled);
  EXPECT_EQ(CountOn()->reason(), Reason::kThrottled);
  refusal_ = Status::Ok();
  CountOn();
  EXPECT_EQ(log_.at(0).second.all, std::vector<int>{1});
}

// Else "it exists already" could be said of what is never committed.
TEST_F(DecisionLogTest, AnAnswerWithoutAnEntry_WaitsForWhatItRestsOn) {
  Lead(1);
  CountOn();
  const auto& nothing = Run(ChangeNothing);
  const auto& refused = Run(Refuse);
  EXPECT_FALSE(nothing.has_value());
  EXPECT_FALSE(refused.has_value());
  EXPECT_TRUE(unconfirmed_.empty()) << "the entry confirms it";
  ApplyNext(1);
  EXPECT_TRUE(nothing->ok());
  EXPECT_EQ(refused->code(), Code::kNotFound);
  CountOn();
  const auto& lost = Run(Refuse);
  Lose(2);
  EXPECT_EQ(lost->reason(), Reason::kNotLeader);
}

TEST_F(DecisionLogTest, AnAnswerThatNobodyConfirms_IsNotTold) {
  Lead(1);
  const auto& nothing = Run(ChangeNothing);
  const auto& refused = Run(Refuse);
  Confirm(Unavailable("another one leads", Reason::kNotLeader));
  EXPECT_EQ(nothing->reason(), Reason::kNotLeader);
  EXPECT_EQ(refused->reason(), Reason::kNotLeader);
}

TEST_F(DecisionLogTest, LostLeadership_AnswersAll_AndForgetsWhatWasInFlight) {
  Lead(1);
  const auto& lost = CountOn();
  Lose(2);
  EXPECT_EQ(lost->reason(), Reason::kNotLeader);
  EXPECT_FALSE(decisions_.is_ready());
  // Another leader had none of it.
  Lead(3);
  CountOn();
  EXPECT_EQ(log_.at(1).second.all, std::vector<int>{1});
}

TEST_F(DecisionLogTest, ANewTerm_WithoutAPause_LosesWhatTheOldOneProposed) {
  Lead(1);
  const auto& lost = CountOn();
  Lead(2);
  EXPECT_EQ(lost->reason(), Reason::kNotLeader);
}

TEST_F(DecisionLogTest, AnAnswer_MayDecideAgain) {
  Lead(1);
  decisions_.Execute([](const Counter&) -> Result<Steps> { return Steps{.all = {1}}; },
                     [this](const Status&) { CountOn(); });
  ApplyNext(1);
  ASSERT_EQ(log_.size(), 2U);
  EXPECT_EQ(log_.at(1).second.all, std::vector<int>{2});
}

}  // namespace
}  // namespace millrace::broker

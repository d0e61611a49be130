// What groups committed: lists in pages, commits and resets of which parts may heal, shifts whose
// answer is lost, and what is committed beside where partitions end.

#include "client/core/groups.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/client/core/unary_broker.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::client {
namespace {

constexpr Duration kTimeout = std::chrono::seconds(5);
constexpr Duration kTimeMax = std::chrono::seconds(20);
constexpr char kService[] = "/millrace.v1.GroupService/";

void Refuse(Code code, v1::Error* error) {
  error->set_code(static_cast<int>(code));
  error->set_message("so said the broker");
}

class GroupsTest : public testing::Test {
 protected:
  // What `start` is answered with.
  template <typename Response>
  Result<Response> Ask(const std::function<void(Client&, ResponseDone<Response>)>& start) {
    Client client({process_.executor(), process_.clock(), broker_, process_.Fork()},
                  {.bootstrap = {"broker"}});
    std::optional<Result<Response>> told;
    start(client, [&](Result<Response> response) { told = std::move(response); });
    CHECK(world_.RunUntil([&] { return told.has_value(); }, kTimeMax));
    return *std::move(told);
  }
  Result<v1::CommitOffsetsResponse> Commit(const v1::CommitOffsetsRequest& request) {
    return Ask<v1::CommitOffsetsResponse>([&](Client& client, auto done) {
      CommitOffsets(client, request, kTimeout, std::move(done));
    });
  }
  Result<v1::ResetOffsetsResponse> Reset(const v1::ResetOffsetsRequest& request) {
    return Ask<v1::ResetOffsetsResponse>([&](Client& client, auto done) {
      ResetOffsets(client, request, kTimeout, std::move(done));
    });
  }
  MonotonicTime Now() { return process_.clock().Now(); }

  sim::SimWorld world_{1};
  sim::SimProcess& process_{world_.AddProcess("client")};
  MethodBrokers broker_{process_.executor()};
};

TEST_F(GroupsTest, AllPagesOfGroups_ArePutTogether) {
  std::vector<std::string> tokens;
  broker_.On<v1::ListGroupsRequest, v1::ListGroupsResponse>(
      std::string(kService) + "ListGroups",
      [&](const v1::ListGroupsRequest& request) -> Result<v1::ListGroupsResponse> {
        EXPECT_EQ(request.prefix(), "bill");
        tokens.push_back(request.page_token());
        v1::ListGroupsResponse page;
        page.add_groups()->set_group("bill" + request.page_token());
        if (tokens.size() < 3) page.set_next_page_token(std::to_string(tokens.size()));
        return page;
      });
  const auto groups = Ask<v1::ListGroupsResponse>(
      [](Client& client, auto done) { ListGroups(client, "bill", kTimeout, std::move(done)); });
  ASSERT_TRUE(groups.ok()) << groups.status();
  EXPECT_EQ(tokens, (std::vector<std::string>{"", "1", "2"}));
  ASSERT_EQ(groups->groups_size(), 3);
  EXPECT_EQ(groups->groups(2).group(), "bill2");
  EXPECT_EQ(groups->next_page_token(), "");
}

TEST_F(GroupsTest, AllPagesOfLag_ArePutTogether_WithTheLastOnesTotal) {
  int asked = 0;
  broker_.On<v1::DescribeLagRequest, v1::DescribeLagResponse>(
      std::string(kService) + "DescribeLag",
      [&](const v1::DescribeLagRequest& request) -> Result<v1::DescribeLagResponse> {
        EXPECT_EQ(request.group(), "g");
        EXPECT_TRUE(request.only_behind());
        EXPECT_EQ(request.page_token(), asked == 0 ? "" : "next");
        v1::DescribeLagResponse page;
        page.add_topics()->set_topic_id(7);
        if (asked++ > 0) {
          page.mutable_total()->set_grounds("well");
          return page;
        }
        page.mutable_total()->set_verdict(v1::LAG_VERDICT_DEAD);
        page.set_next_page_token("next");
        return page;
      });
  v1::DescribeLagRequest request;
  request.set_group("g");
  request.set_only_behind(true);
  const auto lag = Ask<v1::DescribeLagResponse>(
      [&](Client& client, auto done) { DescribeLag(client, request, kTimeout, std::move(done)); });
  ASSERT_TRUE(lag.ok()) << lag.status();
  EXPECT_EQ(lag->topics_size(), 2);
  EXPECT_EQ(lag->total().ShortDebugString(), "grounds: \"well\"");
  EXPECT_EQ(lag->next_page_token(), "");
}

// Of topics 1 and 2, a partition a page.
v1::FetchOffsetsResponse PageOfOffsets(const std::string& token) {
  const int number = token.empty() ? 0 : std::stoi(token);
  v1::FetchOffsetsResponse page;
  auto& topic = *page.add_topics();
  topic.set_topic_id(number < 2 ? 1 : 2);
  auto& committed = *topic.add_partitions();
  committed.set_partition(static_cast<uint32_t>(number % 2));
  committed.set_offset(number);
  if (number < 2) page.set_next_page_token(std::to_string(number + 1));
  return page;
}

TEST_F(GroupsTest, ATopicThatGoesOnOnTheNextPage_IsToldOnce) {
  broker_.On<v1::FetchOffsetsRequest, v1::FetchOffsetsResponse>(
      std::string(kService) + "FetchOffsets",
      [](const v1::FetchOffsetsRequest& request) -> Result<v1::FetchOffsetsResponse> {
        EXPECT_EQ(request.group(), "g") << "the same request for each page";
        return PageOfOffsets(request.page_token());
      });
  const auto fetched = Ask<v1::FetchOffsetsResponse>([](Client& client, auto done) {
    v1::FetchOffsetsRequest request;
    request.set_group("g");
    FetchOffsets(client, request, kTimeout, std::move(done));
  });
  ASSERT_TRUE(fetched.ok()) << fetched.status();
  ASSERT_EQ(fetched->topics_size(), 2);
  EXPECT_EQ(fetched->topics(0).partitions_size(), 2);
  EXPECT_EQ(fetched->topics(1).partitions(0).offset(), 2);
}

TEST_F(GroupsTest, AnErrorOnALaterPage_IsTheAnswer_NotHalfOfTheOffsets) {
  broker_.On<v1::FetchOffsetsRequest, v1::FetchOffsetsResponse>(
      std::string(kService) + "FetchOffsets",
      [](const v1::FetchOffsetsRequest& request) -> Result<v1::FetchOffsetsResponse> {
        if (request.page_token() == "1") return Internal("out of paper");
        return PageOfOffsets(request.page_token());
      });
  const auto fetched = Ask<v1::FetchOffsetsResponse>(
      [](Client& client, auto done) { FetchOffsets(client, {}, kTimeout, std::move(done)); });
  EXPECT_EQ(fetched.status().message(), "out of paper");
}

v1::CommitOffsetsRequest CommitOf(const std::string& topic, uint32_t partitions) {
  v1::CommitOffsetsRequest request;
  request.set_group("g");
  request.add_topics()->set_topic(topic);
  for (uint32_t partition = 0; partition < partitions; ++partition) {
    request.mutable_topics(0)->add_partitions()->set_partition(partition);
  }
  return request;
}

// Partition 1 has no leader unless `is_led`; partition 2 is refused for good.
Result<v1::CommitOffsetsResponse> AnswerCommit(const v1::CommitOffsetsRequest& request,
                                               bool is_led) {
  v1::CommitOffsetsResponse response;
  for (const v1::PartitionCommit& commit : request.topics(0).partitions()) {
    const bool is_refused = commit.partition() == 2 || (commit.partition() == 1 && !is_led);
    if (!is_refused) continue;
    auto& refused = *response.add_refused();
    refused.set_topic(request.topics(0).topic());
    refused.set_topic_id(7);  // the broker found it by its name
    refused.set_partition(commit.partition());
    Refuse(commit.partition() == 1 ? Code::kUnavailable : Code::kOutOfRange,
           refused.mutable_error());
  }
  return response;
}

TEST_F(GroupsTest, ACommitGoesOn_WithThatAloneWhichMayHeal) {
  const MonotonicTime led_at = Now() + std::chrono::seconds(1);
  std::vector<std::vector<uint32_t>> asked;
  broker_.On<v1::CommitOffsetsRequest, v1::CommitOffsetsResponse>(
      std::string(kService) + "CommitOffsets", [&](const v1::CommitOffsetsRequest& request) {
        asked.emplace_back();
        for (const auto& commit : request.topics(0).partitions()) {
          asked.back().push_back(commit.partition());
        }
        return AnswerCommit(request, Now() >= led_at);
      });
  const auto committed = Commit(CommitOf("t", 3));
  ASSERT_TRUE(committed.ok()) << committed.status();
  EXPECT_GE(Now(), led_at);
  EXPECT_EQ(asked.front(), (std::vector<uint32_t>{0, 1, 2}));
  EXPECT_EQ(asked.back(), (std::vector<uint32_t>{1}));
  ASSERT_EQ(committed->refused_size(), 1);
  EXPECT_EQ(committed->refused(0).partition(), 2u);
}

TEST_F(GroupsTest, WhatDoesNotHealInTime_IsRefusedInTheEnd_WithItsOwnError) {
  bool is_first = true;
  broker_.On<v1::CommitOffsetsRequest, v1::CommitOffsetsResponse>(
      std::string(kService) + "CommitOffsets",
      [&](const v1::CommitOffsetsRequest& request) -> Result<v1::CommitOffsetsResponse> {
        if (!std::exchange(is_first, false)) return Unavailable("nobody is there");
        return AnswerCommit(request, false);
      });
  const MonotonicTime began = Now();
  const auto committed = Commit(CommitOf("t", 3));
  ASSERT_TRUE(committed.ok()) << committed.status();
  EXPECT_LE(Now() - began, kTimeout);
  ASSERT_EQ(committed->refused_size(), 2);
  for (const v1::RefusedOffset& refused : committed->refused()) {
    EXPECT_EQ(refused.error().message(), "so said the broker");
  }
}

TEST_F(GroupsTest, WhatIsRefusedForGood_IsToldAtOnce) {
  int calls = 0;
  broker_.On<v1::CommitOffsetsRequest, v1::CommitOffsetsResponse>(
      std::string(kService) + "CommitOffsets", [&](const v1::CommitOffsetsRequest& request) {
        ++calls;
        return AnswerCommit(request, true);
      });
  EXPECT_EQ(Commit(CommitOf("t", 3))->refused_size(), 1);
  EXPECT_EQ(calls, 1);
}

// Where the group stands, and what is done with it.
class OneOffset {
 public:
  explicit OneOffset(MethodBrokers& broker) {
    broker.On<v1::ResetOffsetsRequest, v1::ResetOffsetsResponse>(
        std::string(kService) + "ResetOffsets",
        [this](const v1::ResetOffsetsRequest& request) { return Answer(request); });
  }
  // So many answers to what changes something are lost.
  void LoseAnswers(int count) { lost_ = count; }
  void RefuseTimes(int count) { refused_ = count; }
  int64_t committed() const { return committed_; }
  int calls() const { return calls_; }

 private:
  Result<v1::ResetOffsetsResponse> Answer(const v1::ResetOffsetsRequest& request) {
    ++calls_;
    v1::ResetOffsetsResponse response;
    auto& row = *response.add_offsets();
    row.set_topic("t");
    row.set_topic_id(7);
    row.set_partition(3);
    row.set_before(committed_);
    row.set_after(request.has_shift_by() ? committed_ + request.shift_by()
                                         : request.offsets().topics(0).partitions(0).offset());
    if (refused_-- > 0) {
      Refuse(Code::kUnavailable, row.mutable_error());
      return response;
    }
    if (!request.is_dry_run()) {
      committed_ = row.after();
      if (lost_-- > 0) return Unavailable("the connection broke");
    }
    return response;
  }

  int64_t committed_ = 100;
  int lost_ = 0;
  int refused_ = 0;
  int calls_ = 0;
};

v1::ResetOffsetsRequest ShiftBy(int64_t records) {
  v1::ResetOffsetsRequest request;
  request.set_group("g");
  request.set_shift_by(records);
  return request;
}

TEST_F(GroupsTest, AShiftWhoseAnswerWasLost_ShiftsOnce_AndTellsWhereItBegan) {
  OneOffset offset(broker_);
  offset.LoseAnswers(2);
  const auto reset = Reset(ShiftBy(-10));
  ASSERT_TRUE(reset.ok()) << reset.status();
  EXPECT_EQ(offset.committed(), 90);
  EXPECT_EQ(reset->offsets(0).before(), 100);
  EXPECT_EQ(reset->offsets(0).after(), 90);
}

TEST_F(GroupsTest, ADryRunOfAShift_ChangesNothing) {
  OneOffset offset(broker_);
  v1::ResetOffsetsRequest request = ShiftBy(5);
  request.set_is_dry_run(true);
  const auto reset = Reset(request);
  ASSERT_TRUE(reset.ok()) << reset.status();
  EXPECT_EQ(reset->offsets(0).after(), 105);
  EXPECT_EQ(offset.committed(), 100);
  EXPECT_EQ(offset.calls(), 1);
}

TEST_F(GroupsTest, AResetThatOneLeaderKeepsFromBeing_IsAskedForAgain) {
  OneOffset offset(broker_);
  offset.RefuseTimes(3);
  const auto reset = Reset(ShiftBy(1));
  ASSERT_TRUE(reset.ok()) << reset.status();
  EXPECT_FALSE(reset->offsets(0).has_error());
  EXPECT_EQ(offset.committed(), 101);
}

TEST_F(GroupsTest, ASurvey_HasWhereEachTopicEnds_ByItsId_OrWhyNot) {
  constexpr int kTopics = 30;  // more than are asked for at once
  broker_.On<v1::FetchOffsetsRequest, v1::FetchOffsetsResponse>(
      std::string(kService) + "FetchOffsets",
      [](const v1::FetchOffsetsRequest&) -> Result<v1::FetchOffsetsResponse> {
        v1::FetchOffsetsResponse response;
        for (uint64_t id = 1; id <= kTopics; ++id) response.add_topics()->set_topic_id(id);
        return response;
      });
  broker_.On<v1::ListOffsetsRequest, v1::ListOffsetsResponse>(
      "/millrace.v1.ConsumerService/ListOffsets",
      [](const v1::ListOffsetsRequest& request) -> Result<v1::ListOffsetsResponse> {
        EXPECT_EQ(request.topic(), "");
        if (request.topic_id() == 5) return NotFound("it is gone", Reason::kTopicDeleted);
        v1::ListOffsetsResponse response;
        response.add_partitions()->set_high_watermark(static_cast<int64_t>(request.topic_id()));
        return response;
      });
  const auto survey = Ask<OffsetsSurvey>(
      [](Client& client, auto done) { SurveyOffsets(client, {}, kTimeout, std::move(done)); });
  ASSERT_TRUE(survey.ok()) << survey.status();
  ASSERT_EQ(survey->ranges.size(), size_t{kTopics});
  EXPECT_EQ(survey->ranges.at(5).status().reason(), Reason::kTopicDeleted);
  EXPECT_EQ(survey->ranges.at(30)->partitions(0).high_watermark(), 30);
}

TEST_F(GroupsTest, ASurveyOfAGroupThatHasCommittedNothing_IsEmpty) {
  broker_.On<v1::FetchOffsetsRequest, v1::FetchOffsetsResponse>(
      std::string(kService) + "FetchOffsets",
      [](const v1::FetchOffsetsRequest&) -> Result<v1::FetchOffsetsResponse> {
        return v1::FetchOffsetsResponse();
      });
  const auto survey = Ask<OffsetsSurvey>(
      [](Client& client, auto done) { SurveyOffsets(client, {}, kTimeout, std::move(done)); });
  ASSERT_TRUE(survey.ok()) << survey.status();
  EXPECT_TRUE(survey->ranges.empty());
}

}  // namespace
}  // namespace millrace::client

// All topics of a cluster, which come a page at a time.

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "client/core/client.h"
#include "tests/client/core/unary_broker.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::client {
namespace {

constexpr Duration kTimeout = std::chrono::seconds(5);
constexpr Duration kTimeMax = std::chrono::seconds(20);

// A broker with topics "t0", "t1", ... that tells two a page. The token is the number of the next.
class PagingBroker final : public UnaryBroker {
 public:
  PagingBroker(Executor& executor, int topics)
      : UnaryBroker(executor, "/millrace.v1.MetadataService/ListTopics"), topics_(topics) {}

  // Whether each request asked for Millrace's own.
  const std::vector<bool>& asked_for_internal() const { return asked_for_internal_; }
  // The page with this number, counted from 1, and what follows are refused.
  void RefuseFrom(int page) { refused_from_ = page; }

 private:
  Result<Bytes> Answer(const Bytes& body) override {
    if (calls() >= refused_from_) return Internal("out of paper");
    v1::ListTopicsRequest request;
    CHECK(request.ParseFromArray(body.data(), static_cast<int>(body.size())));
    asked_for_internal_.push_back(request.include_internal());
    const int begin = request.page_token().empty() ? 0 : std::stoi(request.page_token());
    v1::ListTopicsResponse page;
    for (int i = begin; i < std::min(begin + 2, topics_); ++i) {
      page.add_topics()->set_name("t" + std::to_string(i));
    }
    if (begin + 2 < topics_) page.set_next_page_token(std::to_string(begin + 2));
    return Bytes::Own(page.SerializeAsString());
  }

  const int topics_;
  int refused_from_ = 1000;
  std::vector<bool> asked_for_internal_;
};

class TopicPagesTest : public testing::Test {
 protected:
  Result<v1::ListTopicsResponse> List(PagingBroker& broker, bool include_internal = false) {
    Client client({process_.executor(), process_.clock(), broker, process_.Fork()},
                  {.bootstrap = {"broker"}});
    std::optional<Result<v1::ListTopicsResponse>> told;
    client.ListTopics(include_internal, kTimeout,
                      [&](Result<v1::ListTopicsResponse> listed) { told = std::move(listed); });
    CHECK(world_.RunUntil([&] { return told.has_value(); }, kTimeMax));
    return *std::move(told);
  }

  sim::SimWorld world_{1};
  sim::SimProcess& process_{world_.AddProcess("client")};
};

TEST_F(TopicPagesTest, AllPagesAreAskedFor_AndPutTogetherInOrder) {
  for (const int topics : {0, 1, 2, 3, 5}) {
    PagingBroker broker(process_.executor(), topics);
    const auto listed = List(broker);
    ASSERT_TRUE(listed.ok()) << listed.status();
    ASSERT_EQ(listed->topics_size(), topics);
    for (int i = 0; i < topics; ++i) EXPECT_EQ(listed->topics(i).name(), "t" + std::to_string(i));
    EXPECT_EQ(listed->next_page_token(), "");
    EXPECT_EQ(broker.calls(), std::max(1, (topics + 1) / 2));
  }
}

TEST_F(TopicPagesTest, EveryPageIsOfTheSameTopics_WithMillracesOwnOrWithout) {
  for (const bool include_internal : {false, true}) {
    PagingBroker broker(process_.executor(), 5);
    ASSERT_TRUE(List(broker, include_internal).ok());
    EXPECT_EQ(broker.asked_for_internal(), std::vector<bool>(3, include_internal));
  }
}

TEST_F(TopicPagesTest, AnErrorInTheMiddle_IsTheAnswer) {
  PagingBroker broker(process_.executor(), 5);
  broker.RefuseFrom(2);
  EXPECT_EQ(List(broker).status().message(), "out of paper");
}

}  // namespace
}  // namespace millrace::client

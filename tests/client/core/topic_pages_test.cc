// All topics of a cluster, which come a page at a time.

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "client/core/client.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::client {
namespace {

constexpr Duration kTimeout = std::chrono::seconds(5);
constexpr Duration kTimeMax = std::chrono::seconds(20);

// A broker with topics "t0", "t1", ... that tells two a page. The token is the number of the next.
class PagingBroker final : public Connector {
 public:
  PagingBroker(Executor& executor, int topics) : executor_(executor), topics_(topics) {}

  // The page with this number, counted from 1, and what follows are refused.
  void RefuseFrom(int page) { refused_from_ = page; }
  int pages() const { return pages_; }

  void Call(RpcRequest request, RpcDone done) override {
    CHECK_EQ(request.method, "/millrace.v1.MetadataService/ListTopics");
    executor_.Post([done = std::move(done), answer = Answer(request.body)]() mutable {
      done(std::move(answer));
    });
  }
  std::unique_ptr<RpcStream> OpenStream(const std::string&, const std::string&,
                                        RpcStreamHandler*) override {
    LOG(FATAL) << "no stream is needed to list topics";
    return nullptr;
  }

 private:
  Result<Bytes> Answer(const Bytes& body) {
    if (++pages_ >= refused_from_) return Internal("out of paper");
    v1::ListTopicsRequest request;
    CHECK(request.ParseFromArray(body.data(), static_cast<int>(body.size())));
    const int begin = request.page_token().empty() ? 0 : std::stoi(request.page_token());
    v1::ListTopicsResponse page;
    for (int i = begin; i < std::min(begin + 2, topics_); ++i) {
      page.add_topics()->set_name("t" + std::to_string(i));
    }
    if (begin + 2 < topics_) page.set_next_page_token(std::to_string(begin + 2));
    return Bytes::Own(page.SerializeAsString());
  }

  Executor& executor_;
  const int topics_;
  int pages_ = 0;
  int refused_from_ = 1000;
};

class TopicPagesTest : public testing::Test {
 protected:
  Result<v1::ListTopicsResponse> List(PagingBroker& broker) {
    Client client({process_.executor(), process_.clock(), broker, process_.Fork()},
                  {.bootstrap = {"broker"}});
    std::optional<Result<v1::ListTopicsResponse>> told;
    client.ListTopics(kTimeout,
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
    EXPECT_EQ(broker.pages(), std::max(1, (topics + 1) / 2));
  }
}

TEST_F(TopicPagesTest, AnErrorInTheMiddle_IsTheAnswer) {
  PagingBroker broker(process_.executor(), 5);
  broker.RefuseFrom(2);
  EXPECT_EQ(List(broker).status().message(), "out of paper");
}

}  // namespace
}  // namespace millrace::client

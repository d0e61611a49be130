// One stream a broker, whatever is sent; and what a stream that was given up says is not heard.
#include "client/core/stream_pool.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::client {
namespace {

constexpr BrokerId kOne{1};
constexpr BrokerId kTwo{2};
constexpr char kMethod[] = "/millrace.v1.ProducerService/Produce";

// What the broker's side of a stream sees of it.
struct Opened {
  std::string address;
  std::string method;
  RpcStreamHandler* handler = nullptr;
  std::vector<std::string> written;
  bool is_cancelled = false;
};

class FakeConnector final : public Connector {
 public:
  // In the order in which they were opened.
  std::vector<std::unique_ptr<Opened>> streams;

  void Call(RpcRequest, RpcDone) override { FAIL() << "a pool calls nobody"; }
  std::unique_ptr<RpcStream> OpenStream(const std::string& address, const std::string& method,
                                        RpcStreamHandler* handler) override {
    streams.push_back(std::make_unique<Opened>());
    *streams.back() = {.address = address, .method = method, .handler = handler, .written = {}};
    return std::make_unique<Stream>(*streams.back());
  }

 private:
  class Stream final : public RpcStream {
   public:
    explicit Stream(Opened& opened) : opened_(&opened) {}
    ~Stream() override { opened_->is_cancelled = true; }
    void Write(std::vector<Bytes> pieces) override {
      std::string whole;
      for (const Bytes& piece : pieces) whole += piece.view();
      opened_->written.push_back(std::move(whole));
    }

   private:
    Opened* opened_;
  };
};

class StreamPoolTest : public testing::Test {
 protected:
  void Send(BrokerId broker, const std::string& text) {
    pool_->Send(broker, "host" + std::to_string(broker.value()) + ":1", {Bytes::CopyOf(text)});
  }
  Opened& stream(size_t i) { return *connector_.streams.at(i); }

  FakeConnector connector_;
  std::vector<std::pair<BrokerId, std::string>> heard_;
  std::vector<std::pair<BrokerId, Status>> closed_;
  // What is done once a message was heard, or an end.
  std::function<void()> then_ = [] {};
  std::unique_ptr<StreamPool> pool_ = std::make_unique<StreamPool>(
      connector_, kMethod, Bytes::Own("init"),
      [this](BrokerId broker, const Bytes& message) {
        heard_.emplace_back(broker, message.view());
        then_();
      },
      [this](BrokerId broker, const Status& why) {
        closed_.emplace_back(broker, why);
        then_();
      });
};

using Texts = std::vector<std::string>;
using Heard = std::vector<std::pair<BrokerId, std::string>>;

TEST_F(StreamPoolTest, AStreamIsOpenedWithTheFirstMessage_AndServesAllThatFollow) {
  EXPECT_TRUE(connector_.streams.empty());
  Send(kOne, "a");
  Send(kOne, "b");
  ASSERT_EQ(connector_.streams.size(), 1u);
  EXPECT_EQ(stream(0).address, "host1:1");
  EXPECT_EQ(stream(0).method, kMethod);
  EXPECT_EQ(stream(0).written, (Texts{"init", "a", "b"}));
}

TEST_F(StreamPoolTest, EachBroker_HasAStreamOfItsOwn) {
  Send(kOne, "a");
  Send(kTwo, "b");
  ASSERT_EQ(connector_.streams.size(), 2u);
  EXPECT_EQ(stream(1).address, "host2:1");
  stream(1).handler->OnMessage(Bytes::Own("from two"));
  stream(0).handler->OnMessage(Bytes::Own("from one"));
  EXPECT_EQ(heard_, (Heard{{kTwo, "from two"}, {kOne, "from one"}}));
}

TEST_F(StreamPoolTest, AStreamThatEnded_IsToldOnce_AndTheNextMessageOpensAnother) {
  Send(kOne, "a");
  stream(0).handler->OnClosed(Unavailable("the broker stops"));
  ASSERT_EQ(closed_.size(), 1u);
  EXPECT_EQ(closed_[0].first, kOne);
  EXPECT_EQ(closed_[0].second.message(), "the broker stops");
  Send(kOne, "b");
  ASSERT_EQ(connector_.streams.size(), 2u);
  EXPECT_EQ(stream(1).written, (Texts{"init", "b"}));
}

TEST_F(StreamPoolTest, AnEnd_MayBeAnsweredWithAMessageAtOnce) {
  Send(kOne, "a");
  then_ = [this] { Send(kOne, "again"); };
  stream(0).handler->OnClosed(Unavailable("the broker stops"));
  ASSERT_EQ(connector_.streams.size(), 2u);
  EXPECT_EQ(stream(1).written, (Texts{"init", "again"}));
}

// A broker that is not told goes on sending to a client that does not listen.
TEST_F(StreamPoolTest, Close_CancelsTheStreamAtOnce_AndTellsNobody) {
  Send(kOne, "a");
  Send(kTwo, "b");
  pool_->Close(kOne);
  EXPECT_TRUE(stream(0).is_cancelled);
  EXPECT_FALSE(stream(1).is_cancelled);
  EXPECT_TRUE(closed_.empty());
  pool_->Close(kOne);
  Send(kOne, "c");
  ASSERT_EQ(connector_.streams.size(), 3u);
  EXPECT_EQ(stream(2).written, (Texts{"init", "c"}));
}

// As a client does with a message that it cannot read. The connector may have more in hand.
TEST_F(StreamPoolTest, AStreamThatIsClosedByItsOwnMessage_IsNotHeardAgain) {
  Send(kOne, "a");
  then_ = [this] { pool_->Close(kOne); };
  RpcStreamHandler* handler = stream(0).handler;
  handler->OnMessage(Bytes::Own("garbage"));
  EXPECT_TRUE(stream(0).is_cancelled);
  handler->OnMessage(Bytes::Own("more"));
  handler->OnClosed(Unavailable("cancelled"));
  EXPECT_EQ(heard_, (Heard{{kOne, "garbage"}}));
  EXPECT_TRUE(closed_.empty());
}

TEST_F(StreamPoolTest, APoolThatIsGone_HasCancelledItsStreams) {
  Send(kOne, "a");
  Send(kTwo, "b");
  pool_.reset();
  EXPECT_TRUE(stream(0).is_cancelled);
  EXPECT_TRUE(stream(1).is_cancelled);
}

}  // namespace
}  // namespace millrace::client

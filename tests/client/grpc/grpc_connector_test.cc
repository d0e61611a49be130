// The gRPC connector against the broker's own gRPC edge, over loopback.
#include "client/grpc/grpc_connector.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "broker/edge/grpc_edge.h"
#include "raft/runtime/event_loop.h"
#include "raft/runtime/loop_thread.h"

namespace millrace::client {
namespace {

using namespace std::chrono_literals;

constexpr char kCall[] = "/millrace.v1.MetadataService/GetServerInfo";
constexpr char kFailingCall[] = "/millrace.v1.MetadataService/DescribeTopics";
constexpr char kSilentCall[] = "/millrace.v1.MetadataService/DescribeCluster";
constexpr char kStream[] = "/millrace.v1.ProducerService/Produce";
// The fewest that a broker may be told to take of one connection.
constexpr uint64_t kStreamsMax = 100;

// Echoes every message; ends the stream with an error when it reads "end".
class EchoHandler final : public broker::StreamHandler {
 public:
  explicit EchoHandler(std::shared_ptr<broker::Stream> stream) : stream_(std::move(stream)) {}
  void OnMessage(Bytes message) override {
    if (message.view() == "end") {
      return stream_->Finish(Aborted("as you wish", Reason::kProducerFenced));
    }
    stream_->Write({message});
  }
  void OnHalfClose() override { stream_->Finish(Status::Ok()); }
  void OnWritable() override {}
  void OnClosed() override {}

 private:
  std::shared_ptr<broker::Stream> stream_;
};

class Events final : public RpcStreamHandler {
 public:
  void OnMessage(Bytes message) override {
    messages.emplace_back(message.view());
    if (on_event) on_event();
  }
  void OnClosed(const Status& status) override {
    end = status;
    if (on_event) on_event();
  }
  std::vector<std::string> messages;
  std::optional<Status> end;
  std::function<void()> on_event;
};

class GrpcConnectorTest : public ::testing::Test {
 protected:
  GrpcConnectorTest() : shard_("shard") {
    registry_.AddCall(kCall, [](std::shared_ptr<broker::Call> call) {
      call->Reply(Bytes::CopyOf("you said " + std::string(call->request().view())));
    });
    registry_.AddCall(kFailingCall, [](std::shared_ptr<broker::Call> call) {
      call->Fail(NotFound("topic \"x\" does not exist", Reason::kUnknownTopic)
                     .AddMetadata("topic", "x")
                     .RetryAfterMs(250));
    });
    registry_.AddCall(kSilentCall, [this](std::shared_ptr<broker::Call> call) {
      unanswered_.push_back(std::move(call));
    });
    registry_.AddStream(kStream, [](std::shared_ptr<broker::Stream> stream) {
      return std::make_unique<EchoHandler>(std::move(stream));
    });
    shard_.RunAndWait([this] {
      edge_ = std::make_unique<broker::edge::GrpcEdge>(
          broker::edge::GrpcEdge::Options{.listen = {"127.0.0.1", 0},
                                          .message_bytes_max = 8 << 20,
                                          .streams_per_connection_max = kStreamsMax},
          shard_.executor(), clock_,
          broker::edge::GrpcEdge::Services{.registry = registry_, .memory = memory_});
      const Result<Endpoint> bound = edge_->Start();
      CHECK(bound.ok()) << bound.status();
      address_ = bound->ToString();
    });
  }
  ~GrpcConnectorTest() override {
    connector_.reset();
    StopEdge();
    shard_.Stop();
  }

  void StopEdge() {
    shard_.RunAndWait([this] {
      unanswered_.clear();
      if (edge_) edge_->Stop();
      edge_.reset();
    });
  }

  // Runs the client's loop with `start`, until Done or too long.
  void Run(Task start) {
    connector_ = std::make_unique<GrpcConnector>(loop_, GrpcConnector::Options());
    loop_.Post(std::move(start));
    loop_.RunAfter(20s, [this] {
      ADD_FAILURE() << "too slow";
      loop_.Stop();
    });
    loop_.Run();
  }
  void Done() { loop_.Stop(); }

  LoopThread shard_;
  RealClock clock_;
  broker::ServiceRegistry registry_;
  broker::ClientMemory memory_{uint64_t{64} << 20};
  std::unique_ptr<broker::edge::GrpcEdge> edge_;
  std::string address_;
  std::vector<std::shared_ptr<broker::Call>> unanswered_;
  EventLoop loop_;
  std::unique_ptr<GrpcConnector> connector_;
};

TEST_F(GrpcConnectorTest, Call_BringsTheResponse) {
  Result<Bytes> got = Internal("not called");
  Run([&] {
    connector_->Call({address_, kCall, Bytes::CopyOf("hello"), 5s}, [&](Result<Bytes> result) {
      got = std::move(result);
      Done();
    });
  });
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->view(), "you said hello");
}

TEST_F(GrpcConnectorTest, FailedCall_KeepsReasonMetadataAndRetryDelay) {
  Result<Bytes> got = Internal("not called");
  Run([&] {
    connector_->Call({address_, kFailingCall, Bytes(), 5s}, [&](Result<Bytes> result) {
      got = std::move(result);
      Done();
    });
  });
  EXPECT_EQ(got.status().code(), Code::kNotFound);
  EXPECT_EQ(got.status().reason(), Reason::kUnknownTopic);
  EXPECT_EQ(got.status().message(), "topic \"x\" does not exist");
  EXPECT_EQ(got.status().retry_after_ms(), 250);
  ASSERT_EQ(got.status().metadata().size(), 1u);
  EXPECT_EQ(got.status().metadata()[0].second, "x");
}

TEST_F(GrpcConnectorTest, Call_EndsAtItsDeadline) {
  Status got;
  Run([&] {
    connector_->Call({address_, kSilentCall, Bytes(), 100ms}, [&](Result<Bytes> result) {
      got = result.status();
      Done();
    });
  });
  EXPECT_EQ(got.code(), Code::kDeadlineExceeded);
}

TEST_F(GrpcConnectorTest, CallToNobody_IsUnavailable) {
  Status got;
  Run([&] {
    connector_->Call({"127.0.0.1:1", kCall, Bytes(), 5s}, [&](Result<Bytes> result) {
      got = result.status();
      Done();
    });
  });
  EXPECT_EQ(got.code(), Code::kUnavailable);
}

TEST_F(GrpcConnectorTest, Stream_EchoesManyMessages_OfManyPieces_InOrder) {
  constexpr size_t kCount = 500;
  Events events;
  std::vector<std::string> sent;
  Run([&] {
    auto stream = connector_->OpenStream(address_, kStream, &events);
    for (size_t i = 0; i < kCount; ++i) {
      const std::string large(i % 10 == 0 ? 100000 : 10, 'x');
      sent.push_back(std::to_string(i) + large);
      stream->Write({Bytes::CopyOf(std::to_string(i)), Bytes::CopyOf(large)});
    }
    events.on_event = [&, keep = std::shared_ptr<RpcStream>(std::move(stream))] {
      if (events.messages.size() == kCount) Done();
    };
  });
  EXPECT_EQ(events.messages, sent);
  events.on_event = {};
}

TEST_F(GrpcConnectorTest, MoreStreamsThanAConnectionMayHave_AreAllServed) {
  constexpr size_t kCount = 2 * kStreamsMax + 50;
  std::vector<Events> events(kCount);
  std::vector<std::unique_ptr<RpcStream>> streams;
  size_t echoed = 0;
  Run([&] {
    for (Events& each : events) {
      each.on_event = [&] {
        if (++echoed == kCount) Done();
      };
      streams.push_back(connector_->OpenStream(address_, kStream, &each));
      streams.back()->Write({Bytes::CopyOf("hello")});
    }
  });
  EXPECT_EQ(echoed, kCount);
}

TEST_F(GrpcConnectorTest, TwoConnectors_DoNotShareAConnectionsStreams) {
  constexpr size_t kEach = kStreamsMax - 10;
  GrpcConnector other(loop_, GrpcConnector::Options());
  std::vector<Events> events(2 * kEach);
  std::vector<std::unique_ptr<RpcStream>> streams;
  size_t echoed = 0;
  Run([&] {
    for (size_t i = 0; i < events.size(); ++i) {
      events[i].on_event = [&] {
        if (++echoed == events.size()) Done();
      };
      GrpcConnector& connector = i < kEach ? other : *connector_;
      streams.push_back(connector.OpenStream(address_, kStream, &events[i]));
      streams.back()->Write({Bytes::CopyOf("hello")});
    }
  });
  EXPECT_EQ(echoed, events.size());
  streams.clear();
}

TEST_F(GrpcConnectorTest, Stream_TellsWhyItEnded) {
  Events events;
  std::unique_ptr<RpcStream> stream;
  Run([&] {
    stream = connector_->OpenStream(address_, kStream, &events);
    stream->Write({Bytes::CopyOf("end")});
    events.on_event = [this] { Done(); };
  });
  ASSERT_TRUE(events.end.has_value());
  EXPECT_EQ(events.end->code(), Code::kAborted);
  EXPECT_EQ(events.end->reason(), Reason::kProducerFenced);
}

TEST_F(GrpcConnectorTest, Stream_Ends_WhenTheServerGoesAway) {
  Events events;
  std::unique_ptr<RpcStream> stream;
  Run([&] {
    stream = connector_->OpenStream(address_, kStream, &events);
    stream->Write({Bytes::CopyOf("hello")});
    events.on_event = [&] {
      if (events.end) return Done();
      StopEdge();
    };
  });
  ASSERT_TRUE(events.end.has_value());
  EXPECT_EQ(events.end->code(), Code::kUnavailable);
}

TEST_F(GrpcConnectorTest, StreamToNobody_EndsUnavailable_AndTakesWritesMeanwhile) {
  Events events;
  std::unique_ptr<RpcStream> stream;
  Run([&] {
    stream = connector_->OpenStream("127.0.0.1:1", kStream, &events);
    stream->Write({Bytes::CopyOf("hello")});
    events.on_event = [this] { Done(); };
  });
  ASSERT_TRUE(events.end.has_value());
  EXPECT_EQ(events.end->code(), Code::kUnavailable);
}

TEST_F(GrpcConnectorTest, DestroyedWithCallsAndStreamsUnderWay_ItWaitsForThem) {
  Events events;
  std::unique_ptr<RpcStream> kept;
  bool was_called = false;
  Run([&] {
    connector_->Call({address_, kSilentCall, Bytes(), 60s},
                     [&](Result<Bytes>) { was_called = true; });
    kept = connector_->OpenStream(address_, kStream, &events);
    connector_->OpenStream(address_, kStream, &events)->Write({Bytes::CopyOf("dropped at once")});
    for (int i = 0; i < 100; ++i) kept->Write({Bytes::CopyOf(std::string(50000, 'x'))});
    events.on_event = [this] { Done(); };
  });
  kept.reset();
  connector_.reset();
  EXPECT_FALSE(was_called);
}

}  // namespace
}  // namespace millrace::client

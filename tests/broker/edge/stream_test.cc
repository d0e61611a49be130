#include <gtest/gtest.h>

#include "tests/broker/edge/edge_harness.h"

namespace millrace::broker::edge {
namespace {

class StreamTest : public ::testing::Test {
 protected:
  // Starts the edge with a probe behind kStreamMethod.
  std::shared_ptr<Probe> Serve(bool is_echo) {
    auto probe = AddProbe(harness_, kStreamMethod, is_echo);
    harness_.Start();
    channel_ = harness_.Connect();
    return probe;
  }

  EdgeHarness harness_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(StreamTest, Messages_ArriveInOrder_AndAreAnsweredInOrder) {
  const auto probe = Serve(true);
  ClientStream stream(channel_, kStreamMethod);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(stream.Write(std::to_string(i)));
  stream.HalfClose();
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(stream.Read(), std::to_string(i));
  EXPECT_EQ(stream.Read(), std::nullopt);
  EXPECT_TRUE(stream.Finish().ok());
  ASSERT_TRUE(harness_.WaitUntilIdle());
  EXPECT_EQ(probe->half_close_count, 1);
  EXPECT_EQ(probe->closed_count, 1);
}

TEST_F(StreamTest, EmptyAndLargeMessages_PassUnchanged) {
  Serve(true);
  ClientStream stream(channel_, kStreamMethod);
  std::string large(4 << 20, '\0');
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 7 + i / 4096);
  for (const std::string& body : {std::string(), large, std::string("x"), large}) {
    ASSERT_TRUE(stream.Write(body));
    ASSERT_EQ(stream.Read(), body);
  }
}

TEST_F(StreamTest, AMessageOfSeveralPieces_ArrivesWhole) {
  const auto probe = Serve(false);
  ClientStream stream(channel_, kStreamMethod);
  ASSERT_TRUE(harness_.WaitUntil([&] { return probe->stream != nullptr; }));
  const std::string payload(100'000, 'p');
  harness_.OnShard([&] {
    probe->stream->Write({Bytes::CopyOf("head"), Bytes::CopyOf(""), Bytes::CopyOf("er"),
                          Bytes::CopyOf(payload), Bytes::CopyOf("tail")});
    probe->stream->Write({});
    probe->stream->Finish(Status::Ok());
  });
  EXPECT_EQ(stream.Read(), "header" + payload + "tail");
  EXPECT_EQ(stream.Read(), "");
  EXPECT_EQ(stream.Read(), std::nullopt);
}

TEST_F(StreamTest, Finish_SendsWhatIsQueued_ThenTheStatus) {
  const auto probe = Serve(false);
  ClientStream stream(channel_, kStreamMethod);
  ASSERT_TRUE(harness_.WaitUntil([&] { return probe->stream != nullptr; }));
  harness_.OnShard([&] {
    for (int i = 0; i < 100; ++i) probe->stream->Write({Bytes::CopyOf(std::to_string(i))});
    probe->stream->Finish(OutOfRange("offset 9", Reason::kOffsetOutOfRange));
    probe->stream->Write({Bytes::CopyOf("after the end")});
  });
  for (int i = 0; i < 100; ++i) ASSERT_EQ(stream.Read(), std::to_string(i));
  EXPECT_EQ(stream.Read(), std::nullopt);
  EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::OUT_OF_RANGE);
  ASSERT_TRUE(harness_.WaitUntilIdle());
  EXPECT_EQ(probe->closed_count, 1);
}

TEST_F(StreamTest, AfterAHalfClose_TheServiceMayStillWrite) {
  const auto probe = Serve(false);
  ClientStream stream(channel_, kStreamMethod);
  stream.HalfClose();
  ASSERT_TRUE(harness_.WaitUntil([&] { return probe->half_close_count == 1; }));
  harness_.OnShard([&] { probe->stream->Write({Bytes::CopyOf("still here")}); });
  EXPECT_EQ(stream.Read(), "still here");
  harness_.OnShard([&] { probe->stream->Finish(Status::Ok()); });
  EXPECT_TRUE(stream.Finish().ok());
}

TEST_F(StreamTest, AMethodThatStreamsAnswersAlone_GetsOneMessage_ThenTheHalfClose) {
  const auto probe = AddProbe(harness_, kServerStreamMethod, false);
  harness_.Start();
  const auto channel = harness_.Connect();
  grpc::ClientContext context;
  const grpc::internal::RpcMethod method(kServerStreamMethod,
                                         grpc::internal::RpcMethod::SERVER_STREAMING, channel);
  const std::unique_ptr<grpc::ClientReader<grpc::ByteBuffer>> reader(
      grpc::internal::ClientReaderFactory<grpc::ByteBuffer>::Create(channel.get(), method, &context,
                                                                    ToBuffer("request")));
  ASSERT_TRUE(harness_.WaitUntil([&] { return probe->half_close_count == 1; }));
  harness_.OnShard([&] {
    EXPECT_EQ(probe->messages, std::vector<std::string>{"request"});
    for (const char* answer : {"one", "two"}) probe->stream->Write({Bytes::CopyOf(answer)});
    probe->stream->Finish(Status::Ok());
  });
  for (const char* answer : {"one", "two"}) {
    grpc::ByteBuffer buffer;
    ASSERT_TRUE(reader->Read(&buffer));
    EXPECT_EQ(ToText(buffer), answer);
  }
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(StreamTest, ACancelledStream_ClosesItsHandler_AlsoWhenItDoesNotRead) {
  for (const bool is_reading : {true, false}) {
    EdgeHarness harness;
    const auto probe = AddProbe(harness, kStreamMethod, false);
    harness.Start();
    ClientStream stream(harness.Connect(), kStreamMethod);
    ASSERT_TRUE(stream.Write("one"));
    ASSERT_TRUE(harness.WaitUntil([&] { return probe->messages.size() == 1; }));
    harness.OnShard([&] { probe->stream->SetReading(is_reading); });
    stream.Cancel();
    ASSERT_TRUE(harness.WaitUntil([&] { return probe->closed_count == 1; }));
    EXPECT_TRUE(harness.WaitUntilIdle());
    harness.OnShard([&] {  // too late, and harmless
      probe->stream->Write({Bytes::CopyOf("x")});
      probe->stream->SetReading(true);
      probe->stream->Finish(Status::Ok());
      EXPECT_EQ(probe->stream->pending_bytes(), 0u);
    });
  }
}

TEST_F(StreamTest, AHandlerThatDoesNotRead_StopsTheClient_UntilItReadsOn) {
  const auto probe = Serve(false);
  ClientStream stream(channel_, kStreamMethod);
  ASSERT_TRUE(stream.Write("first"));
  ASSERT_TRUE(harness_.WaitUntil([&] { return probe->messages.size() == 1; }));
  harness_.OnShard([&] { probe->stream->SetReading(false); });

  std::atomic<int> written = 0;
  constexpr int kCount = 64;
  std::thread writer([&] {
    for (int i = 0; i < kCount; ++i) {
      if (stream.Write(std::string(1 << 20, 'x'))) ++written;
    }
    stream.HalfClose();
  });
  ASSERT_TRUE(harness_.WaitUntil([&] { return written >= 1; }));
  harness_.WaitUntil([&, last = -1, since = 0]() mutable {  // until nothing moves any more
    since = written == last ? since + 1 : 0;
    last = written;
    return since == 200;
  });
  EXPECT_LT(written, kCount) << "flow control lets the client write without end";
  harness_.OnShard([&] {
    EXPECT_LE(probe->messages.size(), 2u) << "more than the read under way was delivered";
    probe->stream->SetReading(true);
  });
  writer.join();
  ASSERT_TRUE(harness_.WaitUntil([&] { return probe->half_close_count == 1; }));
  EXPECT_EQ(probe->messages.size(), 1u + kCount);
  harness_.OnShard([&] { probe->stream->Finish(Status::Ok()); });
  EXPECT_TRUE(stream.Finish().ok());
}

TEST_F(StreamTest, PendingBytes_TellsOfAClientThatDoesNotRead_AndOnWritableWhenItDoes) {
  const auto probe = Serve(false);
  ClientStream stream(channel_, kStreamMethod);
  ASSERT_TRUE(harness_.WaitUntil([&] { return probe->stream != nullptr; }));
  constexpr int kCount = 32;
  harness_.OnShard([&] {
    for (int i = 0; i < kCount; ++i) probe->stream->Write({Bytes::Own(std::string(1 << 20, 'x'))});
    EXPECT_GE(probe->stream->pending_bytes(), 16u << 20);
    EXPECT_EQ(probe->writable_count, 0);
  });
  for (int i = 0; i < kCount; ++i) ASSERT_EQ(stream.Read()->size(), 1u << 20);
  ASSERT_TRUE(harness_.WaitUntil([&] { return probe->stream->pending_bytes() == 0; }));
  EXPECT_TRUE(harness_.WaitUntil([&] { return probe->writable_count == 1; }));
}

TEST_F(StreamTest, WhatIsWritten_IsCountedUntilTheTransportHasIt) {
  const auto probe = Serve(false);
  ClientStream stream(channel_, kStreamMethod);
  ASSERT_TRUE(harness_.WaitUntil([&] { return probe->stream != nullptr; }));
  harness_.OnShard([&] {
    for (int i = 0; i < 8; ++i) probe->stream->Write({Bytes::Own(std::string(1 << 20, 'x'))});
    EXPECT_GE(harness_.memory().outgoing.used(), 7u << 20);
  });
  for (int i = 0; i < 8; ++i) ASSERT_EQ(stream.Read()->size(), 1u << 20);
  EXPECT_TRUE(harness_.WaitUntil([&] { return harness_.memory().outgoing.used() == 0; }));
}

TEST_F(StreamTest, AClientThatDoesNotRead_IsCutOff_OnceOthersWaitForItsMemory) {
  harness_.options().stall_time_max = std::chrono::milliseconds(20);
  const auto probe = Serve(false);
  ClientStream stream(channel_, kStreamMethod);
  ASSERT_TRUE(harness_.WaitUntil([&] { return probe->stream != nullptr; }));
  harness_.OnShard([&] {
    for (int i = 0; i < 8; ++i) probe->stream->Write({Bytes::Own(std::string(1 << 20, 'x'))});
  });
  bool is_woken = false;
  harness_.OnShard([&] {
    EXPECT_EQ(probe->closed_count, 0) << "nobody waited yet";
    harness_.memory().outgoing.Wait(4 << 20, [&] { is_woken = true; });
  });
  ASSERT_TRUE(harness_.WaitUntil([&] { return is_woken; }));
  EXPECT_TRUE(harness_.WaitUntil([&] { return probe->closed_count == 1; }));
  while (stream.Read().has_value()) {
  }
  EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(harness_.WaitUntil([&] { return harness_.memory().outgoing.used() == 0; }));
}

TEST_F(StreamTest, OneStreamTooMany_IsRefused_WithATimeToRetry) {
  harness_.options().streams_max = 2;
  Serve(true);
  std::vector<std::unique_ptr<ClientStream>> streams;
  for (int i = 0; i < 2; ++i) {
    streams.push_back(std::make_unique<ClientStream>(channel_, kStreamMethod));
    ASSERT_TRUE(streams.back()->Write("open"));
    ASSERT_EQ(streams.back()->Read(), "open");
  }
  ClientStream third(channel_, kStreamMethod);
  const grpc::Status refused = third.Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_NE(refused.error_details().find("google.rpc.RetryInfo"), std::string::npos);
  streams.pop_back();
  EXPECT_TRUE(harness_.WaitUntil([&] { return harness_.edge().open_count() == 1; }));
  ClientStream next(channel_, kStreamMethod);
  ASSERT_TRUE(next.Write("room"));
  EXPECT_EQ(next.Read(), "room");
}

TEST_F(StreamTest, AThousandStreamsOnOneConnection_AreServedAtOnce) {
  Serve(true);
  std::vector<std::unique_ptr<ClientStream>> streams;
  for (int i = 0; i < 1000; ++i) {
    streams.push_back(std::make_unique<ClientStream>(channel_, kStreamMethod));
    ASSERT_TRUE(streams.back()->Write(std::to_string(i)));
  }
  for (size_t i = 0; i < streams.size(); ++i) ASSERT_EQ(streams[i]->Read(), std::to_string(i));
  harness_.OnShard([&] { EXPECT_EQ(harness_.edge().open_count(), 1000u); });
  for (auto& stream : streams) stream->HalfClose();
  for (auto& stream : streams) EXPECT_TRUE(stream->Finish().ok());
  EXPECT_TRUE(harness_.WaitUntilIdle());
}

TEST_F(StreamTest, AMessageOverTheLimit_EndsTheStream_AndNotTheConnection) {
  const auto probe = Serve(true);
  ClientStream stream(channel_, kStreamMethod);
  stream.Write(std::string((4 << 20) + 1, 'x'));
  EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  ASSERT_TRUE(harness_.WaitUntilIdle());
  EXPECT_TRUE(probe->messages.empty());
  ClientStream next(channel_, kStreamMethod);
  ASSERT_TRUE(next.Write("fits"));
  EXPECT_EQ(next.Read(), "fits");
}

TEST_F(StreamTest, AStreamThatIsNotRegistered_IsUnimplemented) {
  Serve(true);
  ClientStream stream(channel_, kOtherStreamMethod);
  EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace millrace::broker::edge

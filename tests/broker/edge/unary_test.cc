#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/v1/error.pb.h"
#include "tests/broker/edge/edge_harness.h"

namespace millrace::broker::edge {
namespace {

using ::testing::HasSubstr;

class UnaryTest : public ::testing::Test {
 protected:
  void Serve(CallHandler handler) {
    harness_.registry().AddCall(kUnaryMethod, std::move(handler));
    harness_.Start();
  }
  void ServeEcho() {
    Serve([](std::shared_ptr<Call> call) { call->Reply(call->request()); });
  }

  EdgeHarness harness_;
};

TEST_F(UnaryTest, ACall_IsAnswered) {
  ServeEcho();
  for (const std::string& body : {std::string(), std::string("x"), std::string(3 << 20, 'y')}) {
    const Reply reply = harness_.CallUnary(kUnaryMethod, body);
    EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
    EXPECT_EQ(reply.body, body);
  }
}

TEST_F(UnaryTest, AnAnswer_MayComeLater) {
  std::vector<std::shared_ptr<Call>> calls;
  Serve([&](std::shared_ptr<Call> call) { calls.push_back(std::move(call)); });
  auto reply =
      std::async(std::launch::async, [&] { return harness_.CallUnary(kUnaryMethod, "q"); });
  ASSERT_TRUE(harness_.WaitUntil([&] { return calls.size() == 1; }));
  harness_.OnShard([&] { calls[0]->Reply(Bytes::CopyOf("a")); });
  EXPECT_EQ(reply.get().body, "a");
}

TEST_F(UnaryTest, AnError_CarriesCodeMessageAndDetails) {
  Serve([](std::shared_ptr<Call> call) {
    call->Fail(Unavailable("partition 3 moved", Reason::kNotLeader)
                   .AddMetadata("leader_id", "2")
                   .RetryAfterMs(250));
  });
  const Reply reply = harness_.CallUnary(kUnaryMethod, "");
  EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(reply.status.error_message(), "partition 3 moved");
  const std::string details = reply.status.error_details();
  EXPECT_THAT(details, HasSubstr("type.googleapis.com/google.rpc.ErrorInfo"));
  EXPECT_THAT(details, HasSubstr("NOT_LEADER"));
  EXPECT_THAT(details, HasSubstr("leader_id"));
  EXPECT_THAT(details, HasSubstr("type.googleapis.com/google.rpc.RetryInfo"));
}

TEST_F(UnaryTest, ACall_IsRefused_WithATimeToRetry_WhenUnansweredOnesFillTheMemory) {
  std::vector<std::shared_ptr<Call>> calls;
  Serve([&](std::shared_ptr<Call> call) { calls.push_back(std::move(call)); });
  auto first = std::async(std::launch::async, [&] {
    return harness_.CallUnary(kUnaryMethod, std::string(3 << 20, 'x'));
  });
  ASSERT_TRUE(harness_.WaitUntil([&] { return calls.size() == 1; }));
  const Reply second = harness_.CallUnary(kUnaryMethod, std::string(3 << 20, 'x'));
  EXPECT_EQ(second.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(second.status.error_details(), HasSubstr("google.rpc.RetryInfo"));
  harness_.OnShard([&] { calls[0]->Reply(Bytes::CopyOf("a")); });
  EXPECT_EQ(first.get().body, "a");
  EXPECT_TRUE(harness_.WaitUntil([&] { return harness_.memory().incoming.used() == 0; }));
}

TEST_F(UnaryTest, AMethodThatIsNotRegistered_IsUnimplemented) {
  ServeEcho();
  for (const char* method : {"/millrace.v1.AdminService/CreateTopic",
                             "/millrace.v1.AdminService/NoSuchMethod", "/no.Such/Method"}) {
    EXPECT_EQ(harness_.CallUnary(method, "").status.error_code(), grpc::StatusCode::UNIMPLEMENTED)
        << method;
  }
}

TEST_F(UnaryTest, ARequestOverTheLimit_IsResourceExhausted_AndTheNextOneIsServed) {
  ServeEcho();
  const Reply refused = harness_.CallUnary(kUnaryMethod, std::string((4 << 20) + 1, 'x'));
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(harness_.CallUnary(kUnaryMethod, std::string(4 << 20, 'x')).status.ok());
}

TEST_F(UnaryTest, ADeadline_IsToldOnTheShardsClock) {
  MonotonicTime deadline{};
  Serve([&](std::shared_ptr<Call> call) {
    deadline = call->deadline();
    EXPECT_THAT(call->principal().peer_address, HasSubstr("127.0.0.1:"));
    call->Reply(Bytes());
  });
  const MonotonicTime now = RealClock().Now();
  harness_.CallUnary(kUnaryMethod, "", std::chrono::seconds(15));
  EXPECT_GT(deadline, now + std::chrono::seconds(10));
  EXPECT_LT(deadline, now + std::chrono::seconds(20));
}

TEST_F(UnaryTest, AnAnswerAfterTheClientHasGone_DoesNothing) {
  std::shared_ptr<Call> kept;
  Serve([&](std::shared_ptr<Call> call) { kept = std::move(call); });
  const Reply reply = harness_.CallUnary(kUnaryMethod, "", std::chrono::milliseconds(50));
  EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  harness_.OnShard([&] { kept->Reply(Bytes::CopyOf("late")); });
  EXPECT_TRUE(harness_.WaitUntilIdle());
}

TEST_F(UnaryTest, ACallThatTheServiceForgets_IsAnsweredWithInternal) {
  Serve([](std::shared_ptr<Call>) {});
  EXPECT_EQ(harness_.CallUnary(kUnaryMethod, "").status.error_code(), grpc::StatusCode::INTERNAL);
}

TEST_F(UnaryTest, Stop_EndsOpenCallsWithUnavailable_AndTheCallMayBeAnsweredAfterwards) {
  std::shared_ptr<Call> kept;
  Serve([&](std::shared_ptr<Call> call) { kept = std::move(call); });
  auto reply = std::async(std::launch::async, [&] { return harness_.CallUnary(kUnaryMethod, ""); });
  ASSERT_TRUE(harness_.WaitUntil([&] { return kept != nullptr; }));
  harness_.Stop();
  const grpc::Status status = reply.get().status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "the broker is stopping");
  harness_.OnShard([&] {
    kept->Reply(Bytes());
    kept.reset();
  });
}

TEST_F(UnaryTest, ManyCallsAtOnce_AreAllAnswered) {
  ServeEcho();
  std::vector<std::thread> threads;
  std::atomic<int> answered = 0;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const std::string body = std::to_string(t) + "/" + std::to_string(i);
        if (harness_.CallUnary(kUnaryMethod, body).body == body) ++answered;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered, 400);
}

}  // namespace
}  // namespace millrace::broker::edge

#include "broker/metadata/forwarder.h"

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {
namespace {

using internal::v1::ForwardReply;
using internal::v1::ForwardRequest;
using internal::v1::ForwardStatus;

constexpr BrokerId kPeer{2};

// Keeps what is sent.
class KeepingTransport final : public raft::Transport {
 public:
  void SendRaft(const raft::RaftRoute&, raft::core::Message, bool) override {}
  void SendPeer(BrokerId, raft::Lane, raft::PeerKind kind, std::vector<Bytes> body) override {
    std::string whole;
    for (const Bytes& piece : body) whole += piece.view();
    sent.emplace_back(kind, std::move(whole));
  }
  bool IsConnected(BrokerId) const override { return true; }

  std::vector<std::pair<raft::PeerKind, std::string>> sent;
};

class ForwarderTest : public ::testing::Test {
 protected:
  ForwarderTest() {
    forwarder_.Serve("echo", [](Bytes body, Duration, ForwardDone done) { done(std::move(body)); });
  }
  // The reply to a request of a peer's.
  ForwardReply Serve(const ForwardRequest& request) {
    transport_.sent.clear();
    forwarder_.OnRequest(kPeer, Bytes::Own(request.SerializeAsString()));
    ForwardReply reply;
    CHECK(transport_.sent.size() == 1 && reply.ParseFromString(transport_.sent[0].second));
    EXPECT_EQ(transport_.sent[0].first, raft::PeerKind::kForwardReply);
    return reply;
  }
  static ForwardRequest Echo() {
    ForwardRequest request;
    request.set_request_id(7);
    request.set_method("echo");
    request.set_body("hello");
    return request;
  }

  sim::SimWorld world_{1};
  KeepingTransport transport_;
  Forwarder forwarder_{world_.AddProcess("b1").executor(), transport_};
};

TEST_F(ForwarderTest, ARequest_IsServed_WithThePrincipalAndFieldsOfLaterVersions) {
  ForwardRequest request = Echo();
  request.mutable_principal()->set_name("User:alice");
  request.mutable_principal()->add_groups("writers");
  request.set_expected_leader_epoch(3);
  ASSERT_TRUE(request.MergeFromString("\x98\x06\x07"));  // field 99
  const ForwardReply reply = Serve(request);
  EXPECT_EQ(reply.request_id(), 7u);
  EXPECT_EQ(reply.status().code(), 0);
  EXPECT_EQ(reply.body(), "hello");
}

TEST_F(ForwarderTest, AMethodOrClassThatIsNotKnown_IsUnimplemented_NamingIt) {
  ForwardRequest request = Echo();
  request.set_method("juggle");
  ForwardStatus status = Serve(request).status();
  EXPECT_EQ(status.code(), static_cast<int>(Code::kUnimplemented));
  EXPECT_NE(status.message().find("juggle"), std::string::npos);

  request = Echo();
  request.set_work_class(4);
  status = Serve(request).status();
  EXPECT_EQ(status.code(), static_cast<int>(Code::kUnimplemented));
  EXPECT_NE(status.message().find("class 4"), std::string::npos);
}

TEST_F(ForwarderTest, AnAnswersStatus_ArrivesAsItWas) {
  std::optional<Status> got;
  forwarder_.Forward(
      {.to = kPeer, .method = "x", .body = Bytes(), .timeout = std::chrono::seconds(1)},
      [&got](Result<Bytes> result) { got = result.status(); });
  ForwardReply reply;
  reply.set_request_id(1);
  ToForwardStatus(
      Unavailable("it moved", Reason::kNotLeader).AddMetadata("leader_id", "3").RetryAfterMs(20),
      reply.mutable_status());
  forwarder_.OnReply(kPeer, Bytes::Own(reply.SerializeAsString()));
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->code(), Code::kUnavailable);
  EXPECT_EQ(got->reason(), Reason::kNotLeader);
  EXPECT_EQ(got->message(), "it moved");
  EXPECT_EQ(got->metadata()[0].second, "3");
  EXPECT_EQ(got->retry_after_ms(), 20);
}

TEST(ForwardStatusTest, CodesAndReasonsOfLaterVersions_AreUnknownAndNone) {
  for (const int code : {17, 99, -1}) {
    ForwardStatus status;
    status.set_code(code);
    status.set_reason(4'711);
    status.set_message("from the future");
    const Status read = FromForwardStatus(status);
    EXPECT_EQ(read.code(), Code::kUnknown) << code;
    EXPECT_EQ(read.reason(), Reason::kNone);
    EXPECT_EQ(read.message(), "from the future");
  }
}

// The numbers are on the wire. This list is only ever added to.
TEST(ReasonTest, Numbers_StayWhatTheyAre) {
  constexpr std::array<std::string_view, 17> kNames{"",
                                                    "NOT_LEADER",
                                                    "OFFSET_OUT_OF_RANGE",
                                                    "UNKNOWN_TOPIC",
                                                    "UNKNOWN_PARTITION",
                                                    "TOPIC_DELETED",
                                                    "SEQUENCE_GAP",
                                                    "DUPLICATE_SEQUENCE",
                                                    "UNKNOWN_PRODUCER",
                                                    "PRODUCER_FENCED",
                                                    "CORRUPT_BATCH",
                                                    "BATCH_TOO_LARGE",
                                                    "THROTTLED",
                                                    "DISK_FULL",
                                                    "REPLICA_SILENT",
                                                    "CLUSTER_MISMATCH",
                                                    "NOT_INITIALIZED"};
  for (size_t i = 0; i < kNames.size(); ++i) {
    EXPECT_EQ(ReasonName(static_cast<Reason>(i)), kNames[i]) << i;
  }
}

}  // namespace
}  // namespace millrace::broker

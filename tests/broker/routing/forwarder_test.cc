#include "broker/routing/forwarder.h"

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "broker/routing/attached_bytes.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {
namespace {

using internal::v1::ForwardReply;
using internal::v1::ForwardRequest;
using internal::v1::ForwardStatus;

constexpr BrokerId kPeer{2};
constexpr ForwardMethod kEcho{"echo", WorkClass::kData};
constexpr ForwardMethod kEchoControl{"echo_control", WorkClass::kControl};

struct Sent {
  raft::Lane lane = raft::Lane::kControl;
  raft::PeerKind kind = raft::PeerKind::kForwardRequest;
  std::vector<Bytes> pieces;
};

// Keeps what is sent.
class KeepingTransport final : public raft::Transport {
 public:
  void SendRaft(const raft::RaftRoute&, raft::core::Message, bool) override {}
  void SendPeer(BrokerId, raft::Lane lane, raft::PeerKind kind, std::vector<Bytes> body) override {
    sent.push_back({lane, kind, std::move(body)});
  }
  bool IsConnected(BrokerId) const override { return is_connected; }
  bool IsDiskFull(BrokerId) const override { return false; }
  std::vector<int64_t> PeerWallClocksMs() const override { return {}; }

  bool is_connected = true;
  std::vector<Sent> sent;
};

Bytes Joined(const std::vector<Bytes>& pieces) {
  std::string whole;
  for (const Bytes& piece : pieces) whole += piece.view();
  return Bytes::Own(std::move(whole));
}

Bytes Message(const google::protobuf::MessageLite& head, std::string_view body = "") {
  return Joined(AttachBytes(head, {Bytes::CopyOf(body)}));
}

class ForwarderTest : public ::testing::Test {
 protected:
  ForwarderTest() {
    for (const ForwardMethod& method : {kEcho, kEchoControl}) {
      forwarder_.Serve(method, [this](ForwardedRequest request, ForwardReplied done) {
        served_ = request;
        done(std::vector<Bytes>{std::move(request.body)});
      });
    }
  }
  // The reply to a request of a peer's, and the body behind it.
  ForwardReply Serve(const ForwardRequest& request, std::string* body = nullptr,
                     std::string_view sent = "hello") {
    transport_.sent.clear();
    forwarder_.OnRequest(kPeer, Message(request, sent));
    ForwardReply reply;
    CHECK_EQ(transport_.sent.size(), 1u);
    EXPECT_EQ(transport_.sent[0].kind, raft::PeerKind::kForwardReply);
    const Result<Bytes> rest = DetachBytes(Joined(transport_.sent[0].pieces), &reply);
    CHECK(rest.ok()) << rest.status();
    if (body != nullptr) *body = rest->view();
    return reply;
  }
  static ForwardRequest Echo() {
    ForwardRequest request;
    request.set_request_id(7);
    request.set_method("echo");
    return request;
  }
  // Forwards so many bytes, which nobody answers unless the test does; what comes of it.
  std::shared_ptr<std::optional<Result<Bytes>>> Forward(size_t bytes,
                                                        WorkClass work_class = WorkClass::kData) {
    auto got = std::make_shared<std::optional<Result<Bytes>>>();
    forwarder_.Forward({.to = kPeer,
                        .method = {"echo", work_class},
                        .body = {Bytes::Own(std::string(bytes, 'b'))},
                        .timeout = std::chrono::seconds(1)},
                       [got](Result<Bytes> result) { *got = std::move(result); });
    return got;
  }
  ForwardRequest LastRequest() {
    ForwardRequest request;
    CHECK(DetachBytes(Joined(transport_.sent.back().pieces), &request).ok());
    return request;
  }

  sim::SimWorld world_{1};
  KeepingTransport transport_;
  sim::SimProcess& process_ = world_.AddProcess("b1");
  Forwarder forwarder_{process_.executor(), transport_, BootEpoch(1)};
  std::optional<ForwardedRequest> served_;
};

TEST_F(ForwarderTest, ARequest_IsServed_WithWhoAsksAndWhichLeaderIsMeant) {
  ForwardRequest request = Echo();
  request.set_timeout_ms(250);
  request.mutable_principal()->set_name("User:alice");
  request.mutable_principal()->add_groups("writers");
  request.set_expected_leader_epoch(3);
  ASSERT_TRUE(request.MergeFromString("\x98\x06\x07"));  // field 99, of a later version
  std::string body;
  const ForwardReply reply = Serve(request, &body);
  EXPECT_EQ(reply.request_id(), 7u);
  EXPECT_EQ(reply.status().code(), 0);
  EXPECT_EQ(body, "hello");
  EXPECT_EQ(served_->principal.name, "User:alice");
  EXPECT_EQ(served_->expected_leader_epoch, LeaderEpoch(3));
  EXPECT_EQ(served_->timeout, std::chrono::milliseconds(250));
}

TEST_F(ForwarderTest, WhatIsForwarded_SaysTheSame_AndIsNotCopied) {
  const Bytes body = Bytes::CopyOf("a batch");
  forwarder_.Forward({.to = kPeer,
                      .method = kEchoControl,
                      .body = {body},
                      .timeout = std::chrono::seconds(2),
                      .principal = {.name = "User:bob", .peer_address = ""},
                      .expected_leader_epoch = LeaderEpoch(9)},
                     [](const Result<Bytes>&) {});
  ASSERT_EQ(transport_.sent.size(), 1u);
  ASSERT_EQ(transport_.sent[0].pieces.size(), 2u);
  EXPECT_EQ(transport_.sent[0].pieces[1].data(), body.data());
  const ForwardRequest request = LastRequest();
  EXPECT_EQ(request.method(), "echo_control");
  EXPECT_EQ(request.timeout_ms(), 2'000u);
  EXPECT_EQ(request.principal().name(), "User:bob");
  EXPECT_EQ(request.expected_leader_epoch(), 9u);
  EXPECT_EQ(request.work_class(), 1u);
}

TEST_F(ForwarderTest, OfWhomNobodyHasAsked_NothingIsTold) {
  Forward(1);
  EXPECT_FALSE(LastRequest().has_principal());
  ForwardRequest request = Echo();
  Serve(request);
  EXPECT_EQ(served_->principal.name, Principal::kAnonymous);
}

// The peer answers when it can, which may be after this broker was started again.
TEST_F(ForwarderTest, AnAnswerToAFormerLife_IsNobodys) {
  Forward(1);
  ForwardReply late;
  late.set_request_id(LastRequest().request_id());
  Forwarder next_life(process_.executor(), transport_, BootEpoch(2));
  std::optional<Result<Bytes>> got;
  next_life.Forward({.to = kPeer, .method = kEcho, .body = {}, .timeout = std::chrono::seconds(1)},
                    [&got](Result<Bytes> result) { got = std::move(result); });
  next_life.OnReply(kPeer, Message(late, "of something else"));
  EXPECT_FALSE(got.has_value());
  late.set_request_id(LastRequest().request_id());
  next_life.OnReply(kPeer, Message(late, "its own"));
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ((*got)->view(), "its own");
}

TEST_F(ForwarderTest, AMethodOrClassThatIsNotKnown_IsUnimplemented_NamingIt) {
  ForwardRequest request = Echo();
  request.set_method("juggle");
  ForwardStatus status = Serve(request).status();
  EXPECT_EQ(status.code(), static_cast<int>(Code::kUnimplemented));
  EXPECT_NE(status.message().find("juggle"), std::string::npos);

  request = Echo();
  request.set_work_class(1);  // not echo's
  EXPECT_EQ(Serve(request).status().code(), static_cast<int>(Code::kUnimplemented));
  request.set_work_class(4);
  status = Serve(request).status();
  EXPECT_EQ(status.code(), static_cast<int>(Code::kUnimplemented));
  EXPECT_NE(status.message().find("class 4"), std::string::npos);
  EXPECT_FALSE(served_.has_value());
}

TEST_F(ForwarderTest, AClassThatIsFull_RefusesMore_AndHoldsBackNoOther) {
  const uint64_t body_max = Forwarder::kBodyBytesMax[0];
  const auto first = Forward(body_max);
  const uint64_t first_id = LastRequest().request_id();
  for (uint64_t bytes = body_max; bytes + body_max <= Forwarder::kInflightBytesMax[0];) {
    EXPECT_FALSE(Forward(body_max)->has_value());
    bytes += body_max;
  }
  const auto refused = Forward(body_max);
  ASSERT_TRUE(refused->has_value());
  EXPECT_EQ((*refused)->status().code(), Code::kResourceExhausted);
  EXPECT_TRUE((*refused)->status().retry_after_ms().has_value());

  const auto control = Forward(100, WorkClass::kControl);
  EXPECT_FALSE(control->has_value());
  EXPECT_EQ(transport_.sent.back().lane, raft::Lane::kControl);
  EXPECT_EQ(transport_.sent.front().lane, raft::Lane::kBulk);

  ForwardReply reply;
  reply.set_request_id(first_id);
  forwarder_.OnReply(kPeer, Message(reply, "done"));
  ASSERT_TRUE(first->has_value());
  EXPECT_EQ((*first)->value().view(), "done");
  EXPECT_FALSE(Forward(body_max)->has_value());
}

TEST_F(ForwarderTest, ABodyThatIsTooLarge_IsNotSent_InEitherDirection) {
  for (const WorkClass work_class : {WorkClass::kData, WorkClass::kControl}) {
    const uint64_t most = Forwarder::kBodyBytesMax[static_cast<size_t>(work_class)];
    const auto refused = Forward(most + 1, work_class);
    ASSERT_TRUE(refused->has_value());
    EXPECT_EQ((*refused)->status().code(), Code::kInvalidArgument);
    EXPECT_TRUE(transport_.sent.empty());
    ForwardRequest request = Echo();
    request.set_method(
        std::string(work_class == WorkClass::kData ? kEcho.name : kEchoControl.name));
    request.set_work_class(static_cast<uint32_t>(work_class));
    EXPECT_EQ(Serve(request, nullptr, std::string(most, 'b')).status().code(), 0);
    EXPECT_EQ(Serve(request, nullptr, std::string(most + 1, 'b')).status().code(),
              static_cast<int>(Code::kInternal));
    transport_.sent.clear();
  }
}

TEST_F(ForwarderTest, AnswersComeBack_OnTheLaneOfTheQuestion) {
  ForwardRequest request = Echo();
  Serve(request);
  EXPECT_EQ(transport_.sent[0].lane, raft::Lane::kBulk);
  request.set_method(std::string(kEchoControl.name));
  request.set_work_class(1);
  Serve(request);
  EXPECT_EQ(transport_.sent[0].lane, raft::Lane::kControl);
}

TEST_F(ForwarderTest, WithoutAnAnswer_ItEnds_AndALateOneIsNobodys) {
  const auto got = Forward(1);
  world_.RunFor(std::chrono::seconds(2));
  ASSERT_TRUE(got->has_value());
  EXPECT_EQ((*got)->status().code(), Code::kDeadlineExceeded);
  ForwardReply reply;
  reply.set_request_id(LastRequest().request_id());
  forwarder_.OnReply(kPeer, Message(reply, "late"));
  EXPECT_FALSE((*got)->ok());
}

TEST_F(ForwarderTest, AConnectionThatBreaks_EndsWhatWasOnIt_AndOnlyOthersAnswersAreRefused) {
  const auto got = Forward(1);
  ForwardReply reply;
  reply.set_request_id(LastRequest().request_id());
  forwarder_.OnReply(BrokerId(3), Message(reply, "not mine to answer"));
  EXPECT_FALSE(got->has_value());
  forwarder_.OnPeerDisconnected(BrokerId(3));
  EXPECT_FALSE(got->has_value());
  forwarder_.OnPeerDisconnected(kPeer);
  ASSERT_TRUE(got->has_value());
  EXPECT_EQ((*got)->status().code(), Code::kUnavailable);
  transport_.is_connected = false;
  const auto refused = Forward(1);
  ASSERT_TRUE(refused->has_value());
  EXPECT_EQ((*refused)->status().code(), Code::kUnavailable);
}

TEST_F(ForwarderTest, BytesThatAreNoMessage_AreDropped) {
  const auto waiting = Forward(1);
  for (const std::string_view bytes :
       {"", "\xff", "\x05hi", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"}) {
    forwarder_.OnRequest(kPeer, Bytes::CopyOf(bytes));
    forwarder_.OnReply(kPeer, Bytes::CopyOf(bytes));
  }
  EXPECT_FALSE(served_.has_value());
  EXPECT_FALSE(waiting->has_value());
}

TEST_F(ForwarderTest, AnErrorsText_IsCutAndMadeReadable) {
  forwarder_.Serve(ForwardMethod{"fail", WorkClass::kData},
                   [](const ForwardedRequest&, ForwardReplied done) {
                     done(NotFound("\xff" + std::string(100'000, 'n')));
                   });
  ForwardRequest request = Echo();
  request.set_method("fail");
  const std::string message = Serve(request).status().message();
  EXPECT_LE(message.size(), 2'000u);
  EXPECT_EQ(message[0], '?');
}

TEST_F(ForwarderTest, AnAnswersStatus_ArrivesAsItWas) {
  const auto got = Forward(1);
  ForwardReply reply;
  reply.set_request_id(LastRequest().request_id());
  ToForwardStatus(
      Unavailable("it moved", Reason::kNotLeader).AddMetadata("leader_id", "3").RetryAfterMs(20),
      reply.mutable_status());
  forwarder_.OnReply(kPeer, Message(reply));
  ASSERT_TRUE(got->has_value());
  const Status status = (*got)->status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_EQ(status.reason(), Reason::kNotLeader);
  EXPECT_EQ(status.message(), "it moved");
  EXPECT_EQ(status.metadata()[0].second, "3");
  EXPECT_EQ(status.retry_after_ms(), 20);
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
  constexpr std::array<std::string_view, 18> kNames{"",
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
                                                    "NOT_INITIALIZED",
                                                    "OFFSET_MOVED"};
  for (size_t i = 0; i < kNames.size(); ++i) {
    EXPECT_EQ(ReasonName(static_cast<Reason>(i)), kNames[i]) << i;
  }
}

}  // namespace
}  // namespace millrace::broker

// What a session does with what comes over it: by a peer that is played by hand.
#include <array>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "proto/base/checksum.h"
#include "raft/net/raft_codec.h"
#include "tests/raft/net/peer_rig.h"

namespace millrace::raft::net {
namespace {

std::string FrameOf(FrameKind kind, const google::protobuf::MessageLite& header,
                    const std::string& body = "") {
  return std::string(EncodePeerFrameHead(kind, header, body.size()).view()) + body;
}

std::string EnvelopeOf(uint32_t kind, const std::string& body) {
  wire::PeerEnvelope envelope;
  envelope.set_kind(kind);
  envelope.set_body_crc(Crc32c(body));
  return FrameOf(FrameKind::kEnvelope, envelope, body);
}

class PeerMessagesTest : public PeerTransportTest {
 protected:
  // Knows of broker 1 alone.
  Broker& StartTwo() {
    PeerTransportOptions options = OptionsOf(2);
    options.peers.erase(BrokerId(3));
    return Start(2, options);
  }
  // Connects as broker 1 to `two`, on all lanes.
  void PlayBrokerOne(Broker& two) {
    sim::SimProcess& process = world_.AddProcess("b1");
    for (const Lane lane : {Lane::kControl, Lane::kAppend, Lane::kBulk}) {
      process.network().Connect({"b2", kPort}, seconds(1), [this, lane](auto made) {
        Stranger& stranger = lanes_[static_cast<size_t>(lane)];
        stranger.connection = std::move(made).value();
        stranger.connection->SetHandler(&stranger);
        stranger.connection->Send({Bytes::CopyOf(
            FrameOf(FrameKind::kHello, MakeHello(OptionsOf(1), BrokerId(2), lane, 1)))});
      });
    }
    world_.RunFor(milliseconds(50));
    ASSERT_TRUE(two.transport.IsConnected(BrokerId(1)));
  }
  void Send(const std::string& bytes, Lane lane = Lane::kControl) {
    lanes_[static_cast<size_t>(lane)].connection->Send({Bytes::CopyOf(bytes)});
    world_.RunFor(milliseconds(10));
  }
  // The frames of `kind` that came on the control lane so far: their headers.
  std::vector<std::string> Received(FrameKind kind) const {
    std::vector<std::string> headers;
    PeerFrameReader reader(kPeerFrameSizeMax);
    std::string_view bytes = lanes_[0].received;
    while (true) {
      const Result<std::optional<PeerFrame>> frame = reader.Next(bytes);
      CHECK(frame.ok());
      if (!frame->has_value()) return headers;
      if ((*frame)->kind == kind) headers.emplace_back((*frame)->header);
    }
  }

  std::array<Stranger, kLaneCount> lanes_;
};

TEST_F(PeerMessagesTest, FrameOfAnUnknownKind_IsSkippedByItsLength_AndCounted) {
  Broker& two = StartTwo();
  PlayBrokerOne(two);
  for (const Lane lane : {Lane::kControl, Lane::kAppend, Lane::kBulk}) {
    Send(FrameOf(static_cast<FrameKind>(200), wire::Ping(), std::string(100'000, 'x')) +
             EnvelopeOf(static_cast<uint32_t>(PeerKind::kForwardRequest), "known"),
         lane);
  }
  EXPECT_TRUE(two.transport.IsConnected(BrokerId(1)));
  EXPECT_EQ(two.handler.bodies, (std::vector<std::string>{"known", "known", "known"}));
  EXPECT_EQ(two.transport.stats().unknown_skipped, 3u);
  EXPECT_EQ(two.transport.stats().complaint_lines, 1u);
}

TEST_F(PeerMessagesTest, EnvelopesOfUnknownKinds_AreSkipped) {
  Broker& two = StartTwo();
  PlayBrokerOne(two);
  for (const uint32_t kind : {0u, 9u, 10u, 255u, 256u, 4'000'000'000u}) Send(EnvelopeOf(kind, "?"));
  Send(EnvelopeOf(static_cast<uint32_t>(PeerKind::kForwardRequest), "known"));
  EXPECT_TRUE(two.transport.IsConnected(BrokerId(1)));
  EXPECT_EQ(two.handler.bodies, std::vector<std::string>{"known"});
  EXPECT_EQ(two.transport.stats().unknown_skipped, 6u);
}

TEST_F(PeerMessagesTest, GroupMessageOfAnUnknownKind_IsSkipped_AndThoseBesideItAreNot) {
  Broker& two = StartTwo();
  PlayBrokerOne(two);
  wire::GroupMessages messages;
  EncodeGroupMessage(RouteTo(2), core::Heartbeat{.term = Term(1)}, messages.add_messages());
  messages.add_messages()->set_group_id(3);
  // Field 13 of the oneof, as a later version may have it: an empty message.
  ASSERT_TRUE(messages.mutable_messages(1)->MergeFromString(std::string("\x6a\x00", 2)));
  EncodeGroupMessage(RouteTo(2), core::Heartbeat{.term = Term(1)}, messages.add_messages());
  Send(FrameOf(FrameKind::kGroupMessages, messages));
  EXPECT_TRUE(two.transport.IsConnected(BrokerId(1)));
  EXPECT_EQ(two.handler.small_messages, 2);
  EXPECT_EQ(two.transport.stats().unknown_skipped, 1u);
}

TEST_F(PeerMessagesTest, UnknownThingsWithoutEnd_AreALineAMinute) {
  Broker& two = StartTwo();
  PlayBrokerOne(two);
  for (uint32_t i = 0; i < 3'000; ++i) Send(EnvelopeOf(1'000 + i, "?"));
  EXPECT_TRUE(two.transport.IsConnected(BrokerId(1)));
  EXPECT_EQ(two.transport.stats().unknown_skipped, 3'000u);
  EXPECT_EQ(two.transport.stats().complaint_lines, 1u);
}

TEST_F(PeerMessagesTest, FlagsThatAreNotKnown_EndTheSession) {
  Broker& two = StartTwo();
  PlayBrokerOne(two);
  std::string frame = FrameOf(FrameKind::kPing, wire::Ping());
  frame[5] = 1;
  Send(frame);
  EXPECT_FALSE(two.transport.IsConnected(BrokerId(1)));
  EXPECT_EQ(two.transport.stats().frames_rejected, 1u);
}

TEST_F(PeerMessagesTest, UnknownKindWithAWrongChecksum_EndsTheSession) {
  Broker& two = StartTwo();
  PlayBrokerOne(two);
  std::string frame = FrameOf(static_cast<FrameKind>(200), wire::Ping());
  frame[12] = static_cast<char>(frame[12] ^ 1);
  Send(frame);
  EXPECT_FALSE(two.transport.IsConnected(BrokerId(1)));
}

TEST_F(PeerMessagesTest, PingsAndPongs_TellHowTheirSenderIs_BothWays) {
  PeerTransportOptions options = OptionsOf(2);
  bool is_disk_full = true;
  options.condition = [&is_disk_full] {
    return PeerCondition{.oldest_write_age = milliseconds(250), .is_disk_full = is_disk_full};
  };
  Broker& one = Start(1);
  Broker& two = Start(2, options);
  ASSERT_TRUE(RunUntilConnected(one, two));
  EXPECT_EQ(one.transport.ConditionOf(BrokerId(2)), std::nullopt) << "nothing was said yet";
  world_.RunFor(milliseconds(500));
  std::optional<PeerCondition> seen = one.transport.ConditionOf(BrokerId(2));
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->oldest_write_age, milliseconds(250));
  EXPECT_TRUE(seen->is_disk_full);
  EXPECT_NEAR(static_cast<double>(seen->wall_clock_ms),
              static_cast<double>(two.process->clock().WallMs()), 500);
  // What leaders must know is told as it changes, though the two talk all the time.
  is_disk_full = false;
  for (int i = 0; i < 5; ++i) {
    one.transport.SendPeer(BrokerId(2), Lane::kControl, PeerKind::kForwardRequest, {});
    two.transport.SendPeer(BrokerId(1), Lane::kControl, PeerKind::kForwardRequest, {});
    world_.RunFor(milliseconds(40));
  }
  EXPECT_FALSE(one.transport.ConditionOf(BrokerId(2))->is_disk_full);
  EXPECT_FALSE(one.transport.IsDiskFull(BrokerId(2)));
  // A side that tells no more than the time.
  seen = two.transport.ConditionOf(BrokerId(1));
  ASSERT_TRUE(seen.has_value());
  EXPECT_NE(seen->wall_clock_ms, 0);
  EXPECT_EQ(seen->oldest_write_age, Duration(0));
  EXPECT_FALSE(seen->is_disk_full);

  is_disk_full = false;
  world_.RunFor(milliseconds(500));
  EXPECT_FALSE(one.transport.ConditionOf(BrokerId(2))->is_disk_full);
  two.process->Kill();
  world_.RunFor(milliseconds(100));
  EXPECT_EQ(one.transport.ConditionOf(BrokerId(2)), std::nullopt);
}

TEST_F(PeerMessagesTest, APeersClock_IsToldAsItIsByNow_AlsoByOneThatSaysOtherThingsAllTheTime) {
  Broker& one = Start(1);
  Broker& two = Start(2);
  ASSERT_TRUE(RunUntilConnected(one, two));
  const auto talk = [&](Duration span) {
    for (Duration talked{0}; talked < span; talked += milliseconds(50)) {
      one.transport.SendPeer(BrokerId(2), Lane::kControl, PeerKind::kForwardRequest, {});
      two.transport.SendPeer(BrokerId(1), Lane::kControl, PeerKind::kForwardRequest, {});
      world_.RunFor(milliseconds(50));
    }
  };
  const auto ahead = [&] {
    const std::vector<int64_t> clocks = one.transport.PeerWallClocksMs();
    return clocks.empty() ? 0 : clocks.front() - two.process->clock().WallMs();
  };
  EXPECT_TRUE(one.transport.PeerWallClocksMs().empty()) << "nothing was said yet";
  two.process->SetWallOffset(3'600'000);
  talk(OptionsOf(1).condition_interval + seconds(1));
  ASSERT_EQ(one.transport.PeerWallClocksMs().size(), 1U);
  EXPECT_NEAR(static_cast<double>(ahead()), 0, 100);
  two.process->SetWallOffset(0);
  talk(seconds(2));
  EXPECT_NEAR(static_cast<double>(ahead()), 3'600'000, 100) << "it did not say otherwise yet";
  talk(OptionsOf(1).condition_interval);
  EXPECT_NEAR(static_cast<double>(ahead()), 0, 100);
  two.process->Kill();
  world_.RunFor(milliseconds(100));
  EXPECT_TRUE(one.transport.PeerWallClocksMs().empty());
}

TEST_F(PeerMessagesTest, PingOfAnEarlierVersion_TellsNothing) {
  Broker& two = StartTwo();
  PlayBrokerOne(two);
  wire::Ping ping;
  ping.set_nonce(7);
  Send(FrameOf(FrameKind::kPing, ping));
  EXPECT_EQ(two.transport.ConditionOf(BrokerId(1)), PeerCondition());
}

TEST_F(PeerMessagesTest, FieldsThatAreNotKnown_AreIgnored) {
  Broker& two = StartTwo();
  PlayBrokerOne(two);
  wire::Ping ping;
  ping.set_nonce(7);
  ASSERT_TRUE(ping.MergeFromString("\x98\x06\x07"));  // field 99
  Send(FrameOf(FrameKind::kPing, ping));
  const std::vector<std::string> pongs = Received(FrameKind::kPong);
  ASSERT_EQ(pongs.size(), 1u);
  wire::Pong pong;
  ASSERT_TRUE(pong.ParseFromString(pongs[0]));
  EXPECT_EQ(pong.nonce(), 7u);
  EXPECT_TRUE(two.transport.IsConnected(BrokerId(1)));
}

}  // namespace
}  // namespace millrace::raft::net

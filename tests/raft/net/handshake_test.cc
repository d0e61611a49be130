#include "raft/net/handshake.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/raft/net/peer_rig.h"

namespace millrace::raft::net {
namespace {

class HandshakeTest : public PeerTransportTest {};

TEST_F(HandshakeTest, PeerOfAnotherCluster_IsRefusedByName_OnBothSides_Once) {
  PeerTransportOptions other = OptionsOf(2);
  other.cluster_name = "elsewhere";
  Broker& one = Start(1);
  Broker& two = Start(2, other);
  world_.RunFor(seconds(10));
  EXPECT_FALSE(one.transport.IsConnected(BrokerId(2)));
  for (const Broker* side : {&one, &two}) ASSERT_EQ(side->handler.refusals.size(), 1u);
  const std::string dialer = one.handler.refusals[0].ToString();
  EXPECT_NE(dialer.find("broker 1 of cluster \"test\""), std::string::npos) << dialer;
  EXPECT_NE(dialer.find("broker 2 at b2:7441"), std::string::npos) << dialer;
  EXPECT_NE(dialer.find("names of the two clusters differ"), std::string::npos) << dialer;
  const std::string acceptor = two.handler.refusals[0].ToString();
  EXPECT_NE(acceptor.find("broker 1 of cluster \"test\""), std::string::npos) << acceptor;
  EXPECT_NE(acceptor.find("broker 2 of cluster \"elsewhere\""), std::string::npos) << acceptor;
}

TEST_F(HandshakeTest, RefusedPeer_TriesMoreAndMoreSeldom_AndConnectsOnceItIsMended) {
  PeerTransportOptions other = OptionsOf(2);
  other.cluster_name = "elsewhere";
  PeerTransportOptions alone = OptionsOf(1);
  alone.peers.erase(BrokerId(3));
  Broker& one = Start(1, alone);
  Start(2, other);
  world_.RunFor(seconds(60));
  const uint64_t refused = one.transport.stats().handshakes_refused;
  EXPECT_GE(refused, 5u);
  EXPECT_LE(refused, 20u) << "more than one in three seconds";
  EXPECT_LE(one.transport.stats().complaint_lines, 2u);
  Broker& mended = Restart(2, OptionsOf(2));
  EXPECT_TRUE(RunUntilConnected(one, mended, seconds(11)));
}

TEST_F(HandshakeTest, RefusalToAStranger_NamesNothing) {
  Broker& two = Start(2);
  Broker& one = Start(1);
  ASSERT_TRUE(RunUntilConnected(one, two));
  std::vector<PeerTransportOptions> strangers(5, OptionsOf(1));
  strangers[0].cluster_name = "guess";
  strangers[1].self.cluster_uuid = 4711;
  strangers[2].self.who = WhoIs(9);
  strangers[3].self.who = WhoIs(2);
  strangers[4].self.who = WhoIs(1, 666);  // of a living broker
  for (const PeerTransportOptions& options : strangers) {
    stranger_.received.clear();
    const wire::Hello hello = MakeHello(options, BrokerId(2), Lane::kControl, 1);
    SendAsStranger(two, std::string(EncodePeerFrameHead(FrameKind::kHello, hello, 0).view()));
    world_.RunFor(milliseconds(100));
    PeerFrameReader reader(kHandshakeFrameSizeMax);
    std::string_view bytes = stranger_.received;
    const Result<std::optional<PeerFrame>> frame = reader.Next(bytes);
    ASSERT_TRUE(frame.ok() && frame->has_value());
    EXPECT_EQ((*frame)->kind, FrameKind::kRefusal);
    wire::Refusal refusal;
    ASSERT_TRUE(refusal.ParseFromString(std::string((*frame)->header)));
    EXPECT_FALSE(refusal.message().empty());
    EXPECT_EQ(refusal.message().find("test"), std::string::npos) << refusal.message();
    EXPECT_EQ(refusal.message().find_first_of("0123456789"), std::string::npos)
        << "a number of this cluster: " << refusal.message();
  }
  EXPECT_TRUE(two.transport.IsConnected(BrokerId(1)));
}

TEST_F(HandshakeTest, PeerWithAnotherUuid_IsRefused_AndAnUninitialisedOneIsNot) {
  PeerTransportOptions other = OptionsOf(2);
  other.self.cluster_uuid = 78;
  PeerTransportOptions fresh = OptionsOf(3);
  fresh.self.cluster_uuid = 0;
  Broker& one = Start(1);
  Broker& two = Start(2, other);
  Broker& three = Start(3, fresh);
  ASSERT_TRUE(RunUntilConnected(one, three));
  world_.RunFor(seconds(2));
  EXPECT_FALSE(one.transport.IsConnected(BrokerId(2)));
  ASSERT_FALSE(one.handler.refusals.empty());
  EXPECT_NE(one.handler.refusals[0].message().find("different UUIDs"), std::string::npos);
  ASSERT_FALSE(two.handler.refusals.empty());
  EXPECT_NE(two.handler.refusals[0].message().find("UUIDs are 7"), std::string::npos);
}

TEST_F(HandshakeTest, PeersWithoutACommonFormat_RefuseEachOther_NamingBoth) {
  PeerTransportOptions newer = OptionsOf(2);
  newer.formats = {.min = 2, .max = 3};
  Broker& one = Start(1);
  Broker& two = Start(2, newer);
  world_.RunFor(seconds(2));
  EXPECT_FALSE(one.transport.IsConnected(BrokerId(2)));
  ASSERT_EQ(one.handler.refusals.size(), 1u);
  EXPECT_NE(one.handler.refusals[0].message().find("no peer format in common"), std::string::npos);
  ASSERT_EQ(two.handler.refusals.size(), 1u);
  const std::string text(two.handler.refusals[0].message());
  EXPECT_NE(text.find("broker 2 of cluster \"test\" and broker 1"), std::string::npos) << text;
  EXPECT_NE(text.find("they speak 2 to 3 and 1 to 1"), std::string::npos) << text;
}

TEST_F(HandshakeTest, PeersOfDifferentFormats_SpeakTheLowerMaximum) {
  PeerTransportOptions newer = OptionsOf(2);
  newer.formats = {.min = 1, .max = 3};
  newer.software_version = "0.9.0";
  newer.internal_address = "b2.example:7441";
  newer.levels = {.min = 1, .max = 7};
  PeerTransportOptions newest = OptionsOf(3);
  newest.formats = {.min = 2, .max = 9};
  Broker& one = Start(1);
  Broker& two = Start(2, newer);
  ASSERT_TRUE(RunUntilConnected(one, two));
  EXPECT_EQ(one.handler.identity.format, 1u);
  EXPECT_EQ(two.handler.identity.format, 1u);
  EXPECT_EQ(one.handler.identity.level_max, 7u);
  EXPECT_EQ(one.handler.identity.software_version, "0.9.0");
  EXPECT_EQ(one.handler.identity.internal_address, "b2.example:7441");
  Broker& three = Start(3, newest);
  ASSERT_TRUE(RunUntilConnected(two, three));
  EXPECT_EQ(two.handler.identity.format, 3u);
  EXPECT_EQ(three.handler.identity.format, 3u);
}

TEST_F(HandshakeTest, PeerThatLacksTheClustersLevel_IsRefused) {
  PeerTransportOptions ahead = OptionsOf(2);
  ahead.levels = {.min = 1, .max = 2};
  uint32_t level = 1;
  PeerTransportOptions behind = OptionsOf(1);
  behind.levels = {.min = 1, .max = 1};
  ahead.cluster_level = [&level] { return level; };
  Broker& one = Start(1, behind);
  Broker& two = Start(2, ahead);
  ASSERT_TRUE(RunUntilConnected(one, two));
  level = 2;
  behind.self.boot_epoch = BootEpoch(2);
  Broker& old = Restart(1, behind);
  world_.RunFor(seconds(3));
  EXPECT_FALSE(old.transport.IsConnected(BrokerId(2)));
  ASSERT_EQ(two.handler.refusals.size(), 1u);
  const std::string text(two.handler.refusals[0].message());
  EXPECT_NE(text.find("needed is 2 to 2, the latter knows 1 to 1"), std::string::npos) << text;
}

TEST(CheckHelloTest, AbsentRanges_AreOneAlone_AndUnknownFieldsAreIgnored) {
  wire::Hello hello = MakeHello(OptionsOf(1), BrokerId(2), Lane::kControl, 1);
  hello.clear_format_min();
  hello.clear_format_max();
  hello.clear_level_min();
  hello.clear_level_max();
  // Field 99, a varint.
  ASSERT_TRUE(hello.MergeFromString("\x98\x06\x07"));
  PeerTransportOptions options = OptionsOf(2);
  EXPECT_TRUE(CheckHello(options, hello).ok());
  EXPECT_EQ(IdentityOf(options, hello).format, 1u);
  options.formats = {.min = 2, .max = 2};
  EXPECT_EQ(CheckHello(options, hello).code(), Code::kFailedPrecondition);
}

TEST(CheckHelloTest, RangesTheWrongWayRound_AreRefused) {
  wire::Hello hello = MakeHello(OptionsOf(1), BrokerId(2), Lane::kControl, 1);
  hello.set_format_min(2);
  hello.set_format_max(1);
  EXPECT_EQ(CheckHello(OptionsOf(2), hello).code(), Code::kFailedPrecondition);
  hello = MakeHello(OptionsOf(1), BrokerId(2), Lane::kControl, 1);
  hello.set_format_version(2);
  EXPECT_EQ(CheckHello(OptionsOf(2), hello).code(), Code::kFailedPrecondition);
}

TEST_F(HandshakeTest, BrokerThatIsNotAmongThePeers_IsRefused) {
  PeerTransportOptions options = OptionsOf(3);
  options.peers.erase(BrokerId(1));
  Broker& three = Start(3, options);
  Start(1);
  world_.RunFor(seconds(2));
  ASSERT_EQ(three.handler.refusals.size(), 1u);
  EXPECT_NE(three.handler.refusals[0].message().find("not among"), std::string::npos);
}

TEST_F(HandshakeTest, SecondBrokerWithTheSameId_IsRefused_WhileTheFirstServes) {
  Broker& one = Start(1);
  Broker& three = Start(3);
  ASSERT_TRUE(RunUntilConnected(one, three));
  PeerTransportOptions options = OptionsOf(1);
  options.self.who = WhoIs(1, 666);
  Broker twin(world_.AddProcess("twin"), options);
  world_.RunFor(seconds(3));
  EXPECT_TRUE(three.transport.IsConnected(BrokerId(1)));
  EXPECT_EQ(three.handler.identity.who, WhoIs(1));
  EXPECT_FALSE(twin.transport.IsConnected(BrokerId(3)));
  ASSERT_EQ(twin.handler.refusals.size(), 1u) << "told once, however often it tries";
  EXPECT_NE(twin.handler.refusals[0].message().find("in use"), std::string::npos);
}

TEST_F(HandshakeTest, MessageBeforeTheHello_IsRefused) {
  Broker& one = Start(1);
  SendAsStranger(one, std::string(EncodePeerFrameHead(FrameKind::kPing, wire::Ping(), 0).view()));
  world_.RunFor(milliseconds(100));
  EXPECT_FALSE(stranger_.closed.ok());
}

}  // namespace
}  // namespace millrace::raft::net

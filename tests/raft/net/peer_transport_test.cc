#include "raft/net/peer_transport.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "raft/runtime/event_loop.h"
#include "raft/runtime/real_clock.h"
#include "raft/runtime/tcp_network.h"
#include "tests/raft/net/peer_rig.h"

namespace millrace::raft::net {
namespace {

TEST_F(PeerTransportTest, ThreeBrokers_ConnectToEachOther_AndKnowWhoTheyTalkTo) {
  Broker& one = Start(1);
  Broker& two = Start(2);
  Broker& three = Start(3);
  ASSERT_TRUE(RunUntilConnected(one, two));
  ASSERT_TRUE(RunUntilConnected(one, three));
  ASSERT_TRUE(RunUntilConnected(two, three));
  EXPECT_EQ(three.handler.connects, 2);
  EXPECT_EQ(two.handler.refusals.size(), 0u);
  EXPECT_EQ(three.handler.identity.cluster_uuid, 77u);
}

TEST_F(PeerTransportTest, Appends_ArriveInOrder_WhateverTheirSize) {
  Broker& one = Start(1);
  Broker& two = Start(2);
  ASSERT_TRUE(RunUntilConnected(one, two));
  uint64_t index = 1;
  for (const size_t size : {1u, 100u, 70'000u, 3u, 2'000'000u, 8u}) {
    one.transport.SendRaft(RouteTo(2), AppendOf(index, 3, size));
    index += 3;
  }
  world_.RunFor(seconds(1));
  std::vector<uint64_t> expected;
  for (uint64_t at = 1; at < index; ++at) expected.push_back(at);
  EXPECT_EQ(two.handler.indexes, expected);
  EXPECT_EQ(two.handler.last_group, kGroup);
}

TEST_F(PeerTransportTest, ControlMessagesOfOneTurn_AreOneFrame) {
  Broker& one = Start(1);
  Broker& two = Start(2);
  ASSERT_TRUE(RunUntilConnected(one, two));
  for (uint64_t group = 1; group <= 1000; ++group) {
    RaftRoute route = RouteTo(2);
    route.group = RaftGroupId(group);
    one.transport.SendRaft(route, core::Heartbeat{.term = Term(1)});
  }
  world_.RunFor(milliseconds(50));
  EXPECT_EQ(two.handler.small_messages, 1000);
  EXPECT_EQ(one.transport.stats().control_messages_sent, 1000u);
  EXPECT_EQ(one.transport.stats().control_frames_sent, 1u);
}

TEST_F(PeerTransportTest, PeerMessages_TravelInPieces_OnEveryLane) {
  Broker& one = Start(1);
  Broker& two = Start(2);
  ASSERT_TRUE(RunUntilConnected(one, two));
  for (const Lane lane : {Lane::kControl, Lane::kAppend, Lane::kBulk}) {
    two.transport.SendPeer(BrokerId(1), lane, PeerKind::kForwardRequest,
                           {Bytes::CopyOf("ab"), Bytes(), Bytes::CopyOf("c")});
  }
  world_.RunFor(milliseconds(50));
  EXPECT_EQ(one.handler.bodies, (std::vector<std::string>{"abc", "abc", "abc"}));
}

TEST_F(PeerTransportTest, MessageForAnotherIncarnation_IsDropped_AndCounted) {
  Broker& one = Start(1);
  Broker& two = Start(2);
  ASSERT_TRUE(RunUntilConnected(one, two));
  one.transport.SendRaft(RouteTo(2, 999), core::Heartbeat{.term = Term(1)});
  one.transport.SendRaft(RouteTo(3), core::Heartbeat{.term = Term(1)});
  world_.RunFor(milliseconds(50));
  EXPECT_EQ(two.handler.small_messages, 0);
  EXPECT_EQ(one.transport.stats().messages_dropped, 2u);
}

TEST_F(PeerTransportTest, KilledPeer_IsNoticedAtOnce_AndComesBack) {
  Broker& one = Start(1);
  Broker& two = Start(2);
  ASSERT_TRUE(RunUntilConnected(one, two));
  PeerTransportOptions options = OptionsOf(2);
  options.self.boot_epoch = BootEpoch(2);
  Broker& again = Restart(2, options);
  EXPECT_TRUE(world_.RunUntil([&] { return !one.handler.is_up[BrokerId(2)]; }, milliseconds(5)));
  EXPECT_TRUE(RunUntilConnected(one, again, milliseconds(500)));
  EXPECT_EQ(one.handler.identity.boot_epoch, BootEpoch(2));
}

TEST_F(PeerTransportTest, WipedPeer_ComesBack_AsAnotherVoter) {
  Broker& one = Start(1);
  Broker& three = Start(3);
  ASSERT_TRUE(RunUntilConnected(one, three));
  PeerTransportOptions options = OptionsOf(1);
  options.self.who = WhoIs(1, 4711);
  Broker& wiped = Restart(1, options);
  ASSERT_TRUE(RunUntilConnected(wiped, three));
  EXPECT_EQ(three.handler.identity.who, WhoIs(1, 4711));
}

TEST_F(PeerTransportTest, PulledCable_IsNoticedWithinTheKeepalive_EitherWay) {
  for (const bool is_towards_dialer : {false, true}) {
    SCOPED_TRACE(is_towards_dialer);
    sim::SimWorld world(33);
    Broker one(world.AddProcess("b1"), OptionsOf(1));
    Broker two(world.AddProcess("b2"), OptionsOf(2));
    world.RunFor(seconds(1));
    ASSERT_TRUE(one.transport.IsConnected(BrokerId(2)));

    world.Partition(is_towards_dialer ? "b2" : "b1", is_towards_dialer ? "b1" : "b2", true);
    world.RunFor(milliseconds(900));
    EXPECT_FALSE(one.transport.IsConnected(BrokerId(2)));
    EXPECT_FALSE(two.transport.IsConnected(BrokerId(1)));
    world.HealAll();
    world.RunFor(seconds(4));
    EXPECT_TRUE(one.transport.IsConnected(BrokerId(2)));
    EXPECT_TRUE(two.transport.IsConnected(BrokerId(1)));
  }
}

TEST_F(PeerTransportTest, BrokerThatStoodStill_DoesNotBlameItsPeers) {
  Broker& one = Start(1);
  Broker& two = Start(2);
  ASSERT_TRUE(RunUntilConnected(one, two));
  PeerTransportOptions patient = OptionsOf(2);
  patient.keepalive_timeout = seconds(60);
  Broker& waiting = Restart(2, patient);
  ASSERT_TRUE(RunUntilConnected(one, waiting));
  const int connects = one.handler.connects;
  one.process->Pause();
  world_.RunFor(seconds(5));
  one.process->Resume();
  world_.RunFor(seconds(2));
  EXPECT_TRUE(one.transport.IsConnected(BrokerId(2)));
  EXPECT_EQ(one.handler.connects, connects);
}

TEST_F(PeerTransportTest, ConnectionsResetInMidFrame_LoseASuffix_AndNeverReorder) {
  Broker& one = Start(1);
  Broker& two = Start(2);
  Random random = world_.Fork();
  uint64_t index = 1;
  for (int round = 0; round < 300; ++round) {
    if (random.OneIn(10)) world_.BreakConnections("b1", "b2");
    one.transport.SendRaft(RouteTo(2), AppendOf(index++, 1, random.Below(20'000)));
    world_.RunFor(Duration(random.Below(30'000)));
  }
  ASSERT_TRUE(RunUntilConnected(one, two));
  EXPECT_GT(two.handler.connects, 5);
  EXPECT_GT(two.handler.indexes.size(), 50u);
  EXPECT_LT(two.handler.indexes.size(), 300u);
  EXPECT_TRUE(std::is_sorted(two.handler.indexes.begin(), two.handler.indexes.end()));
  EXPECT_EQ(two.transport.stats().frames_rejected, 0u);
}

TEST_F(PeerTransportTest, LaneThatIsFull_DropsMessages_AndSaysSoInItsCounter) {
  PeerTransportOptions options = OptionsOf(1);
  options.pending_bytes_max = 10'000;
  Broker& one = Start(1, options);
  Broker& two = Start(2);
  ASSERT_TRUE(RunUntilConnected(one, two));
  for (uint64_t i = 0; i < 100; ++i) one.transport.SendRaft(RouteTo(2), AppendOf(i + 1, 1, 1000));
  world_.RunFor(milliseconds(100));
  EXPECT_GE(two.handler.indexes.size(), 8u);
  EXPECT_EQ(two.handler.indexes.size() + one.transport.stats().messages_dropped, 100u);
}

// The same code over real sockets: bytes by the mebibyte through the loop, both ways.
TEST(PeerTransportOverTcp, TwoBrokersOnOneLoop_ExchangeEntries) {
  EventLoop loop;
  TcpNetwork network(loop);
  const RealClock clock;
  PeerTransportOptions second = OptionsOf(2);
  second.listen = {"127.0.0.1", 0};
  Listening heard_by_two;
  auto two = std::make_unique<PeerTransport>(
      second, PeerTransport::Environment{loop, clock, network, Random(2)});
  ASSERT_TRUE(two->Start(heard_by_two).ok());
  PeerTransportOptions first = OptionsOf(1);
  first.listen = {"127.0.0.1", 0};
  first.peers = {{BrokerId(2), two->endpoint()}};
  Listening heard_by_one;
  auto one = std::make_unique<PeerTransport>(
      first, PeerTransport::Environment{loop, clock, network, Random(1)});
  ASSERT_TRUE(one->Start(heard_by_one).ok());

  constexpr uint64_t kAppends = 64;
  uint64_t sent = 0;
  std::function<void()> tick = [&] {
    if (one->IsConnected(BrokerId(2)) && sent < kAppends) {
      one->SendRaft(RouteTo(2), AppendOf(++sent, 1, 1'000'000));
      one->SendRaft(RouteTo(2), core::Heartbeat{.term = Term(1)});
    }
    if (heard_by_two.indexes.size() == kAppends && heard_by_two.small_messages == kAppends) {
      return loop.Stop();
    }
    loop.RunAfter(Duration(200), [&] { tick(); });
  };
  tick();
  loop.RunAfter(seconds(20), [&] {
    ADD_FAILURE() << "timed out";
    loop.Stop();
  });
  loop.Run();
  EXPECT_EQ(heard_by_two.indexes.size(), kAppends);
  EXPECT_EQ(one->stats().messages_dropped, 0u);
}

}  // namespace
}  // namespace millrace::raft::net

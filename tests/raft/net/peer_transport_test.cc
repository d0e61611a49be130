#include "raft/net/peer_transport.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "raft/runtime/event_loop.h"
#include "raft/runtime/tcp_network.h"
#include "tests/raft/net/entries.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::raft::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr RaftGroupId kGroup{3};
constexpr uint16_t kPort = 7441;

struct Listening : TransportHandler {
  void OnRaftMessage(const Voter& from, RaftGroupId group, core::Message message) override {
    EXPECT_TRUE(is_up[from.broker]) << "a message of a peer that is not connected";
    last_group = group;
    if (auto* append = std::get_if<core::AppendRequest>(&message)) {
      for (core::Entry& entry : append->entries) indexes.push_back(entry.index.value());
    } else {
      ++small_messages;
    }
  }
  void OnPeerMessage(const Voter&, PeerKind kind, Bytes body) override {
    EXPECT_EQ(kind, PeerKind::kForwardRequest);
    bodies.emplace_back(body.view());
  }
  void OnPeerConnected(const PeerIdentity& peer) override {
    is_up[peer.voter.broker] = true;
    identity = peer;
    ++connects;
  }
  void OnPeerDisconnected(BrokerId peer, const Status& why) override {
    is_up[peer] = false;
    disconnected = why;
  }
  void OnPeerRefused(const Status& why) override { refusals.push_back(why); }

  std::map<BrokerId, bool> is_up;
  PeerIdentity identity;
  int connects = 0;
  Status disconnected;
  std::vector<Status> refusals;
  RaftGroupId last_group;
  std::vector<uint64_t> indexes;
  int small_messages = 0;
  std::vector<std::string> bodies;
};

Voter VoterOf(uint32_t broker, uint64_t incarnation = 0) {
  return {BrokerId(broker), Incarnation(incarnation == 0 ? broker * 100 : incarnation)};
}

core::AppendRequest AppendOf(uint64_t first, uint64_t count, size_t payload_size = 100) {
  core::AppendRequest append{.term = Term(1),
                             .prev_index = LogIndex(first - 1),
                             .prev_term = Term(1),
                             .commit_index = LogIndex(0),
                             .entries = {}};
  for (uint64_t index = first; index < first + count; ++index) {
    const uint32_t chain = append.entries.empty() ? 0 : append.entries.back().chain;
    append.entries.push_back(
        MakeEntry(kGroup, Term(1), LogIndex(index), std::string(payload_size, 'p'), chain));
  }
  return append;
}

PeerTransportOptions OptionsOf(uint32_t broker) {
  PeerTransportOptions options;
  options.self = {.voter = VoterOf(broker), .boot_epoch = BootEpoch(1), .cluster_uuid = 77};
  options.cluster_name = "test";
  options.listen = {"b" + std::to_string(broker), kPort};
  for (uint32_t peer = 1; peer <= 3; ++peer) {
    options.peers[BrokerId(peer)] = {"b" + std::to_string(peer), kPort};
  }
  return options;
}

// A broker's transport in a simulated process.
struct Broker {
  Broker(sim::SimProcess& in, const PeerTransportOptions& options)
      : process(&in), transport(options, {in.executor(), in.clock(), in.network(), in.Fork()}) {
    const Status started = transport.Start(handler);
    CHECK(started.ok()) << started;
  }
  sim::SimProcess* process;
  Listening handler;
  PeerTransport transport;
};

class PeerTransportTest : public testing::Test {
 protected:
  Broker& Start(uint32_t broker) { return Start(broker, OptionsOf(broker)); }
  Broker& Start(uint32_t broker, const PeerTransportOptions& options) {
    sim::SimProcess& process = world_.AddProcess("b" + std::to_string(broker));
    brokers_[broker] = std::make_unique<Broker>(process, options);
    return *brokers_[broker];
  }
  bool RunUntilConnected(Broker& a, Broker& b, Duration limit = seconds(5)) {
    return world_.RunUntil(
        [&] { return a.transport.IsConnected(IdOf(b)) && b.transport.IsConnected(IdOf(a)); },
        limit);
  }
  BrokerId IdOf(const Broker& broker) const {
    for (const auto& [id, known] : brokers_) {
      if (known.get() == &broker) return BrokerId(id);
    }
    return {};
  }
  // Kills the process of `broker` and starts it again, with `options`.
  Broker& Restart(uint32_t broker, const PeerTransportOptions& options) {
    sim::SimProcess& process = *brokers_[broker]->process;
    process.Kill();
    brokers_[broker].reset();
    process.Restart();
    brokers_[broker] = std::make_unique<Broker>(process, options);
    return *brokers_[broker];
  }
  // Opens a connection to `broker` from a process of its own and sends `bytes`.
  struct Stranger : ConnectionHandler {
    void OnData(std::string_view bytes) override { received += bytes; }
    void OnClosed(const Status& status) override { closed = status; }
    std::unique_ptr<Connection> connection;
    std::string received;
    Status closed;
  };
  void SendAsStranger(const Broker& broker, const std::string& bytes) {
    if (stranger_process_ == nullptr) stranger_process_ = &world_.AddProcess("stranger");
    stranger_process_->network().Connect({broker.process->name(), kPort}, seconds(1),
                                         [this, bytes](Result<std::unique_ptr<Connection>> made) {
                                           stranger_.connection = std::move(made).value();
                                           stranger_.connection->SetHandler(&stranger_);
                                           stranger_.connection->Send({Bytes::CopyOf(bytes)});
                                         });
  }

  sim::SimWorld world_{21};
  std::map<uint32_t, std::unique_ptr<Broker>> brokers_;
  sim::SimProcess* stranger_process_ = nullptr;
  Stranger stranger_;
  std::vector<std::unique_ptr<Stranger>> strangers_;
};

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
    one.transport.SendRaft(VoterOf(2), kGroup, AppendOf(index, 3, size));
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
    one.transport.SendRaft(VoterOf(2), RaftGroupId(group), core::Heartbeat{.term = Term(1)});
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
  one.transport.SendRaft(VoterOf(2, 999), kGroup, core::Heartbeat{.term = Term(1)});
  one.transport.SendRaft(VoterOf(3), kGroup, core::Heartbeat{.term = Term(1)});
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
  options.self.voter = VoterOf(1, 4711);
  Broker& wiped = Restart(1, options);
  ASSERT_TRUE(RunUntilConnected(wiped, three));
  EXPECT_EQ(three.handler.identity.voter, VoterOf(1, 4711));
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
    one.transport.SendRaft(VoterOf(2), kGroup, AppendOf(index++, 1, random.Below(20'000)));
    world_.RunFor(Duration(random.Below(30'000)));
  }
  ASSERT_TRUE(RunUntilConnected(one, two));
  EXPECT_GT(two.handler.connects, 5);
  EXPECT_GT(two.handler.indexes.size(), 50u);
  EXPECT_LT(two.handler.indexes.size(), 300u);
  EXPECT_TRUE(std::is_sorted(two.handler.indexes.begin(), two.handler.indexes.end()));
  EXPECT_EQ(two.transport.stats().frames_rejected, 0u);
}

TEST_F(PeerTransportTest, PeerOfAnotherCluster_IsRefusedByName_OnBothSides_Once) {
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

TEST_F(PeerTransportTest, RefusedPeer_TriesMoreAndMoreSeldom_AndConnectsOnceItIsMended) {
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

TEST_F(PeerTransportTest, RefusalToAStranger_NamesNothing) {
  Broker& two = Start(2);
  Broker& one = Start(1);
  ASSERT_TRUE(RunUntilConnected(one, two));
  std::vector<PeerTransportOptions> strangers(5, OptionsOf(1));
  strangers[0].cluster_name = "guess";
  strangers[1].self.cluster_uuid = 4711;
  strangers[2].self.voter = VoterOf(9);
  strangers[3].self.voter = VoterOf(2);
  strangers[4].self.voter = VoterOf(1, 666);  // of a living broker
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

TEST_F(PeerTransportTest, NameThatAStrangerGives_IsOneLineOfTheLog) {
  Broker& two = Start(2);
  PeerTransportOptions options = OptionsOf(1);
  options.cluster_name = "a\nE1128 forged line " + std::string(5'000, 'x');
  const wire::Hello hello = MakeHello(options, BrokerId(2), Lane::kControl, 1);
  SendAsStranger(two, std::string(EncodePeerFrameHead(FrameKind::kHello, hello, 0).view()));
  world_.RunFor(milliseconds(100));
  ASSERT_EQ(two.handler.refusals.size(), 1u);
  const std::string text(two.handler.refusals[0].message());
  EXPECT_EQ(text.find('\n'), std::string::npos);
  EXPECT_LT(text.size(), 500u);
}

TEST_F(PeerTransportTest, StrangersWithoutEnd_AreAFewLinesInTheLog) {
  Broker& one = Start(1);
  sim::SimProcess& process = world_.AddProcess("stranger");
  for (int i = 0; i < 2'000; ++i) {
    process.network().Connect({"b1", kPort}, seconds(1), [this, i](auto made) {
      if (!made.ok()) return;
      Stranger& stranger = *strangers_.emplace_back(std::make_unique<Stranger>());
      stranger.connection = std::move(made).value();
      stranger.connection->SetHandler(&stranger);
      // Garbage, a Hello with another name each time, and silence.
      PeerTransportOptions options = OptionsOf(2);
      options.cluster_name = std::to_string(i);
      const wire::Hello hello = MakeHello(options, BrokerId(1), Lane::kControl, 1);
      if (i % 3 == 0)
        stranger.connection->Send({Bytes::CopyOf("GET / HTTP/1.1 " + options.cluster_name)});
      if (i % 3 == 1) stranger.connection->Send({EncodePeerFrameHead(FrameKind::kHello, hello, 0)});
    });
    world_.RunFor(milliseconds(60));
  }
  // Two minutes of it.
  EXPECT_LE(one.transport.stats().complaint_lines + one.handler.refusals.size(), 6u);
  EXPECT_GE(one.transport.stats().frames_rejected, 600u);
}

TEST_F(PeerTransportTest, SilentStrangers_DoNotKeepARestartedBrokerOut) {
  Broker& two = Start(2);
  Broker& three = Start(3);
  ASSERT_TRUE(RunUntilConnected(two, three));
  std::vector<sim::SimProcess*> processes;
  for (int i = 0; i < 4; ++i) {
    processes.push_back(&world_.AddProcess("stranger" + std::to_string(i)));
  }
  // Forty at a time from several addresses, opened again as they are closed.
  std::function<void()> crowd = [&] {
    for (sim::SimProcess* process : processes) {
      for (int i = 0; i < 10; ++i) {
        process->network().Connect({"b3", kPort}, seconds(1), [this](auto made) {
          if (!made.ok()) return;
          Stranger& stranger = *strangers_.emplace_back(std::make_unique<Stranger>());
          stranger.connection = std::move(made).value();
          stranger.connection->SetHandler(&stranger);
        });
      }
    }
  };
  crowd();
  world_.RunFor(milliseconds(500));
  PeerTransportOptions options = OptionsOf(3);
  options.self.boot_epoch = BootEpoch(2);
  Broker& again = Restart(3, options);
  bool is_connected = false;
  for (int i = 0; i < 50 && !is_connected; ++i) {
    crowd();
    is_connected = RunUntilConnected(two, again, milliseconds(100));
  }
  EXPECT_TRUE(is_connected);
  EXPECT_GT(again.transport.stats().strangers_dropped, 0u);
}

TEST_F(PeerTransportTest, StrangersFromManyAddresses_DoNotTakeThePeersRoom) {
  PeerTransportOptions options = OptionsOf(3);
  options.incoming_max = 6;
  Broker& three = Start(3, options);
  // Two lanes of a peer that will say their Hello later.
  Broker& one = Start(1);
  ASSERT_TRUE(RunUntilConnected(one, three));
  one.process->network().Connect({"b3", kPort}, seconds(1), [this](auto made) {
    stranger_.connection = std::move(made).value();
    stranger_.connection->SetHandler(&stranger_);
  });
  world_.RunFor(milliseconds(10));
  for (int i = 0; i < 20; ++i) {
    world_.AddProcess("stranger" + std::to_string(i))
        .network()
        .Connect({"b3", kPort}, seconds(1), [this](auto made) {
          Stranger& stranger = *strangers_.emplace_back(std::make_unique<Stranger>());
          stranger.connection = std::move(made).value();
          stranger.connection->SetHandler(&stranger);
        });
  }
  world_.RunFor(milliseconds(100));
  EXPECT_TRUE(stranger_.closed.ok()) << "it came first, and from a peer's address";
  EXPECT_EQ(three.transport.stats().strangers_dropped, 15u);
}

TEST_F(PeerTransportTest, PeerWithAnotherUuid_IsRefused_AndAnUninitialisedOneIsNot) {
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

TEST_F(PeerTransportTest, PeerOfAnotherFormat_IsRefused) {
  PeerTransportOptions other = OptionsOf(2);
  other.format_version = 2;
  Broker& one = Start(1);
  Start(2, other);
  world_.RunFor(seconds(2));
  ASSERT_EQ(one.handler.refusals.size(), 1u);
  EXPECT_NE(one.handler.refusals[0].message().find("formats of the two brokers differ"),
            std::string::npos);
}

TEST_F(PeerTransportTest, BrokerThatIsNotAmongThePeers_IsRefused) {
  PeerTransportOptions options = OptionsOf(3);
  options.peers.erase(BrokerId(1));
  Broker& three = Start(3, options);
  Start(1);
  world_.RunFor(seconds(2));
  ASSERT_EQ(three.handler.refusals.size(), 1u);
  EXPECT_NE(three.handler.refusals[0].message().find("not among"), std::string::npos);
}

TEST_F(PeerTransportTest, SecondBrokerWithTheSameId_IsRefused_WhileTheFirstServes) {
  Broker& one = Start(1);
  Broker& three = Start(3);
  ASSERT_TRUE(RunUntilConnected(one, three));
  PeerTransportOptions options = OptionsOf(1);
  options.self.voter = VoterOf(1, 666);
  Broker twin(world_.AddProcess("twin"), options);
  world_.RunFor(seconds(3));
  EXPECT_TRUE(three.transport.IsConnected(BrokerId(1)));
  EXPECT_EQ(three.handler.identity.voter, VoterOf(1));
  EXPECT_FALSE(twin.transport.IsConnected(BrokerId(3)));
  ASSERT_EQ(twin.handler.refusals.size(), 1u) << "told once, however often it tries";
  EXPECT_NE(twin.handler.refusals[0].message().find("in use"), std::string::npos);
}

TEST_F(PeerTransportTest, Garbage_ClosesThatConnection_AndNothingElse) {
  Broker& one = Start(1);
  Broker& two = Start(2);
  ASSERT_TRUE(RunUntilConnected(one, two));
  SendAsStranger(one, "GET / HTTP/1.1\r\nHost: b1\r\n\r\n");
  world_.RunFor(milliseconds(100));
  EXPECT_FALSE(stranger_.closed.ok());
  EXPECT_EQ(one.transport.stats().frames_rejected, 1u);
  EXPECT_TRUE(one.transport.IsConnected(BrokerId(2)));
}

TEST_F(PeerTransportTest, HalfAFrameThatStalls_IsClosed_WhenTheHandshakesTimeIsOver) {
  Broker& one = Start(1);
  const std::string hello(
      EncodePeerFrameHead(FrameKind::kHello,
                          MakeHello(OptionsOf(2), BrokerId(1), Lane::kControl, 1), 0)
          .view());
  SendAsStranger(one, hello.substr(0, hello.size() / 2));
  world_.RunFor(milliseconds(1900));
  EXPECT_TRUE(stranger_.closed.ok());
  world_.RunFor(milliseconds(300));
  EXPECT_FALSE(stranger_.closed.ok());
  EXPECT_EQ(one.transport.stats().handshakes_timed_out, 1u);
}

TEST_F(PeerTransportTest, MessageBeforeTheHello_IsRefused) {
  Broker& one = Start(1);
  SendAsStranger(one, std::string(EncodePeerFrameHead(FrameKind::kPing, wire::Ping(), 0).view()));
  world_.RunFor(milliseconds(100));
  EXPECT_FALSE(stranger_.closed.ok());
}

TEST_F(PeerTransportTest, LaneThatIsFull_DropsMessages_AndSaysSoInItsCounter) {
  PeerTransportOptions options = OptionsOf(1);
  options.pending_bytes_max = 10'000;
  Broker& one = Start(1, options);
  Broker& two = Start(2);
  ASSERT_TRUE(RunUntilConnected(one, two));
  for (uint64_t i = 0; i < 100; ++i)
    one.transport.SendRaft(VoterOf(2), kGroup, AppendOf(i + 1, 1, 1000));
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
      one->SendRaft(VoterOf(2), kGroup, AppendOf(++sent, 1, 1'000'000));
      one->SendRaft(VoterOf(2), kGroup, core::Heartbeat{.term = Term(1)});
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

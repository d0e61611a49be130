// Connections to a broker's internal port that are none of its peers'.

#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/raft/net/peer_rig.h"

namespace millrace::raft::net {
namespace {

class StrangersTest : public PeerTransportTest {};

TEST_F(StrangersTest, NameThatAStrangerGives_IsOneLineOfTheLog) {
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

TEST_F(StrangersTest, StrangersWithoutEnd_AreAFewLinesInTheLog) {
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

TEST_F(StrangersTest, SilentStrangers_DoNotKeepARestartedBrokerOut) {
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

TEST_F(StrangersTest, StrangersFromManyAddresses_DoNotTakeThePeersRoom) {
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

TEST_F(StrangersTest, Garbage_ClosesThatConnection_AndNothingElse) {
  Broker& one = Start(1);
  Broker& two = Start(2);
  ASSERT_TRUE(RunUntilConnected(one, two));
  SendAsStranger(one, "GET / HTTP/1.1\r\nHost: b1\r\n\r\n");
  world_.RunFor(milliseconds(100));
  EXPECT_FALSE(stranger_.closed.ok());
  EXPECT_EQ(one.transport.stats().frames_rejected, 1u);
  EXPECT_TRUE(one.transport.IsConnected(BrokerId(2)));
}

TEST_F(StrangersTest, HalfAFrameThatStalls_IsClosed_WhenTheHandshakesTimeIsOver) {
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

}  // namespace
}  // namespace millrace::raft::net

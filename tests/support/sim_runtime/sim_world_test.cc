#include "tests/support/sim_runtime/sim_world.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Owns one end of a stream and remembers what came.
struct Peer : ConnectionHandler {
  void Attach(std::unique_ptr<Connection> made) {
    connection = std::move(made);
    connection->SetHandler(this);
  }
  void OnData(std::string_view bytes) override { received += bytes; }
  void OnDrained() override { ++drained; }
  void OnClosed(const Status& status) override { closed = status; }

  std::unique_ptr<Connection> connection;
  std::string received;
  int drained = 0;
  Status closed;
};

class SimWorldTest : public testing::Test {
 protected:
  void Listen() {
    Result<std::unique_ptr<Listener>> made = b_.network().Listen(
        {"b", 7}, [this](std::unique_ptr<Connection> at) { server_.Attach(std::move(at)); });
    listener_ = std::move(made).value();
  }
  void Connect() {
    a_.network().Connect({"b", 7}, seconds(1), [this](Result<std::unique_ptr<Connection>> made) {
      connect_status_ = made.status();
      if (made.ok()) client_.Attach(std::move(made).value());
    });
    world_.RunUntil([&] { return connect_status_.has_value(); }, seconds(2));
  }
  static std::vector<Bytes> Text(const std::string& text) { return {Bytes::CopyOf(text)}; }

  SimWorld world_{7};
  SimProcess& a_ = world_.AddProcess("a");
  SimProcess& b_ = world_.AddProcess("b");
  std::unique_ptr<Listener> listener_;
  std::optional<Status> connect_status_;
  Peer client_;
  Peer server_;
};

TEST_F(SimWorldTest, PostedTasks_RunInOrder_AndNeverInline) {
  std::string order;
  a_.executor().Post([&] { order += "1"; });
  a_.executor().Post([&] { order += "2"; });
  EXPECT_EQ(order, "");
  world_.RunFor(milliseconds(1));
  EXPECT_EQ(order, "12");
}

TEST_F(SimWorldTest, Timer_RunsWhenDue_UnlessCancelled) {
  MonotonicTime ran_at{0};
  const MonotonicTime start = a_.clock().Now();
  a_.executor().RunAfter(milliseconds(5), [&] { ran_at = a_.clock().Now(); });
  const TimerId cancelled = a_.executor().RunAfter(milliseconds(5), [] { FAIL(); });
  a_.executor().Cancel(cancelled);
  world_.RunFor(milliseconds(10));
  EXPECT_EQ((ran_at - start).count(), 5000);
}

TEST_F(SimWorldTest, KilledProcess_LosesItsTasks_AndTheyAreDestroyed) {
  auto owned = std::make_shared<int>(1);
  a_.executor().Post([owned] { FAIL(); });
  a_.executor().RunAfter(milliseconds(1), [owned] { FAIL(); });
  a_.Kill();
  EXPECT_EQ(owned.use_count(), 1);
  a_.executor().Post([owned] { FAIL(); });
  a_.Restart();
  world_.RunFor(milliseconds(5));
}

TEST_F(SimWorldTest, PausedProcess_RunsWhatFellDue_OnceResumed) {
  int runs = 0;
  a_.executor().RunAfter(milliseconds(1), [&] { ++runs; });
  a_.Pause();
  world_.RunFor(milliseconds(50));
  EXPECT_EQ(runs, 0);
  a_.Resume();
  world_.RunFor(milliseconds(1));
  EXPECT_EQ(runs, 1);
}

TEST_F(SimWorldTest, WallClocks_HaveTheirOwnOffsets) {
  const int64_t before = a_.clock().WallMs();
  a_.SetWallOffset(-5000);
  EXPECT_EQ(a_.clock().WallMs(), before - 5000);
  EXPECT_EQ(b_.clock().WallMs(), before);
}

TEST_F(SimWorldTest, Stream_KeepsOrder_BothWays) {
  Listen();
  Connect();
  for (int i = 0; i < 200; ++i) client_.connection->Send(Text(std::to_string(i) + ","));
  server_.connection->Send(Text("welcome"));
  EXPECT_GT(client_.connection->pending_bytes(), 0u);
  world_.RunFor(seconds(1));

  std::string expected;
  for (int i = 0; i < 200; ++i) expected += std::to_string(i) + ",";
  EXPECT_EQ(server_.received, expected);
  EXPECT_EQ(client_.received, "welcome");
  EXPECT_EQ(client_.connection->pending_bytes(), 0u);
  EXPECT_GT(client_.drained, 0);
}

TEST_F(SimWorldTest, Connect_IsRefused_WhereNobodyListens) {
  Connect();
  ASSERT_TRUE(connect_status_.has_value());
  EXPECT_EQ(connect_status_->code(), Code::kUnavailable);
}

TEST_F(SimWorldTest, Connect_TimesOut_AcrossAPartition) {
  Listen();
  world_.Partition("b", "a", /*one_way=*/true);
  Connect();
  ASSERT_TRUE(connect_status_.has_value());
  EXPECT_EQ(connect_status_->code(), Code::kDeadlineExceeded);
}

// On its way to the client is that there is a connection; what follows must not overtake it, though
// the link gets faster meanwhile.
TEST_F(SimWorldTest, AConnectionIsKnown_BeforeAnythingArrivesOverIt) {
  Listen();
  world_.SetLink("a", "b", {.delay_min = milliseconds(50), .delay_max = milliseconds(50)});
  a_.network().Connect({"b", 7}, seconds(1), [this](Result<std::unique_ptr<Connection>> made) {
    client_.Attach(std::move(made).value());
  });
  ASSERT_TRUE(world_.RunUntil([&] { return server_.connection != nullptr; }, seconds(1)));
  ASSERT_EQ(client_.connection, nullptr);
  world_.SetLink("a", "b", {});
  server_.connection->Send(Text("hello"));
  world_.RunFor(seconds(1));
  EXPECT_EQ(client_.received, "hello");
}

TEST_F(SimWorldTest, Close_DeliversWhatWasSent_ThenEnds) {
  Listen();
  Connect();
  client_.connection->Send(Text("last words"));
  client_.connection.reset();
  world_.RunFor(milliseconds(10));
  EXPECT_EQ(server_.received, "last words");
  EXPECT_EQ(server_.closed.code(), Code::kUnavailable);
}

TEST_F(SimWorldTest, KilledPeer_ResetsItsStreams) {
  Listen();
  Connect();
  a_.Kill();
  world_.RunFor(milliseconds(10));
  EXPECT_EQ(server_.closed.code(), Code::kUnavailable);
}

TEST_F(SimWorldTest, Partition_IsSilent_UntilItHeals) {
  Listen();
  Connect();
  world_.Partition("a", "b", /*one_way=*/true);
  client_.connection->Send(Text("x"));
  server_.connection->Send(Text("y"));
  world_.RunFor(seconds(10));
  EXPECT_EQ(server_.received, "");
  EXPECT_TRUE(server_.closed.ok());
  EXPECT_EQ(client_.received, "y") << "the other way is open";

  world_.Heal("a", "b");
  world_.RunFor(seconds(1));
  EXPECT_TRUE(server_.received == "x" || !server_.closed.ok());
}

TEST_F(SimWorldTest, BrokenConnection_DeliversAPrefix_AndEndsBothWays) {
  Listen();
  Connect();
  const std::string sent(10'000, 'z');
  for (int i = 0; i < 10; ++i) client_.connection->Send(Text(sent));
  world_.BreakConnections("a", "b");
  world_.RunFor(seconds(1));
  EXPECT_LT(server_.received.size(), 10 * sent.size());
  EXPECT_FALSE(server_.closed.ok());
  EXPECT_FALSE(client_.closed.ok());
}

TEST_F(SimWorldTest, StoppedReading_HoldsBytesBack) {
  Listen();
  Connect();
  server_.connection->SetReading(false);
  client_.connection->Send(Text("later"));
  world_.RunFor(milliseconds(50));
  EXPECT_EQ(server_.received, "");
  EXPECT_EQ(client_.connection->pending_bytes(), 5u);
  server_.connection->SetReading(true);
  world_.RunFor(milliseconds(50));
  EXPECT_EQ(server_.received, "later");
}

// Some traffic with a kill, a partition and timers; the digest of all that happened.
uint64_t RunScript(uint64_t seed) {
  SimWorld world(seed);
  SimProcess& a = world.AddProcess("a");
  SimProcess& b = world.AddProcess("b");
  Peer client;
  std::vector<std::unique_ptr<Peer>> servers;
  auto listener = b.network().Listen({"b", 7}, [&](std::unique_ptr<Connection> made) {
    servers.push_back(std::make_unique<Peer>());
    servers.back()->Attach(std::move(made));
  });
  a.network().Connect({"b", 7}, seconds(1), [&](Result<std::unique_ptr<Connection>> made) {
    client.Attach(std::move(made).value());
    client.connection->Send({Bytes::CopyOf(std::string(1000, 'q'))});
  });
  world.After(milliseconds(20), [&] { world.Partition("a", "b"); });
  world.After(milliseconds(40), [&] { world.HealAll(); });
  world.After(milliseconds(60), [&] { a.Kill(); });
  for (int i = 0; i < 100; ++i) {
    a.executor().RunAfter(milliseconds(i), [&client] {
      if (client.connection) client.connection->Send({Bytes::CopyOf("tick")});
    });
  }
  world.RunFor(seconds(1));
  return world.trace_hash();
}

TEST(SimWorldDeterminism, SameSeed_SameTrace_AndOtherSeedsDiffer) {
  EXPECT_EQ(RunScript(1), RunScript(1));
  EXPECT_EQ(RunScript(2), RunScript(2));
  EXPECT_NE(RunScript(1), RunScript(2));
}

}  // namespace
}  // namespace millrace::sim

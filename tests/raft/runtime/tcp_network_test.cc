#include "raft/runtime/tcp_network.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "raft/runtime/event_loop.h"

namespace millrace {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Peer : ConnectionHandler {
  void Attach(std::unique_ptr<Connection> made) {
    connection = std::move(made);
    connection->SetHandler(this);
  }
  void OnData(std::string_view bytes) override {
    received += bytes;
    if (on_data) on_data();
  }
  void OnDrained() override { ++drained; }
  void OnClosed(const Status& status) override {
    closed = status;
    if (on_closed) on_closed();
  }

  std::unique_ptr<Connection> connection;
  std::string received;
  Status closed;
  int drained = 0;
  std::function<void()> on_data;
  std::function<void()> on_closed;
};

class TcpNetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<Listener>> made =
        network_.Listen({"127.0.0.1", 0}, [this](std::unique_ptr<Connection> accepted) {
          server_.Attach(std::move(accepted));
          if (on_accepted_) on_accepted_();
        });
    listener_ = std::move(made).value();
    // A test that hangs fails by this.
    loop_.RunAfter(seconds(20), [this] {
      ADD_FAILURE() << "timed out";
      loop_.Stop();
    });
  }
  void Connect(std::function<void()> then) {
    network_.Connect(listener_->endpoint(), seconds(5),
                     [this, then](Result<std::unique_ptr<Connection>> made) {
                       client_.Attach(std::move(made).value());
                       then();
                     });
  }
  static std::vector<Bytes> Text(const std::string& text) { return {Bytes::CopyOf(text)}; }

  EventLoop loop_;
  TcpNetwork network_{loop_};
  std::unique_ptr<Listener> listener_;
  std::function<void()> on_accepted_;
  Peer server_;
  Peer client_;
};

TEST_F(TcpNetworkTest, ManyMebibytesInPieces_ArriveInOrder) {
  std::string sent;
  Connect([&] {
    std::vector<Bytes> pieces;
    for (int i = 0; i < 3000; ++i) {
      const std::string piece(static_cast<size_t>(1 + i * 7 % 9000),
                              static_cast<char>('a' + i % 26));
      sent += piece;
      pieces.push_back(Bytes::CopyOf(piece));
    }
    client_.connection->Send(std::move(pieces));
    EXPECT_EQ(client_.connection->pending_bytes(), sent.size());
  });
  server_.on_data = [&] {
    if (server_.received.size() == sent.size()) loop_.Stop();
  };
  loop_.Run();
  EXPECT_EQ(server_.received, sent);
  EXPECT_EQ(client_.drained, 1);
  EXPECT_EQ(client_.connection->pending_bytes(), 0u);
}

TEST_F(TcpNetworkTest, HandlerMayDestroyItsConnection_InsideItsCallback) {
  Connect([&] { client_.connection->Send(Text("die")); });
  server_.on_data = [&] { server_.connection.reset(); };
  client_.on_closed = [&] {
    client_.connection.reset();
    loop_.Stop();
  };
  loop_.Run();
  EXPECT_EQ(server_.received, "die");
  EXPECT_EQ(client_.closed.code(), Code::kUnavailable);
}

TEST_F(TcpNetworkTest, WhatWasSentBeforeClose_StillArrives) {
  Connect([&] {
    client_.connection->Send(Text("last words"));
    client_.connection->Close();
  });
  server_.on_closed = [&] { loop_.Stop(); };
  loop_.Run();
  EXPECT_EQ(server_.received, "last words");
}

TEST_F(TcpNetworkTest, StoppedReading_HoldsBytesBack_UntilItGoesOn) {
  on_accepted_ = [&] { server_.connection->SetReading(false); };
  Connect([&] {
    client_.connection->Send(Text("later"));
    loop_.RunAfter(milliseconds(30), [&] {
      EXPECT_EQ(server_.received, "");
      server_.connection->SetReading(true);
    });
  });
  server_.on_data = [&] { loop_.Stop(); };
  loop_.Run();
  EXPECT_EQ(server_.received, "later");
}

TEST_F(TcpNetworkTest, PortInUse_IsAnErrorThatNamesIt) {
  const Result<std::unique_ptr<Listener>> second =
      network_.Listen(listener_->endpoint(), [](std::unique_ptr<Connection>) {});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), Code::kUnavailable);
  EXPECT_NE(second.status().message().find(listener_->endpoint().ToString()), std::string::npos);
}

TEST_F(TcpNetworkTest, Connect_IsRefused_WhereNobodyListens) {
  const Endpoint endpoint = listener_->endpoint();
  listener_.reset();
  Status status;
  network_.Connect(endpoint, seconds(5), [&](Result<std::unique_ptr<Connection>> made) {
    status = made.status();
    loop_.Stop();
  });
  loop_.Run();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_NE(status.message().find(endpoint.ToString()), std::string::npos);
}

TEST_F(TcpNetworkTest, UnknownName_FailsWithoutBlockingTheLoop) {
  Status status;
  network_.Connect({"no-such-host.invalid", 1}, seconds(5),
                   [&](Result<std::unique_ptr<Connection>> made) {
                     status = made.status();
                     loop_.Stop();
                   });
  loop_.Run();
  EXPECT_FALSE(status.ok());
}

TEST_F(TcpNetworkTest, NetworkDestroyedWhileConnecting_ForgetsTheConnect) {
  auto owned = std::make_shared<int>();
  {
    TcpNetwork short_lived(loop_);
    short_lived.Connect(listener_->endpoint(), seconds(5),
                        [owned](Result<std::unique_ptr<Connection>>) { FAIL(); });
  }
  EXPECT_EQ(owned.use_count(), 1);
  loop_.Post([&] { loop_.Post([&] { loop_.Stop(); }); });
  loop_.Run();
}

}  // namespace
}  // namespace millrace

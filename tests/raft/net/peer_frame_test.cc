#include "raft/net/peer_frame.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/internal/v1/peer.pb.h"
#include "raft/runtime/random.h"

namespace millrace::raft::net {
namespace {

std::string Frame(uint64_t nonce, const std::string& body) {
  internal::v1::Ping ping;
  ping.set_nonce(nonce);
  return std::string(EncodePeerFrameHead(FrameKind::kPing, ping, body.size()).view()) + body;
}

uint64_t NonceOf(const PeerFrame& frame) {
  internal::v1::Ping ping;
  EXPECT_TRUE(ping.ParseFromString(std::string(frame.header)));
  return ping.nonce();
}

TEST(PeerFrameReader, Stream_CutAnywhere_GivesTheSameFrames) {
  Random random(11);
  std::string stream;
  std::vector<std::string> bodies;
  for (uint64_t nonce = 0; nonce < 200; ++nonce) {
    bodies.emplace_back(random.OneIn(3) ? 0 : random.Below(5000), static_cast<char>(nonce));
    stream += Frame(nonce, bodies.back());
  }
  PeerFrameReader reader(kPeerFrameSizeMax);
  size_t count = 0;
  for (size_t at = 0; at < stream.size();) {
    const size_t size = std::min<size_t>(stream.size() - at, 1 + random.Below(3000));
    const std::string piece = stream.substr(at, size);
    std::string_view bytes = piece;
    at += size;
    for (;;) {
      Result<std::optional<PeerFrame>> frame = reader.Next(bytes);
      ASSERT_TRUE(frame.ok()) << frame.status();
      if (!frame->has_value()) break;
      EXPECT_EQ(NonceOf(**frame), count);
      EXPECT_EQ((*frame)->body.view(), bodies[count]);
      ++count;
    }
    EXPECT_TRUE(bytes.empty());
  }
  EXPECT_EQ(count, bodies.size());
}

TEST(PeerFrameReader, AnyBitFlippedInTheHead_IsNoticedOrKeepsWaiting) {
  const std::string good = Frame(77, "body");
  const size_t head_size = good.size() - 4;
  for (size_t bit = 0; bit < head_size * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    PeerFrameReader reader(kPeerFrameSizeMax);
    std::string_view bytes = bad;
    const Result<std::optional<PeerFrame>> frame = reader.Next(bytes);
    // A larger length waits for more, which a handshake's or keepalive's time bounds.
    EXPECT_TRUE(!frame.ok() || !frame->has_value()) << "bit " << bit;
  }
}

TEST(PeerFrameReader, FrameOverTheLimit_IsRefused_BeforeItsBodyComes) {
  const std::string head = Frame(1, std::string(kHandshakeFrameSizeMax + 1, 'x')).substr(0, 16);
  PeerFrameReader reader(kHandshakeFrameSizeMax);
  std::string_view bytes = head;
  const Result<std::optional<PeerFrame>> frame = reader.Next(bytes);
  ASSERT_FALSE(frame.ok());
  EXPECT_EQ(frame.status().code(), Code::kDataLoss);
}

TEST(PeerFrameReader, RandomBytes_AreRefused) {
  Random random(5);
  for (int run = 0; run < 200; ++run) {
    std::string garbage(100, '\0');
    for (char& byte : garbage) byte = static_cast<char>(random.Next());
    PeerFrameReader reader(kHandshakeFrameSizeMax);
    std::string_view bytes = garbage;
    EXPECT_FALSE(reader.Next(bytes).ok());
  }
}

}  // namespace
}  // namespace millrace::raft::net

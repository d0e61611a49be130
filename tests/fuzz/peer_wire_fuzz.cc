// The peers' wire: a stream of bytes cut into frames anywhere gives the same frames, and what a
// frame says is decoded or refused. Decoded Raft messages are encoded to what they were. A Hello
// that is refused is one line of a log, and the answer names nothing.
#include <string>
#include <string_view>
#include <vector>

#include "raft/codec/entry_codec.h"
#include "raft/net/handshake.h"
#include "raft/net/peer_frame.h"
#include "raft/net/raft_codec.h"
#include "tests/fuzz/fuzz.h"

using namespace millrace;             // NOLINT: one file, one target
using namespace millrace::raft::net;  // NOLINT

namespace {

struct Seen {
  FrameKind kind;
  std::string header;
  std::string body;
  bool operator==(const Seen&) const = default;
};

constexpr raft::RaftRoute kRoute{.group = RaftGroupId(7), .from = ReplicaNumber(1), .to = {}};

// Frames of a stream that comes in pieces of `piece` bytes; ends at an error.
std::vector<Seen> Cut(std::string_view stream, size_t piece) {
  PeerFrameReader reader(kHandshakeFrameSizeMax);
  std::vector<Seen> seen;
  while (!stream.empty()) {
    std::string_view part = stream.substr(0, piece);
    stream.remove_prefix(part.size());
    while (!part.empty()) {
      Result<std::optional<PeerFrame>> frame = reader.Next(part);
      if (!frame.ok()) return seen;
      if (!frame->has_value()) break;
      seen.push_back(
          {(*frame)->kind, std::string((*frame)->header), std::string((*frame)->body.view())});
    }
  }
  return seen;
}

void CheckMessages(const std::string& header) {
  wire::GroupMessages messages;
  if (!messages.ParseFromString(header)) return;
  for (const wire::GroupMessage& message : messages.messages()) {
    const Result<raft::core::Message> decoded = DecodeGroupMessage(message);
    if (!decoded.ok()) continue;
    wire::GroupMessage again;
    EncodeGroupMessage(kRoute, *decoded, &again);
    const Result<raft::core::Message> twice = DecodeGroupMessage(again);
    CHECK(twice.ok()) << twice.status();
    CHECK_EQ(twice->index(), decoded->index());
  }
}

void CheckAppend(const std::string& header, const std::string& body) {
  wire::GroupAppend append;
  if (!append.ParseFromString(header)) return;
  const auto decoded = DecodeGroupAppend(append, Bytes::CopyOf(body));
  if (!decoded.ok()) return;
  std::vector<Bytes> pieces;
  EncodeGroupAppend(kRoute, *decoded, &pieces);
  std::string again;
  for (const Bytes& piece : pieces) again += piece.view();
  CHECK_EQ(again, body);
}

void CheckStrangersHello(const std::string& header) {
  wire::Hello hello;
  if (!hello.ParseFromString(header)) return;
  PeerTransportOptions options;
  options.self = {.who = {BrokerId(2), Incarnation(4711)}, .cluster_uuid = 4712};
  options.cluster_name = "secret";
  options.peers[BrokerId(1)] = {"b1", 7441};
  const Status verdict = CheckHello(options, hello);
  if (verdict.ok()) {
    const raft::PeerIdentity peer = IdentityOf(options, hello);
    CHECK(peer.who.broker == BrokerId(1));
    CHECK_EQ(peer.format, 1u);
    return;
  }
  for (const char c : verdict.message()) CHECK(c >= ' ' && c <= '~');
  const std::string told = MakeRefusal(verdict).message();
  CHECK(told.find("secret") == std::string::npos && told.find("471") == std::string::npos) << told;
}

}  // namespace

FUZZ_TARGET(FuzzedDataProvider& input) {
  const size_t piece = input.ConsumeIntegralInRange<size_t>(1, 64);
  switch (input.ConsumeIntegralInRange<int>(0, 4)) {
    case 0: {
      const std::string stream = input.ConsumeRemainingBytesAsString();
      CHECK(Cut(stream, piece) == Cut(stream, stream.size() + 1));
      return;
    }
    case 1:
      return CheckMessages(input.ConsumeRemainingBytesAsString());
    case 2: {
      const std::string header = input.ConsumeRandomLengthString(64);
      return CheckAppend(header, input.ConsumeRemainingBytesAsString());
    }
    case 3: {
      const auto configuration = raft::DecodeConfiguration(input.ConsumeRemainingBytesAsString());
      if (!configuration.ok()) return;
      const auto again = raft::DecodeConfiguration(raft::EncodeConfiguration(*configuration));
      CHECK(again.ok()) << again.status();
      CHECK(*again == *configuration);
      return;
    }
    default:
      CheckStrangersHello(input.ConsumeRemainingBytesAsString());
  }
}

// The frame of the peers' wire: a small protobuf header and a body that is not looked into, such as
// log entries as they lie in memory. docs/formats.md, "Peer frame":
//
//     0        4      5       6          8               12        16
//     | length | kind | flags | reserved | header length | crc     | header ... | body ... |
//
// Little-endian. `length` counts header and body; `crc` is CRC32C over the 12 bytes before it and
// the header. The body has checksums of its own: the entries', or the envelope's.
//
// Pure; one owner. What arrives is never trusted: a frame that is wrong or too large is an error,
// after which the stream has no meaning.
//
//   connection.Send({EncodePeerFrameHead(kind, header, body_size), body...});
//   while (auto frame = *reader.Next(bytes)) ...   // in OnData
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

namespace google::protobuf {
class MessageLite;
}

namespace millrace::raft::net {

inline constexpr size_t kPeerFramePrefixSize = 16;
// What a stranger may send before its handshake is checked.
inline constexpr size_t kHandshakeFrameSizeMax = size_t{16} << 10;
// The largest log entry, with room beside it.
inline constexpr size_t kPeerFrameSizeMax = size_t{24} << 20;

// Numbers are on the wire.
enum class FrameKind : uint8_t {
  kHello = 1,          // header Hello
  kRefusal = 2,        // header Refusal
  kPing = 3,           // header Ping
  kPong = 4,           // header Pong
  kGroupMessages = 5,  // header GroupMessages
  kGroupAppend = 6,    // header GroupAppend, body: the entries' frames
  kEnvelope = 7,       // header PeerEnvelope, body: opaque
};

// Whether this version knows the kind; others are skipped after the handshake.
bool IsKnown(FrameKind kind);

struct PeerFrame {
  FrameKind kind = FrameKind::kPing;
  std::string_view header;  // valid until the reader's next call
  Bytes body;               // aligned, and of its own
};

// The bytes of a frame before its body. Pre: header and body together fit kPeerFrameSizeMax.
Bytes EncodePeerFrameHead(FrameKind kind, const google::protobuf::MessageLite& header,
                          size_t body_size);

// Cuts a stream into frames. A body is copied once, from the receive buffer to where it stays.
class PeerFrameReader {
 public:
  explicit PeerFrameReader(size_t frame_size_max) : frame_size_max_(frame_size_max) {}

  void set_frame_size_max(size_t bytes) { frame_size_max_ = bytes; }
  // From now on frames of unknown kinds are returned like others, to be skipped.
  void TakeUnknownKinds() { takes_unknown_kinds_ = true; }
  // Takes bytes off the front of `bytes`: the next frame once all of it came, else nothing, with
  // `bytes` empty. DATA_LOSS naming what is wrong.
  Result<std::optional<PeerFrame>> Next(std::string_view& bytes);

 private:
  // Appends to head_ from `bytes` until it has `size` bytes.
  bool FillHead(std::string_view& bytes, size_t size);
  Status ParsePrefix();
  Status CheckHead() const;

  size_t frame_size_max_;
  bool takes_unknown_kinds_ = false;
  std::string head_;  // prefix and header, as far as they came
  bool is_prefix_parsed_ = false;
  FrameKind kind_ = FrameKind::kPing;
  size_t header_size_ = 0;
  size_t body_size_ = 0;
  std::optional<Buffer> body_;  // once the head is complete
  size_t body_filled_ = 0;
  bool is_delivered_ = false;  // head_ is that of the frame returned last
};

}  // namespace millrace::raft::net

#include "raft/net/peer_frame.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include <glog/logging.h>
#include <google/protobuf/message_lite.h>

#include "proto/base/checksum.h"

namespace millrace::raft::net {
namespace {

static_assert(std::endian::native == std::endian::little);

struct Prefix {
  uint32_t length;
  uint8_t kind;
  uint8_t flags;
  uint16_t reserved;
  uint32_t header_length;
  uint32_t crc;
};
static_assert(sizeof(Prefix) == kPeerFramePrefixSize);
constexpr size_t kCheckedPrefixSize = offsetof(Prefix, crc);

uint32_t HeadCrc(std::string_view head) {
  const uint32_t crc = Crc32c(head.substr(0, kCheckedPrefixSize));
  return Crc32c(head.substr(kPeerFramePrefixSize), crc);
}

}  // namespace

bool IsKnown(FrameKind kind) { return kind >= FrameKind::kHello && kind <= FrameKind::kEnvelope; }

Bytes EncodePeerFrameHead(FrameKind kind, const google::protobuf::MessageLite& header,
                          size_t body_size) {
  const size_t header_size = header.ByteSizeLong();
  CHECK_LE(header_size + body_size, kPeerFrameSizeMax);
  Prefix prefix{.length = static_cast<uint32_t>(header_size + body_size),
                .kind = static_cast<uint8_t>(kind),
                .flags = 0,
                .reserved = 0,
                .header_length = static_cast<uint32_t>(header_size),
                .crc = 0};
  std::string head(kPeerFramePrefixSize + header_size, '\0');
  std::memcpy(head.data(), &prefix, sizeof(prefix));
  auto* at = reinterpret_cast<uint8_t*>(head.data() + kPeerFramePrefixSize);
  header.SerializeWithCachedSizesToArray(at);
  prefix.crc = HeadCrc(head);
  std::memcpy(head.data(), &prefix, sizeof(prefix));
  return Bytes::Own(std::move(head));
}

Result<std::optional<PeerFrame>> PeerFrameReader::Next(std::string_view& bytes) {
  if (std::exchange(is_delivered_, false)) {
    head_.clear();
    is_prefix_parsed_ = false;
  }
  if (!body_) {
    if (!is_prefix_parsed_) {
      if (!FillHead(bytes, kPeerFramePrefixSize)) return std::optional<PeerFrame>();
      RETURN_IF_ERROR(ParsePrefix());
    }
    if (!FillHead(bytes, kPeerFramePrefixSize + header_size_)) return std::optional<PeerFrame>();
    RETURN_IF_ERROR(CheckHead());
    body_ = Buffer::Allocate(body_size_);
    body_filled_ = 0;
  }
  const size_t taken = std::min(bytes.size(), body_size_ - body_filled_);
  if (taken > 0) std::memcpy(body_->data() + body_filled_, bytes.data(), taken);
  bytes.remove_prefix(taken);
  body_filled_ += taken;
  if (body_filled_ < body_size_) return std::optional<PeerFrame>();

  is_delivered_ = true;
  Bytes body = std::move(*std::exchange(body_, std::nullopt)).Freeze();
  return std::optional(PeerFrame{.kind = kind_,
                                 .header = std::string_view(head_).substr(kPeerFramePrefixSize),
                                 .body = std::move(body)});
}

bool PeerFrameReader::FillHead(std::string_view& bytes, size_t size) {
  const size_t taken = std::min(bytes.size(), size - head_.size());
  head_.append(bytes.substr(0, taken));
  bytes.remove_prefix(taken);
  return head_.size() == size;
}

Status PeerFrameReader::ParsePrefix() {
  Prefix prefix;
  std::memcpy(&prefix, head_.data(), sizeof(prefix));
  const auto kind = static_cast<FrameKind>(prefix.kind);
  if (!(IsKnown(kind) || takes_unknown_kinds_) || prefix.flags != 0 || prefix.reserved != 0) {
    return DataLoss("these are not peer frames (kind " + std::to_string(prefix.kind) + ")");
  }
  if (prefix.length > frame_size_max_) {
    return DataLoss("peer frame of " + std::to_string(prefix.length) +
                    " bytes is over the limit of " + std::to_string(frame_size_max_));
  }
  if (prefix.header_length > prefix.length) {
    return DataLoss("peer frame's header is longer than the frame");
  }
  kind_ = kind;
  header_size_ = prefix.header_length;
  body_size_ = prefix.length - prefix.header_length;
  is_prefix_parsed_ = true;
  return Status::Ok();
}

Status PeerFrameReader::CheckHead() const {
  Prefix prefix;
  std::memcpy(&prefix, head_.data(), sizeof(prefix));
  if (HeadCrc(head_) != prefix.crc) return DataLoss("peer frame's header checksum mismatch");
  return Status::Ok();
}

}  // namespace millrace::raft::net

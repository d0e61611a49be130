#include "proto/frame/frame.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <glog/logging.h>

#include "proto/base/checksum.h"
#include "proto/base/mutants.h"

namespace millrace {
namespace {

uint32_t HeaderCrc(FrameLayout layout) {
  layout.header_crc = 0;
  return Crc32c({reinterpret_cast<const char*>(&layout), sizeof(layout)});
}

FrameLayout Encode(const FrameHeader& header) {
  FrameLayout layout{};
  layout.magic = kFrameMagic;
  layout.version = kFrameVersion;
  layout.type = static_cast<uint8_t>(header.type);
  layout.feature_level = header.feature_level;
  layout.payload_size = header.payload_size;
  layout.group = header.group.value();
  layout.term = header.term.value();
  layout.index = header.index.value();
  layout.base_offset = header.base_offset.value();
  layout.offset_span = header.offset_span;
  layout.record_count = header.record_count;
  layout.append_time_ms = header.append_time_ms;
  layout.max_timestamp_ms = header.max_timestamp_ms;
  layout.producer_id = header.producer_id.value();
  layout.producer_epoch = header.producer_epoch;
  layout.first_sequence = header.first_sequence;
  layout.payload_crc = header.payload_crc;
  layout.stored_crc = header.stored_crc;
  layout.chain = header.chain;
  layout.flags = header.flags;
  layout.transaction_number = header.transaction_number;
  layout.reach = header.reach;
  layout.header_crc = HeaderCrc(layout);
  return layout;
}

// What entries may say.
constexpr uint16_t kKnownFlags =
    kFrameControl | kFrameTransactional | kFrameCompacted | kFramePacked | kFrameCompressed;
// That of compaction.
constexpr uint8_t kGapLevel = 2;
// No rewrite of an entry changes these, so that the chain covers them.
constexpr uint16_t kChainedFlags = kFrameTransactional | kFrameKafkaBatch;

bool IsKnown(FrameType type) {
  switch (type) {
    case FrameType::kNoOp:
    case FrameType::kConfiguration:
    case FrameType::kRecordBatch:
    case FrameType::kControllerCommand:
    case FrameType::kPartitionCommand:
    case FrameType::kCoordinatorCommand:
    case FrameType::kTransactionMarker:
      return true;
    case FrameType::kGap:
    case FrameType::kFill:
      break;
  }
  return false;
}

Status CheckPayloadOf(const FrameHeader& header, std::string_view frame) {
  if (Crc32c(frame.substr(kFrameHeaderSize, header.payload_size)) == header.stored_crc) return {};
  return DataLoss("frame payload checksum mismatch");
}

// Whether the numbers of a log entry's identity are such as this build knows in it.
bool IsIdentityKnown(const FrameHeader& header) {
  const bool is_marker = header.type == FrameType::kTransactionMarker;
  const bool is_transactional = (header.flags & kFrameTransactional) != 0;
  if (is_transactional != (header.transaction_number != 0)) return false;
  if (is_marker) return is_transactional;
  return header.reach == 0 && (!is_transactional || header.type == FrameType::kRecordBatch);
}

}  // namespace

uint8_t KnownFeatureLevel() {
  const bool is_next = MILLRACE_MUTANT(kNextFeatureLevel) || MILLRACE_MUTANT(kNextLevelTooSoon);
  return static_cast<uint8_t>(kFeatureLevel + (is_next ? 1 : 0));
}

bool IsUnderstood(const FrameHeader& header) {
  return header.feature_level <= KnownFeatureLevel() && IsKnown(header.type) &&
         (header.flags & ~kKnownFlags) == 0 && IsIdentityKnown(header) &&
         !header.has_reserved_bytes;
}

Status NotUnderstood(const FrameHeader& header) {
  return Unimplemented(
      "entry " + std::to_string(header.index.value()) + " of group " +
      std::to_string(header.group.value()) + " is of a newer build (feature level " +
      std::to_string(header.feature_level) + ", type " +
      std::to_string(static_cast<int>(header.type)) + ", flags " + std::to_string(header.flags) +
      "); this build knows level " + std::to_string(KnownFeatureLevel()));
}

LogIndex LastIndexOf(const FrameHeader& header) {
  return header.type == FrameType::kGap ? LogIndex(header.reach) : header.index;
}

Frame MakeGap(const GapEnds& ends) {
  CHECK_LE(ends.first, ends.last) << "group=" << ends.group;
  const uint32_t crc = Crc32c("");
  return SealFrame({.type = FrameType::kGap,
                    .feature_level = kGapLevel,
                    .group = ends.group,
                    .term = ends.term,
                    .index = ends.first,
                    .base_offset = ends.base_offset,
                    .offset_span = ends.offset_span,
                    .append_time_ms = ends.append_time_ms,
                    .payload_crc = crc,
                    .stored_crc = crc,
                    .chain = ends.chain,
                    .reach = ends.last.value()},
                   AllocateFrame(0));
}

Status CheckGap(const FrameHeader& header) {
  const bool is_known = header.feature_level <= KnownFeatureLevel() && header.flags == 0 &&
                        header.transaction_number == 0 && !header.has_reserved_bytes;
  if (!is_known) return NotUnderstood(header);
  const bool is_whole =
      header.payload_size == 0 && header.record_count == 0 && LastIndexOf(header) >= header.index;
  if (is_whole) return {};
  return DataLoss("the gap at entry " + std::to_string(header.index.value()) + " is none");
}

uint32_t FrameChain(uint32_t previous_chain, const FrameHeader& header) {
  struct Identity {
    uint64_t group;
    uint64_t term;
    uint64_t index;
    int64_t base_offset;
    uint64_t producer_id;
    int64_t append_time_ms;
    uint32_t producer_epoch;
    uint32_t first_sequence;
    uint32_t offset_span;
    uint32_t payload_crc;
    uint32_t previous_chain;
    uint32_t type;
    uint64_t transaction_number;
    uint64_t reach;
  };
  static_assert(sizeof(Identity) == 88);
  const uint32_t type =
      static_cast<uint32_t>(header.type) | static_cast<uint32_t>(header.flags & kChainedFlags) << 8;
  const Identity identity{header.group.value(),
                          header.term.value(),
                          header.index.value(),
                          header.base_offset.value(),
                          header.producer_id.value(),
                          header.append_time_ms,
                          header.producer_epoch,
                          header.first_sequence,
                          header.offset_span,
                          header.payload_crc,
                          previous_chain,
                          type,
                          header.transaction_number,
                          header.reach};
  const bool is_short = header.transaction_number == 0 && header.reach == 0;
  const size_t size = is_short ? offsetof(Identity, transaction_number) : sizeof(identity);
  return Crc32c({reinterpret_cast<const char*>(&identity), size});
}

bool HasRecordSince(const FrameHeader& header, int64_t timestamp_ms) {
  return header.offset_span > 0 && header.type != FrameType::kGap &&
         header.max_timestamp_ms >= timestamp_ms;
}

Buffer AllocateFrame(size_t payload_size) {
  const size_t size = FrameSize(payload_size);
  Buffer buffer = Buffer::Allocate(size);
  std::memset(buffer.data(), 0, kFrameHeaderSize);
  const size_t used = kFrameHeaderSize + payload_size;
  std::memset(buffer.data() + used, 0, size - used);
  return buffer;
}

Frame SealFrame(const FrameHeader& header, Buffer buffer) {
  CHECK_EQ(buffer.size(), FrameSize(header.payload_size));
  CHECK_LE(buffer.size(), kFrameSizeMax);
  const FrameLayout layout = Encode(header);
  std::memcpy(buffer.data(), &layout, sizeof(layout));
  return Frame(std::move(buffer).Freeze());
}

Status FrameIsCutOff(size_t size, size_t whole) {
  return DataLoss("frame payload is cut off after " + std::to_string(size) + " of " +
                  std::to_string(whole) + " bytes");
}

Status Frame::CheckPayload() const { return CheckPayloadOf(header(), view()); }

Result<FrameHeader> ParseFrameHeader(std::string_view bytes) {
  if (bytes.size() < kFrameHeaderSize) {
    return DataLoss("frame header is cut off after " + std::to_string(bytes.size()) + " bytes");
  }
  FrameLayout layout;
  std::memcpy(&layout, bytes.data(), sizeof(layout));
  if (layout.magic != kFrameMagic) return DataLoss("frame has a wrong magic number");
  if (HeaderCrc(layout) != layout.header_crc) return DataLoss("frame header checksum mismatch");
  if (layout.version != kFrameVersion) {
    return DataLoss("frame version " + std::to_string(layout.version) + " is not known");
  }
  if (FrameSize(layout.payload_size) > kFrameSizeMax) {
    return DataLoss("frame payload of " + std::to_string(layout.payload_size) +
                    " bytes is too large");
  }
  return DecodeFrameHeader(layout);
}

Result<FrameHeader> ParseFrame(std::string_view bytes) {
  ASSIGN_OR_RETURN(const FrameHeader header, ParseFrameHeader(bytes));
  const size_t size = FrameSize(header.payload_size);
  if (bytes.size() < size) return FrameIsCutOff(bytes.size(), size);
  RETURN_IF_ERROR(CheckPayloadOf(header, bytes));
  return header;
}

}  // namespace millrace

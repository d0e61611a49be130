// The frame: how a log entry lies in the journal, in segments and on the peers' wire; byte for byte
// the same in all three. docs/formats.md draws it. A frame is a fixed little-endian header of 128
// bytes and a payload; its header checksum covers the header, and the payload has its own.
//
// A frame may be of a newer build. Storing, voting on and sending it takes no understanding, so
// that parsing lets it through; who would act on what it says asks IsUnderstood first.
//
// Pure; any thread. Bytes from disk or wire are never trusted: ParseFrameHeader checks them.
//
//   Buffer buffer = AllocateFrame(payload.size());  // the payload is copied in once
//   memcpy(FramePayload(buffer), payload...);
//   Frame frame = SealFrame(header, std::move(buffer));
//   Offset first = frame.header().base_offset;
//
//   ASSIGN_OR_RETURN(FrameHeader header, ParseFrameHeader(bytes));
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "proto/frame/frame_layout.h"

namespace millrace {

inline constexpr uint32_t kFrameMagic = 0x46524C4D;  // "MLRF" in the order of the bytes
inline constexpr uint8_t kFrameVersion = 1;
// The newest feature level that this build knows; each change of what entries may say takes the
// next.
inline constexpr uint8_t kFeatureLevel = 4;
// The level of what every build may write in every cluster, no-ops and configurations among it.
// What is newer is written at the cluster's level, once all brokers know it.
inline constexpr uint8_t kFirstFeatureLevel = 1;
// The newest level that this process knows: one more in builds that tests pretend.
uint8_t KnownFeatureLevel();
// Journal and segment place frames at multiples of this; the gap after the payload is zero.
inline constexpr size_t kFrameAlignment = 8;
// Header and payload together.
inline constexpr size_t kFrameSizeMax = size_t{16} << 20;

// A number that this level does not know, taken already: 10 queue command. 5 is retired.
enum class FrameType : uint8_t {
  kNoOp = 1,
  kConfiguration = 2,
  kRecordBatch = 3,        // payload: a RecordBatch as the producer encoded it
  kControllerCommand = 4,  // payload: millrace.internal.v1.ControllerRecords
  kPartitionCommand = 6,   // of level 2; payload: millrace.internal.v1.PartitionCommand
  kGap = 7,  // in segments and ranges alone: stands for entries of one term that hold nothing
  kCoordinatorCommand = 8,  // of level 3; payload: millrace.internal.v1.CoordinatorRecords
  kTransactionMarker = 9,   // of level 4; payload: millrace.internal.v1.TransactionMarker
  kFill = 11,               // in segments alone: no entry, but space up to an alignment
};

enum FrameFlags : uint16_t {
  kFrameControl = 1,            // consumes no offsets
  kFrameTransactional = 2,      // of a transaction: iff transaction_number is not 0
  kFrameCompacted = 4,          // compaction rewrote the payload: in segments and ranges alone
  kFramePacked = 8,             // the batch's `packed` encoding rather than typed `records`
  kFrameCompressed = 16,        // and that is compressed
  kFrameKafkaBatch = 32,        // reserved: the payload is one batch of Kafka's format 2
  kFramePayloadElsewhere = 64,  // reserved: the payload is a reference, or absent
  kFrameTimed = 128,            // reserved: a record has a due or an expiry time
};

// The header's fields, decoded. Field order here is for the reader; FrameLayout in frame.cc has the
// bytes.
struct FrameHeader {
  FrameType type = FrameType::kNoOp;
  uint8_t feature_level = kFirstFeatureLevel;
  uint16_t flags = 0;
  uint32_t payload_size = 0;
  RaftGroupId group;
  Term term;
  LogIndex index;
  // Records [base_offset, base_offset + offset_span) of the partition; span 0 for control entries,
  // whose base_offset is that of the next record.
  Offset base_offset;
  uint32_t offset_span = 0;
  uint32_t record_count = 0;
  int64_t append_time_ms = 0;  // stamped by the leader, never below the entry before
  // The newest record's time: its timestamp, or append_time_ms where it has none.
  int64_t max_timestamp_ms = 0;
  ProducerId producer_id;
  uint32_t producer_epoch = 0;
  uint32_t first_sequence = 0;
  uint32_t payload_crc = 0;  // of the payload as produced
  uint32_t stored_crc = 0;   // of the payload as stored: the same unless compaction rewrote it
  uint32_t chain = 0;        // over the chain before, this header's identity fields and payload_crc
  // These two belong to the entry's identity. The producer's transaction of which a record batch
  // is a part, or which a marker ends; 0: none.
  uint64_t transaction_number = 0;
  // Of a gap: its last entry's index. Of a transaction marker: how many offsets below base_offset
  // the transaction reaches back, if what the producer wrote there is void; 0: nothing is.
  uint64_t reach = 0;
  // A byte that this level knows nothing of is not zero. Parsed, never written.
  bool has_reserved_bytes = false;
};

// What the layout says, believed.
inline FrameHeader DecodeFrameHeader(const FrameLayout& layout) {
  return {.type = static_cast<FrameType>(layout.type),
          .feature_level = layout.feature_level,
          .flags = layout.flags,
          .payload_size = layout.payload_size,
          .group = RaftGroupId(layout.group),
          .term = Term(layout.term),
          .index = LogIndex(layout.index),
          .base_offset = Offset(layout.base_offset),
          .offset_span = layout.offset_span,
          .record_count = layout.record_count,
          .append_time_ms = layout.append_time_ms,
          .max_timestamp_ms = layout.max_timestamp_ms,
          .producer_id = ProducerId(layout.producer_id),
          .producer_epoch = layout.producer_epoch,
          .first_sequence = layout.first_sequence,
          .payload_crc = layout.payload_crc,
          .stored_crc = layout.stored_crc,
          .chain = layout.chain,
          .transaction_number = layout.transaction_number,
          .reach = layout.reach,
          .has_reserved_bytes =
              layout.reserved0 != 0 || layout.reserved1 != 0 || layout.of_holder != 0};
}

// Whether this build may act on what the entry says: its level and type are known, and so is every
// flag and byte that is not zero.
bool IsUnderstood(const FrameHeader& header);

// UNIMPLEMENTED, naming the entry and what it would take. Pre: !IsUnderstood(header).
Status NotUnderstood(const FrameHeader& header);

// Whether frames of this type may stand in a log, that is in a journal or an append; the others
// belong into segments alone.
constexpr bool IsLogEntry(FrameType type) {
  return type != FrameType::kGap && type != FrameType::kFill;
}

// Whether it is what compaction left of an entry, or of several: never in a journal or an append
// (docs/adr/0016-compaction.md).
inline bool IsRewritten(const FrameHeader& header) {
  return header.type == FrameType::kGap || (header.flags & kFrameCompacted) != 0;
}

// Of the frame's entry, or of a gap's last. Of a gap `chain` is that of its last entry, too, and
// `offset_span` that of all its entries; term, index and base_offset are the first one's.
LogIndex LastIndexOf(const FrameHeader& header);
// A gap from one entry to another, for entries whose offsets begin at `base_offset`.
struct GapEnds {
  RaftGroupId group;
  Term term;
  LogIndex first;
  LogIndex last;
  Offset base_offset;
  uint32_t offset_span = 0;
  int64_t append_time_ms = 0;  // of the last
  uint32_t chain = 0;          // of the last
};

// What the chain of an entry is, after `previous_chain`: CRC32C over the previous chain, group,
// term, index, base_offset, offset_span, producer id, epoch, first_sequence, append time,
// payload_crc, type, the flags that no rewrite changes, and, unless both are zero,
// transaction_number and reach. The same at every feature level, so that a build checks the chain
// of what it does not understand.
uint32_t FrameChain(uint32_t previous_chain, const FrameHeader& header);

// Whether a record of the entry is not older than `timestamp_ms`. A gap has none, whatever its
// span.
bool HasRecordSince(const FrameHeader& header, int64_t timestamp_ms);

// A buffer for a frame with `payload_size` bytes of payload and its padding, header zeroed.
Buffer AllocateFrame(size_t payload_size);
inline char* FramePayload(Buffer& buffer) { return buffer.data() + kFrameHeaderSize; }

// Header + payload + padding to kFrameAlignment.
constexpr size_t FrameSize(size_t payload_size) {
  return (kFrameHeaderSize + payload_size + kFrameAlignment - 1) / kFrameAlignment *
         kFrameAlignment;
}

// Checks magic, version, sizes and the header's checksum of the first 128 bytes. DATA_LOSS naming
// what is wrong. Does not look at the payload.
Result<FrameHeader> ParseFrameHeader(std::string_view bytes);

// DATA_LOSS, of a frame of `whole` bytes of which `size` are there.
Status FrameIsCutOff(size_t size, size_t whole);

// ParseFrameHeader, and that the whole frame is there with its payload matching stored_crc. `bytes`
// may be longer than the frame.
Result<FrameHeader> ParseFrame(std::string_view bytes);

// A whole frame whose header was checked when it came in, or that was sealed here: to ask it what
// it says costs no checksum and cannot fail. Copies share the bytes.
class Frame {
 public:
  Frame() = default;  // empty
  // Pre: ParseFrameHeader accepts the bytes, and they are one frame and no more.
  static Frame OfChecked(Bytes bytes) { return Frame(std::move(bytes)); }

  bool empty() const { return bytes_.empty(); }
  size_t size() const { return bytes_.size(); }
  std::string_view view() const { return bytes_.view(); }
  const Bytes& bytes() const { return bytes_; }
  // Pre of these: !empty().
  FrameHeader header() const {
    FrameLayout layout;
    std::memcpy(&layout, bytes_.data(), sizeof(layout));
    return DecodeFrameHeader(layout);
  }
  // DATA_LOSS if the payload does not match stored_crc.
  Status CheckPayload() const;
  Bytes payload() const { return bytes_.Slice(kFrameHeaderSize, header().payload_size); }

 private:
  friend Frame SealFrame(const FrameHeader& header, Buffer buffer);
  explicit Frame(Bytes bytes) : bytes_(std::move(bytes)) {}

  Bytes bytes_;
};

// Writes the header, with payload_size from it and the header's checksum, into a buffer made by
// AllocateFrame(header.payload_size). stored_crc and payload_crc are taken as given.
Frame SealFrame(const FrameHeader& header, Buffer buffer);
// The frame of a gap. Pre: first <= last.
Frame MakeGap(const GapEnds& ends);
// DATA_LOSS if it is not what MakeGap makes; UNIMPLEMENTED if it is of a newer build.
// Pre: it is a gap.
Status CheckGap(const FrameHeader& header);

}  // namespace millrace

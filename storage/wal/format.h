// The journal's bytes: blocks and the records in them (docs/formats.md, "Journal").
//
//   file  = block*                       fixed size, written with zeros before its first use
//   block = BlockHeader record* padding  at a multiple of 4096
//   record = RecordHeader payload padding to 8
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/core/entry.h"
#include "raft/ports/log_store.h"
#include "storage/journal/records.h"

namespace millrace::storage::wal {

// Position of a block in the journal's whole life; each block is one more. 0 means none.
using Lsn = StrongOrdinal<struct LsnTag, uint64_t>;

inline constexpr uint32_t kBlockMagic = 0x424C4D31;  // "1MLB" in the order of the bytes
inline constexpr uint32_t kJournalVersion = 1;
inline constexpr uint64_t kBlockAlignment = 4096;

struct BlockHeader {
  uint32_t magic = kBlockMagic;
  uint32_t version = kJournalVersion;
  uint64_t journal_uuid = 0;
  uint64_t file_sequence = 0;
  uint64_t lsn = 0;
  // Every block up to here was synced when this one was written.
  uint64_t durable_lsn = 0;
  uint32_t length = 0;  // of the records, without padding
  uint32_t previous_crc =
      0;  // header_crc of the block before, across files; 0 for the first of all
  uint32_t records_crc = 0;
  uint32_t header_crc =
      0;  // of this header with this field zero; covers records_crc and so the records
};
static_assert(sizeof(BlockHeader) == 56);

enum class RecordType : uint8_t {
  kEntry = 1,       // payload: the entry's frame
  kHardState = 2,   // payload: HardStatePayload
  kTruncate = 3,    // payload: u64 index: entries at and after it, of lower epochs, are void
  kReplica = 4,     // payload: see EncodeReplica
  kTombstone = 5,   // no payload
  kSegmentEnd = 6,  // payload: SegmentEndPayload
  kCheckpoint = 7,  // payload: CheckpointPayload; the first record of a file, and only there
  kLogEnd = 8,      // payload: u64 index: in checkpoints, the group's last entry then
  kInDoubt = 9,  // payload: why: the replica stays silent, also once the damaged file is recycled
};

struct RecordHeader {
  uint8_t type = 0;
  uint8_t reserved[3] = {};
  uint32_t length = 0;  // of the payload, without padding
  uint64_t group = 0;
  uint32_t epoch = 0;  // the truncation epoch of an entry or truncation; the group's in checkpoints
  uint32_t reserved2 = 0;
};
static_assert(sizeof(RecordHeader) == 24);

struct HardStatePayload {
  uint64_t term = 0;
  uint64_t vote_incarnation = 0;
  uint32_t vote_broker = 0;
  uint32_t reserved = 0;
};

using journal::SegmentEnd;

struct CheckpointPayload {
  uint64_t oldest_file_sequence = 0;
  uint64_t end_lsn = 0;  // of the last block before this file that counts
};

// One record on its way into a block: header and payload, the payload by reference.
struct Record {
  RecordType type = RecordType::kEntry;
  RaftGroupId group;
  TruncationEpoch epoch;
  Bytes payload;
};

Record EntryRecord(RaftGroupId group, TruncationEpoch epoch, Bytes frame);
Record HardStateRecord(RaftGroupId group, const raft::core::HardState& state);
Record TruncateRecord(RaftGroupId group, TruncationEpoch epoch, LogIndex from);
Record ReplicaRecordOf(const raft::ReplicaRecord& replica);
Record TombstoneRecord(RaftGroupId group);
Record SegmentEndRecord(RaftGroupId group, const SegmentEnd& end);
Record CheckpointRecord(const CheckpointPayload& checkpoint);
// A group's last index and epoch, for checkpoints.
Record LogEndRecord(RaftGroupId group, TruncationEpoch epoch, LogIndex last);
Record InDoubtRecord(RaftGroupId group, std::string_view why);

Result<raft::core::HardState> ParseHardState(std::string_view payload);
Result<LogIndex> ParseIndex(std::string_view payload);
Result<raft::ReplicaRecord> ParseReplica(RaftGroupId group, std::string_view payload);
Result<SegmentEnd> ParseSegmentEnd(std::string_view payload);
Result<CheckpointPayload> ParseCheckpoint(std::string_view payload);

uint64_t RecordSize(const Record& record);
constexpr uint64_t BlockSize(uint64_t length) {
  return (sizeof(BlockHeader) + length + kBlockAlignment - 1) / kBlockAlignment * kBlockAlignment;
}

struct EncodedBlock {
  BlockHeader header;
  std::vector<Bytes> pieces;
  uint64_t size = 0;  // a multiple of kBlockAlignment
};

// Fills in length and checksums of `header`; payloads of a KiB and more are not copied.
EncodedBlock EncodeBlock(BlockHeader header, const std::vector<Record>& records);

// A record found in a block; views into it.
struct RecordView {
  RecordType type = RecordType::kEntry;
  RaftGroupId group;
  TruncationEpoch epoch;
  std::string_view payload;
};

// The header at the start of `bytes` if its magic, version and checksum are right.
std::optional<BlockHeader> ParseBlockHeader(std::string_view bytes);
// The records of the block at the start of `bytes`; nullopt if they are cut off or don't match
// their checksum.
std::optional<std::vector<RecordView>> ParseBlockRecords(const BlockHeader& header,
                                                         std::string_view bytes);

}  // namespace millrace::storage::wal

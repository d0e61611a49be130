// The bytes of a journal file: blocks at multiples of 4096 bytes, and records in them.
// docs/formats.md, "Journal", draws both.
//
// Pure; any thread. Bytes from disk are never trusted: ParseBlock checks them.
//
//   std::optional<BlockView> block = ParseBlock(file.substr(position));
//   ASSIGN_OR_RETURN(std::vector<RecordView> records, ParseRecords(*block));
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "storage/journal/records.h"

namespace millrace::storage::journal {

inline constexpr uint32_t kBlockMagic = 0x4A4C524D;  // "MRLJ" in the order of the bytes
inline constexpr uint16_t kJournalVersion = 1;
inline constexpr uint64_t kBlockAlignment = 4096;
inline constexpr uint64_t kBlockHeaderSize = 72;
inline constexpr uint64_t kRecordHeaderSize = 16;
inline constexpr uint64_t kRecordAlignment = 8;

enum BlockFlags : uint16_t {
  kHeadBlock = 1,    // the first of a file: a checkpoint
  kMarkerBlock = 2,  // without records: says only what is durable
  kLackingHead = 4,  // of a head: damage before it may have taken groups that it does not list
};
inline constexpr uint16_t kKnownBlockFlags = kHeadBlock | kMarkerBlock | kLackingHead;

struct BlockHeader {
  uint16_t version = kJournalVersion;
  uint16_t flags = 0;
  uint64_t key = 0;  // of the journal; secret, so that no bytes of a client pose as a block
  uint64_t file_sequence = 0;  // of the file; grows with every file begun
  uint64_t oldest_file = 0;    // replay begins there, as far as this block knows
  uint64_t lsn = 0;            // counts blocks; 1 and up
  uint64_t durable_lsn = 0;    // every block up to here was synced before this one was written
  uint32_t length = 0;         // header and records, without the padding to kBlockAlignment
  uint32_t record_count = 0;
  uint32_t previous_crc = 0;  // `crc` of block lsn - 1; 0 for the first of all
  uint32_t body_crc = 0;      // of the records
  uint32_t crc = 0;           // of the header, body_crc included
};

enum class RecordType : uint8_t {
  kHead = 1,
  kReplica = 2,
  kTombstone = 3,
  kHardState = 4,
  kTruncation = 5,
  kEntry = 6,
  kLog = 7,
  kFaulty = 8,
};

enum RecordFlags : uint8_t {
  kCopied = 1,   // an entry copied forward out of an older file: it is not the log's new end
  kReset = 2,    // a log record: another log takes this one's place
  kPending = 4,  // a log record: how far a restore has come, which changes nothing yet
};

// What stands before a record's payload. Of the number the low 16 bits alone are written: enough to
// tell that a record is about another replica than the last one that was made.
struct RecordHeader {
  RecordType type;
  uint8_t flags = 0;
  raft::ReplicaId replica;  // zero in a head record
};

// A file's length, in its first record: a shorter file has lost bytes that were there.
struct HeadRecord {
  uint64_t file_bytes = 0;
  uint64_t group_count = 0;
  // An image of the controller below this neither makes nor removes replicas.
  LogIndex controller_floor;
};

struct TombstoneRecord {
  ReplicaNumber number;  // this one and all lower ones are gone
  LogIndex controller_index;
};

// The group's promises, and where its log ended when they were written: what a restart compares
// with.
struct HardStateRecord {
  raft::core::HardState hard_state;
  TruncationEpoch epoch;
  LogIndex last_index;
  uint32_t last_chain = 0;  // 0: not known, as the entry lies in a segment
};

// Entries of lower epochs at `from` and after are void.
struct TruncationRecord {
  TruncationEpoch epoch;
  LogIndex from;
  uint64_t file_sequence = 0;  // where it was written first; 0: in this block's file
};

struct RecordView {
  RecordType type;
  uint8_t flags = 0;
  uint16_t short_number = 0;  // of the replica: ShortNumber
  RaftGroupId group;
  std::string_view payload;
  uint64_t offset = 0;  // of the payload, from the block's start
};

struct BlockView {
  BlockHeader header;
  std::string_view body;
};

// What a block of `length` bytes takes of a file.
constexpr uint64_t BlockSize(uint64_t length) {
  return (length + kBlockAlignment - 1) / kBlockAlignment * kBlockAlignment;
}
// What a record takes of a block.
constexpr uint64_t RecordSize(uint64_t payload_size) {
  return kRecordHeaderSize +
         (payload_size + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment;
}

std::string EncodeBlockHeader(const BlockHeader& header);
// The header of 72 bytes, which is laid out the same in every version, with a right checksum;
// nullopt otherwise.
std::optional<BlockHeader> ParseBlockHeader(std::string_view bytes);
// Whether this build can read a block with this header.
bool IsKnown(const BlockHeader& header);
// The whole block at the start of `bytes`; nullopt if anything about it is wrong or not known.
std::optional<BlockView> ParseBlock(std::string_view bytes);
// The same where ParseBlockHeader has given `header` already.
std::optional<BlockView> ParseBlock(const BlockHeader& header, std::string_view bytes);
// UNIMPLEMENTED if the body does not divide into records that this build knows: its checksum is
// right, so that it is of another build, not damaged.
Result<std::vector<RecordView>> ParseRecords(const BlockView& block);

constexpr uint16_t ShortNumber(ReplicaNumber number) {
  return static_cast<uint16_t>(number.value());
}

std::string EncodeRecordHeader(const RecordHeader& header, uint64_t payload_size);
std::string EncodeHead(const HeadRecord& head);
std::string EncodeTombstone(const TombstoneRecord& tombstone);
std::string EncodeReplica(const raft::ReplicaRecord& replica);
std::string EncodeHardState(const HardStateRecord& record);
std::string EncodeTruncation(const TruncationRecord& truncation);
std::string EncodeLog(const LogRecord& log);
std::string EncodeFault(const Fault& fault);
// What stands before an entry's frame.
std::string EncodeEntryPrefix(TruncationEpoch epoch);
inline constexpr uint64_t kEntryPrefixSize = 8;

Result<HeadRecord> ParseHead(std::string_view payload);
Result<TombstoneRecord> ParseTombstone(std::string_view payload);
Result<raft::ReplicaRecord> ParseReplica(RaftGroupId group, std::string_view payload);
Result<HardStateRecord> ParseHardState(std::string_view payload);
Result<TruncationRecord> ParseTruncation(std::string_view payload);
Result<LogRecord> ParseLog(std::string_view payload);
Result<Fault> ParseFault(std::string_view payload);
Result<TruncationEpoch> ParseEntryPrefix(std::string_view payload);

}  // namespace millrace::storage::journal

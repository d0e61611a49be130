#include "storage/journal/format.h"

#include <bit>
#include <cstring>
#include <type_traits>

#include <glog/logging.h>

#include "proto/base/checksum.h"

namespace millrace::storage::journal {
namespace {

static_assert(std::endian::native == std::endian::little,
              "records are written as they lie in memory");

// docs/formats.md, "Journal", has these layouts.
struct BlockLayout {
  uint32_t magic;
  uint16_t version;
  uint16_t flags;
  uint32_t crc;  // CRC32C of the 72 bytes with this field zero
  uint32_t body_crc;
  uint64_t key;
  uint64_t file_sequence;
  uint64_t oldest_file;
  uint64_t lsn;
  uint64_t durable_lsn;
  uint32_t length;
  uint32_t record_count;
  uint32_t previous_crc;
  uint32_t reserved;
};
static_assert(sizeof(BlockLayout) == kBlockHeaderSize);

struct RecordLayout {
  uint8_t type;
  uint8_t flags;
  uint16_t reserved;
  uint32_t size;
  uint64_t group;
};
static_assert(sizeof(RecordLayout) == kRecordHeaderSize);

struct HeadLayout {
  uint64_t file_bytes;
  uint64_t group_count;
};
static_assert(sizeof(HeadLayout) == 16);

struct HardStateLayout {
  uint64_t term;
  uint64_t vote_incarnation;
  uint64_t last_index;
  uint32_t vote_broker;
  uint32_t epoch;
  uint32_t last_chain;
  uint32_t reserved;
};
static_assert(sizeof(HardStateLayout) == 40);

struct TruncationLayout {
  uint64_t from;
  uint64_t file_sequence;
  uint32_t epoch;
  uint32_t reserved;
};
static_assert(sizeof(TruncationLayout) == 24);

struct SegmentEndLayout {
  uint64_t index;
  uint64_t term;
  int64_t next_offset;
  uint32_t chain;
  uint32_t reserved;
};
static_assert(sizeof(SegmentEndLayout) == 32);

struct ReplicaLayout {  // then the voters, the outgoing voters and the learners
  uint64_t topic;
  uint32_t partition;
  uint32_t voters;
  uint32_t outgoing;
  uint32_t learners;
};
static_assert(sizeof(ReplicaLayout) == 24);

struct VoterLayout {
  uint64_t incarnation;
  uint32_t broker;
  uint32_t reserved;
};
static_assert(sizeof(VoterLayout) == 16);

struct EntryLayout {  // then the frame
  uint32_t epoch;
  uint32_t reserved;
};
static_assert(sizeof(EntryLayout) == kEntryPrefixSize);

template <typename Layout>
std::string ToBytes(const Layout& layout) {
  static_assert(std::is_trivially_copyable_v<Layout>);
  return std::string(reinterpret_cast<const char*>(&layout), sizeof(layout));
}

template <typename Layout>
Result<Layout> FromBytes(std::string_view bytes, const char* what) {
  static_assert(std::is_trivially_copyable_v<Layout>);
  if (bytes.size() < sizeof(Layout)) {
    return DataLoss(std::string(what) + " record of " + std::to_string(bytes.size()) +
                    " bytes is too short");
  }
  Layout layout;
  std::memcpy(&layout, bytes.data(), sizeof(layout));
  return layout;
}

// Of a record whose payload is this layout and nothing else.
template <typename Layout>
Result<Layout> WholeFromBytes(std::string_view bytes, const char* what) {
  if (bytes.size() > sizeof(Layout)) {
    return Unimplemented(std::string(what) + " record of " + std::to_string(bytes.size()) +
                         " bytes is longer than this version's " + std::to_string(sizeof(Layout)));
  }
  return FromBytes<Layout>(bytes, what);
}

uint32_t HeaderCrc(BlockLayout layout) {
  layout.crc = 0;
  return Crc32c({reinterpret_cast<const char*>(&layout), sizeof(layout)});
}

void AppendVoters(const std::vector<Voter>& voters, std::string* out) {
  for (const Voter& voter : voters) {
    *out += ToBytes(VoterLayout{voter.incarnation.value(), voter.broker.value(), 0});
  }
}

std::vector<Voter> TakeVoters(uint64_t count, std::string_view* bytes) {
  std::vector<Voter> voters;
  for (; count > 0; --count) {
    VoterLayout layout;
    std::memcpy(&layout, bytes->data(), sizeof(layout));
    bytes->remove_prefix(sizeof(layout));
    voters.push_back({BrokerId(layout.broker), Incarnation(layout.incarnation)});
  }
  return voters;
}

}  // namespace

std::string EncodeBlockHeader(const BlockHeader& header) {
  BlockLayout layout{};
  layout.magic = kBlockMagic;
  layout.version = header.version;
  layout.flags = header.flags;
  layout.body_crc = header.body_crc;
  layout.key = header.key;
  layout.file_sequence = header.file_sequence;
  layout.oldest_file = header.oldest_file;
  layout.lsn = header.lsn;
  layout.durable_lsn = header.durable_lsn;
  layout.length = header.length;
  layout.record_count = header.record_count;
  layout.previous_crc = header.previous_crc;
  layout.crc = HeaderCrc(layout);
  return ToBytes(layout);
}

std::optional<BlockHeader> ParseBlockHeader(std::string_view bytes) {
  if (bytes.size() < kBlockHeaderSize) return std::nullopt;
  BlockLayout layout;
  std::memcpy(&layout, bytes.data(), sizeof(layout));
  if (layout.magic != kBlockMagic) return std::nullopt;
  if (HeaderCrc(layout) != layout.crc || layout.length < kBlockHeaderSize) return std::nullopt;
  return BlockHeader{.version = layout.version,
                     .flags = layout.flags,
                     .key = layout.key,
                     .file_sequence = layout.file_sequence,
                     .oldest_file = layout.oldest_file,
                     .lsn = layout.lsn,
                     .durable_lsn = layout.durable_lsn,
                     .length = layout.length,
                     .record_count = layout.record_count,
                     .previous_crc = layout.previous_crc,
                     .body_crc = layout.body_crc,
                     .crc = layout.crc};
}

bool IsKnown(const BlockHeader& header) {
  return header.version == kJournalVersion && (header.flags & ~kKnownBlockFlags) == 0;
}

std::optional<BlockView> ParseBlock(std::string_view bytes) {
  const std::optional<BlockHeader> header = ParseBlockHeader(bytes);
  return header ? ParseBlock(*header, bytes) : std::nullopt;
}

std::optional<BlockView> ParseBlock(const BlockHeader& header, std::string_view bytes) {
  if (!IsKnown(header) || header.length > bytes.size()) return std::nullopt;
  const std::string_view body = bytes.substr(kBlockHeaderSize, header.length - kBlockHeaderSize);
  if (Crc32c(body) != header.body_crc) return std::nullopt;
  return BlockView{header, body};
}

Result<std::vector<RecordView>> ParseRecords(const BlockView& block) {
  std::vector<RecordView> records;
  std::string_view rest = block.body;
  while (!rest.empty()) {
    ASSIGN_OR_RETURN(const RecordLayout layout, FromBytes<RecordLayout>(rest, "journal"));
    const uint64_t at = block.body.size() - rest.size() + kRecordHeaderSize;
    if (RecordSize(layout.size) > rest.size()) return Unimplemented("journal record is cut off");
    records.push_back({.type = static_cast<RecordType>(layout.type),
                       .flags = layout.flags,
                       .group = RaftGroupId(layout.group),
                       .payload = rest.substr(kRecordHeaderSize, layout.size),
                       .offset = kBlockHeaderSize + at});
    rest.remove_prefix(RecordSize(layout.size));
  }
  if (records.size() != block.header.record_count) {
    return Unimplemented("journal block holds another number of records than it says");
  }
  return records;
}

std::string EncodeRecordHeader(RecordType type, uint8_t flags, RaftGroupId group,
                               uint64_t payload_size) {
  CHECK_LE(payload_size, UINT32_MAX);
  return ToBytes(RecordLayout{static_cast<uint8_t>(type), flags, 0,
                              static_cast<uint32_t>(payload_size), group.value()});
}

std::string EncodeHead(const HeadRecord& head) {
  return ToBytes(HeadLayout{head.file_bytes, head.group_count});
}

std::string EncodeReplica(const raft::ReplicaRecord& replica) {
  const raft::core::Configuration& members = replica.configuration;
  std::string out = ToBytes(ReplicaLayout{
      replica.partition.topic.value(), replica.partition.partition.value(),
      static_cast<uint32_t>(members.voters.size()), static_cast<uint32_t>(members.outgoing.size()),
      static_cast<uint32_t>(members.learners.size())});
  AppendVoters(members.voters, &out);
  AppendVoters(members.outgoing, &out);
  AppendVoters(members.learners, &out);
  return out;
}

std::string EncodeHardState(const HardStateRecord& record) {
  return ToBytes(HardStateLayout{record.hard_state.term.value(),
                                 record.hard_state.vote.incarnation.value(),
                                 record.last_index.value(), record.hard_state.vote.broker.value(),
                                 record.epoch.value(), record.last_chain, 0});
}

std::string EncodeTruncation(const TruncationRecord& truncation) {
  return ToBytes(TruncationLayout{truncation.from.value(), truncation.file_sequence,
                                  truncation.epoch.value(), 0});
}

std::string EncodeSegmentEnd(const SegmentEnd& end) {
  return ToBytes(
      SegmentEndLayout{end.index.value(), end.term.value(), end.next_offset.value(), end.chain, 0});
}

std::string EncodeEntryPrefix(TruncationEpoch epoch) {
  return ToBytes(EntryLayout{epoch.value(), 0});
}

Result<HeadRecord> ParseHead(std::string_view payload) {
  ASSIGN_OR_RETURN(const HeadLayout layout, WholeFromBytes<HeadLayout>(payload, "head"));
  return HeadRecord{layout.file_bytes, layout.group_count};
}

Result<raft::ReplicaRecord> ParseReplica(RaftGroupId group, std::string_view payload) {
  ASSIGN_OR_RETURN(const ReplicaLayout layout, FromBytes<ReplicaLayout>(payload, "replica"));
  payload.remove_prefix(sizeof(layout));
  const uint64_t count = uint64_t{layout.voters} + layout.outgoing + layout.learners;
  if (payload.size() != count * sizeof(VoterLayout)) {
    return DataLoss("replica record holds another number of voters than it says");
  }
  raft::ReplicaRecord replica;
  replica.group = group;
  replica.partition = {TopicId(layout.topic), PartitionId(layout.partition)};
  replica.configuration.voters = TakeVoters(layout.voters, &payload);
  replica.configuration.outgoing = TakeVoters(layout.outgoing, &payload);
  replica.configuration.learners = TakeVoters(layout.learners, &payload);
  return replica;
}

Result<HardStateRecord> ParseHardState(std::string_view payload) {
  ASSIGN_OR_RETURN(const HardStateLayout layout,
                   WholeFromBytes<HardStateLayout>(payload, "hard state"));
  return HardStateRecord{
      .hard_state = {Term(layout.term),
                     {BrokerId(layout.vote_broker), Incarnation(layout.vote_incarnation)}},
      .epoch = TruncationEpoch(layout.epoch),
      .last_index = LogIndex(layout.last_index),
      .last_chain = layout.last_chain};
}

Result<TruncationRecord> ParseTruncation(std::string_view payload) {
  ASSIGN_OR_RETURN(const TruncationLayout layout,
                   WholeFromBytes<TruncationLayout>(payload, "truncation"));
  return TruncationRecord{TruncationEpoch(layout.epoch), LogIndex(layout.from),
                          layout.file_sequence};
}

Result<SegmentEnd> ParseSegmentEnd(std::string_view payload) {
  ASSIGN_OR_RETURN(const SegmentEndLayout layout,
                   WholeFromBytes<SegmentEndLayout>(payload, "segment end"));
  return SegmentEnd{LogIndex(layout.index), Term(layout.term), layout.chain,
                    Offset(layout.next_offset)};
}

Result<TruncationEpoch> ParseEntryPrefix(std::string_view payload) {
  ASSIGN_OR_RETURN(const EntryLayout layout, FromBytes<EntryLayout>(payload, "entry"));
  return TruncationEpoch(layout.epoch);
}

}  // namespace millrace::storage::journal

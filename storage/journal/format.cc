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
  uint16_t short_number;
  uint32_t size;
  uint64_t group;
};
static_assert(sizeof(RecordLayout) == kRecordHeaderSize);

struct HeadLayout {
  uint64_t file_bytes;
  uint64_t group_count;
  uint64_t controller_floor;
};
static_assert(sizeof(HeadLayout) == 24);

struct TombstoneLayout {
  uint32_t number;
  uint32_t reserved;
  uint64_t controller_index;
};
static_assert(sizeof(TombstoneLayout) == 16);

struct HardStateLayout {
  uint64_t term;
  uint64_t vote_incarnation;
  uint64_t last_index;
  uint32_t vote_broker;
  uint32_t epoch;
  uint32_t last_chain;
  uint32_t vote_number;
};
static_assert(sizeof(HardStateLayout) == 40);

struct TruncationLayout {
  uint64_t from;
  uint64_t file_sequence;
  uint32_t epoch;
  uint32_t reserved;
};
static_assert(sizeof(TruncationLayout) == 24);

struct LogPointLayout {
  uint64_t index;
  uint64_t term;
  int64_t next_offset;
  uint32_t chain;
  uint32_t
      last;  // of the begin: the epoch of the newest reset; of the end: the folder's generation
};
static_assert(sizeof(LogPointLayout) == 32);

struct LogLayout {  // then the voters, the outgoing voters and the learners
  LogPointLayout begin;
  LogPointLayout end;
  uint64_t written;
  uint64_t configuration_index;
  uint16_t voters;
  uint16_t outgoing;
  uint16_t learners;
  uint16_t reserved;
  uint32_t cut_epoch;
  uint32_t pass;
};
static_assert(sizeof(LogLayout) == 96);

struct ReplicaLayout {  // then the voters, the outgoing voters and the learners
  uint64_t topic;
  uint32_t partition;
  uint32_t number;
  uint8_t kind;
  uint8_t flags;
  uint16_t reserved;
  uint32_t leader_epoch_base;
  uint64_t controller_index;
  int64_t first_offset;
  uint32_t voters;
  uint32_t outgoing;
  uint32_t learners;
  uint32_t more_reserved;
};
static_assert(sizeof(ReplicaLayout) == 56);
constexpr uint8_t kReplicaAdded = 1;

struct VoterLayout {
  uint64_t incarnation;
  uint32_t broker;
  uint32_t number;
};
static_assert(sizeof(VoterLayout) == 16);

struct FaultLayout {  // then the text
  uint8_t cause;
  uint8_t reserved[7];
};
static_assert(sizeof(FaultLayout) == 8);

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

// Reads a record whose payload is this layout and nothing else.
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
    *out +=
        ToBytes(VoterLayout{voter.incarnation.value(), voter.broker.value(), voter.number.value()});
  }
}

std::vector<Voter> TakeVoters(uint64_t count, std::string_view* bytes) {
  std::vector<Voter> voters;
  for (; count > 0; --count) {
    VoterLayout layout;
    std::memcpy(&layout, bytes->data(), sizeof(layout));
    bytes->remove_prefix(sizeof(layout));
    voters.push_back(
        {BrokerId(layout.broker), Incarnation(layout.incarnation), ReplicaNumber(layout.number)});
  }
  return voters;
}

// Lists that stand behind `layout`, which counts them, and are all that does.
template <typename Layout>
Result<raft::core::Configuration> TakeConfiguration(const Layout& layout, std::string_view rest,
                                                    const char* what) {
  const uint64_t count = uint64_t{layout.voters} + layout.outgoing + layout.learners;
  if (rest.size() / sizeof(VoterLayout) != count || rest.size() % sizeof(VoterLayout) != 0) {
    return Unimplemented(std::string(what) + " record does not fit its count of voters");
  }
  raft::core::Configuration configuration;
  configuration.voters = TakeVoters(layout.voters, &rest);
  configuration.outgoing = TakeVoters(layout.outgoing, &rest);
  configuration.learners = TakeVoters(layout.learners, &rest);
  return configuration;
}

void AppendConfiguration(const raft::core::Configuration& configuration, std::string* out) {
  AppendVoters(configuration.voters, out);
  AppendVoters(configuration.outgoing, out);
  AppendVoters(configuration.learners, out);
}

LogPointLayout LayoutOf(const LogPoint& point, uint32_t last) {
  return {point.index.value(), point.term.value(), point.next_offset.value(), point.chain, last};
}
LogPoint PointOf(const LogPointLayout& layout) {
  return {.index = LogIndex(layout.index),
          .term = Term(layout.term),
          .chain = layout.chain,
          .next_offset = Offset(layout.next_offset)};
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
                       .short_number = layout.short_number,
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

std::string EncodeRecordHeader(const RecordHeader& header, uint64_t payload_size) {
  CHECK_LE(payload_size, UINT32_MAX);
  return ToBytes(RecordLayout{static_cast<uint8_t>(header.type), header.flags,
                              ShortNumber(header.replica.number),
                              static_cast<uint32_t>(payload_size), header.replica.group.value()});
}

std::string EncodeHead(const HeadRecord& head) {
  return ToBytes(HeadLayout{head.file_bytes, head.group_count, head.controller_floor.value()});
}

std::string EncodeTombstone(const TombstoneRecord& tombstone) {
  return ToBytes(TombstoneLayout{tombstone.number.value(), 0, tombstone.controller_index.value()});
}

std::string EncodeReplica(const raft::ReplicaRecord& replica) {
  const raft::core::Configuration& members = replica.configuration;
  ReplicaLayout layout{};
  layout.topic = replica.partition.topic.value();
  layout.partition = replica.partition.partition.value();
  layout.number = replica.number.value();
  layout.kind = static_cast<uint8_t>(replica.kind);
  layout.flags = replica.is_added ? kReplicaAdded : 0;
  layout.leader_epoch_base = replica.leader_epoch_base;
  layout.controller_index = replica.controller_index.value();
  layout.first_offset = replica.first_offset.value();
  layout.voters = static_cast<uint32_t>(members.voters.size());
  layout.outgoing = static_cast<uint32_t>(members.outgoing.size());
  layout.learners = static_cast<uint32_t>(members.learners.size());
  std::string out = ToBytes(layout);
  AppendConfiguration(members, &out);
  return out;
}

std::string EncodeHardState(const HardStateRecord& record) {
  return ToBytes(HardStateLayout{
      record.hard_state.term.value(), record.hard_state.vote.incarnation.value(),
      record.last_index.value(), record.hard_state.vote.broker.value(), record.epoch.value(),
      record.last_chain, record.hard_state.vote.number.value()});
}

std::string EncodeTruncation(const TruncationRecord& truncation) {
  return ToBytes(TruncationLayout{truncation.from.value(), truncation.file_sequence,
                                  truncation.epoch.value(), 0});
}

std::string EncodeLog(const LogRecord& log) {
  LogLayout layout{};
  layout.begin = LayoutOf(log.begin, log.reset_epoch.value());
  layout.end = LayoutOf(log.end, log.generation);
  layout.written = log.written.value();
  layout.cut_epoch = log.cut_epoch.value();
  layout.pass = log.pass;
  layout.configuration_index = log.configuration_index.value();
  layout.voters = static_cast<uint16_t>(log.configuration.voters.size());
  layout.outgoing = static_cast<uint16_t>(log.configuration.outgoing.size());
  layout.learners = static_cast<uint16_t>(log.configuration.learners.size());
  std::string out = ToBytes(layout);
  AppendConfiguration(log.configuration, &out);
  return out;
}

std::string EncodeFault(const Fault& fault) {
  return ToBytes(FaultLayout{static_cast<uint8_t>(fault.cause), {}}) + fault.why;
}

std::string EncodeEntryPrefix(TruncationEpoch epoch) {
  return ToBytes(EntryLayout{epoch.value(), 0});
}

Result<HeadRecord> ParseHead(std::string_view payload) {
  ASSIGN_OR_RETURN(const HeadLayout layout, WholeFromBytes<HeadLayout>(payload, "head"));
  return HeadRecord{layout.file_bytes, layout.group_count, LogIndex(layout.controller_floor)};
}

Result<TombstoneRecord> ParseTombstone(std::string_view payload) {
  ASSIGN_OR_RETURN(const TombstoneLayout layout,
                   WholeFromBytes<TombstoneLayout>(payload, "tombstone"));
  return TombstoneRecord{ReplicaNumber(layout.number), LogIndex(layout.controller_index)};
}

Result<raft::ReplicaRecord> ParseReplica(RaftGroupId group, std::string_view payload) {
  ASSIGN_OR_RETURN(const ReplicaLayout layout, FromBytes<ReplicaLayout>(payload, "replica"));
  if (layout.kind < static_cast<uint8_t>(raft::ReplicaKind::kController) ||
      layout.kind > static_cast<uint8_t>(raft::ReplicaKind::kCoordinator) ||
      (layout.flags & ~kReplicaAdded) != 0) {
    return Unimplemented("replica record of kind " + std::to_string(layout.kind) + " with flags " +
                         std::to_string(layout.flags));
  }
  raft::ReplicaRecord replica;
  replica.group = group;
  replica.number = ReplicaNumber(layout.number);
  replica.kind = static_cast<raft::ReplicaKind>(layout.kind);
  replica.is_added = (layout.flags & kReplicaAdded) != 0;
  replica.partition = {TopicId(layout.topic), PartitionId(layout.partition)};
  replica.leader_epoch_base = layout.leader_epoch_base;
  replica.controller_index = LogIndex(layout.controller_index);
  replica.first_offset = Offset(layout.first_offset);
  ASSIGN_OR_RETURN(replica.configuration,
                   TakeConfiguration(layout, payload.substr(sizeof(layout)), "replica"));
  return replica;
}

Result<HardStateRecord> ParseHardState(std::string_view payload) {
  ASSIGN_OR_RETURN(const HardStateLayout layout,
                   WholeFromBytes<HardStateLayout>(payload, "hard state"));
  return HardStateRecord{
      .hard_state = {Term(layout.term),
                     {BrokerId(layout.vote_broker), Incarnation(layout.vote_incarnation),
                      ReplicaNumber(layout.vote_number)}},
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

Result<LogRecord> ParseLog(std::string_view payload) {
  ASSIGN_OR_RETURN(const LogLayout layout, FromBytes<LogLayout>(payload, "log"));
  LogRecord log;
  log.begin = PointOf(layout.begin);
  log.reset_epoch = TruncationEpoch(layout.begin.last);
  log.end = PointOf(layout.end);
  log.generation = layout.end.last;
  log.written = LogIndex(layout.written);
  log.cut_epoch = TruncationEpoch(layout.cut_epoch);
  log.pass = layout.pass;
  log.configuration_index = LogIndex(layout.configuration_index);
  if (log.begin.index > log.end.index || log.configuration_index > log.end.index ||
      (log.written != LogIndex() && log.written <= log.end.index)) {
    return Unimplemented(
        "log record whose end is below its begin or its configuration, or not "
        "below its written end");
  }
  ASSIGN_OR_RETURN(log.configuration,
                   TakeConfiguration(layout, payload.substr(sizeof(layout)), "log"));
  return log;
}

Result<Fault> ParseFault(std::string_view payload) {
  ASSIGN_OR_RETURN(const FaultLayout layout, FromBytes<FaultLayout>(payload, "faulty"));
  if (layout.cause < static_cast<uint8_t>(FaultCause::kRot) ||
      layout.cause > static_cast<uint8_t>(FaultCause::kNotUnderstood)) {
    return Unimplemented("faulty record of cause " + std::to_string(layout.cause));
  }
  return Fault{static_cast<FaultCause>(layout.cause), std::string(payload.substr(sizeof(layout)))};
}

Result<TruncationEpoch> ParseEntryPrefix(std::string_view payload) {
  ASSIGN_OR_RETURN(const EntryLayout layout, FromBytes<EntryLayout>(payload, "entry"));
  return TruncationEpoch(layout.epoch);
}

}  // namespace millrace::storage::journal

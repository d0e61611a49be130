#include "storage/wal/format.h"

#include <cstring>
#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"

namespace millrace::storage::wal {
namespace {

// Payloads from this size on are written from where they are.
constexpr size_t kCopyBelow = 1024;

template <typename T>
std::string_view AsBytes(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

template <typename T>
bool Load(std::string_view bytes, T* value) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (bytes.size() < sizeof(T)) return false;
  std::memcpy(value, bytes.data(), sizeof(T));
  return true;
}

template <typename T>
T Take(std::string_view* bytes, bool* ok) {
  T value{};
  *ok = *ok && Load(*bytes, &value);
  if (*ok) bytes->remove_prefix(sizeof(T));
  return value;
}

constexpr uint64_t Padded(uint64_t size) { return (size + 7) / 8 * 8; }

struct SegmentEndPayload {
  uint64_t index;
  uint64_t term;
  int64_t next_offset;
  uint32_t chain;
  uint32_t reserved;
};

Status Malformed(const char* what) {
  return DataLoss(std::string("a journal record of type ") + what + " is malformed");
}

void AppendVoters(std::string* out, const std::vector<Voter>& voters) {
  const auto count = static_cast<uint32_t>(voters.size());
  out->append(AsBytes(count));
  for (const Voter& voter : voters) {
    out->append(AsBytes(voter.broker.value()));
    out->append(AsBytes(voter.incarnation.value()));
  }
}

std::vector<Voter> TakeVoters(std::string_view* in, bool* ok) {
  const auto count = Take<uint32_t>(in, ok);
  std::vector<Voter> voters;
  for (uint32_t i = 0; i < count && *ok; ++i) {
    const auto broker = Take<uint32_t>(in, ok);
    const auto incarnation = Take<uint64_t>(in, ok);
    voters.push_back({BrokerId(broker), Incarnation(incarnation)});
  }
  return voters;
}

uint32_t HeaderCrc(BlockHeader header) {
  header.header_crc = 0;
  return Crc32c(AsBytes(header));
}

}  // namespace

Record EntryRecord(RaftGroupId group, TruncationEpoch epoch, Bytes frame) {
  return {.type = RecordType::kEntry, .group = group, .epoch = epoch, .payload = std::move(frame)};
}

Record HardStateRecord(RaftGroupId group, const raft::core::HardState& state) {
  const HardStatePayload payload{.term = state.term.value(),
                                 .vote_incarnation = state.vote.incarnation.value(),
                                 .vote_broker = state.vote.broker.value()};
  return {.type = RecordType::kHardState,
          .group = group,
          .epoch = {},
          .payload = Bytes::CopyOf(AsBytes(payload))};
}

Record TruncateRecord(RaftGroupId group, TruncationEpoch epoch, LogIndex from) {
  return {.type = RecordType::kTruncate,
          .group = group,
          .epoch = epoch,
          .payload = Bytes::CopyOf(AsBytes(from.value()))};
}

Record ReplicaRecordOf(const raft::ReplicaRecord& replica) {
  std::string payload;
  payload.append(AsBytes(replica.partition.topic.value()));
  payload.append(AsBytes(replica.partition.partition.value()));
  AppendVoters(&payload, replica.configuration.voters);
  AppendVoters(&payload, replica.configuration.outgoing);
  AppendVoters(&payload, replica.configuration.learners);
  return {.type = RecordType::kReplica,
          .group = replica.group,
          .epoch = {},
          .payload = Bytes::Own(std::move(payload))};
}

Record TombstoneRecord(RaftGroupId group) {
  return {.type = RecordType::kTombstone, .group = group, .epoch = {}, .payload = {}};
}

Record SegmentEndRecord(RaftGroupId group, const SegmentEnd& end) {
  const SegmentEndPayload payload{end.index.value(), end.term.value(),
                                  end.next_offset.value(), end.chain, 0};
  return {.type = RecordType::kSegmentEnd,
          .group = group,
          .epoch = {},
          .payload = Bytes::CopyOf(AsBytes(payload))};
}

Record CheckpointRecord(const CheckpointPayload& checkpoint) {
  return {.type = RecordType::kCheckpoint,
          .group = {},
          .epoch = {},
          .payload = Bytes::CopyOf(AsBytes(checkpoint))};
}

Record LogEndRecord(RaftGroupId group, TruncationEpoch epoch, LogIndex last) {
  return {.type = RecordType::kLogEnd,
          .group = group,
          .epoch = epoch,
          .payload = Bytes::CopyOf(AsBytes(last.value()))};
}

Record InDoubtRecord(RaftGroupId group, std::string_view why) {
  return {.type = RecordType::kInDoubt, .group = group, .epoch = {}, .payload = Bytes::CopyOf(why)};
}

Result<raft::core::HardState> ParseHardState(std::string_view payload) {
  HardStatePayload state;
  if (!Load(payload, &state)) return Malformed("hard state");
  return raft::core::HardState{
      .term = Term(state.term),
      .vote = {BrokerId(state.vote_broker), Incarnation(state.vote_incarnation)}};
}

Result<LogIndex> ParseIndex(std::string_view payload) {
  uint64_t index = 0;
  if (!Load(payload, &index)) return Malformed("index");
  return LogIndex(index);
}

Result<raft::ReplicaRecord> ParseReplica(RaftGroupId group, std::string_view payload) {
  bool ok = true;
  raft::ReplicaRecord replica{.group = group, .partition = {}, .configuration = {}};
  replica.partition.topic = TopicId(Take<uint64_t>(&payload, &ok));
  replica.partition.partition = PartitionId(Take<uint32_t>(&payload, &ok));
  replica.configuration.voters = TakeVoters(&payload, &ok);
  replica.configuration.outgoing = TakeVoters(&payload, &ok);
  replica.configuration.learners = TakeVoters(&payload, &ok);
  if (!ok) return Malformed("replica");
  return replica;
}

Result<SegmentEnd> ParseSegmentEnd(std::string_view payload) {
  SegmentEndPayload end;
  if (!Load(payload, &end)) return Malformed("segment end");
  return SegmentEnd{.index = LogIndex(end.index), .term = Term(end.term), .chain = end.chain,
                    .next_offset = Offset(end.next_offset)};
}

Result<CheckpointPayload> ParseCheckpoint(std::string_view payload) {
  CheckpointPayload checkpoint;
  if (!Load(payload, &checkpoint)) return Malformed("checkpoint");
  return checkpoint;
}

uint64_t RecordSize(const Record& record) {
  return sizeof(RecordHeader) + Padded(record.payload.size());
}

EncodedBlock EncodeBlock(BlockHeader header, const std::vector<Record>& records) {
  static constexpr char kZeros[kBlockAlignment] = {};
  uint64_t length = 0;
  uint64_t copied = sizeof(BlockHeader);
  for (const Record& record : records) {
    length += RecordSize(record);
    copied += sizeof(RecordHeader) + 8;
    if (record.payload.size() < kCopyBelow) copied += record.payload.size() + 8;
  }
  CHECK_LE(length, UINT32_MAX);
  header.length = static_cast<uint32_t>(length);

  EncodedBlock block;
  block.size = BlockSize(length);
  // One buffer for everything small; large payloads stand between its parts.
  Buffer small = Buffer::Allocate(copied + kBlockAlignment);
  size_t at = sizeof(BlockHeader);
  std::vector<std::pair<size_t, size_t>>
      cuts;  // (bytes of `small` before, index of the large payload)
  uint32_t crc = 0;
  size_t crc_from = at;
  const auto put = [&](std::string_view bytes) {
    std::memcpy(small.data() + at, bytes.data(), bytes.size());
    at += bytes.size();
  };
  for (size_t i = 0; i < records.size(); ++i) {
    const Record& record = records[i];
    RecordHeader record_header;
    record_header.type = static_cast<uint8_t>(record.type);
    record_header.length = static_cast<uint32_t>(record.payload.size());
    record_header.group = record.group.value();
    record_header.epoch = record.epoch.value();
    put(AsBytes(record_header));
    if (record.payload.size() < kCopyBelow) {
      put(record.payload.view());
    } else {
      crc = Crc32c({small.data() + crc_from, at - crc_from}, crc);
      crc = Crc32c(record.payload.view(), crc);
      cuts.emplace_back(at, i);
      crc_from = at;
    }
    put({kZeros, Padded(record.payload.size()) - record.payload.size()});
  }
  header.records_crc = Crc32c({small.data() + crc_from, at - crc_from}, crc);
  header.header_crc = HeaderCrc(header);
  std::memcpy(small.data(), &header, sizeof(header));
  put({kZeros, block.size - sizeof(BlockHeader) - length});

  const Bytes frozen = std::move(small).Freeze(at);
  size_t from = 0;
  for (const auto& [before, index] : cuts) {
    block.pieces.push_back(frozen.Slice(from, before - from));
    block.pieces.push_back(records[index].payload);
    from = before;
  }
  block.pieces.push_back(frozen.Slice(from, at - from));
  block.header = header;
  return block;
}

std::optional<BlockHeader> ParseBlockHeader(std::string_view bytes) {
  BlockHeader header;
  if (!Load(bytes, &header)) return std::nullopt;
  if (header.magic != kBlockMagic || header.version != kJournalVersion) return std::nullopt;
  if (HeaderCrc(header) != header.header_crc) return std::nullopt;
  return header;
}

std::optional<std::vector<RecordView>> ParseBlockRecords(const BlockHeader& header,
                                                         std::string_view bytes) {
  if (bytes.size() < sizeof(BlockHeader) + header.length) return std::nullopt;
  std::string_view rest = bytes.substr(sizeof(BlockHeader), header.length);
  if (Crc32c(rest) != header.records_crc) return std::nullopt;
  std::vector<RecordView> records;
  while (!rest.empty()) {
    RecordHeader record;
    if (!Load(rest, &record)) return std::nullopt;
    rest.remove_prefix(sizeof(record));
    if (Padded(record.length) > rest.size()) return std::nullopt;
    records.push_back({.type = static_cast<RecordType>(record.type),
                       .group = RaftGroupId(record.group),
                       .epoch = TruncationEpoch(record.epoch),
                       .payload = rest.substr(0, record.length)});
    rest.remove_prefix(Padded(record.length));
  }
  return records;
}

}  // namespace millrace::storage::wal

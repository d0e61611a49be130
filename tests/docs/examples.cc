#include "tests/docs/examples.h"

#include <cstring>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "millrace/internal/v1/segment.pb.h"
#include "millrace/v1/record.pb.h"
#include "proto/base/checksum.h"
#include "proto/frame/frame.h"
#include "proto/record/record_batch_builder.h"
#include "raft/codec/entry_codec.h"
#include "storage/journal/block_writer.h"
#include "storage/journal/format.h"
#include "storage/segment/format.h"
#include "storage/superblock/superblock.h"

namespace millrace::docs {
namespace {

namespace journal = storage::journal;

constexpr Field kFrameFields[] = {
    {"magic", 4, Kind::kText},
    {"version", 1},
    {"type", 1},
    {"feature level", 1},
    {"reserved", 1, Kind::kReserved},
    {"header crc", 4, Kind::kHex},
    {"payload size", 4},
    {"raft group id", 8},
    {"term", 8},
    {"index", 8},
    {"base offset", 8},
    {"offset span", 4},
    {"record count", 4},
    {"append time", 8},
    {"max timestamp", 8},
    {"producer id", 8},
    {"producer epoch", 4},
    {"first sequence", 4},
    {"payload crc", 4, Kind::kHex},
    {"stored crc", 4, Kind::kHex},
    {"chain", 4, Kind::kHex},
    {"flags", 2},
    {"reserved", 2, Kind::kReserved},
    {"transaction", 8, Kind::kReserved},
    {"reach", 8, Kind::kReserved},
    {"holder's", 8, Kind::kReserved},
};

constexpr Field kSuperblockFields[] = {
    {"magic", 8, Kind::kText},
    {"version", 4},
    {"crc", 4, Kind::kHex},
    {"sequence", 8},
    {"cluster uuid", 8, Kind::kHex},
    {"incarnation", 8, Kind::kHex},
    {"boot epoch", 8},
    {"broker", 4},
    {"stage", 4},
    {"clean stop", 4},
    {"number of controllers", 4},
};

constexpr Field kControllerFields[] = {
    {"incarnation", 8, Kind::kHex},
    {"broker", 4},
    {"number", 4},
};

constexpr Field kBlockFields[] = {
    {"magic", 4, Kind::kText},
    {"version", 2},
    {"flags", 2},
    {"crc", 4, Kind::kHex},
    {"body crc", 4, Kind::kHex},
    {"journal key", 8, Kind::kHex},
    {"file sequence", 8},
    {"oldest file", 8},
    {"LSN", 8},
    {"durable LSN", 8},
    {"length", 4},
    {"record count", 4},
    {"previous crc", 4, Kind::kHex},
    {"reserved", 4, Kind::kReserved},
};

constexpr Field kRecordFields[] = {
    {"type", 1}, {"flags", 1}, {"number", 2}, {"payload size", 4}, {"group", 8},
};

constexpr Field kHeadFields[] = {
    {"file size", 8}, {"number of groups", 8}, {"controller floor", 8}};

constexpr Field kReplicaFields[] = {
    {"topic", 8},
    {"partition", 4},
    {"number", 4},
    {"kind", 1},
    {"flags", 1},
    {"reserved", 2, Kind::kReserved},
    {"leader epoch base", 4},
    {"controller index", 8},
    {"first offset", 8},
    {"voters", 4},
    {"outgoing voters", 4},
    {"learners", 4},
    {"reserved", 4, Kind::kReserved},
    {"voter's incarnation", 8, Kind::kHex},
    {"voter's broker", 4},
    {"voter's number", 4},
};

constexpr Field kHardStateFields[] = {
    {"term", 8},  {"vote's incarnation", 8, Kind::kHex}, {"last index", 8},    {"vote's broker", 4},
    {"epoch", 4}, {"last chain", 4, Kind::kHex},         {"vote's number", 4},
};

constexpr Field kEntryPrefixFields[] = {{"truncation epoch", 4}, {"reserved", 4, Kind::kReserved}};

constexpr Field kSegmentHeaderFields[] = {
    {"magic", 8, Kind::kText},
    {"version", 4},
    {"crc", 4, Kind::kHex},
    {"raft group id", 8},
    {"first index", 8},
    {"base offset", 8},
    {"term before", 8},
    {"chain before", 4, Kind::kHex},
    {"replica number", 4},
    {"pass", 4},
    {"key id", 4},
};

constexpr Field kTrailerFields[] = {
    {"magic", 8, Kind::kText},        {"footer size", 4},
    {"footer crc", 4, Kind::kHex},    {"frames end", 8},
    {"reserved", 4, Kind::kReserved}, {"crc", 4, Kind::kHex},
};

constexpr int64_t kTimeMs = 1700000000000;

Bytes ExampleBatch() {
  RecordBatchBuilder builder({});
  CHECK(builder.TryAppend({.key = "AA", .value = "1545", .headers = {}, .timestamp_ms = kTimeMs}));
  CHECK(builder.TryAppend(
      {.key = "B6", .value = std::nullopt, .headers = {}, .timestamp_ms = kTimeMs + 1}));
  return std::move(builder).Finish({.producer_id = ProducerId(42),
                                    .producer_epoch = 1,
                                    .first_sequence = 0,
                                    .destination = kPartition});
}

FrameHeader ExampleFrameHeader(std::string_view payload) {
  FrameHeader header{.type = FrameType::kRecordBatch,
                     .flags = kFramePacked,
                     .payload_size = static_cast<uint32_t>(payload.size()),
                     .group = kGroup,
                     .term = Term(2),
                     .index = LogIndex(1),
                     .offset_span = 2,
                     .record_count = 2,
                     .append_time_ms = kTimeMs + 5,
                     .max_timestamp_ms = kTimeMs + 1,
                     .producer_id = ProducerId(42),
                     .producer_epoch = 1,
                     .payload_crc = Crc32c(payload),
                     .stored_crc = Crc32c(payload)};
  header.chain = FrameChain(0, header);
  return header;
}

Frame ExampleFrame() {
  const Bytes payload = ExampleBatch();
  Buffer buffer = AllocateFrame(payload.size());
  std::memcpy(FramePayload(buffer), payload.data(), payload.size());
  return SealFrame(ExampleFrameHeader(payload.view()), std::move(buffer));
}

void AddPadding(std::string_view rest, Dump* dump) {
  if (!rest.empty()) dump->AddBytes(rest, "zeros");
}

Dump BatchDump() {
  Dump dump;
  dump.AddMessage(ExampleBatch().view(), *v1::RecordBatch::descriptor());
  return dump;
}

Dump FrameDump() {
  const Frame frame = ExampleFrame();
  std::string_view rest = frame.view();
  Dump dump;
  dump.AddFields(&rest, kFrameFields);
  const Bytes batch = ExampleBatch();
  dump.AddExample("record batch", batch.view());
  AddPadding(rest.substr(batch.size()), &dump);
  return dump;
}

Dump SuperblockDump() {
  const storage::SuperblockFacts facts{.cluster_name = "demo",
                                       .broker = BrokerId(2),
                                       .incarnation = kVoter.incarnation,
                                       .boot_epoch = BootEpoch(3),
                                       .stage = storage::BootstrapStage::kInitialized,
                                       .cluster_uuid = 0x0F1E2D3C4B5A6978,
                                       .controllers = {kVoter},
                                       .was_stopped_cleanly = true,
                                       .journal_key = kJournalKey,
                                       .cluster_level = 1};
  const Bytes copy = storage::EncodeSuperblock(facts, 9);
  std::string_view rest = copy.view();
  Dump dump;
  dump.AddFields(&rest, kSuperblockFields);
  dump.AddFields(&rest, kControllerFields, "controller's ");
  dump.AddBytes(rest.substr(0, 14 * 16), "14 more controllers: none");
  rest.remove_prefix(14 * 16);
  constexpr Field kSize[] = {{"size of name", 4}};
  dump.AddFields(&rest, kSize);
  constexpr Field kName[] = {{"cluster name", 4, Kind::kText}};
  dump.AddFields(&rest, kName);
  constexpr uint64_t kNameBytes = 252;
  dump.AddBytes(rest.substr(0, kNameBytes - 4), "zeros");
  rest.remove_prefix(kNameBytes - 4);
  constexpr Field kFeatures[] = {{"journal key", 8, Kind::kHex},
                                 {"incompatible features", 8},
                                 {"compatible features", 8},
                                 {"cluster level", 4}};
  dump.AddFields(&rest, kFeatures);
  AddPadding(rest, &dump);
  return dump;
}

// A block's dump, from its bytes and what each record in it is; the frame follows "entry".
Dump BlockDump(std::string_view block, uint32_t length,
               const std::vector<std::pair<std::string, std::span<const Field>>>& records) {
  Dump dump;
  std::string_view rest = block.substr(0, length);
  dump.AddFields(&rest, kBlockFields);
  for (const auto& [name, fields] : records) {
    dump.AddFields(&rest, kRecordFields, name + ": ");
    dump.AddFields(&rest, fields, name + ": ");
    if (name == "entry") {
      const Frame frame = ExampleFrame();
      dump.AddExample("frame", frame.view());
      rest.remove_prefix(frame.size());
    }
  }
  CHECK(rest.empty());
  AddPadding(block.substr(length), &dump);
  return dump;
}

struct Blocks {
  std::string head;
  std::string second;
};

std::string Joined(const journal::BlockWriter::Blocks& blocks) {
  std::string bytes;
  for (const Bytes& piece : blocks.pieces) bytes += piece.view();
  return bytes;
}

// A new journal's first two blocks: its checkpoint, and the commit that makes a group and appends.
Blocks ExampleBlocks() {
  const journal::BlockHeader start{.flags = journal::kHeadBlock,
                                   .key = kJournalKey,
                                   .file_sequence = 1,
                                   .oldest_file = 1,
                                   .lsn = 1};
  journal::BlockWriter head({.header = start, .position = 0, .block_bytes = 256 << 10});
  head.Add({.type = journal::RecordType::kHead, .replica = {}},
           journal::EncodeHead({.file_bytes = kJournalFileBytes, .group_count = 0}));
  const journal::BlockWriter::Blocks first = std::move(head).Finish();
  journal::BlockHeader next = start;
  next.flags = 0;
  next.lsn = 2;
  next.durable_lsn = 1;
  next.previous_crc = first.last_crc;
  journal::BlockWriter commit(
      {.header = next, .position = journal::kBlockAlignment, .block_bytes = 256 << 10});
  const raft::ReplicaId replica{kGroup, kVoter.number};
  commit.Add({.type = journal::RecordType::kReplica, .replica = replica},
             journal::EncodeReplica({.group = kGroup,
                                     .number = kVoter.number,
                                     .partition = kPartition,
                                     .leader_epoch_base = kLeaderEpochBase,
                                     .controller_index = LogIndex(12),
                                     .configuration = {.voters = {kVoter}}}));
  commit.Add({.type = journal::RecordType::kHardState, .replica = replica},
             journal::EncodeHardState({.hard_state = {.term = Term(2), .vote = kVoter}}));
  commit.Add({.type = journal::RecordType::kEntry, .replica = replica},
             journal::EncodeEntryPrefix(TruncationEpoch()), ExampleFrame().bytes());
  return {.head = Joined(first), .second = Joined(std::move(commit).Finish())};
}

uint32_t LengthOf(std::string_view block) {
  const auto header = journal::ParseBlockHeader(block);
  CHECK(header.has_value());
  return header->length;
}

Dump SegmentDump() {
  const Frame frame = ExampleFrame();
  const Result<FrameHeader> entry = ParseFrame(frame.view());
  internal::v1::SegmentFooter footer;
  footer.set_group_id(kGroup.value());
  footer.set_first_index(1);
  footer.set_last_index(1);
  footer.set_last_term(2);
  footer.set_chain(entry->chain);
  footer.set_next_offset(2);
  auto* term = footer.add_term_starts();
  term->set_term(2);
  term->set_first_index(1);
  term->set_base_offset(0);
  auto* point = footer.add_points();
  point->set_index(1);
  point->set_max_timestamp_ms(entry->max_timestamp_ms);
  point->set_position(sizeof(storage::SegmentHeader));
  point->set_append_time_ms(entry->append_time_ms);
  footer.set_max_timestamp_ms(entry->max_timestamp_ms);
  footer.set_first_append_time_ms(entry->append_time_ms);
  footer.set_last_append_time_ms(entry->append_time_ms);
  footer.mutable_configuration()->ParseFromString(
      raft::EncodeConfiguration({.voters = {kVoter}, .outgoing = {}, .learners = {}}));
  footer.set_number(3);
  const uint64_t frames_end = sizeof(storage::SegmentHeader) + frame.size();
  const std::string state = "snapshot";
  std::string ending;
  for (const Bytes& piece :
       storage::EncodeSegmentEnding(footer, frames_end, Bytes::CopyOf(state))) {
    ending += piece.view();
  }
  const Bytes header =
      storage::EncodeSegmentHeader({.group = kGroup, .number = ReplicaNumber(3)}, {});
  Dump dump;
  std::string_view rest = header.view();
  dump.AddFields(&rest, kSegmentHeaderFields);
  dump.AddExample("frame", frame.view());
  rest = ending;
  dump.AddBytes(rest.substr(0, state.size()), "state = \"" + state + "\"");
  const size_t footer_size = rest.size() - state.size() - sizeof(storage::SegmentTrailer);
  dump.AddMessage(rest.substr(state.size(), footer_size),
                  *internal::v1::SegmentFooter::descriptor(), "footer: ");
  rest.remove_prefix(state.size() + footer_size);
  dump.AddFields(&rest, kTrailerFields);
  return dump;
}

}  // namespace

std::map<std::string, Dump> MakeExamples() {
  const Blocks blocks = ExampleBlocks();
  return {{"record batch", BatchDump()},
          {"frame", FrameDump()},
          {"superblock", SuperblockDump()},
          {"head block", BlockDump(blocks.head, LengthOf(blocks.head), {{"head", kHeadFields}})},
          {"block", BlockDump(blocks.second, LengthOf(blocks.second),
                              {{"replica", kReplicaFields},
                               {"hard state", kHardStateFields},
                               {"entry", kEntryPrefixFields}})},
          {"segment", SegmentDump()}};
}

}  // namespace millrace::docs

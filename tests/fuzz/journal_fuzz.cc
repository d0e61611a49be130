// Journal files of arbitrary bytes, and of well-formed blocks with arbitrary records that are then
// damaged. Replay never crashes, gives the same every time, and hands out no frame whose header
// does not hold.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "proto/frame/frame.h"
#include "storage/journal/block_writer.h"
#include "storage/journal/replay.h"
#include "tests/fuzz/fuzz.h"

using namespace millrace;                    // NOLINT: one file, one target
using namespace millrace::storage::journal;  // NOLINT

namespace {

constexpr uint64_t kUuid = 0x1122334455667788;  // that of the example in docs/formats.md
constexpr uint64_t kFileBytes = 64 << 10;
constexpr int kFilesMax = 3;
constexpr int kRecordsMax = 12;

// A frame that its own checksum holds for, mostly.
Bytes SomeFrame(FuzzedDataProvider& input) {
  const uint32_t payload = input.ConsumeIntegralInRange<uint32_t>(0, 64);
  FrameHeader header{.type = FrameType::kRecordBatch,
                     .payload_size = payload,
                     .group = RaftGroupId(input.ConsumeIntegralInRange<uint64_t>(0, 3)),
                     .term = Term(input.ConsumeIntegralInRange<uint64_t>(0, 3)),
                     .index = LogIndex(input.ConsumeIntegralInRange<uint64_t>(0, 9)),
                     .chain = input.ConsumeIntegral<uint8_t>()};
  return SealFrame(header, AllocateFrame(payload)).bytes();
}

void AddRecord(FuzzedDataProvider& input, BlockWriter* writer) {
  const auto type = static_cast<RecordType>(input.ConsumeIntegralInRange<int>(1, 8));
  // Mostly what is known, since one record that is not ends the replay.
  const uint8_t flags =
      input.ConsumeIntegralInRange<int>(0, 15) == 0 ? input.ConsumeIntegral<uint8_t>() : 0;
  const raft::ReplicaId replica{RaftGroupId(input.ConsumeIntegralInRange<uint64_t>(0, 3)),
                                ReplicaNumber(input.ConsumeIntegralInRange<uint32_t>(0, 3))};
  const auto header = [&](RecordType of) {
    return RecordHeader{.type = of, .flags = flags, .replica = replica};
  };
  switch (input.ConsumeIntegralInRange<int>(0, 6)) {
    case 0:
      writer->Add(header(type), input.ConsumeRandomLengthString(80));
      return;
    case 1: {
      const TruncationEpoch epoch(input.ConsumeIntegralInRange<uint32_t>(0, 3));
      writer->Add(header(RecordType::kEntry), EncodeEntryPrefix(epoch), SomeFrame(input));
      return;
    }
    case 2: {
      raft::ReplicaRecord record{.group = replica.group, .number = replica.number};
      record.configuration.voters.push_back({BrokerId(1), Incarnation(1), replica.number});
      writer->Add(header(RecordType::kReplica), EncodeReplica(record));
      return;
    }
    case 3: {
      HardStateRecord state{.hard_state = {.term = Term(input.ConsumeIntegral<uint8_t>())},
                            .epoch = TruncationEpoch(input.ConsumeIntegralInRange<int>(0, 3)),
                            .last_index = LogIndex(input.ConsumeIntegralInRange<int>(0, 9)),
                            .last_chain = input.ConsumeIntegral<uint8_t>()};
      writer->Add(header(RecordType::kHardState), EncodeHardState(state));
      return;
    }
    case 4:
      writer->Add(
          header(RecordType::kTruncation),
          EncodeTruncation({.epoch = TruncationEpoch(input.ConsumeIntegralInRange<int>(0, 3)),
                            .from = LogIndex(input.ConsumeIntegralInRange<int>(0, 9)),
                            .file_sequence = input.ConsumeIntegralInRange<uint64_t>(0, 3)}));
      return;
    case 5:
      writer->Add(header(RecordType::kTombstone), EncodeTombstone({.number = replica.number}));
      return;
    default: {
      LogRecord log;
      log.begin.index = LogIndex(input.ConsumeIntegralInRange<int>(0, 2));
      log.end = {.index = LogIndex(input.ConsumeIntegralInRange<int>(0, 9)),
                 .term = Term(input.ConsumeIntegralInRange<int>(0, 3)),
                 .chain = input.ConsumeIntegral<uint8_t>()};
      log.SetWritten(LogIndex(input.ConsumeIntegralInRange<int>(0, 9)));
      log.reset_epoch = TruncationEpoch(input.ConsumeIntegralInRange<int>(0, 3));
      log.configuration_index = LogIndex(input.ConsumeIntegralInRange<int>(0, 9));
      RecordHeader moved = header(RecordType::kLog);
      moved.flags = flags == 0 && log.reset_epoch != TruncationEpoch() ? kReset : flags;
      writer->Add(moved, EncodeLog(log));
    }
  }
}

// Files of blocks that follow on each other, as the journal writes them.
std::vector<std::string> BuiltFiles(FuzzedDataProvider& input) {
  std::vector<std::string> files;
  uint64_t lsn = 1;
  uint32_t crc = 0;
  const int count = input.ConsumeIntegralInRange<int>(1, kFilesMax);
  for (int i = 1; i <= count; ++i) {
    std::string file;
    const int blocks = input.ConsumeIntegralInRange<int>(1, 3);
    for (int block = 0; block < blocks; ++block) {
      const bool is_head = block == 0;
      BlockWriter writer(
          {.header = {.flags = static_cast<uint16_t>(is_head ? kHeadBlock
                                                             : input.ConsumeIntegral<uint8_t>() &
                                                                   kKnownBlockFlags),
                      .key = kUuid,
                      .file_sequence = static_cast<uint64_t>(i),
                      .oldest_file = input.ConsumeIntegralInRange<uint64_t>(1, 2),
                      .lsn = lsn,
                      .durable_lsn = lsn - input.ConsumeIntegralInRange<uint64_t>(0, 1),
                      .previous_crc = crc},
           .position = file.size(),
           .block_bytes = 256 << 10});
      if (is_head) {
        writer.Add({.type = RecordType::kHead, .replica = {}},
                   EncodeHead({.file_bytes = kFileBytes, .group_count = 0}));
      }
      const int records = input.ConsumeIntegralInRange<int>(0, kRecordsMax);
      for (int record = 0; record < records; ++record) AddRecord(input, &writer);
      const BlockWriter::Blocks made = std::move(writer).Finish();
      for (const Bytes& piece : made.pieces) file += piece.view();
      lsn = made.last_lsn + 1;
      crc = made.last_crc;
    }
    file.resize(std::max<size_t>(file.size(), kFileBytes));
    files.push_back(std::move(file));
  }
  return files;
}

void Spoil(FuzzedDataProvider& input, std::vector<std::string>* files) {
  const int hits = input.ConsumeIntegralInRange<int>(0, 3);
  for (int i = 0; i < hits; ++i) {
    std::string& file = (*files)[input.ConsumeIntegralInRange<size_t>(0, files->size() - 1)];
    const size_t at = input.ConsumeIntegralInRange<size_t>(0, 3 * kBlockAlignment);
    if (file.empty()) continue;
    if (input.ConsumeIntegralInRange<int>(0, 7) == 0) {
      file.resize(at % file.size());
    } else {
      file[at % file.size()] = static_cast<char>(input.ConsumeIntegral<uint8_t>());
    }
  }
}

}  // namespace

FUZZ_TARGET(FuzzedDataProvider& input) {
  std::vector<std::string> contents;
  if (input.ConsumeBool()) {
    contents = BuiltFiles(input);
    Spoil(input, &contents);
  } else {
    contents.push_back(input.ConsumeRemainingBytesAsString());
  }
  std::vector<FileImage> files;
  for (size_t i = 0; i < contents.size(); ++i) {
    files.push_back({.name = std::to_string(i) + ".journal",
                     .made_bytes = kFileBytes,
                     .bytes = Bytes::Own(std::move(contents[i]))});
  }
  const Result<Replayed> once = Replay(kUuid, files);
  const Result<Replayed> twice = Replay(kUuid, files);
  CHECK_EQ(once.ok(), twice.ok());
  if (!once.ok()) return;
  CHECK_EQ(once->groups.size(), twice->groups.size());
  CHECK_EQ(once->end_lsn, twice->end_lsn);
  CHECK_EQ(once->damage.size(), twice->damage.size());
  for (const auto& [id, group] : once->groups) {
    CHECK_EQ(group.doubt, twice->groups.at(id).doubt);
    if (!group.doubt.empty()) continue;
    CHECK_LE(group.ledger.log.begin.index, group.ledger.log.end.index);
    CHECK_LE(group.ledger.log.configuration_index, group.ledger.log.end.index);
    LogIndex expected = group.ledger.log.segments_end() + 1;
    for (const auto& [index, frame] : group.frames) {
      const Result<FrameHeader> header = ParseFrameHeader(frame.view());
      CHECK(header.ok()) << header.status();
      CHECK_EQ(header->index, index);
      CHECK_EQ(header->group, id);
      CHECK_EQ(index, expected) << "a sound group has a gap";
      expected = expected + 1;
    }
  }
}

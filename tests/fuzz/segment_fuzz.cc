// A group's segments of arbitrary bytes, and good ones that are then damaged. Recovery never
// crashes, is the same when it is done again, and no entry is ever read back but those that were
// written.
#include <string>
#include <utility>
#include <vector>

#include "proto/base/checksum.h"
#include "raft/codec/entry_codec.h"
#include "storage/segment/format.h"
#include "tests/fuzz/fuzz.h"
#include "tests/storage/segment/segment_rig.h"

using namespace millrace;           // NOLINT: one file, one target
using namespace millrace::storage;  // NOLINT

namespace {

constexpr uint64_t kReadBytesMax = 1 << 20;

// Sealed and open segments, as the writer leaves them.
LogPoint Written(FuzzedDataProvider& input, SegmentRig* rig) {
  const uint64_t segments = input.ConsumeIntegralInRange<uint64_t>(0, 2);
  const uint64_t entries = input.ConsumeIntegralInRange<uint64_t>(1, 6);
  return rig->Fill(segments, entries, input.ConsumeIntegralInRange<uint32_t>(1, 300));
}

void Damage(FuzzedDataProvider& input, SegmentRig* rig) {
  const std::vector<std::string> paths = rig->disk.Paths();
  const int hits = input.ConsumeIntegralInRange<int>(0, 4);
  for (int i = 0; i < hits && !paths.empty(); ++i) {
    const std::string& path = paths[input.ConsumeIntegralInRange<size_t>(0, paths.size() - 1)];
    const std::optional<std::string> content = rig->disk.Content(path);
    if (!content || content->empty()) continue;
    const uint64_t at = input.ConsumeIntegral<uint32_t>() % content->size();
    switch (input.ConsumeIntegralInRange<int>(0, 3)) {
      case 0:
        rig->disk.TruncateFile(path, at);
        break;
      case 1:
        rig->disk.RemoveFile(path);
        break;
      case 2: {
        const std::string bytes = input.ConsumeRandomLengthString(64);
        rig->disk.Overwrite(path, at, bytes.substr(0, content->size() - at));
        break;
      }
      default:
        rig->disk.FlipBit(path, at, input.ConsumeIntegralInRange<unsigned>(0, 7));
    }
  }
}

// What can be read: every entry decodes, and none differs from what was written there.
std::vector<LogIndex> ReadAll(SegmentRig* rig, uint64_t last) {
  std::vector<LogIndex> read;
  for (uint64_t index = 1; index <= last; ++index) {
    const auto entries = rig->Read(index, kReadBytesMax);
    if (!entries.ok()) continue;
    CHECK(!entries->empty());
    const raft::core::Entry& first = entries->front();
    CHECK(raft::DecodeEntry(first.frame).ok());
    CHECK_EQ(first.index, LogIndex(index));
    if (index <= rig->entries.size()) {
      CHECK(first.frame.view() == rig->entries[index - 1].frame.view())
          << "another entry was read than was written";
    }
    read.push_back(first.index);
  }
  return read;
}

}  // namespace

FUZZ_TARGET(FuzzedDataProvider& input) {
  SegmentRig rig(1);
  LogPoint end;
  if (input.ConsumeBool()) {
    end = Written(input, &rig);
    rig.Restart(/*power=*/input.ConsumeBool());
    Damage(input, &rig);
  } else {
    end = {.index = LogIndex(input.ConsumeIntegralInRange<int>(0, 5)),
           .term = Term(input.ConsumeIntegralInRange<int>(0, 2)),
           .chain = input.ConsumeIntegral<uint32_t>(),
           .next_offset = Offset(input.ConsumeIntegralInRange<int>(0, 5))};
    std::string bytes(EncodeSegmentHeader(SegmentRig::kFolder, {}).view());
    if (input.ConsumeBool()) bytes.clear();
    rig.disk.PutFile(SegmentPath(SegmentRig::kFolder, LogIndex(1)),
                     bytes + input.ConsumeRemainingBytesAsString());
    rig.Restart(/*power=*/false);
  }
  const Result<RecoveredSegments> once = rig.Recover(end);
  const std::vector<LogIndex> read_once = ReadAll(&rig, end.index.value());
  rig.Restart(/*power=*/true);
  const Result<RecoveredSegments> twice = rig.Recover(end);
  CHECK_EQ(once.ok(), twice.ok()) << once.status() << " then " << twice.status();
  if (!once.ok()) return;
  CHECK(read_once == ReadAll(&rig, end.index.value()));
}

// A superblock of arbitrary bytes, and arbitrary facts with the checksum that they need.
#include <string>

#include "storage/superblock/superblock.h"
#include "tests/fuzz/fuzz.h"

using namespace millrace;           // NOLINT: one file, one target
using namespace millrace::storage;  // NOLINT

FUZZ_TARGET(FuzzedDataProvider& input) {
  if (input.ConsumeBool()) {
    const Result<ParsedSuperblock> parsed = ParseSuperblock(input.ConsumeRemainingBytesAsString());
    if (parsed.ok()) {
      const Bytes again = EncodeSuperblock(parsed->facts, parsed->sequence);
      CHECK(ParseSuperblock(again.view())->facts == parsed->facts);
    }
    return;
  }
  SuperblockFacts facts{.cluster_name = input.ConsumeRandomLengthString(249),
                        .broker = BrokerId(input.ConsumeIntegral<uint32_t>()),
                        .incarnation = Incarnation(input.ConsumeIntegral<uint64_t>()),
                        .boot_epoch = BootEpoch(input.ConsumeIntegral<uint64_t>()),
                        .cluster_uuid = input.ConsumeIntegral<uint64_t>(),
                        .was_stopped_cleanly = input.ConsumeBool()};
  const size_t controllers = input.ConsumeIntegralInRange<size_t>(0, 15);
  for (size_t i = 0; i < controllers; ++i) {
    facts.controllers.push_back({BrokerId(input.ConsumeIntegral<uint32_t>()),
                                 Incarnation(input.ConsumeIntegral<uint64_t>())});
  }
  const uint64_t sequence = input.ConsumeIntegral<uint64_t>();
  std::string bytes(EncodeSuperblock(facts, sequence).view());
  const Result<ParsedSuperblock> back = ParseSuperblock(bytes);
  CHECK(back.ok()) << back.status();
  CHECK(back->facts == facts);
  CHECK_EQ(back->sequence, sequence);
  const size_t at = input.ConsumeIntegralInRange<size_t>(0, bytes.size() - 1);
  bytes[at] = static_cast<char>(bytes[at] ^ 1);
  const Result<ParsedSuperblock> damaged = ParseSuperblock(bytes);
  CHECK(!damaged.ok() || damaged->facts == facts) << "a flipped bit changed what it says";
}

// Frames as they lie on disk and wire. What is accepted was sealed by its own header: sealing that
// header again gives the same bytes, and one more byte anywhere changes the verdict of none before.
#include <cstring>
#include <string>

#include "proto/base/checksum.h"
#include "proto/frame/frame.h"
#include "raft/codec/entry_codec.h"
#include "tests/fuzz/fuzz.h"

using namespace millrace;  // NOLINT: one file, one target

namespace {

// A frame with right checksums around whatever the input says.
std::string Sealed(FuzzedDataProvider& input) {
  FrameHeader header{.type = static_cast<FrameType>(input.ConsumeIntegral<uint8_t>()),
                     .feature_level = input.ConsumeIntegral<uint8_t>(),
                     .flags = input.ConsumeIntegral<uint16_t>(),
                     .group = RaftGroupId(input.ConsumeIntegral<uint64_t>()),
                     .term = Term(input.ConsumeIntegral<uint64_t>()),
                     .index = LogIndex(input.ConsumeIntegral<uint64_t>()),
                     .base_offset = Offset(input.ConsumeIntegral<int64_t>()),
                     .offset_span = input.ConsumeIntegral<uint32_t>(),
                     .record_count = input.ConsumeIntegral<uint32_t>(),
                     .append_time_ms = input.ConsumeIntegral<int64_t>(),
                     .max_timestamp_ms = input.ConsumeIntegral<int64_t>()};
  const std::string payload = input.ConsumeRemainingBytesAsString();
  header.payload_size = static_cast<uint32_t>(payload.size());
  header.payload_crc = header.stored_crc = Crc32c(payload);
  Buffer buffer = AllocateFrame(payload.size());
  if (!payload.empty()) std::memcpy(FramePayload(buffer), payload.data(), payload.size());
  return std::string(SealFrame(header, std::move(buffer)).view());
}

}  // namespace

FUZZ_TARGET(FuzzedDataProvider& input) {
  const bool is_sealed = input.ConsumeBool();
  const std::string bytes = is_sealed ? Sealed(input) : input.ConsumeRemainingBytesAsString();
  const Result<FrameHeader> header = ParseFrame(bytes);
  const Result<raft::core::Entry> entry = raft::DecodeEntry(Bytes::CopyOf(bytes));
  if (!header.ok()) {
    CHECK(!entry.ok());
    return;
  }
  const size_t size = FrameSize(header->payload_size);
  CHECK_LE(size, bytes.size());
  Buffer buffer = AllocateFrame(header->payload_size);
  if (header->payload_size != 0) {
    std::memcpy(FramePayload(buffer), bytes.data() + kFrameHeaderSize, header->payload_size);
  }
  const Frame again = SealFrame(*header, std::move(buffer));
  const size_t used = kFrameHeaderSize + header->payload_size;
  // What this build knows nothing of it does not write.
  if (header->has_reserved_bytes) return;
  CHECK(again.view().substr(0, used) == std::string_view(bytes).substr(0, used));
  if (entry.ok()) {
    CHECK(entry->frame.view() == again.view());
    CHECK_EQ(entry->index, header->index);
  }
}

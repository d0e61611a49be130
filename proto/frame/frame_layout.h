// How a frame's header lies on disk and wire; docs/formats.md, "Frame". For proto/frame alone: all
// others see FrameHeader.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace millrace {

static_assert(std::endian::native == std::endian::little,
              "frames are written as they lie in memory");

inline constexpr size_t kFrameHeaderSize = 128;

struct FrameLayout {
  uint32_t magic;
  uint8_t version;
  uint8_t type;
  uint8_t feature_level;
  uint8_t reserved0;
  uint32_t header_crc;  // CRC32C of the 128 bytes with this field zero
  uint32_t payload_size;
  uint64_t group;
  uint64_t term;
  uint64_t index;
  int64_t base_offset;
  uint32_t offset_span;
  uint32_t record_count;
  int64_t append_time_ms;
  int64_t max_timestamp_ms;
  uint64_t producer_id;
  uint32_t producer_epoch;
  uint32_t first_sequence;
  uint32_t payload_crc;
  uint32_t stored_crc;
  uint32_t chain;
  uint16_t flags;
  uint16_t reserved1;
  uint64_t transaction_number;
  uint64_t reach;
  uint64_t of_holder;  // not the entry's: whoever stores the frame may use it
};
static_assert(sizeof(FrameLayout) == kFrameHeaderSize);
static_assert(offsetof(FrameLayout, group) == 16);
static_assert(offsetof(FrameLayout, append_time_ms) == 56);
static_assert(offsetof(FrameLayout, payload_crc) == 88);
static_assert(offsetof(FrameLayout, transaction_number) == 104);

}  // namespace millrace

// A segment's bytes (docs/formats.md, "Segment"):
//
//   SegmentHeader frame* [footer SegmentTrailer]
//
// The frames are those of the journal, byte for byte. Footer and trailer stand only in a sealed
// segment.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "millrace/internal/v1/segment.pb.h"
#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "proto/frame/frame.h"
#include "storage/journal/records.h"

namespace millrace::storage {

struct SegmentHeader {
  uint64_t magic = 0x30474553524C4D00;
  uint32_t version = 1;
  uint32_t crc = 0;  // of the header with this field zero
  uint64_t group = 0;
  uint64_t first_index = 0;
};
static_assert(sizeof(SegmentHeader) == 32);

struct SegmentTrailer {
  uint64_t magic = 0x4C494154524C4D00;
  uint32_t footer_size = 0;
  uint32_t footer_crc = 0;
  uint64_t frames_end = 0;  // position after the last frame, where the footer begins
  uint32_t reserved = 0;
  uint32_t crc = 0;  // of the trailer with this field zero
};
static_assert(sizeof(SegmentTrailer) == 32);

std::string SegmentPath(RaftGroupId group, LogIndex first_index);
std::string SegmentDirectory(RaftGroupId group);
// A segment that is being made anew has this behind its name until it is whole and synced.
inline constexpr std::string_view kAnewSuffix = ".new";
// The first index that a segment's file name tells; nullopt if it is not exactly a segment's name.
std::optional<LogIndex> ParseSegmentName(std::string_view name);

Bytes EncodeSegmentHeader(RaftGroupId group, LogIndex first_index);
// DATA_LOSS if it is damaged or another segment's.
Status CheckSegmentHeader(std::string_view bytes, RaftGroupId group, LogIndex first_index);

// Footer and trailer, to be written at `frames_end`.
Bytes EncodeSegmentEnding(const internal::v1::SegmentFooter& footer, uint64_t frames_end);
// From the file's last bytes. nullopt: not sealed.
std::optional<SegmentTrailer> ParseSegmentTrailer(std::string_view bytes);

// A whole footer that belongs to the segment; DATA_LOSS otherwise.
Result<internal::v1::SegmentFooter> ParseSegmentFooter(std::string_view bytes,
                                                       const SegmentTrailer& trailer,
                                                       RaftGroupId group, LogIndex first_index);

// Whether the entry with this header follows `end` in the group: index, term, offset and chain
// (design D6: asserted at append, recovery and read). DATA_LOSS if not.
Status CheckFollows(const journal::SegmentEnd& end, RaftGroupId group, const FrameHeader& header);
// The end after that entry.
journal::SegmentEnd EndAfter(const FrameHeader& header);

}  // namespace millrace::storage

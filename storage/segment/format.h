// A segment's bytes (docs/formats.md, "Segment"):
//
//   SegmentHeader frame* [[state] footer SegmentTrailer]
//
// The frames are those of the journal, byte for byte. Footer and trailer stand only in a sealed
// segment, and the state machine's state in most of them.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/internal/v1/segment.pb.h"
#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "proto/frame/frame.h"
#include "raft/codec/entry_codec.h"
#include "storage/journal/records.h"

namespace millrace::storage {

using raft::CheckFollows;
using raft::EndAfter;

// Where a replica's segments lie. A life of a replica has folders of its own, so that nothing of
// another one is ever taken for its own, or removed with it.
struct SegmentFolder {
  RaftGroupId group;
  ReplicaNumber number;
  uint32_t generation = 0;  // grows when another log takes the place of this one
  bool operator==(const SegmentFolder&) const = default;
};

// Magic, version and crc lie here in every version, and the crc is over as many bytes.
struct SegmentHeader {
  uint64_t magic = 0x30474553524C4D00;
  uint32_t version = 1;
  uint32_t crc = 0;  // of the header with this field zero
  uint64_t group = 0;
  uint64_t first_index = 0;
  // The log's end before this segment: what its first entry follows on.
  uint64_t base_offset = 0;
  uint64_t term_before = 0;
  uint32_t chain_before = 0;
  uint32_t number = 0;  // of the replica
  uint32_t pass = 0;    // how often the segment was rewritten; this build does not
  uint32_t key_id = 0;  // of what its payloads are encrypted with; this build does not
};
static_assert(sizeof(SegmentHeader) == 64);

struct SegmentTrailer {
  uint64_t magic = 0x4C494154524C4D00;
  uint32_t footer_size = 0;
  uint32_t footer_crc = 0;
  uint64_t frames_end = 0;  // position after the last frame, where state or footer begin
  uint32_t reserved = 0;
  uint32_t crc = 0;  // of the trailer with this field zero
};
static_assert(sizeof(SegmentTrailer) == 32);

// groups/GROUP, with a folder in it for each log that a replica has here.
std::string GroupDirectory(RaftGroupId group);
// groups/GROUP/NUMBER.GENERATION.
std::string SegmentDirectory(const SegmentFolder& folder);
std::string SegmentPath(const SegmentFolder& folder, LogIndex first_index);
// The folder in `group`'s that has exactly this name; nullopt if no folder of segments has it.
std::optional<SegmentFolder> ParseFolderName(RaftGroupId group, std::string_view name);
// The name of the segment's file in its folder.
std::string SegmentName(LogIndex first_index);
// What the newest segment was up to an entry, and the state there, or that it is sealed
// (docs/formats.md, "Checkpoint of a segment").
std::string CheckpointPath(const SegmentFolder& folder);
// A segment that is being made anew has this behind its name until it is whole and synced.
inline constexpr std::string_view kAnewSuffix = ".new";
// The first index that a segment's file name tells; nullopt if it is not exactly a segment's name.
std::optional<LogIndex> ParseSegmentName(std::string_view name);

// The header of the segment that begins behind `before`.
Bytes EncodeSegmentHeader(const SegmentFolder& folder, const journal::LogPoint& before);
// DATA_LOSS if it is damaged, another segment's or another replica's; UNIMPLEMENTED if it is whole,
// but of a version, a pass or a key that this build does not know.
Status CheckSegmentHeader(std::string_view bytes, const SegmentFolder& folder,
                          const journal::LogPoint& before);

// What it says that it begins behind; checked like that, as far as it can be by itself.
Result<journal::LogPoint> ParseSegmentHeader(std::string_view bytes, const SegmentFolder& folder,
                                             LogIndex first_index);

// Whether frames may end where `bytes` begin, which are a state's or a footer's: neither does a
// frame follow there, nor is it what a write leaves that never reached the disk. So the beginning
// of a producer's entry is never taken for a state, whatever its end says.
bool MayFollowFrames(std::string_view bytes);
inline constexpr size_t kMayFollowBytes = 4;                  // are enough to tell
inline constexpr std::string_view kFrameMagicBytes = "MLRF";  // what a frame begins with
static_assert(kFrameMagicBytes.size() == kMayFollowBytes);

// What is to be written at `frames_end`: the state, if there is one, footer and trailer. The footer
// is given but for what it says of the state.
std::vector<Bytes> EncodeSegmentEnding(internal::v1::SegmentFooter footer, uint64_t frames_end,
                                       const std::optional<Bytes>& state);
// From the file's last bytes. nullopt: not sealed.
std::optional<SegmentTrailer> ParseSegmentTrailer(std::string_view bytes);

// A whole footer that belongs to the segment; DATA_LOSS otherwise. `footer_at` is where it begins
// in its file.
Result<internal::v1::SegmentFooter> ParseSegmentFooter(std::string_view bytes,
                                                       const SegmentTrailer& trailer,
                                                       uint64_t footer_at,
                                                       const SegmentFolder& folder,
                                                       LogIndex first_index);

}  // namespace millrace::storage

// The way of a state machine's own commands, the controller's and a partition's, into the log.
//
// On the group's shard thread.
//
//   return raft::ProposeControl(*group, {.type = FrameType::kPartitionCommand}, payload, wall_ms);
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "proto/base/bytes.h"
#include "proto/base/checksum.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "proto/frame/frame.h"
#include "raft/ports/group.h"

namespace millrace::raft {

// Proposes `payload` under `draft`, of which the type, the feature level, the base offset and what
// a marker says of its transaction are the caller's. It is taken where there is no room for
// records, as a command may make some. As Group::Propose. Pre: the group has a tail().
inline Result<LogIndex> ProposeControl(Group& group, FrameHeader draft, std::string_view payload,
                                       int64_t wall_ms) {
  Buffer frame = AllocateFrame(payload.size());
  std::memcpy(FramePayload(frame), payload.data(), payload.size());
  draft.flags |= kFrameControl;
  draft.payload_size = static_cast<uint32_t>(payload.size());
  // Clocks jump, and leaders differ in theirs.
  draft.append_time_ms = std::max(wall_ms, group.last_append_time_ms());
  draft.payload_crc = draft.stored_crc = Crc32c(payload);
  return group.Propose(ProposalClass::kControl, draft, std::move(frame));
}

}  // namespace millrace::raft

// The controller's image as a stopped broker's own log of the controller group has it: what its
// newest segment was sealed with, and the entries after that which are certainly committed.
//
// On the executor of the segments' files; changes nothing.
//
//   RestoreImage(clock, {.segments = segments, .snapshot = recovered.snapshot, ...},
//                [](const RestoredImage& restored) { ... });
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "broker/controller/image.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/core/entry.h"
#include "raft/ports/snapshot.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/task.h"
#include "storage/journal/replay.h"
#include "storage/segment/group_segments.h"

namespace millrace::broker {

// How far this replica's log is certainly committed, as nothing on the disk says it outright: what
// the journal names as the end of segments is; what replicas were made or removed by here
// (`controller_floor`), since a broker acts on committed entries alone; and, where this replica is
// the only voter, all that it has. `above` are the entries behind that end.
LogIndex CommittedEnd(const storage::journal::GroupLedger& group,
                      const std::vector<raft::core::Entry>& above, LogIndex controller_floor);

struct ControllerLog {
  std::shared_ptr<storage::GroupSegments> segments;  // recovered, to be read alone
  std::optional<raft::Snapshot> snapshot;
  LogIndex segments_end;
  std::vector<raft::core::Entry> entries;  // committed ones above, which follow on
};

struct RestoredImage {
  Image image;
  Status why;  // not ok: the image is as it was before the entry that could not be read or applied
};

void RestoreImage(const Clock& clock, ControllerLog log, MoveFunction<void(RestoredImage)> done);

}  // namespace millrace::broker

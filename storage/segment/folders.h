// The folders of a group's segments that are no replica's any more: of one that was removed, of one
// that another followed, of a log that another took the place of, or that never did.
//
// On the executor of `files`.
//
//   RemoveFolders(files, group, [](const SegmentFolder& f) { return f.number <= removed; }, done);
#pragma once

#include "proto/base/status.h"
#include "raft/runtime/task.h"
#include "storage/file/file_system.h"
#include "storage/segment/format.h"

namespace millrace::storage {

// Removes the folders for which `is_left_over` says so, with what is in them, and the group's own
// once it is empty. Names that are no folder of segments stay. Ok if nothing is there.
void RemoveFolders(FileSystem& files, RaftGroupId group,
                   MoveFunction<bool(const SegmentFolder&)> is_left_over, StatusDone done);

}  // namespace millrace::storage

// What a sealed segment ends with: footer and trailer, read and checked. A checkpoint is such an
// ending alone.
//
// On the executor of the file.
//
//   ReadSegmentEnding(file, folder, first_index, [](Result<SegmentEnding> ending) { ... });
#pragma once

#include <cstdint>
#include <memory>

#include "millrace/internal/v1/segment.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/task.h"
#include "storage/file/file_system.h"
#include "storage/segment/format.h"
#include "storage/segment/void_index.h"

namespace millrace::storage {

struct SegmentEnding {
  internal::v1::SegmentFooter footer;
  VoidIndex void_index;     // the footer's
  uint64_t frames_end = 0;  // where the state begins, if there is one, or the footer
};

enum class EndingIn {
  kSegment,     // behind the frames
  kCheckpoint,  // a file that has nothing else
};

// DATA_LOSS if there is none, or it is damaged or another segment's. `file` is kept until then.
void ReadSegmentEnding(std::shared_ptr<File> file, EndingIn in, const SegmentFolder& folder,
                       LogIndex first_index, MoveFunction<void(Result<SegmentEnding>)> done);

}  // namespace millrace::storage

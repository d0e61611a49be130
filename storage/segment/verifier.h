// Reads every byte that counts of one replica's segments, and checks every checksum and the chain:
// headers, frames, states, footers, and that each file follows on the one before. What a start does
// not do, as sealed segments are believed by their footers there. Changes nothing, and goes on past
// what is damaged, so that all of it is named: behind a frame that cannot be read from the next one
// that the footer tells of, behind a file with the next file.
//
// On the executor of `files`; keeps itself alive until `done`, which is called once.
//
//   VerifySegments(files, folder, log, [](const VerifiedSegments& verified) { ... });
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/status.h"
#include "raft/runtime/task.h"
#include "storage/file/file_system.h"
#include "storage/journal/records.h"
#include "storage/segment/format.h"

namespace millrace::storage {

struct SegmentFault {
  std::string path;  // of the file, or of the folder where a file is missing
  std::optional<uint64_t> position;
  // DATA_LOSS: damage. UNIMPLEMENTED: another build wrote it. Another: it could not be read.
  Status why;
};

struct VerifiedSegments {
  uint64_t files = 0;
  uint64_t frames = 0;  // that were read, damaged or not
  std::vector<SegmentFault> faults;
};

// Between the begin and the written end of the log that the journal tells of, as
// GroupSegments::Recover: what lies below is a leftover, and what lies above the journal does not
// count on.
void VerifySegments(FileSystem& files, const SegmentFolder& folder, const journal::LogRecord& log,
                    MoveFunction<void(VerifiedSegments)> done);

}  // namespace millrace::storage

// Walks over the frames in a part of a segment, reading it piece by piece: what finding a group's
// entries again at start and reading them back have in common.
//
// On the executor of the file's file system; keeps itself and the file alive until `done`, which is
// called once. Checks frame headers, not payloads: that is for who takes the frame
// (raft::DecodeStored).
//
//   FrameCursor::Walk(file, {.begin = 32, .end = size, .piece_bytes = 1 << 20},
//                     [](const Frame& frame) -> Result<bool> { ... },
//                     [](const Status& status, uint64_t position) { ... });
#pragma once

#include <cstdint>
#include <memory>

#include "proto/frame/frame.h"
#include "storage/file/file_system.h"

namespace millrace::storage {

class FrameCursor : public std::enable_shared_from_this<FrameCursor> {
 public:
  struct Range {
    uint64_t begin = 0;        // where a frame begins
    uint64_t end = 0;          // bytes from here on are not looked at
    uint64_t piece_bytes = 0;  // to read at a time; more where one frame needs it
  };
  // Is given each whole frame in turn; false: that is enough, and the frame was not taken.
  using Visit = MoveFunction<Result<bool>(const Frame&)>;
  // Ok at the end of the range or after enough; DATA_LOSS naming the byte otherwise. `position` is
  // that of the first frame that was not taken.
  using Done = MoveFunction<void(Status, uint64_t position)>;

  static void Walk(std::shared_ptr<File> file, const Range& range, Visit visit, Done done);

 private:
  FrameCursor(std::shared_ptr<File> file, const Range& range, Visit visit, Done done)
      : file_(std::move(file)),
        position_(range.begin),
        range_(range),
        visit_(std::move(visit)),
        done_(std::move(done)) {}

  void ReadPiece(uint64_t size);
  void OnPiece(const Bytes& piece);
  // The next frame is not whole in `rest`, the end of a piece: reads again from its beginning.
  void ReadOn(const Bytes& rest);
  void Finish(const Status& status);

  const std::shared_ptr<File> file_;  // shared with the segment and other reads
  uint64_t position_;
  const Range range_;
  Visit visit_;
  Done done_;
};

}  // namespace millrace::storage

// Finds a frame in a part of a segment where a walk over frames came to nothing, because the header
// of one of them is damaged: by its magic, at each place where a frame may begin, and its header's
// checksum. What it finds may also be bytes of a payload, whose producer made them look like a
// frame: whoever takes it proves it by the chain.
//
// On the executor of the file's file system; keeps itself and the file alive until `done`, which is
// called once.
//
//   FrameSearch::Find(file, {.begin = 4096, .end = frames_end},
//                     [](const FrameHeader& header) { return header.index == wanted; },
//                     [](Result<FrameSearch::Position> position) { ... });
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "proto/frame/frame.h"
#include "storage/file/file_system.h"

namespace millrace::storage {

class FrameSearch : public std::enable_shared_from_this<FrameSearch> {
 public:
  struct Range {
    uint64_t begin = 0;  // a multiple of kFrameAlignment
    uint64_t end = 0;    // of the frame's header at the latest
  };
  // Is given each header that is whole.
  using IsWanted = MoveFunction<bool(const FrameHeader&)>;
  // Where the first frame begins that is wanted; nullopt: there is none.
  using Position = std::optional<uint64_t>;
  using Done = MoveFunction<void(Result<Position>)>;

  static void Find(std::shared_ptr<File> file, const Range& range, IsWanted is_wanted, Done done);

 private:
  FrameSearch(std::shared_ptr<File> file, uint64_t end, IsWanted is_wanted, Done done)
      : file_(std::move(file)),
        end_(end),
        is_wanted_(std::move(is_wanted)),
        done_(std::move(done)) {}

  void SearchFrom(uint64_t at);
  // Where in `piece`, if it is there.
  Position FindIn(std::string_view piece);

  const std::shared_ptr<File> file_;  // shared with the segment and other reads
  const uint64_t end_;
  IsWanted is_wanted_;
  Done done_;
};

}  // namespace millrace::storage

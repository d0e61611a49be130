// Puts a segment that was made anew in the place of one that is damaged, or gone, or in which
// compaction left something out. What it is sealed with is taken from that one, where it is intact:
// the state, and the configuration in force at its end.
//
//   ending and state of the damaged file -> the new one is sealed, synced -> renamed over it
//   -> the folder synced -> reads find it
//
// One that was written on when the process ended, and has entries above the committed end, is not
// sealed: what of these follows is taken along. The damaged one's checkpoint fits only if frames
// lie where they did.
//
// A crash before the rename leaves the damaged one, after it the new one, whole.
//
// Part of GroupSegments, on its executor; keeps itself alive until it is done.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "storage/segment/ending.h"
#include "storage/segment/group_segments.h"

namespace millrace::storage {

class GroupSegments::Replacement : public std::enable_shared_from_this<Replacement> {
 public:
  Replacement(std::shared_ptr<GroupSegments> segments, LogIndex first,
              std::shared_ptr<GroupSegments> rebuilt, Purpose purpose,
              MoveFunction<void(Result<raft::SealedSegment>)> done)
      : segments_(std::move(segments)),
        first_(first),
        rebuilt_(std::move(rebuilt)),
        purpose_(purpose),
        done_(std::move(done)) {}

  void Start();

 private:
  // Null if it was dropped.
  Segment* Damaged();
  Status Gone() const;
  // What is damaged, or not there, is done without; an error that passes is not.
  bool IsLost(const Status& status) const;
  // Whether a read of the damaged file that said so is done without.
  bool IsUnreadable(const Status& status) const;
  void OnOpened(std::shared_ptr<File> file);
  void ReadEnding(std::shared_ptr<File> file);
  void ReadState(const std::shared_ptr<File>& file, const SegmentEnding& ending);
  void Seal(std::optional<Bytes> state);
  void AppendAbove();
  void ListInner();
  void RemoveInner();
  void MakeFolder();
  void Rename();
  void Take();
  // Tells that the new file is sealed, if it is the last one.
  void MoveCheckpoint();

  std::shared_ptr<GroupSegments> segments_;
  const LogIndex first_;
  std::shared_ptr<GroupSegments> rebuilt_;
  const Purpose purpose_;
  std::shared_ptr<File> former_;  // shared with reads
  MoveFunction<void(Result<raft::SealedSegment>)> done_;
  std::optional<raft::SealedSegment> sealed_;
  LogPoint end_;  // after what was taken along
  std::vector<raft::core::Entry> above_;
  std::vector<LogIndex> inner_;
};

}  // namespace millrace::storage

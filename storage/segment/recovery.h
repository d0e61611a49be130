// Finding a replica's segments again: all but the last by their footers, the last frame by frame up
// to the end that the journal names. Between the log's begin, which the journal names too, and its
// written end, damage or absence is corruption; below the begin bytes are what was dropped, and
// died before it was gone. What is damaged and committed others have, too: it is passed over, as
// each file says where it begins, and told.
//
// Above the written end lie large writes that the journal was not told of yet (LogAbove), which
// somebody may count on, and what is to be discarded. These are told apart by the chain, and read
// past the page cache: what that shows a sync may have failed on. Whatever is kept is synced before
// this ends, names included.
//
// The newest of the states in the footers is the only one that is read: the others would take the
// start's memory and time, and are for the case that it is rotten.
//
// The last one is not taken by its footer alone: while it is written on, its last bytes are a
// producer's, who could write what looks like a footer. A checkpoint tells that it is sealed, or
// saves reading the frames up to some entry (checkpoint.cc).
//
// After an error the last one is made anew: copied as the medium has it, so that the scan proves
// what will be synced, and then put in the place of the file that had the error.
//
// Part of GroupSegments, on its executor; keeps itself alive until it is done.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "storage/segment/ending.h"
#include "storage/segment/group_segments.h"

namespace millrace::storage {

class GroupSegments::Recovery : public std::enable_shared_from_this<GroupSegments::Recovery> {
 public:
  Recovery(std::shared_ptr<GroupSegments> segments, const journal::LogRecord& log, LogAbove above,
           LastFile last_file, MoveFunction<void(Result<RecoveredSegments>)> done)
      : segments_(std::move(segments)),
        log_(log),
        end_(log.end),
        written_(log.segments_end()),
        above_(above),
        last_file_(last_file),
        done_(std::move(done)) {}

  void Start();

 private:
  const SegmentFolder& folder() const { return segments_->folder_; }
  FileSystem& files() { return *segments_->files_; }
  Segment& segment() { return segments_->segments_.back(); }
  const Segment& segment() const { return segments_->segments_.back(); }
  File& file() { return *segment().file; }
  LogIndex reached() const { return segments_->written_end().index; }
  bool IsOnlyRead() const { return last_file_ == LastFile::kOnlyRead; }
  bool IsLast() const { return at_ == firsts_.size() || firsts_[at_] > written_; }
  // An error that has had its time to pass.
  bool IsGivenUp(const Status& status) const {
    return status.code() == Code::kUnavailable && segments_->takes_errors_for_damage_;
  }
  bool MayHaveAbove() const { return above_ == LogAbove::kGoesOn; }

  // The replica stays silent; its files stay as they are.
  void Fail(const Status& status);
  Status Missing() const;
  // From there on nothing is known of the log, up to the next file that begins as it says.
  void OpenHole(LogIndex first, const Status& why);
  // ... or up to here, where the log goes on.
  void CloseHole(const LogPoint& end);
  // The file that is looked at is not what was synced.
  void OnDamaged(const Status& why);
  void GiveUpFile(const Status& why);
  Status CheckHeader(std::string_view header);
  // The last file cannot be read up to the log's end.
  void OnLastDamaged(const Status& why);
  // Looks for the frame of the entry behind that end.
  void SearchAbove(const Status& why);
  // It lies there; 0: nowhere.
  void OnAboveFound(uint64_t at, const Status& why);
  // Of a walk that ended at the entry after reached(), which was synced once, with `status`.
  Status AtLost(const Status& status) const;
  // Whole segments below the begin. One that reaches past it stays, and is damage: a begin is where
  // a segment ends.
  void SetDroppedAside();
  static std::string Told(const LogPoint& point);
  static bool IsAnewName(std::string_view name);
  // Removes files that were being made anew when that ended, and what was dropped. Not before the
  // segments are known to be ones that this build may change.
  void RemoveLeftovers(Task then);
  void Next();
  // A file that begins above all that the journal knows of, behind a sealed one or none, may be one
  // that large writes went into.
  void LookAbove();
  bool BeginsAbove() const { return segments_->segments_.back().first_index > written_; }
  void Begin(LogIndex first);
  void ReadHeader();

  // A sealed segment.
  void ReadEnding(MoveFunction<void(Result<SegmentEnding>)> done);
  void Adopt(const SegmentEnding& ending);
  // What the footer says of frames up to its end, which are not read.
  void TakeFooter(const SegmentEnding& ending);
  static LogPoint EndOf(const internal::v1::SegmentFooter& footer);
  void MarkSealed(const internal::v1::SegmentFooter& footer);

  // checkpoint.cc: what is known of the last one without reading its frames. What does not fit is
  // passed over.
  void LookForCheckpoint();
  void ReadTrailer();
  // The file ends in this: it is sealed if the checkpoint says the same.
  void CompareTrailer(Bytes trailer);
  bool EndsLog(const internal::v1::SegmentFooter& footer) const;
  // The file is not sealed.
  void ReadCheckpoint();
  bool MayBegin(const SegmentEnding& ending) const;
  // The last frames before it are read.
  void CheckPlace(SegmentEnding ending);
  void ReadCheckpointState(SegmentEnding ending);

  // last_segment.cc: the one that is written on, from where it is known.
  void Scan();
  // `status` may tell of what lies above the synced end, which does not matter.
  void OnScanned(const Status& status);
  // `medium` is read past the page cache.
  void CheckSealed(std::shared_ptr<File> medium);
  // All that the footer says is right; but a producer's entry may lie above the synced end, and its
  // own beginning, or what a power cut left of that, would be the state.
  void CheckFramesEnd(SegmentEnding ending);
  // The process that sealed it may have died before its sync, and the next file counts on it.
  void TakeSealed(internal::v1::SegmentFooter footer);
  // What is written and not known to be committed.
  void ScanAbove();
  Result<bool> TakeAbove(const Frame& frame);
  // `status` may tell of what lies above all that counts.
  void OnAbove(const Status& status);
  void DiscardBegun();
  void DiscardTail();
  // The process that wrote this may have died before it did so. A copy is synced in any case.
  void SyncWritten();

  // The same, made anew.
  void BeginCopy();
  void OpenCopy();
  void CopyPiece(uint64_t at);
  // The copy is proven up to the synced end: it is made durable and takes the name. The directory
  // is synced with the group's next sync; until then either file has all that the journal counts
  // on.
  void PutCopyInPlace();
  std::string CopyPath() const { return current_ + std::string(kAnewSuffix); }

  // Files that begin above what is kept.
  void DiscardRest();
  void Finish();
  // The newest state that is whole. What lies above an older one is applied again.
  void ReadNewestState();
  void ReadState(std::shared_ptr<File> file, uint64_t at, LogIndex last);

  // Where a state lies that may be taken.
  struct StateAt {
    size_t place = 0;  // in the segments
    uint64_t size = 0;
    uint32_t crc = 0;
  };

  std::shared_ptr<GroupSegments> segments_;
  const journal::LogRecord log_;
  const LogPoint end_;
  const LogIndex written_;
  const LogAbove above_;
  const LastFile last_file_;
  MoveFunction<void(Result<RecoveredSegments>)> done_;
  std::vector<LogIndex> firsts_;  // of the files found, sorted
  std::vector<std::string> leftovers_;
  std::shared_ptr<File> original_;  // being copied
  std::shared_ptr<File> copy_;      // the last segment's file while it is made anew
  std::shared_ptr<File> medium_;    // the last segment's as the medium has it; shared with reads
  std::shared_ptr<File> checkpoint_;
  LogPoint checkpoint_place_;  // after the last frame that was read there
  std::optional<raft::Snapshot> checkpoint_state_;
  size_t at_ = 0;                       // the next of them
  std::string current_;                 // what an error is about
  std::vector<StateAt> states_;         // oldest first
  std::optional<DamagedSegment> hole_;  // open
  uint64_t hole_bytes_ = 0;             // of the file that it begins with, if there is one
  LogPoint before_;                     // what the file that is looked at begins behind
  RecoveredSegments recovered_;
};

}  // namespace millrace::storage

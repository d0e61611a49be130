// The segments of one replica: entries, written through the page cache, sealed with a footer when
// the shard says so, read back by index or offset (design D4, "Segments").
//
// What is written is not what may be read: an entry is indexed, and found by a read, once it is
// committed. What is not may be truncated and written over, and nothing is sealed meanwhile
// (docs/adr/0010-write-once.md).
//
// Lives on the segment writer's Executor, a thread in production; everything is called and
// completes there. Writes, syncs and seals of a group run one after the other, in the order asked
// for.
//
// The first error of a write, sync or seal is final: everything after it fails with the same error
// and nothing is tried again, least of all a sync. Whoever wants to go on makes another
// GroupSegments of the group, which recovers with LastFile::kMadeAnew, and appends again what was
// not synced.
//
//   segments.Append(entries, [](Status written) { ... });
//   segments.Commit(index, [](Result<SegmentsEnd> end) { ... });   // readable from now on
//   segments.Sync([](Result<SegmentsEnd> durable) { ... });
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/core/configuration.h"
#include "raft/core/entry.h"
#include "raft/core/log.h"
#include "raft/ports/log_store.h"
#include "storage/file/file_system.h"
#include "storage/journal/records.h"
#include "storage/segment/format.h"
#include "storage/segment/void_index.h"

namespace millrace::storage {

using journal::LogPoint;

// How far segments reach, and the configuration in force there.
struct SegmentsEnd {
  LogPoint end;                  // of what is committed
  LogPoint written;              // of what is written; not below `end`
  LogIndex configuration_index;  // of the entry that says so; 0: what the replica began with
  raft::core::Configuration configuration;
  std::optional<raft::SealedSegment> sealed;  // by the Seal that this is the outcome of
};

// What counts of what follows on in segments above log.segments_end(), where large writes that the
// journal does not know of yet have left it.
enum class LogAbove {
  kNothing,  // there may be what a truncation cut
  kGoesOn,
};

inline LogAbove AboveOf(const journal::LogRecord& log, TruncationEpoch newest) {
  // A reset began another folder.
  const bool is_cut = std::max(log.cut_epoch, log.reset_epoch) == newest;
  return is_cut ? LogAbove::kGoesOn : LogAbove::kNothing;
}

// What was written into the segment that is written on.
struct ActiveSegment {
  uint64_t bytes = 0;
  // Of its first entry, as the leader stamped it; none: it has no entry.
  std::optional<int64_t> first_append_ms;
  int64_t last_append_ms = 0;
  Offset base_offset;  // of its first record, and of the one after its last
  Offset next_offset;
  uint64_t checkpointed = 0;  // of the bytes; a start need not read these

  bool has_records() const { return base_offset < next_offset; }

  void Add(const std::vector<raft::core::Entry>& entries);
};

struct DamagedSegment {
  LogIndex first;
  Status why;
};

// What recovery found of a group's segments.
struct RecoveredSegments {
  std::vector<raft::core::TermStart> term_starts;
  // The state of the newest segment that was sealed with one.
  std::optional<raft::Snapshot> snapshot;
  Offset next_offset;
  std::vector<raft::SealedSegment> sealed;  // oldest first
  ActiveSegment active;
  // Those above log.end that are in segments, synced; not committed, as far as this tells.
  std::vector<raft::core::Entry> written;
  // The last entry of the newest segment that compaction rewrote; 0: there is none.
  LogIndex rewritten_end;
  // Segments that are not what was synced, files that are missing, what could not be read of the
  // last one: of these a reader is told DATA_LOSS, and nothing may be written before they are whole
  // again (Replace) and the segments recovered once more. `sealed` has them, too.
  std::vector<DamagedSegment> damaged;
  // Files with a state that is damaged, newest first; an older one was taken, or none.
  std::vector<std::string> rotten_states;
};

// Whether the file that the synced end lies in is gone on with.
enum class LastFile {
  kKept,
  // A write or sync of it failed in this life of the process: what the page cache shows of it
  // proves nothing, and another sync would not either. What it holds up to the synced end is read
  // past the page cache and checked, and goes into a new file that takes its name.
  kMadeAnew,
  // Nothing on the disk is changed: what would be discarded or removed is passed over, and files
  // are opened for reading alone. Nothing may be appended afterwards.
  kOnlyRead,
};

class GroupSegments : public std::enable_shared_from_this<GroupSegments> {
 public:
  // The segments of a log that has none yet, and begins with this configuration.
  GroupSegments(FileSystem& files, const SegmentFolder& folder,
                raft::core::Configuration configuration = {})
      : files_(&files), folder_(folder) {
    in_force_.configuration = std::move(configuration);
  }

  // Called with the first index of a segment that is not what was synced, and why, whenever a read
  // meets that; also with an error of the disk, which may pass (UNAVAILABLE).
  using DamageListener = MoveFunction<void(LogIndex first, const Status& why)>;
  void SetDamageListener(DamageListener listener) { damage_listener_ = std::move(listener); }

  // From now on an error of the disk is damage of the sealed segment that begins there, until it is
  // replaced; or of any that Recover, which comes next, meets.
  void TakeErrorsForDamage(LogIndex first) { unreadable_.insert(first); }
  void TakeErrorsForDamage() { takes_errors_for_damage_ = true; }

  // Finds what is on disk of the log that the journal tells of. Between its begin and its committed
  // end, damage or absence is told in RecoveredSegments::damaged; between that and the written end
  // it is DATA_LOSS naming the file, as it is in a last file that is made anew. What lies above and
  // does not count is discarded, to be written again; what lies below the begin is a leftover of
  // what was dropped, and goes. UNIMPLEMENTED: another build wrote it, and nothing is touched.
  // Another error may pass: a fresh GroupSegments may try again.
  void Recover(const journal::LogRecord& log, LogAbove above, LastFile last_file,
               MoveFunction<void(Result<RecoveredSegments>)> done);

  // Writes entries that follow on.
  void Append(std::vector<raft::core::Entry> entries, StatusDone done);
  // The entries up to `index` are committed, or those that were written of them: readable once
  // `done` is ok.
  void Commit(LogIndex index, MoveFunction<void(Result<SegmentsEnd>)> done);
  // Cuts off the entries at `from` and after. Pre: they are written, none of them is committed, and
  // the truncation is durable: once others are written over them they are gone.
  void Truncate(LogIndex from, StatusDone done);
  // Hands what was appended to the disk, so that the sync that makes it durable is short.
  void WriteBack(StatusDone done);
  // Makes everything appended so far durable, names included.
  void Sync(MoveFunction<void(Result<SegmentsEnd>)> done);
  // Ends the active segment after its last entry, durably; with the state machine's state there, if
  // whoever asks has one. Pre: all that is written is committed; MayFollowFrames(state), as any
  // protobuf may.
  void Seal(std::optional<Bytes> state, MoveFunction<void(Result<SegmentsEnd>)> done);
  // Syncs, and saves a later start from reading what is committed now: with the state machine's
  // state at that end. Where the active segment holds nothing of that it syncs, and that is all. A
  // checkpoint that cannot be written is none.
  void Checkpoint(Bytes state, MoveFunction<void(Result<SegmentsEnd>)> done);
  // Of the segments that are sealed from now on; grows. Pre: not called while one is being sealed.
  void SetSettledPass(uint32_t pass) { settled_pass_ = std::max(settled_pass_, pass); }
  // `configuration` is in force at the end, as an entry says that these segments do not hold.
  void TakeConfiguration(LogIndex index, raft::core::Configuration configuration);
  // Removes the sealed segments that end at or before `begin`, oldest first, up to the first that
  // cannot be removed. What is asked for meanwhile waits for one of them at most. Pre: the journal
  // durably says that the log begins there.
  void DropTo(LogIndex begin, StatusDone done);
  // Puts `rebuilt`, all of whose entries are committed and in one segment that is not sealed, in
  // the place of the sealed one that begins with `first`. Pre: it holds the same entries, or what
  // compaction left of them. OUT_OF_RANGE: that one was dropped. An error changes nothing
  // here.
  //
  // `purpose`: where it is rewritten the sealed one is whole, and what it is sealed with must be;
  // of one that is damaged what is lost is done without.
  enum class Purpose { kRepair, kRewrite };
  void Replace(LogIndex first, std::shared_ptr<GroupSegments> rebuilt, Purpose purpose,
               MoveFunction<void(Result<raft::SealedSegment>)> done);
  // Removes the folder with all files, after what was asked for before.
  void Remove(StatusDone done);

  // Entries from `first` on; see raft::LogStore::Read.
  void Read(LogIndex first, uint64_t bytes_max, raft::EntriesDone done);
  void ReadFromOffset(Offset offset, uint64_t bytes_max, raft::EntriesDone done);
  // See raft::LogStore::Salvage.
  void Salvage(LogIndex first, uint64_t bytes_max, raft::EntriesDone done);
  // How far sealed segments were looked at, and at how much of them.
  struct Scrubbed {
    LogIndex last;
    uint64_t bytes = 0;
  };
  // Checks a stretch of about `bytes_max` of the sealed segment that holds `first`, or the next
  // one; with its beginning also what it is sealed with. Damage is told to the listener, and the
  // rest of that segment passed over. OUT_OF_RANGE: nothing sealed lies there.
  void ScrubFrom(LogIndex first, uint64_t bytes_max, MoveFunction<void(Result<Scrubbed>)> done);
  // See raft::LogStore::FindTimestamp.
  void FindTimestamp(int64_t timestamp_ms, Offset from, LogIndex before, raft::IndexDone done);
  void FindNewestTime(Offset from, raft::TimeDone done);
  // See raft::LogStore::FindAppendTime.
  Result<raft::AppendTime> AppendTimeOf(Offset offset) const;
  // See raft::LogStore::FindVoidRanges. DATA_LOSS where a segment is damaged whose markers may say
  // something of it.
  Result<std::vector<VoidRange>> VoidRangesOf(Offset first, Offset end) const;

 private:
  class Recovery;
  class Reader;
  class Finder;
  class Replacement;
  class Scrub;
  struct Point {
    LogIndex index;
    Offset base_offset;
    int64_t max_timestamp_ms = 0;  // of the segment's records up to this entry, with it
    int64_t append_time_ms = 0;
    uint64_t position = 0;
  };
  struct TermBegin {
    raft::core::TermStart start;
    Offset base_offset;
  };
  struct InForce {
    LogIndex index;
    raft::core::Configuration configuration;
  };
  struct Segment {
    LogIndex first_index;
    LogIndex last_index;  // first_index - 1: empty
    Offset base_offset;
    uint64_t frames_end = 0;
    int64_t max_timestamp_ms = 0;
    std::vector<Point> points;
    int64_t first_append_time_ms = 0;
    int64_t last_append_time_ms = 0;
    std::vector<TermBegin> terms;
    VoidIndex void_index;
    bool knows_void = true;  // false: what its markers say is not known, as it is damaged
    bool is_sealed = false;
    bool is_rewritten = false;  // compaction left something else than was appended
    uint32_t settled_pass = 0;  // as in CompactionPoint
    // Of one that recovery found damaged and that was written on: where frames above the committed
    // end begin in its file; 0: there are none.
    uint64_t above_at = 0;
    std::shared_ptr<File> file;  // null: sealed, opened by each read; shared with reads under way
    uint64_t version = 0;        // grows when another file takes the place of this one

    // Where to read from for what lies behind all points that `is_before` holds for, which are the
    // first ones; and the point that follows on these.
    struct Stretch {
      uint64_t begin = 0;
      std::vector<Point>::const_iterator next;
    };
    template <typename IsBefore>
    Stretch StretchBehind(IsBefore is_before) const {
      const auto next = std::partition_point(points.begin(), points.end(), is_before);
      const bool is_first = next == points.begin();
      return {.begin = is_first ? sizeof(SegmentHeader) : std::prev(next)->position, .next = next};
    }
  };
  // An entry that is not committed, in the active segment.
  struct Written {
    FrameHeader header;
    std::shared_ptr<const raft::core::Configuration> configuration;  // the entry's, if it is one
    uint64_t position = 0;
  };
  using Operation = MoveFunction<void(Task next)>;

  // Runs operations that change files one at a time.
  void Enqueue(Operation operation);
  void RunNext();
  // Ends an operation: remembers a fault, tells the caller, lets the next one run.
  template <typename Outcome>
  MoveFunction<void(Outcome)> Ending(MoveFunction<void(Outcome)> done, Task next);
  void AppendNow(std::vector<raft::core::Entry> entries, StatusDone done);
  void BeginSegment(LogIndex first_index, StatusDone done);
  void WriteEntries(std::vector<raft::core::Entry> entries, StatusDone done);
  void TruncateNow(LogIndex from, StatusDone done);
  void SyncNow(MoveFunction<void(Result<SegmentsEnd>)> done);
  void SyncNames(std::vector<std::string> directories, StatusDone done);
  void SealNow(std::optional<Bytes> state, MoveFunction<void(Result<SegmentsEnd>)> done);
  // Overwrites it; unsynced.
  void PutCheckpoint(std::vector<Bytes> pieces, Task done);
  // The oldest of them; false: there is none left.
  void DropOldest(LogIndex begin, MoveFunction<void(Result<bool>)> done);
  // After the segment's last record. Pre: it has entries.
  Offset EndOf(std::deque<Segment>::const_iterator segment) const {
    const auto next = std::next(segment);
    return next == segments_.end() ? end_.next_offset : next->base_offset;
  }
  // Whether a segment that began there was dropped.
  bool WasDropped(LogIndex first_index) const {
    return segments_.empty() || first_index < segments_.front().first_index;
  }
  internal::v1::SegmentFooter MakeFooter(const Segment& segment) const;
  // Of one that was just sealed: its end is end_.
  raft::SealedSegment Told(const Segment& sealed, bool has_state) const;
  SegmentsEnd Reached() const;
  // Takes what was written into the active segment. Pre: it follows written_end().
  void TakeWritten(const raft::core::Entry& entry);
  // Takes the first of uncommitted_ into the active segment's index.
  void Note();
  // After the last entry that is written.
  LogPoint written_end() const {
    return uncommitted_.empty() ? end_ : EndAfter(uncommitted_.back().header);
  }
  uint64_t written_position() const;
  // Whether `status`, of a read of the segment that begins there, tells of damage.
  bool IsDamage(LogIndex first, const Status& status) const {
    const bool is_given_up = status.code() == Code::kUnavailable && unreadable_.contains(first);
    return is_given_up || status.code() == Code::kDataLoss;
  }
  // `status` of a read of the segment that begins there, with its name.
  Status Met(LogIndex first, const Status& status);
  // ABORTED: another file took its place meanwhile, in which entries lie elsewhere.
  void OpenSegment(Segment& segment, MoveFunction<void(Result<std::shared_ptr<File>>)> done);
  std::string Name(const Segment& segment) const {
    return SegmentPath(folder_, segment.first_index);
  }

  FileSystem* files_;
  const SegmentFolder folder_;
  std::deque<Segment> segments_;  // in order; the last may be active
  LogPoint end_;                  // of what is committed
  std::deque<Written> uncommitted_;
  InForce in_force_;  // at end_
  uint32_t settled_pass_ = 0;
  bool has_new_names_ = false;  // the directory must be synced with the file
  bool has_directory_ = false;
  Status fault_;  // the first error of a change
  DamageListener damage_listener_;
  std::set<LogIndex> unreadable_;  // sealed segments of which an error of the disk is damage
  bool takes_errors_for_damage_ = false;
  std::deque<Operation> operations_;
  bool is_running_ = false;
};

}  // namespace millrace::storage

// The segments of one replica: committed entries, written through the page cache, sealed with a
// footer when the shard says so, read back by index or offset (design D4, "Segments").
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
//   segments.Append(entries, [](Status written) { ... });   // readable from now on
//   segments.Sync([](Result<SyncedEnd> durable) { ... });
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
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

namespace millrace::storage {

using journal::LogPoint;

// How far a log is synced, and the configuration in force there.
struct SyncedEnd {
  LogPoint end;
  LogIndex configuration_index;  // of the entry that says so; 0: what the replica began with
  raft::core::Configuration configuration;
};

// What recovery found of a group's segments.
struct RecoveredSegments {
  std::vector<raft::core::TermStart> term_starts;
  // The state of the newest segment that was sealed with one.
  std::optional<raft::Snapshot> snapshot;
  Offset next_offset;
  uint64_t active_bytes = 0;  // of the segment that is written on
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

  // Finds what is on disk of the log that the journal tells of. Between its begin and its end,
  // damage or absence is DATA_LOSS naming the file. What lies above is discarded, to be written
  // again; what lies below the begin is a leftover of what was dropped, and goes. UNIMPLEMENTED:
  // another build wrote it, and nothing is touched. Another error may pass: a fresh GroupSegments
  // may try again.
  void Recover(const journal::LogRecord& log, LastFile last_file,
               MoveFunction<void(Result<RecoveredSegments>)> done);

  // Writes entries that follow on; readable once `done` is ok.
  void Append(std::vector<raft::core::Entry> entries, StatusDone done);
  // Makes everything appended so far durable, names included.
  void Sync(MoveFunction<void(Result<SyncedEnd>)> done);
  // Ends the active segment after its last entry, durably; with the state machine's state there, if
  // whoever asks has one. Pre: MayFollowFrames(state), as any protobuf may.
  void Seal(std::optional<Bytes> state, MoveFunction<void(Result<SyncedEnd>)> done);
  // Removes the folder with all files, after what was asked for before.
  void Remove(StatusDone done);

  // Entries from `first` on; see raft::LogStore::Read.
  void Read(LogIndex first, uint64_t bytes_max, raft::EntriesDone done);
  void ReadFromOffset(Offset offset, uint64_t bytes_max, raft::EntriesDone done);
  // See raft::LogStore::FindTimestamp.
  void FindTimestamp(int64_t timestamp_ms, LogIndex before, raft::IndexDone done);

 private:
  class Recovery;
  class Reader;
  class Finder;
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
    bool is_sealed = false;
    std::shared_ptr<File> file;  // null: sealed, opened by each read; shared with reads under way
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
  void SyncNow(MoveFunction<void(Result<SyncedEnd>)> done);
  void SyncNames(std::vector<std::string> directories, StatusDone done);
  void SealNow(std::optional<Bytes> state, MoveFunction<void(Result<SyncedEnd>)> done);
  internal::v1::SegmentFooter MakeFooter(const Segment& segment) const;
  SyncedEnd Reached() const;
  // Takes an entry at `position` into the active segment's index. Pre: it follows end_.
  void Note(const FrameHeader& header, const raft::core::Entry& entry, uint64_t position);
  void OpenSegment(Segment& segment, MoveFunction<void(Result<std::shared_ptr<File>>)> done);
  std::string Name(const Segment& segment) const {
    return SegmentPath(folder_, segment.first_index);
  }

  FileSystem* files_;
  const SegmentFolder folder_;
  std::deque<Segment> segments_;  // in order; the last may be active
  LogPoint end_;                  // of what is written
  InForce in_force_;              // at end_
  bool has_new_names_ = false;    // the directory must be synced with the file
  bool has_directory_ = false;
  Status fault_;  // the first error of a change
  std::deque<Operation> operations_;
  bool is_running_ = false;
};

}  // namespace millrace::storage

// One group's segments on a simulated disk, with waiting calls, and entries that follow on.
//
// One per test; one thread.
//
//   SegmentRig rig(1);
//   rig.Append(rig.maker.Batch(3, 100));
//   LogPoint end = rig.Sync();
//   rig.Restart(/*power=*/true);
//   EXPECT_TRUE(rig.Recover(end).ok());
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "storage/segment/group_segments.h"
#include "storage/segment/verifier.h"
#include "tests/support/sim_file/sim_disk.h"
#include "tests/support/sim_file/sim_file_system.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::storage {

// Makes a group's entries, each linked to the one before.
class EntryMaker {
 public:
  explicit EntryMaker(RaftGroupId group) : group_(group) {}

  raft::core::Entry Batch(uint32_t records, uint32_t payload_bytes, char fill = 'x');
  raft::core::Entry BatchOf(uint32_t records, std::string_view payload);
  // One record of that time.
  raft::core::Entry BatchAt(int64_t timestamp_ms, uint32_t payload_bytes);
  raft::core::Entry NoOp();
  // The marker of a producer's transaction that was aborted, and had begun so many offsets before;
  // 0: of one that was committed.
  raft::core::Entry Marker(ProducerId producer, uint64_t reach);
  raft::core::Entry Configure(const raft::core::Configuration& configuration);
  void set_term(Term term) { term_ = term; }
  // Of what is made from now on.
  void set_append_time_ms(int64_t time_ms) { append_time_ms_ = time_ms; }
  const LogPoint& end() const { return end_; }
  // Goes on after another end, as a new leader's log does.
  void ResetTo(const LogPoint& end) { end_ = end; }

 private:
  raft::core::Entry Make(FrameHeader header, Buffer buffer);

  const RaftGroupId group_;
  Term term_{1};
  int64_t append_time_ms_ = 0;
  LogPoint end_;
};

class SegmentRig {
 public:
  static constexpr RaftGroupId kGroup{7};
  static constexpr SegmentFolder kFolder{.group = kGroup, .number = ReplicaNumber(3)};

  explicit SegmentRig(uint64_t seed);
  ~SegmentRig();

  // Writes and commits.
  Status TryAppend(std::vector<raft::core::Entry> entries);
  Status TryWrite(const std::vector<raft::core::Entry>& entries);
  Result<LogPoint> TryCommit(LogIndex index);
  Status TryTruncate(LogIndex from);
  Result<LogPoint> TrySync();
  Result<LogPoint> TrySeal(const std::optional<std::string>& state);
  Result<LogPoint> TryCheckpoint(const std::string& state);
  // The same, to succeed.
  void Append(raft::core::Entry entry);
  LogPoint Sync();
  LogPoint Seal(const std::optional<std::string>& state);
  LogPoint Checkpoint(const std::string& state);
  // What the last sync or seal said of the configuration.
  const SegmentsEnd& reached() const { return reached_; }
  // A filled group: `segments` sealed ones with `entries` each and one more that is synced, not
  // sealed.
  LogPoint Fill(uint64_t segments, uint64_t entries, uint32_t payload_bytes);

  Result<std::vector<raft::core::Entry>> Read(uint64_t first, uint64_t bytes_max);
  Result<std::vector<raft::core::Entry>> Salvage(uint64_t first, uint64_t bytes_max);
  Result<std::vector<raft::core::Entry>> ReadFromOffset(int64_t offset, uint64_t bytes_max);

  Result<LogIndex> FindTimestamp(int64_t timestamp_ms, LogIndex before, Offset from = Offset());
  Result<int64_t> FindNewestTime(Offset from);
  Result<raft::AppendTime> AppendTimeOf(int64_t offset) {
    return segments_->AppendTimeOf(Offset(offset));
  }
  Result<std::vector<VoidRange>> VoidRangesOf(int64_t first, int64_t end) {
    return segments_->VoidRangesOf(Offset(first), Offset(end));
  }
  Status DropTo(LogIndex begin);
  // Writes what is asked for once the drop was; ends once it is written.
  Status WriteBesideDropTo(LogIndex begin, raft::core::Entry entry);
  // Reads that have looked for their segment when the drop begins.
  Result<std::vector<raft::core::Entry>> ReadBesideDropTo(LogIndex begin, uint64_t first);
  Result<std::vector<raft::core::Entry>> ReadFromOffsetBesideDropTo(LogIndex begin, int64_t offset);

  // The process goes on, with segments that know nothing yet.
  void Forget() { segments_ = std::make_shared<GroupSegments>(*files_, kFolder); }
  // The process ends; with `power` its unsynced writes too. The next one looks into `folder`.
  void Restart(bool power, const SegmentFolder& folder = kFolder);
  // The process ends in that operation of a seal, 1 being its write, and another begins.
  void DieWhileSealing(const std::string& state, uint64_t operation);
  // See storage/segment/folders.h.
  Status RemoveFolders(std::function<bool(const SegmentFolder&)> is_left_over);
  Result<RecoveredSegments> Recover(const LogPoint& synced_end,
                                    LastFile last_file = LastFile::kKept);
  Result<RecoveredSegments> Recover(const journal::LogRecord& log,
                                    LastFile last_file = LastFile::kKept,
                                    LogAbove above = LogAbove::kNothing);
  // Why these are not what was synced; ok if they are.
  Status RecoverDamaged(const journal::LogRecord& log);
  Status RecoverDamaged(const LogPoint& synced_end) { return RecoverDamaged(LogUpTo(synced_end)); }
  VerifiedSegments Verify(const LogPoint& synced_end) { return Verify(LogUpTo(synced_end)); }
  VerifiedSegments Verify(const journal::LogRecord& log);
  // As the journal has it: with the configuration that was in force there.
  journal::LogRecord LogUpTo(const LogPoint& synced_end) const;
  // Paths of segments on the disk, sorted.
  std::vector<std::string> Files() const;
  // A segment's header says more at that byte, and its checksum is right.
  static void ChangeHeader(size_t at, std::string* segment);
  // Every entry that was appended can be read, one by one by index, and comes back byte for byte.
  void ExpectAllReadable(uint64_t last);

  sim::SimDisk disk;
  EntryMaker maker{kGroup};
  std::vector<raft::core::Entry> entries;  // all that were appended, from index 1 on

 private:
  template <typename T>
  T Wait(const std::function<void(MoveFunction<void(T)>)>& begin);

  sim::SimWorld world_;
  Random random_;
  sim::SimProcess* process_;
  std::unique_ptr<sim::SimFileSystem> files_;
  std::shared_ptr<GroupSegments> segments_;
  SegmentsEnd reached_;
};

}  // namespace millrace::storage

// Reads a data directory that no broker has open and tells what is in it. The reading is the
// broker's own, as far as that changes nothing: superblock, replay of the journal, recovery of
// segments (docs/formats.md). Files are reached through ReadOnlyFiles, so that nothing is made,
// changed or removed whatever that code may ask for.
//
// Damage ends nothing: what else can be read is read, and all of it is told. One group after the
// other, so that few files are open at a time.
//
// On `executor`, which the file system is bound to; keeps itself alive until `done`, which is
// called once. Whoever calls keeps brokers out meanwhile (DirectoryLock::AcquireForReading).
//
//   Inspection::Run({.verify = true}, {executor, files, clock}, [](Result<Report> report) { ... });
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "broker/controller/image.h"
#include "broker/inspect/report.h"
#include "proto/base/status.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/task.h"
#include "storage/file/read_only_files.h"
#include "storage/journal/replay.h"
#include "storage/segment/group_segments.h"
#include "storage/segment/verifier.h"

namespace millrace::broker {

class Inspection : public std::enable_shared_from_this<Inspection> {
 public:
  struct Options {
    // Reads every frame and state of the segments, and checks it. Without, sealed segments are
    // believed by header and footer, as at a start; the journal is read whole either way.
    bool verify = false;
  };
  struct Environment {
    Executor& executor;
    storage::FileSystem& files;
    const Clock& clock;
  };
  using Done = MoveFunction<void(Result<Report>)>;

  // NOT_FOUND if it holds no data; FAILED_PRECONDITION if it is another build's; DATA_LOSS if it
  // has no readable superblock, without which nothing else can be read.
  static void Run(const Options& options, const Environment& environment, Done done);

 private:
  using Groups = std::map<RaftGroupId, storage::journal::ReplayedGroup>;
  Inspection(const Options& options, const Environment& environment, Done done);

  void OnSuperblock(Result<storage::FoundSuperblock> found);
  void OnJournalListed(const Result<std::vector<std::string>>& names);
  void Replay(std::vector<storage::journal::FileImage> images);
  void ReportJournal();
  void ReportGroup(const storage::journal::ReplayedGroup& group);
  // The frames that are in the journal alone, of the group `at_`.
  void CheckJournalFrames();

  void NextGroup();
  void CountFiles(const std::vector<std::string>& names);
  void CountNextFile();
  void RecoverSegments();
  void OnRecovered(Result<storage::RecoveredSegments> recovered);
  void RestoreNames(storage::RecoveredSegments recovered);
  void VerifyGroup();
  void OnVerified(const storage::VerifiedSegments& verified);

  void ListGroups();
  void ListNextGroup();
  void OnFolders(RaftGroupId group, const Result<std::vector<std::string>>& names);
  void Finish();

  storage::SegmentFolder FolderOf(const storage::journal::ReplayedGroup& group) const;
  GroupReport& group_report() { return report_.groups.back(); }
  void Note(const std::string& path, const std::string& what);

  const Options options_;
  const Environment environment_;
  storage::ReadOnlyFiles files_;
  Done done_;
  Report report_;
  storage::journal::Replayed replayed_;
  Groups::iterator at_;                               // the group that is looked at
  std::shared_ptr<storage::GroupSegments> segments_;  // of it; shared with operations under way
  Status recovery_;                                   // of its segments
  std::vector<std::string> files_to_count_;
  std::vector<RaftGroupId> listed_;  // groups with a folder, to be looked into
  std::optional<Image> image_;
};

}  // namespace millrace::broker

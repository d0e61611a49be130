#include "broker/inspect/inspection.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "broker/inspect/controller_image.h"
#include "proto/frame/frame.h"
#include "raft/codec/entry_codec.h"
#include "storage/journal/file_pool.h"
#include "storage/journal/file_reader.h"
#include "storage/segment/format.h"

namespace millrace::broker {
namespace {

using storage::File;
using storage::journal::EntryPlace;
using storage::journal::FileImage;
using storage::journal::JournalFileName;
using storage::journal::ReplayedGroup;

constexpr char kJournal[] = "journal";
constexpr char kGroups[] = "groups";
constexpr uint64_t kSuperblockCopyBytes = 4096;

std::string InJournal(const std::string& name) { return std::string(kJournal) + "/" + name; }

// Errors of segments begin with the path that they are about.
Finding FindingOf(RaftGroupId group, const Status& why) {
  const std::string text(why.message());
  const size_t colon = text.find(": ");
  if (!text.starts_with(std::string(kGroups) + "/") || colon == std::string::npos) {
    return {.path = "", .position = {}, .group = group, .what = text};
  }
  return {.path = text.substr(0, colon),
          .position = {},
          .group = group,
          .what = text.substr(colon + 2)};
}

std::optional<RaftGroupId> ParseGroup(std::string_view name) {
  uint64_t group = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), group);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return RaftGroupId(group);
}

// A replica that the journal calls faulty is silent; of what kind, its cause says.
Status FaultOf(const ReplayedGroup& group) {
  using storage::journal::FaultCause;
  if (!group.ledger.fault.has_value()) return DataLoss(group.doubt);
  switch (group.ledger.fault->cause) {
    case FaultCause::kRot:
    case FaultCause::kDoubt:
      return DataLoss(group.doubt);
    case FaultCause::kIo:
      return Unavailable(group.doubt);
    case FaultCause::kNotUnderstood:
      return Unimplemented(group.doubt);
  }
  return DataLoss(group.doubt);
}

}  // namespace

void Inspection::Run(const Options& options, const Environment& environment, Done done) {
  const std::shared_ptr<Inspection> self(new Inspection(options, environment, std::move(done)));
  storage::Superblock::Read(self->files_, [self](Result<storage::FoundSuperblock> found) {
    self->OnSuperblock(std::move(found));
  });
}

Inspection::Inspection(const Options& options, const Environment& environment, Done done)
    : options_(options),
      environment_(environment),
      files_(environment.executor, environment.files),
      done_(std::move(done)) {}

void Inspection::Note(const std::string& path, const std::string& what) {
  report_.notes.push_back({.path = path, .position = {}, .group = {}, .what = what});
}

storage::SegmentFolder Inspection::FolderOf(const ReplayedGroup& group) const {
  return {.group = group.ledger.record.group,
          .number = group.ledger.record.number,
          .generation = group.ledger.log.generation};
}

void Inspection::OnSuperblock(Result<storage::FoundSuperblock> found) {
  if (!found.ok()) return done_(found.status());
  report_.superblock = std::move(*found);
  report_.is_verified = options_.verify;
  const storage::SuperblockFacts& facts = report_.superblock.newest.facts;
  if (const auto copy = report_.superblock.damaged_copy) {
    report_.Add(
        DataLoss("one of the two copies is damaged, by a power cut in its write or by the "
                 "disk; the other is whole, and a start writes both"),
        {.path = "SUPERBLOCK", .position = *copy * kSuperblockCopyBytes, .group = {}, .what = ""});
  }
  if (facts.cluster_level > KnownFeatureLevel()) {
    Note("", "the cluster is of feature level " + std::to_string(facts.cluster_level) +
                 ", and this build knows " + std::to_string(KnownFeatureLevel()) +
                 ": a newer build tells more");
  }
  files_.List(kJournal, [self = shared_from_this()](const Result<std::vector<std::string>>& names) {
    self->OnJournalListed(names);
  });
}

// The journal
// ------------------------------------------------------------------------------------

void Inspection::OnJournalListed(const Result<std::vector<std::string>>& names) {
  std::vector<std::string> whole;
  if (names.ok()) {
    for (const std::string& name : *names) {
      const auto parsed = JournalFileName::Parse(name);
      if (!parsed) continue;
      if (!parsed->is_new) {
        whole.push_back(name);
        report_.journal.bytes += parsed->bytes;
        continue;
      }
      Note(InJournal(name), "was being made when its broker ended; a start removes it");
    }
  } else if (names.status().code() != Code::kNotFound) {
    report_.Add(names.status(), {.path = kJournal, .position = {}, .group = {}, .what = ""});
    return ListGroups();
  }
  report_.journal.free_files = whole.size();
  storage::journal::FileReader::Read(
      environment_.executor, files_,
      {.directory = kJournal, .key = report_.superblock.newest.facts.journal_key}, std::move(whole),
      [self = shared_from_this()](Result<std::vector<FileImage>> images) {
        if (images.ok()) return self->Replay(*std::move(images));
        self->report_.Add(images.status(),
                          {.path = kJournal, .position = {}, .group = {}, .what = ""});
        self->ListGroups();
      });
}

void Inspection::Replay(std::vector<FileImage> images) {
  const storage::SuperblockFacts& facts = report_.superblock.newest.facts;
  Result<storage::journal::Replayed> replayed =
      storage::journal::Replay(facts.journal_key, std::move(images));
  if (!replayed.ok()) {
    report_.Add(replayed.status(), {.path = kJournal, .position = {}, .group = {}, .what = ""});
    return ListGroups();
  }
  replayed_ = std::move(*replayed);
  report_.journal.files = replayed_.live.size();
  report_.journal.free_files -= replayed_.live.size() + replayed_.unusable.size();
  if (replayed_.end_lsn == 0 && facts.stage != storage::BootstrapStage::kFresh) {
    report_.Add(DataLoss("it holds no readable journal, although one was written"),
                {.path = kJournal, .position = {}, .group = {}, .what = ""});
  }
  ReportJournal();
  at_ = replayed_.groups.begin();
  NextGroup();
}

void Inspection::ReportJournal() {
  report_.journal.last_block = replayed_.end_lsn;
  report_.journal.torn_write = replayed_.torn_write;
  if (const auto& torn = replayed_.torn_write) {
    report_.notes.push_back(
        {.path = InJournal(torn->name),
         .position = torn->offset,
         .group = {},
         .what = "the last write did not end, as a crash leaves it: no damage, since nothing in it "
                 "was acknowledged"});
  }
  for (const storage::journal::Damage& damage : replayed_.damage) {
    const bool is_missing = !JournalFileName::Parse(damage.file).has_value();
    report_.Add(DataLoss(damage.what),
                {.path = is_missing ? kJournal : InJournal(damage.file),
                 .position = is_missing ? std::nullopt : std::optional(damage.offset),
                 .group = {},
                 .what = is_missing ? "file " + damage.file + ": " + damage.what : ""});
  }
  for (const RaftGroupId group : replayed_.nameless) {
    report_.Add(DataLoss("the record of its creation was lost to damage"),
                {.path = kJournal, .position = {}, .group = group, .what = ""});
  }
  if (replayed_.may_lack_groups) {
    report_.Add(DataLoss("damage may have taken replicas without a trace: a broker makes no new "
                         "ones in this directory"),
                {.path = kJournal, .position = {}, .group = {}, .what = ""});
  }
}

void Inspection::ReportGroup(const ReplayedGroup& group) {
  GroupReport report{.record = group.ledger.record,
                     .hard_state = group.ledger.hard_state,
                     .log = group.ledger.log,
                     .end = group.ledger.log.end};
  report.journal_entries = group.frames.size();
  for (const auto& [index, frame] : group.frames) {
    report.journal_bytes += frame.size();
    report.end = storage::EndAfter(frame.header());
  }
  report_.groups.push_back(std::move(report));
  if (group.doubt.empty()) return;
  report_.Add(FaultOf(group), {.path = "", .position = {}, .group = at_->first, .what = ""});
}

// Their blocks' checksums are right, or replay had not taken them: this is about what was put in.
void Inspection::CheckJournalFrames() {
  for (const auto& [index, frame] : at_->second.frames) {
    const Status status = raft::DecodeEntry(frame).status();
    ++report_.verified_frames;
    if (status.ok()) continue;
    const EntryPlace& place = at_->second.ledger.entries.at(index).place;
    report_.Add(status.With("entry " + std::to_string(index.value())),
                {.path = InJournal(replayed_.live.at(place.file).name),
                 .position = place.offset,
                 .group = at_->first,
                 .what = ""});
  }
}

// Groups
// -------------------------------------------------------------------------------------------

void Inspection::NextGroup() {
  if (at_ == replayed_.groups.end()) return ListGroups();
  ReportGroup(at_->second);
  if (options_.verify) CheckJournalFrames();
  files_.List(storage::SegmentDirectory(FolderOf(at_->second)),
              [self = shared_from_this()](const Result<std::vector<std::string>>& names) {
                // What is missing, and should not be, recovery finds.
                self->CountFiles(names.ok() ? *names : std::vector<std::string>());
              });
}

void Inspection::CountFiles(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (storage::ParseSegmentName(name).has_value()) files_to_count_.push_back(name);
  }
  CountNextFile();
}

void Inspection::CountNextFile() {
  if (files_to_count_.empty()) return RecoverSegments();
  const std::string path =
      storage::SegmentDirectory(FolderOf(at_->second)) + "/" + files_to_count_.back();
  files_to_count_.pop_back();
  files_.Open(path, storage::OpenMode::kRead, storage::Caching::kPageCache,
              [self = shared_from_this()](const Result<std::unique_ptr<File>>& file) {
                ++self->group_report().segment_files;
                if (file.ok()) self->group_report().segment_bytes += (*file)->size();
                self->CountNextFile();
              });
}

void Inspection::RecoverSegments() {
  recovery_ = Status::Ok();
  // What the journal says of where the log of a group in doubt ends may be too old.
  if (!at_->second.doubt.empty()) return VerifyGroup();
  segments_ = std::make_shared<storage::GroupSegments>(files_, FolderOf(at_->second));
  const storage::journal::GroupLedger& ledger = at_->second.ledger;
  segments_->Recover(ledger.log, storage::AboveOf(ledger.log, ledger.epoch),
                     storage::LastFile::kOnlyRead,
                     [self = shared_from_this()](Result<storage::RecoveredSegments> recovered) {
                       self->OnRecovered(std::move(recovered));
                     });
}

void Inspection::OnRecovered(Result<storage::RecoveredSegments> recovered) {
  if (!recovered.ok()) {
    recovery_ = recovered.status();
    return VerifyGroup();
  }
  if (!recovered->written.empty()) {
    const storage::journal::LogPoint written =
        storage::EndAfter(recovered->written.back().frame.header());
    if (written.index > group_report().end.index) group_report().end = written;
  }
  if (!options_.verify) {  // which names it by itself
    for (const std::string& path : recovered->rotten_states) {
      report_.Add(DataLoss("the state in it is damaged; an older one, or all entries, do instead"),
                  {.path = path, .position = {}, .group = at_->first, .what = ""});
    }
  }
  if (at_->first != kControllerGroup) return VerifyGroup();
  RestoreNames(std::move(*recovered));
}

void Inspection::RestoreNames(storage::RecoveredSegments recovered) {
  ControllerLog log{.segments = segments_,
                    .snapshot = std::move(recovered.snapshot),
                    .segments_end = at_->second.ledger.log.end.index,
                    .entries = std::move(recovered.written)};
  const LogIndex written = log.segments_end + log.entries.size();
  for (const auto& [index, frame] : at_->second.frames) {
    if (index <= written) continue;
    Result<raft::core::Entry> entry = raft::MakeEntry(frame.header(), frame);
    if (!entry.ok()) break;
    log.entries.push_back(std::move(*entry));
  }
  const LogIndex committed =
      CommittedEnd(at_->second.ledger, log.entries, replayed_.controller_floor);
  std::erase_if(log.entries,
                [committed](const raft::core::Entry& entry) { return entry.index > committed; });
  RestoreImage(environment_.clock, std::move(log),
               [self = shared_from_this()](const RestoredImage& restored) {
                 self->image_ = restored.image;
                 self->report_.names_as_of = restored.image.applied_index();
                 if (!restored.why.ok()) {
                   self->report_.Add(
                       restored.why.With("the controller's image"),
                       {.path = "", .position = {}, .group = kControllerGroup, .what = ""});
                 }
                 self->VerifyGroup();
               });
}

void Inspection::VerifyGroup() {
  segments_.reset();
  if (!options_.verify) return OnVerified({});
  storage::VerifySegments(files_, FolderOf(at_->second), at_->second.ledger.log,
                          [self = shared_from_this()](const storage::VerifiedSegments& verified) {
                            self->OnVerified(verified);
                          });
}

void Inspection::OnVerified(const storage::VerifiedSegments& verified) {
  report_.verified_frames += verified.frames;
  for (const storage::SegmentFault& fault : verified.faults) {
    report_.Add(fault.why,
                {.path = fault.path, .position = fault.position, .group = at_->first, .what = ""});
  }
  // What ends a recovery is mostly among these, better placed.
  const bool is_told = std::any_of(
      verified.faults.begin(), verified.faults.end(),
      [this](const storage::SegmentFault& fault) { return fault.why.code() == recovery_.code(); });
  if (!recovery_.ok() && !is_told) {
    report_.Add(recovery_, FindingOf(at_->first, recovery_));
  }
  ++at_;
  NextGroup();
}

// Folders of segments that are no replica's
// --------------------------------------------------------

void Inspection::ListGroups() {
  files_.List(kGroups, [self = shared_from_this()](const Result<std::vector<std::string>>& names) {
    if (!names.ok()) {
      if (names.status().code() != Code::kNotFound) {
        self->report_.Add(names.status(),
                          {.path = kGroups, .position = {}, .group = {}, .what = ""});
      }
      return self->Finish();
    }
    for (const std::string& name : *names) {
      if (const auto group = ParseGroup(name)) self->listed_.push_back(*group);
    }
    std::sort(self->listed_.rbegin(), self->listed_.rend());
    self->ListNextGroup();
  });
}

void Inspection::ListNextGroup() {
  if (listed_.empty()) return Finish();
  const RaftGroupId group = listed_.back();
  listed_.pop_back();
  files_.List(storage::GroupDirectory(group),
              [self = shared_from_this(), group](const Result<std::vector<std::string>>& names) {
                self->OnFolders(group, names);
              });
}

void Inspection::OnFolders(RaftGroupId group, const Result<std::vector<std::string>>& names) {
  const auto known = replayed_.groups.find(group);
  const bool is_removed = replayed_.removed.contains(group);
  for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
    const auto folder = storage::ParseFolderName(group, name);
    if (!folder.has_value()) continue;
    if (known != replayed_.groups.end() && FolderOf(known->second) == *folder) continue;
    const bool goes =
        is_removed || (known != replayed_.groups.end() && known->second.doubt.empty());
    Note(storage::SegmentDirectory(*folder),
         goes ? "is left of a replica that is gone; a start removes it"
              : "is of a replica that the journal does not tell of");
  }
  ListNextGroup();
}

void Inspection::Finish() {
  for (GroupReport& group : report_.groups) {
    if (!image_.has_value() || group.record.kind != raft::ReplicaKind::kPartition) continue;
    const TopicId id = group.record.partition.topic;
    const TopicInfo* topic = image_->FindTopic(id);
    if (topic != nullptr) group.topic = topic->name;
    group.is_topic_deleted = topic == nullptr && image_->HasMade(id);
  }
  done_(std::move(report_));
}

}  // namespace millrace::broker

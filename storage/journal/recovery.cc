#include "storage/journal/recovery.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/frame/frame.h"
#include "raft/codec/entry_codec.h"

namespace millrace::storage::journal {
namespace {

constexpr uint64_t kReadPieceBytes = 1 << 20;
// A piece that cannot be read is asked for so often again, with this pause before each.
constexpr uint32_t kReadsAgainMax = 4;
constexpr Duration kReadAgainPause = std::chrono::milliseconds(500);
// Long after every opening is done.
constexpr Duration kKeeperPeriod = std::chrono::hours(1);

std::string ParentOf(const std::string& directory) {
  const size_t slash = directory.rfind('/');
  return slash == std::string::npos ? "" : directory.substr(0, slash);
}

}  // namespace

void Recovery::Start(std::unique_ptr<Journal> journal, Done done) {
  const std::shared_ptr<Recovery> recovery(new Recovery(std::move(journal), std::move(done)));
  recovery->Keep();
  recovery->MakeDirectory();
}

Recovery::Recovery(std::unique_ptr<Journal> journal, Done done)
    : journal_(std::move(journal)), done_(std::move(done)) {}

void Recovery::Keep() {
  keeper_ = journal_->environment_.executor.RunAfter(kKeeperPeriod,
                                                     [self = shared_from_this()] { self->Keep(); });
}

std::string Recovery::PathOf(const std::string& name) const {
  return journal_->options_.directory + "/" + name;
}

StatusDone Recovery::Then(void (Recovery::*next)()) {
  return [self = shared_from_this(), next](const Status& status) {
    if (!status.ok()) return self->GiveUp(status);
    ((*self).*next)();
  };
}

void Recovery::GiveUp(const Status& why) {
  if (!done_) return;
  journal_->environment_.executor.Cancel(keeper_);
  std::exchange(done_, {})(why.With("open the journal"));
}

void Recovery::MakeDirectory() {
  files().MakeDirectory(journal_->options_.directory,
                        [self = shared_from_this()](const Status& status) {
                          if (!status.ok()) return self->GiveUp(status);
                          self->files().SyncDirectory(ParentOf(self->journal_->options_.directory),
                                                      self->Then(&Recovery::ListFiles));
                        });
}

void Recovery::ListFiles() {
  files().List(journal_->options_.directory,
               [self = shared_from_this()](Result<std::vector<std::string>> names) {
                 if (!names.ok()) return self->GiveUp(names.status());
                 for (const std::string& name : *names) {
                   const auto parsed = JournalFileName::Parse(name);
                   if (!parsed) continue;
                   self->next_number_ = std::max(self->next_number_, parsed->number + 1);
                   (parsed->is_new ? self->unfinished_ : self->names_).push_back(name);
                 }
                 self->RemoveUnfinished();
               });
}

void Recovery::RemoveUnfinished() {
  if (unfinished_.empty()) return ReadNextFile();
  const std::string name = unfinished_.back();
  unfinished_.pop_back();
  files().Remove(PathOf(name), Then(&Recovery::RemoveUnfinished));
}

void Recovery::ReadNextFile() {
  if (next_ == names_.size()) return ReplayFiles();
  const std::string name = names_[next_++];
  files().Open(PathOf(name), OpenMode::kRead, Caching::kDirect,
               [self = shared_from_this(), name](Result<std::unique_ptr<File>> file) {
                 if (!file.ok()) return self->GiveUp(file.status());
                 self->ReadNextPiece(name, std::move(file).value(), "");
               });
}

// A piece that the disk can't read, however often it is asked, becomes zeros: damage, which replay
// weighs and which the groups in doubt keep for ever. So it is not believed at once.
void Recovery::ReadNextPiece(const std::string& name, std::shared_ptr<File> file,
                             std::string content) {
  const uint64_t at = content.size();
  if (at >= file->size()) {
    images_.push_back({.name = name,
                       .made_bytes = JournalFileName::Parse(name)->bytes,
                       .bytes = Bytes::Own(std::move(content))});
    return ReadNextFile();
  }
  const uint64_t size = std::min(kReadPieceBytes, BlockSize(file->size() - at));
  file->Read(at, size,
             [self = shared_from_this(), name, file, at,
              content = std::move(content)](const Result<Bytes>& bytes) mutable {
               if (bytes.ok()) {
                 content += bytes->view();
               } else if (bytes.status().code() != Code::kUnavailable) {
                 return self->GiveUp(bytes.status());
               } else if (self->failed_reads_++ < kReadsAgainMax) {
                 MILLRACE_SOMETIMES("a piece of the journal was read again after an error");
                 LOG(WARNING) << "journal can't be read, trying again offset=" << at << ": "
                              << bytes.status();
                 return self->ReadLater(name, file, std::move(content));
               } else {
                 LOG(ERROR) << "journal can't be read offset=" << at << ": " << bytes.status();
               }
               self->failed_reads_ = 0;
               content.resize(std::min(at + kReadPieceBytes, file->size()), '\0');
               self->ReadNextPiece(name, file, std::move(content));
             });
}

void Recovery::ReadLater(const std::string& name, std::shared_ptr<File> file, std::string content) {
  journal_->environment_.executor.RunAfter(
      kReadAgainPause, [self = shared_from_this(), name, file = std::move(file),
                        content = std::move(content)]() mutable {
        self->ReadNextPiece(name, std::move(file), std::move(content));
      });
}

void Recovery::ReplayFiles() {
  const Options& options = journal_->options_;
  Result<Replayed> replayed = Replay(options.key, images_);
  if (!replayed.ok()) return GiveUp(replayed.status());
  replayed_ = std::move(replayed).value();
  if (options.must_exist && replayed_.end_lsn == 0) {
    return GiveUp(DataLoss("directory " + options.directory +
                           " holds no readable journal, although one was written"));
  }
  std::erase_if(names_, [this](const std::string& name) {
    return std::find(replayed_.unusable.begin(), replayed_.unusable.end(), name) !=
           replayed_.unusable.end();
  });
  next_ = 0;
  OpenNextFile();
}

void Recovery::OpenNextFile() {
  if (next_ == names_.size()) return SetAsideUnusable();
  const std::string name = names_[next_++];
  files().Open(PathOf(name), OpenMode::kReadWrite, Caching::kPageCache,
               [self = shared_from_this(), name](Result<std::unique_ptr<File>> file) {
                 if (!file.ok()) return self->GiveUp(file.status());
                 self->SyncNextFile(name, std::move(file).value());
               });
}

// What was read may lie in a volatile cache still. Its fate must be settled before a message
// leaves.
void Recovery::SyncNextFile(const std::string& name, std::shared_ptr<File> file) {
  opened_.push_back({name, file, file->size()});
  file->Sync(Then(&Recovery::OpenNextFile));
}

// Out of the way, so that the next start does not doubt the groups again that are made from now on.
void Recovery::SetAsideUnusable() {
  if (replayed_.unusable.empty()) {
    return files().SyncDirectory(journal_->options_.directory, Then(&Recovery::BeginFirstFile));
  }
  const std::string name = replayed_.unusable.back();
  replayed_.unusable.pop_back();
  if (replayed_.end_lsn == 0) {
    return files().Remove(PathOf(name), Then(&Recovery::SetAsideUnusable));
  }
  unfinished_.push_back(name);
  SetAsideUnusable();
}

void Recovery::BeginFirstFile() {
  Journal& journal = *journal_;
  journal.pool_ = std::make_unique<FilePool>(
      journal.environment_.executor, files(),
      FilePool::Options{.directory = journal.options_.directory,
                        .file_bytes = journal.options_.file_bytes,
                        .next_number = next_number_},
      [raw = journal_.get()](const Status& status) { raw->OnFileTrouble(status); });
  std::map<std::string, uint64_t> sequences;
  for (const auto& [sequence, live] : replayed_.live) sequences[live.name] = sequence;
  for (JournalFile& file : opened_) {
    const auto live = sequences.find(file.name);
    if (live != sequences.end()) {
      file.filled_bytes = replayed_.live.at(live->second).filled_bytes;
      journal.live_[live->second] = std::move(file);
    } else {
      journal.pool_->Release(std::move(file));
    }
  }
  for (const auto& [group, removed] : replayed_.removed) {
    journal.ledger_.RestoreRemoved(group, removed);
  }
  journal.ledger_.RestoreControllerFloor(replayed_.controller_floor);
  for (const RaftGroupId group : replayed_.nameless) journal.ledger_.RestoreNameless(group);
  if (replayed_.may_lack_groups) journal.ledger_.RestoreMayLackGroups();
  for (auto& [group, state] : replayed_.groups) journal.ledger_.Restore(group, state.ledger);
  journal.next_file_ = replayed_.next_file;
  journal.next_lsn_ = replayed_.end_lsn + 1;
  journal.durable_lsn_ = replayed_.end_lsn;
  journal.previous_crc_ = replayed_.end_crc;
  // The keeper holds this recovery, and so the journal that holds this function.
  journal.opened_ = [this](const Status& status) { OnBegun(status); };
  journal.Roll(0);
}

void Recovery::OnBegun(const Status& status) {
  const auto self = shared_from_this();
  if (!status.ok()) return GiveUp(status);
  Finish();
}

void Recovery::Finish() {
  // Only now: while no new head said that these groups are in doubt, the evidence had to stay.
  if (!unfinished_.empty()) {
    const std::string name = unfinished_.back();
    unfinished_.pop_back();
    return files().Rename(PathOf(name), PathOf(name + ".damaged"), Then(&Recovery::Finish));
  }
  journal_->environment_.executor.Cancel(keeper_);
  OpenedJournal opened;
  opened.state = TakeState();
  opened.journal = std::move(journal_);
  for (const Damage& damage : opened.state.damage) {
    LOG(ERROR) << "journal is damaged file=" << damage.file << " offset=" << damage.offset << ": "
               << damage.what;
  }
  std::exchange(done_, {})(std::move(opened));
}

JournalState Recovery::TakeState() {
  JournalState state;
  for (const auto& [group, removed] : replayed_.removed) state.removed[group] = removed.number;
  state.controller_floor = replayed_.controller_floor;
  state.nameless = std::move(replayed_.nameless);
  state.damage = std::move(replayed_.damage);
  state.may_lack_groups = replayed_.may_lack_groups;
  for (auto& [id, replayed] : replayed_.groups) {
    GroupState& group = state.groups[id];
    group.record = std::move(replayed.ledger.record);
    group.hard_state = replayed.ledger.hard_state;
    group.epoch = replayed.ledger.epoch;
    group.log = std::move(replayed.ledger.log);
    if (!replayed.doubt.empty()) group.health = DataLoss(replayed.doubt, Reason::kReplicaSilent);
    for (auto& [index, frame] : replayed.frames) {
      Result<raft::core::Entry> entry = raft::MakeEntry(frame.header(), frame);
      if (!entry.ok()) {
        group.health = entry.status().With("read entry " + std::to_string(index.value()));
        break;
      }
      group.entries.push_back(std::move(entry).value());
    }
  }
  return state;
}

}  // namespace millrace::storage::journal

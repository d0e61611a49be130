#include "storage/journal/recovery.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "storage/journal/file_reader.h"

namespace millrace::storage::journal {
namespace {

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
  if (unfinished_.empty()) return ReadFiles();
  const std::string name = unfinished_.back();
  unfinished_.pop_back();
  files().Remove(PathOf(name), Then(&Recovery::RemoveUnfinished));
}

void Recovery::ReadFiles() {
  const Options& options = journal_->options_;
  FileReader::Read(journal_->environment_.executor, files(),
                   {.directory = options.directory, .key = options.key}, names_,
                   [self = shared_from_this()](Result<std::vector<FileImage>> images) {
                     if (!images.ok()) return self->GiveUp(images.status());
                     self->ReplayFiles(*std::move(images));
                   });
}

void Recovery::ReplayFiles(std::vector<FileImage> images) {
  const Options& options = journal_->options_;
  Result<Replayed> replayed = Replay(options.key, std::move(images));
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
  files().Open(PathOf(name), OpenMode::kReadWrite, Caching::kDirect,
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
  opened.state = StateOf(std::move(replayed_));
  opened.journal = std::move(journal_);
  for (const Damage& damage : opened.state.damage) {
    LOG(ERROR) << "journal is damaged file=" << damage.file << " offset=" << damage.offset << ": "
               << damage.what;
  }
  std::exchange(done_, {})(std::move(opened));
}

}  // namespace millrace::storage::journal

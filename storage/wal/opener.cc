#include "storage/wal/opener.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include <glog/logging.h>

#include "proto/frame/frame.h"

namespace millrace::storage::wal {

void Journal::Opener::Start() {
  files().MakeDirectory("journal", [self = shared_from_this()](Status made) {
    if (!made.ok()) return self->Fail(made);
    self->files().SyncDirectory("", [self](Status synced) {
      if (!synced.ok()) return self->Fail(synced);
      self->files().List("journal", [self](Result<std::vector<std::string>> names) {
        self->OnListed(std::move(names));
      });
    });
  });
}

void Journal::Opener::OnListed(Result<std::vector<std::string>> names) {
  if (!names.ok()) return Fail(names.status());
  for (std::string& name : *names) {
    if (!name.ends_with(".journal")) continue;
    const uint64_t number = std::strtoull(name.c_str(), nullptr, 10);
    journal_->next_file_number_ = std::max(journal_->next_file_number_, number + 1);
    names_.push_back(std::move(name));
  }
  std::reverse(names_.begin(), names_.end());  // Taken from the back.
  ReadNext();
}

void Journal::Opener::ReadNext() {
  if (names_.empty()) return OnAllRead();
  const std::string name = std::move(names_.back());
  names_.pop_back();
  files().Open("journal/" + name, OpenMode::kRead, Caching::kDirect,
               [self = shared_from_this(), name](Result<std::unique_ptr<File>> file) {
                 if (!file.ok()) return self->Fail(file.status());
                 self->file_ = std::move(*file);
                 const uint64_t size = (self->file_->size() + kBlockAlignment - 1) /
                                       kBlockAlignment * kBlockAlignment;
                 self->file_->Read(0, size, [self, name](Result<Bytes> bytes) {
                   self->OnRead(name, std::move(bytes));
                 });
               });
}

void Journal::Opener::OnRead(const std::string& name, Result<Bytes> bytes) {
  if (!bytes.ok()) return Fail(bytes.status());
  file_.reset();
  images_.push_back({.name = name, .bytes = std::move(*bytes)});
  ReadNext();
}

void Journal::Opener::OnAllRead() {
  Result<JournalState> state = Replay(images_);
  if (!state.ok()) return Fail(state.status());
  state_ = std::move(*state);
  if (state_.live.empty() && journal_->options_.must_exist) {
    return Fail(DataLoss("the data directory was used before, but holds no journal"));
  }
  for (const std::string& damage : state_.damage) LOG(ERROR) << "journal damage: " << damage;
  if (state_.torn_blocks > 0) {
    LOG(INFO) << "cut the journal's torn tail blocks=" << state_.torn_blocks
              << " lsn=" << state_.last_lsn;
  }
  for (const JournalFileImage& image : images_) {
    const bool is_live =
        std::any_of(state_.live.begin(), state_.live.end(),
                    [&image](const LiveFile& live) { return live.name == image.name; });
    if (is_live) continue;
    if (image.bytes.size() == journal_->options_.file_bytes) {
      journal_->free_.push_back(image.name);
    } else {
      unusable_.push_back(image.name);
    }
  }
  images_.clear();
  SyncNext(0);
}

void Journal::Opener::SyncNext(size_t at) {
  if (at == state_.live.size()) return RemoveNext();
  files().Open("journal/" + state_.live[at].name, OpenMode::kReadWrite, Caching::kPageCache,
               [self = shared_from_this(), at](Result<std::unique_ptr<File>> file) {
                 if (!file.ok()) return self->Fail(file.status());
                 self->file_ = std::move(*file);
                 self->file_->Sync([self, at](Status synced) {
                   self->file_.reset();
                   if (!synced.ok()) return self->Fail(synced);
                   self->SyncNext(at + 1);
                 });
               });
}

void Journal::Opener::RemoveNext() {
  if (unusable_.empty()) return Begin();
  const std::string name = std::move(unusable_.back());
  unusable_.pop_back();
  files().Remove("journal/" + name, [self = shared_from_this()](Status removed) {
    if (!removed.ok()) return self->Fail(removed);
    self->RemoveNext();
  });
}

void Journal::Opener::Begin() {
  Journal& journal = *journal_;
  journal.uuid_ = state_.journal_uuid != 0 ? state_.journal_uuid : journal.options_.uuid;
  journal.groups_ = state_.groups;
  journal.lsn_ = state_.last_lsn;
  journal.durable_lsn_ = state_.last_lsn;
  journal.last_crc_ = state_.last_crc;
  for (const LiveFile& live : state_.live) {
    journal.live_.push_back({.sequence = live.sequence, .name = live.name, .file = nullptr});
    journal.next_sequence_ = live.sequence + 1;
  }
  journal.is_busy_ = true;
  journal.Roll([self = shared_from_this()] {
    self->journal_->is_busy_ = false;
    journal::JournalState state = self->Recovered();
    self->done_(OpenedJournal{.journal = std::move(self->journal_), .state = std::move(state)});
  });
}

journal::JournalState Journal::Opener::Recovered() {
  journal::JournalState recovered;
  for (const std::string& damage : state_.damage) recovered.damage.push_back({.what = damage});
  for (auto& [id, group] : state_.groups) {
    if (group.is_removed) {
      recovered.removed.insert(id);
      continue;
    }
    if (!group.replica.has_value()) {
      recovered.nameless.insert(id);
      continue;
    }
    journal::GroupState& out = recovered.groups[id];
    out.record = *group.replica;
    out.hard_state = group.hard_state;
    out.epoch = group.epoch;
    out.segment_end = group.segment_end;
    out.health = group.health;
    for (const auto& [index, entry] : group.entries) {
      const Result<FrameHeader> header = ParseFrameHeader(entry.frame.view());
      if (!header.ok()) out.health = header.status();
      if (!header.ok()) break;
      out.entries.push_back(
          {.term = header->term,
           .index = index,
           .type = header->type == FrameType::kNoOp ? raft::core::EntryType::kNoOp
                   : header->type == FrameType::kConfiguration
                       ? raft::core::EntryType::kConfiguration
                       : raft::core::EntryType::kCommand,
           .chain = header->chain,
           .frame = entry.frame,
           .configuration = nullptr});
    }
  }
  return recovered;
}

}  // namespace millrace::storage::wal

#include "storage/wal/journal.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include <glog/logging.h>

#include "proto/base/mutants.h"
#include "storage/wal/opener.h"

namespace millrace::storage::wal {
namespace {

constexpr uint64_t kBlockBytesMax = 4 << 20;
constexpr uint64_t kZeroPiece = 1 << 20;

Bytes Zeros(uint64_t size) {
  Buffer buffer = Buffer::Allocate(size);
  std::memset(buffer.data(), 0, size);
  return std::move(buffer).Freeze();
}

// A group's record as the journal's records, in the order in which they count.
void Encode(const journal::GroupRecord& in, std::vector<Record>* out) {
  const RaftGroupId group = in.group;
  if (const auto* write = std::get_if<journal::LogWrite>(&in.body)) {
    if (write->hard_state.has_value()) out->push_back(HardStateRecord(group, *write->hard_state));
    if (write->truncate_from.has_value()) {
      out->push_back(TruncateRecord(group, write->epoch, *write->truncate_from));
    }
    for (const raft::core::Entry& entry : write->entries) {
      out->push_back(EntryRecord(group, write->epoch, entry.frame));
    }
  } else if (const auto* created = std::get_if<journal::ReplicaCreated>(&in.body)) {
    out->push_back(ReplicaRecordOf(created->record));
  } else if (std::holds_alternative<journal::ReplicaRemoved>(in.body)) {
    out->push_back(TombstoneRecord(group));
  } else if (const auto* synced = std::get_if<journal::SegmentSynced>(&in.body)) {
    out->push_back(SegmentEndRecord(group, synced->end));
  } else if (const auto* faulty = std::get_if<journal::ReplicaFaulty>(&in.body)) {
    out->push_back(InDoubtRecord(group, faulty->why));
  }
}

}  // namespace

// --- the door for other threads ----------------------------------------------------------------------

void JournalClient::Submit(std::vector<journal::GroupRecord> records, Executor& done_on,
                           Task done) const {
  executor_->Post([shared = shared_, on = &done_on, records = std::move(records),
                   done = std::move(done)]() mutable {
    if (shared->journal == nullptr) return;
    std::vector<Record> encoded;
    for (const journal::GroupRecord& record : records) Encode(record, &encoded);
    shared->journal->Submit(std::move(encoded), [on, done = std::move(done)]() mutable {
      on->Post(std::move(done));
    });
  });
}

Journal::Journal(const Options& options, Environment environment)
    : options_(options),
      environment_(std::move(environment)),
      shared_(std::make_shared<JournalClient::Shared>()) {
  shared_->journal = this;
  CHECK_EQ(options_.file_bytes % kZeroPiece, 0u);
  CHECK_GE(options_.live_files_max, 3u);
}

Journal::~Journal() {
  *is_alive_ = false;
  shared_->journal = nullptr;
}

bool Journal::Check(const Status& status, const char* what) {
  if (status.ok()) return true;
  // What the disk holds is unknown from here on: no further write may claim to be durable.
  is_busy_ = true;
  if (!std::exchange(is_failed_, true)) environment_.fail_stop(status.With(what));
  return false;
}

void Journal::Submit(std::vector<Record> records, Task done) {
  CHECK(!is_stopping_);
  CHECK(!records.empty());
  for (Record& record : records) queue_.push_back({.record = std::move(record), .done = {}});
  queue_.back().done = std::move(done);
  Pump();
}

void Journal::Pump() {
  if (is_busy_ || queue_.empty()) return;
  is_busy_ = true;
  CommitBlock();
}

// Everything that is queued, up to a block's limit, becomes one block and one sync.
void Journal::CommitBlock() {
  std::vector<Record> records;
  std::vector<Task> dones;
  uint64_t length = 0;
  while (!queue_.empty()) {
    Item& item = queue_.front();
    const uint64_t size = RecordSize(item.record);
    if (!records.empty() && length + size > kBlockBytesMax) break;
    length += size;
    records.push_back(std::move(item.record));
    if (item.done) dones.push_back(std::move(item.done));
    queue_.pop_front();
  }
  auto write = [this, records = std::move(records), dones = std::move(dones)]() mutable {
    for (const Record& record : records) ApplyWritten(record);
    WriteBlock(records, [this, dones = std::move(dones), alive = is_alive_](Status status) mutable {
      if (*alive && Check(status, "journal")) OnCommitted(std::move(dones));
    });
  };
  if (position_ + BlockSize(length) <= options_.file_bytes) return write();
  Roll(std::move(write));
}

void Journal::ApplyWritten(const Record& record) {
  const RecordView view{.type = record.type,
                        .group = record.group,
                        .epoch = record.epoch,
                        .payload = record.payload.view()};
  const Status status = ApplyRecord(view, live_.back().sequence, record.payload, &groups_);
  CHECK(status.ok()) << status;
}

void Journal::WriteBlock(const std::vector<Record>& records, StatusDone done) {
  ++lsn_;
  const EncodedBlock block = EncodeBlock({.journal_uuid = uuid_,
                                          .file_sequence = live_.back().sequence,
                                          .lsn = lsn_.value(),
                                          .durable_lsn = durable_lsn_.value(),
                                          .previous_crc = last_crc_},
                                         records);
  CHECK_LE(position_ + block.size, options_.file_bytes);
  last_crc_ = block.header.header_crc;
  is_marked_ = records.empty();
  File* file = live_.back().file.get();
  const uint64_t at = position_;
  position_ += block.size;
  file->Write(
      at, block.pieces,
      [this, file, lsn = lsn_, done = std::move(done), alive = is_alive_](Status status) mutable {
        if (!*alive) return;
        if (!Check(status, "journal")) return;
        auto synced = [this, lsn, done = std::move(done), alive](Status result) mutable {
          if (!*alive) return;
          if (result.ok()) durable_lsn_ = std::max(durable_lsn_, lsn);
          done(std::move(result));
        };
        if (MILLRACE_MUTANT(kJournalSkipsSync)) return synced(Status::Ok());
        file->Sync(std::move(synced));
      });
}

void Journal::OnCommitted(std::vector<Task> dones) {
  is_busy_ = false;
  for (Task& done : dones) done();
  if (pressure_ > 0.25) UpdatePressure();
  PrepareSpare();
  if (queue_.empty()) {
    ScheduleMarker();
  } else {
    Pump();
  }
}

void Journal::ScheduleMarker() {
  environment_.executor.Cancel(marker_timer_);
  marker_timer_ = environment_.executor.RunAfter(options_.marker_delay, [this, alive = is_alive_] {
    if (*alive && !is_busy_ && !is_marked_) WriteMarker();
  });
}

void Journal::WriteMarker() {
  is_busy_ = true;
  auto write = [this] {
    WriteBlock({}, [this, alive = is_alive_](Status status) {
      if (*alive && Check(status, "journal")) OnCommitted({});
    });
  };
  if (position_ + BlockSize(0) <= options_.file_bytes) return write();
  Roll(std::move(write));
}

void Journal::Stop(Task done) {
  CHECK(queue_.empty() || !is_stopping_);
  is_stopping_ = true;
  environment_.executor.Cancel(marker_timer_);
  if (is_busy_) {
    environment_.executor.RunAfter(std::chrono::milliseconds(1),
                                   [this, done = std::move(done), alive = is_alive_]() mutable {
                                     if (*alive) Stop(std::move(done));
                                   });
    return;
  }
  if (is_marked_) return done();
  is_busy_ = true;
  WriteBlock({}, [done = std::move(done)](Status) mutable { done(); });
}

// --- files
// -----------------------------------------------------------------------------------------

void Journal::Roll(Task done) {
  if (MILLRACE_MUTANT(kRecycleBeforeCheckpoint)) Recycle(OldestPinned());
  if (!free_.empty()) return BeginFile(std::move(done));
  CreateFile([this, done = std::move(done), alive = is_alive_](Status status) mutable {
    if (*alive && Check(status, "create a journal file")) BeginFile(std::move(done));
  });
}

void Journal::CreateFile(StatusDone done) {
  char name[32];
  std::snprintf(name, sizeof(name), "%06llu.journal",
                static_cast<unsigned long long>(next_file_number_++));
  auto created = std::make_shared<OpenFile>();
  created->name = name;
  environment_.files.Open(std::string("journal/") + name, OpenMode::kCreate, Caching::kPageCache,
                          [this, created, done = std::move(done),
                           alive = is_alive_](Result<std::unique_ptr<File>> file) mutable {
                            if (!*alive) return;
                            if (!file.ok()) return done(file.status());
                            created->file = std::move(*file);
                            ZeroNext(created, 0, std::move(done));
                          });
}

// Writes zeros a piece at a time, so that commits pass between the pieces.
void Journal::ZeroNext(std::shared_ptr<OpenFile> file, uint64_t position, StatusDone done) {
  if (position < options_.file_bytes) {
    static const Bytes kZeros = Zeros(kZeroPiece);
    File* raw = file->file.get();
    return raw->Write(
        position, {kZeros},
        [this, file, position, done = std::move(done), alive = is_alive_](Status status) mutable {
          if (!*alive) return;
          if (!status.ok()) return done(std::move(status));
          ZeroNext(std::move(file), position + kZeroPiece, std::move(done));
        });
  }
  File* raw = file->file.get();
  raw->Sync([this, file, done = std::move(done), alive = is_alive_](Status status) mutable {
    if (!*alive) return;
    if (!status.ok()) return done(std::move(status));
    auto synced = [this, name = file->name, done = std::move(done), alive](Status result) mutable {
      if (!*alive) return;
      if (result.ok()) free_.push_back(name);
      done(std::move(result));
    };
    // The name must be durable before the file holds anything that is (hazard H25).
    if (MILLRACE_MUTANT(kSkipDirectorySync)) return synced(Status::Ok());
    environment_.files.SyncDirectory("journal", std::move(synced));
  });
}

// Has the next file ready when half of this one is used, so that a roll does not wait for zeros.
void Journal::PrepareSpare() {
  if (is_preparing_ || !free_.empty() || position_ < options_.file_bytes / 2) return;
  is_preparing_ = true;
  CreateFile([this, alive = is_alive_](Status status) {
    if (!*alive) return;
    is_preparing_ = false;
    Check(status, "create a journal file");
  });
}

void Journal::BeginFile(Task done) {
  CHECK(!free_.empty());
  const std::string name = free_.front();
  free_.pop_front();
  environment_.files.Open(
      "journal/" + name, OpenMode::kReadWrite, Caching::kPageCache,
      [this, name, done = std::move(done),
       alive = is_alive_](Result<std::unique_ptr<File>> file) mutable {
        if (!*alive || !Check(file.status(), "open a journal file")) return;
        if (!live_.empty()) live_.back().file.reset();
        live_.push_back({.sequence = next_sequence_++, .name = name, .file = std::move(*file)});
        position_ = 0;
        const uint64_t oldest = std::min(OldestPinned(), live_.back().sequence);
        WriteBlock(Checkpoint(oldest),
                   [this, oldest, done = std::move(done), alive](Status status) mutable {
                     if (!*alive || !Check(status, "journal")) return;
                     // Only now that a later checkpoint is durable may what came before it be
                     // overwritten.
                     Recycle(oldest);
                     UpdatePressure();
                     done();
                     AskForSpace();
                   });
      });
}

std::vector<Record> Journal::Checkpoint(uint64_t oldest) const {
  std::vector<Record> records;
  records.push_back(CheckpointRecord({.oldest_file_sequence = oldest, .end_lsn = lsn_.value()}));
  for (const auto& [id, group] : groups_) {
    if (group.is_removed) {
      records.push_back(TombstoneRecord(id));
      continue;
    }
    if (group.replica.has_value()) records.push_back(ReplicaRecordOf(*group.replica));
    records.push_back(HardStateRecord(id, group.hard_state));
    for (const Truncation& cut : group.truncations) {
      if (cut.file_sequence >= oldest) records.push_back(TruncateRecord(id, cut.epoch, cut.from));
    }
    if (group.segment_end.index > LogIndex()) {
      records.push_back(SegmentEndRecord(id, group.segment_end));
    }
    if (!group.health.ok()) records.push_back(InDoubtRecord(id, group.health.message()));
    records.push_back(LogEndRecord(id, group.epoch, group.last_index()));
  }
  return records;
}

uint64_t Journal::OldestPinned() const {
  uint64_t oldest = UINT64_MAX;
  for (const auto& [id, group] : groups_) {
    if (!group.health.ok()) continue;  // A stopped replica pins no files.
    for (const auto& [index, entry] : group.entries) {
      oldest = std::min(oldest, entry.file_sequence);
    }
  }
  return oldest;
}

std::vector<RaftGroupId> Journal::PinnersOf(uint64_t sequence) const {
  std::vector<RaftGroupId> pinners;
  for (const auto& [id, group] : groups_) {
    if (!group.health.ok()) continue;
    const bool pins = std::any_of(
        group.entries.begin(), group.entries.end(),
        [sequence](const auto& entry) { return entry.second.file_sequence <= sequence; });
    if (pins) pinners.push_back(id);
  }
  return pinners;
}

void Journal::Recycle(uint64_t oldest) {
  while (live_.size() > 1 && live_.front().sequence < oldest) {
    free_.push_back(live_.front().name);
    live_.pop_front();
  }
  for (auto& [id, group] : groups_) {
    std::erase_if(group.truncations, [this](const Truncation& cut) {
      return cut.file_sequence < live_.front().sequence;
    });
  }
}

void Journal::AskForSpace() {
  if (live_.size() < 2) return;
  const uint64_t oldest = live_.front().sequence;
  if (live_.size() * 4 >= options_.live_files_max * 3) CopyForward(oldest);
  if (!on_space_ || live_.size() * 2 < options_.live_files_max) return;
  // The older half of the live files should become free.
  const std::vector<RaftGroupId> pinners = PinnersOf(live_[live_.size() / 2].sequence);
  if (!pinners.empty()) on_space_(pinners);
}

// Entries that no segment may take yet, being uncommitted, are written again, with the epochs they
// had.
void Journal::CopyForward(uint64_t sequence) {
  std::vector<Record> copies;
  for (const auto& [id, group] : groups_) {
    if (!group.health.ok()) continue;
    for (const auto& [index, entry] : group.entries) {
      if (entry.file_sequence > sequence) continue;
      copies.push_back(EntryRecord(id, entry.epoch, entry.frame));
    }
  }
  if (!copies.empty() && !is_stopping_) Submit(std::move(copies), [] {});
}

void Journal::UpdatePressure() {
  const uint64_t newest = live_.empty() ? 0 : live_.back().sequence;
  const uint64_t oldest = std::min(OldestPinned(), newest);
  const double pressure =
      static_cast<double>(newest - oldest) / static_cast<double>(options_.live_files_max);
  if (pressure == pressure_) return;
  pressure_ = pressure;
  shared_->pressure.store(pressure, std::memory_order_relaxed);
}

void Journal::Open(const Options& options, Environment environment, OpenedDone done) {
  auto journal = std::unique_ptr<Journal>(new Journal(options, std::move(environment)));
  std::make_shared<Opener>(std::move(journal), std::move(done))->Start();
}

}  // namespace millrace::storage::wal

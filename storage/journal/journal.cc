#include "storage/journal/journal.h"

#include <algorithm>
#include <set>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "storage/journal/recovery.h"

namespace millrace::storage::journal {
namespace {

// A commit takes at most this part of a file, but for a single batch that is larger.
constexpr uint64_t kCommitsPerFileMin = 4;

bool IsControl(const GroupRecord& record) {
  const auto* write = std::get_if<LogWrite>(&record.body);
  if (write == nullptr) return true;
  return std::all_of(write->entries.begin(), write->entries.end(), [](const auto& entry) {
    return entry.type == raft::core::EntryType::kNoOp ||
           entry.type == raft::core::EntryType::kConfiguration;
  });
}

// What the record takes of a file, a little more at most.
uint64_t BytesOf(const GroupRecord& record) {
  constexpr uint64_t kSmallRecordsBytes = 128;
  uint64_t bytes = kSmallRecordsBytes;
  if (const auto* write = std::get_if<LogWrite>(&record.body)) {
    for (const auto& entry : write->entries) {
      bytes += RecordSize(kEntryPrefixSize + entry.frame.size());
    }
  } else if (const auto* created = std::get_if<ReplicaCreated>(&record.body)) {
    bytes += EncodeReplica(created->record).size();
  } else if (const auto* faulty = std::get_if<ReplicaFaulty>(&record.body)) {
    bytes += EncodeFault(faulty->fault).size();
  } else if (const auto* moved = std::get_if<LogMoved>(&record.body)) {
    bytes += EncodeLog(moved->log).size();
  }
  return bytes;
}

}  // namespace

void JournalClient::Submit(std::vector<GroupRecord> records, Executor& done_on, Task done) const {
  executor_->Post([shared = shared_, records = std::move(records), done_on = &done_on,
                   done = std::move(done)]() mutable {
    if (shared->journal == nullptr) return;
    shared->journal->Submit(std::move(records), *done_on, std::move(done));
  });
}

double JournalClient::pressure() const { return shared_->pressure.load(std::memory_order_relaxed); }

void Journal::Open(const Options& options, Environment environment,
                   MoveFunction<void(Result<OpenedJournal>)> done) {
  Recovery::Start(std::unique_ptr<Journal>(new Journal(options, std::move(environment))),
                  std::move(done));
}

Journal::Journal(const Options& options, Environment environment)
    : options_(options),
      environment_(std::move(environment)),
      owner_(environment_.executor),
      shared_(std::make_shared<JournalClient::Shared>()) {
  CHECK_NE(options_.key, 0U);
  CHECK_GE(options_.live_files_max, 3U);
  CHECK_EQ(options_.file_bytes % kBlockAlignment, 0U);
  shared_->journal = this;
}

Journal::~Journal() {
  MILLRACE_SOMETIMES_IF("a broker died while a journal file was recycled", is_recycling_);
  lifetime_.End();
  shared_->journal = nullptr;
}

void Journal::Submit(std::vector<GroupRecord> records, Executor& done_on, Task done) {
  owner_.Check();
  CHECK(!records.empty());
  CHECK(!is_stopping_) << "submitted after Stop";
  if (is_failed_) return;
  Batch batch{.records = std::move(records), .done_on = &done_on, .done = std::move(done)};
  batch.is_control = std::all_of(batch.records.begin(), batch.records.end(), IsControl);
  for (const GroupRecord& record : batch.records) batch.bytes += BytesOf(record);
  waiting_.push_back(std::move(batch));
  ScheduleFlush();
}

// Everything that was posted to this executor before the flush goes into the same commit.
void Journal::ScheduleFlush() {
  if (is_busy_ || std::exchange(is_flush_scheduled_, true)) return;
  environment_.executor.Post(lifetime_.Guard([this] {
    is_flush_scheduled_ = false;
    Flush();
  }));
}

void Journal::Flush() {
  if (is_busy_ || is_failed_) return;
  ServeReadings();
  if (WantsEarlyRoll()) return Roll(0);
  if (waiting_.empty() && copies_.empty()) return is_stopping_ ? FinishStop() : ArmMarker();
  uint64_t bytes = 0;
  for (const Copy& copy : copies_) bytes += RecordSize(kEntryPrefixSize + copy.frame.size());
  std::vector<Batch> batches = TakeBatches();
  for (const Batch& batch : batches) bytes += batch.bytes;
  const uint64_t room = BlocksBytesMax(bytes, options_.block_bytes);
  if (!HasRoom(room)) {
    // Back to the front, in their order: they are taken again once there is a file for them.
    waiting_.insert(waiting_.begin(), std::make_move_iterator(batches.begin()),
                    std::make_move_iterator(batches.end()));
    return Roll(room);
  }
  WriteCommit(std::move(batches), std::exchange(copies_, {}));
}

// What the next commit writes. Votes and terms come first: an election must not wait behind
// megabytes of entries. But a group's records keep their order, so that no batch overtakes one that
// has a record of the same group. The others follow in order up to the size of a commit; the first
// one passes whatever its size, since it would never fit.
std::vector<Journal::Batch> Journal::TakeBatches() {
  std::vector<Batch> control;
  std::vector<Batch> others;
  std::deque<Batch> left;
  std::set<RaftGroupId> passed;  // groups of batches that are not in `control`
  const uint64_t bytes_max =
      std::min(options_.commit_bytes_max, options_.file_bytes / kCommitsPerFileMin);
  uint64_t bytes = 0;
  for (Batch& batch : waiting_) {
    const bool may_overtake =
        batch.is_control && bytes < bytes_max &&
        std::none_of(
            batch.records.begin(), batch.records.end(),
            [&](const GroupRecord& record) { return passed.contains(record.replica.group); });
    if (may_overtake) {
      bytes += batch.bytes;
      control.push_back(std::move(batch));
      continue;
    }
    for (const GroupRecord& record : batch.records) passed.insert(record.replica.group);
    left.push_back(std::move(batch));
  }
  while (!left.empty()) {
    const bool is_first = control.empty() && others.empty();
    if (!is_first && bytes + left.front().bytes > bytes_max) break;
    bytes += left.front().bytes;
    others.push_back(std::move(left.front()));
    left.pop_front();
  }
  waiting_ = std::move(left);
  std::move(others.begin(), others.end(), std::back_inserter(control));
  return control;
}

BlockWriter Journal::StartBlocks(uint16_t flags, uint64_t block_bytes) const {
  CHECK(!live_.empty());
  return BlockWriter({.header = {.flags = flags,
                                 .key = options_.key,
                                 .file_sequence = live_.rbegin()->first,
                                 .oldest_file = oldest_file_,
                                 .lsn = next_lsn_,
                                 .durable_lsn = durable_lsn_,
                                 .previous_crc = previous_crc_},
                      .position = position_,
                      .block_bytes = block_bytes});
}

void Journal::WriteCommit(std::vector<Batch> batches, std::vector<Copy> copies) {
  is_busy_ = true;
  environment_.executor.Cancel(marker_timer_);
  BlockWriter writer = StartBlocks(0, options_.block_bytes);
  for (const Batch& batch : batches) {
    for (const GroupRecord& record : batch.records) WriteRecord(record, &writer);
  }
  for (const Copy& copy : copies) WriteCopy(copy, &writer);
  needs_marker_ = true;
  WriteBlocks(std::move(writer),
              [this, batches = std::move(batches)]() mutable { OnCommitted(std::move(batches)); });
}

void Journal::WriteRecord(const GroupRecord& record, BlockWriter* writer) {
  const raft::ReplicaId replica = record.replica;
  if (const auto* created = std::get_if<ReplicaCreated>(&record.body)) {
    CHECK(raft::ReplicaId(created->record.group, created->record.number) == replica);
    ledger_.Create(created->record);
    writer->Add({.type = RecordType::kReplica, .replica = replica}, EncodeReplica(created->record));
    return;
  }
  CHECK(ledger_.IsKnown(replica.group)) << "the journal knows no group " << replica.group;
  if (const auto* removed = std::get_if<ReplicaRemoved>(&record.body)) {
    if (ledger_.IsGone(replica)) return;
    ledger_.Remove(replica, removed->controller_index);
    writer->Add(
        {.type = RecordType::kTombstone, .replica = replica},
        EncodeTombstone({.number = replica.number, .controller_index = removed->controller_index}));
    return;
  }
  if (!ledger_.IsLive(replica)) return;
  if (const auto* write = std::get_if<LogWrite>(&record.body)) {
    WriteLog(replica, *write, writer);
  } else if (const auto* moved = std::get_if<LogMoved>(&record.body)) {
    if (moved->is_reset) {
      ledger_.ResetLog(replica.group, moved->log);
    } else {
      ledger_.MoveLog(replica.group, moved->log);
    }
    const uint8_t flags = moved->is_reset ? kReset : 0;
    writer->Add({.type = RecordType::kLog, .flags = flags, .replica = replica},
                EncodeLog(ledger_.at(replica.group).log));
  } else if (const auto* faulty = std::get_if<ReplicaFaulty>(&record.body)) {
    ledger_.MarkFaulty(replica.group, faulty->fault);
    writer->Add({.type = RecordType::kFaulty, .replica = replica}, EncodeFault(faulty->fault));
  }
}

void Journal::WriteLog(const raft::ReplicaId& replica, const LogWrite& write, BlockWriter* writer) {
  const RaftGroupId group = replica.group;
  if (write.hard_state) {
    ledger_.SetHardState(group, *write.hard_state);
    writer->Add({.type = RecordType::kHardState, .replica = replica},
                EncodeHardState(ledger_.HardStateOf(group)));
  }
  if (write.truncate_from) {
    ledger_.Truncate(group, {.epoch = write.epoch,
                             .from = *write.truncate_from,
                             .file_sequence = live_.rbegin()->first});
    writer->Add({.type = RecordType::kTruncation, .replica = replica},
                EncodeTruncation({.epoch = write.epoch, .from = *write.truncate_from}));
  }
  for (const raft::core::Entry& entry : write.entries) {
    const uint64_t at = writer->Add({.type = RecordType::kEntry, .replica = replica},
                                    EncodeEntryPrefix(write.epoch), entry.frame.bytes());
    ledger_.Append(group, entry, write.epoch,
                   {.file = live_.rbegin()->first, .offset = at, .size = entry.frame.size()});
  }
}

void Journal::WriteCopy(const Copy& copy, BlockWriter* writer) {
  // Truncated, synced into a segment or stopped since it was read: nobody needs it any more.
  if (!ledger_.IsLive(copy.group)) return;
  const GroupLedger& state = ledger_.at(copy.group);
  const auto entry = state.entries.find(copy.index);
  if (entry == state.entries.end()) return;
  const EntryPlace& place = entry->second.place;
  if (place.file != copy.place.file || place.offset != copy.place.offset) return;
  const uint64_t at =
      writer->Add({.type = RecordType::kEntry, .flags = kCopied, .replica = state.id()},
                  EncodeEntryPrefix(entry->second.epoch), copy.frame);
  ledger_.Move(copy.group, copy.index,
               {.file = live_.rbegin()->first, .offset = at, .size = copy.frame.size()});
}

void Journal::WriteBlocks(BlockWriter writer, Task synced) {
  CHECK(is_busy_);
  BlockWriter::Blocks blocks = std::move(writer).Finish();
  const std::shared_ptr<File> file = live_.rbegin()->second.file;
  const uint64_t at = position_;
  CHECK_LE(at + blocks.size, live_.rbegin()->second.bytes);
  position_ += blocks.size;
  previous_crc_ = blocks.last_crc;
  next_lsn_ = blocks.last_lsn + 1;
  auto on_synced = lifetime_.Guard([this, file, last_lsn = blocks.last_lsn,
                                    synced = std::move(synced)](const Status& status) mutable {
    if (!status.ok()) return Fail(status);
    durable_lsn_ = last_lsn;
    synced();
  });
  file->Write(
      at, std::move(blocks.pieces),
      lifetime_.Guard([this, file, on_synced = std::move(on_synced)](const Status& status) mutable {
        if (!status.ok()) return Fail(status);
        if (MILLRACE_MUTANT(kAckBeforeFsync)) return on_synced(Status::Ok());
        if (!MILLRACE_MUTANT(kRetriesFailedSync)) return file->Sync(std::move(on_synced));
        file->Sync([file, on_synced = std::move(on_synced)](const Status& first) mutable {
          if (first.ok()) return on_synced(first);
          file->Sync(std::move(on_synced));
        });
      }));
}

void Journal::OnCommitted(std::vector<Batch> batches) {
  is_busy_ = false;
  for (Batch& batch : batches) batch.done_on->Post(std::move(batch.done));
  PublishPressure();
  Flush();
}

void Journal::ArmMarker() {
  if (!needs_marker_) return;
  environment_.executor.Cancel(marker_timer_);
  marker_timer_ = environment_.executor.RunAfter(options_.marker_delay, lifetime_.Guard([this] {
    if (!is_busy_ && !is_failed_ && needs_marker_) WriteMarker();
  }));
}

void Journal::WriteMarker() {
  if (!HasRoom(kBlockAlignment)) return Roll(0);
  is_busy_ = true;
  WriteBlocks(StartBlocks(kMarkerBlock, options_.block_bytes), [this] {
    needs_marker_ = false;
    is_busy_ = false;
    Flush();
  });
}

void Journal::Stop(Task done) {
  owner_.Check();
  CHECK(!is_stopping_);
  is_stopping_ = true;
  stopped_ = std::move(done);
  ScheduleFlush();
  StopWithoutFile();
}

// On a full disk that could take for ever. Nobody was told of what is not written.
void Journal::StopWithoutFile() {
  if (!is_stopping_ || !is_waiting_for_file_ || file_trouble_.ok() || !stopped_) return;
  LOG(WARNING) << "the journal stops without the file that it waits for: " << file_trouble_;
  environment_.executor.Post(std::exchange(stopped_, {}));
}

void Journal::FinishStop() {
  if (needs_marker_) return WriteMarker();
  // The next start reads none of what a new head says is not needed.
  if (stopped_ && WouldGiveFilesBack()) return Roll(0);
  if (stopped_) std::exchange(stopped_, {})();
}

void Journal::Fail(const Status& why) {
  if (std::exchange(is_failed_, true)) return;
  if (opened_) {
    environment_.executor.Post(
        [opened = std::exchange(opened_, {}), why]() mutable { opened(why); });
    return;
  }
  LOG(ERROR) << "journal failed, nothing more is written: " << why;
  environment_.fail_stop(why.With("journal"));
}

void Journal::CheckInvariants() const {
  ledger_.CheckInvariants();
  CHECK_LE(durable_lsn_, next_lsn_ - 1);
  const std::optional<uint64_t> pinned = ledger_.OldestPinned();
  CHECK(!pinned || live_.contains(*pinned)) << "an entry's file " << *pinned << " is not live";
}

}  // namespace millrace::storage::journal

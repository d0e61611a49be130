#include "tests/storage/segment/segment_rig.h"

#include <cstring>
#include <optional>
#include <utility>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "proto/base/checksum.h"
#include "proto/frame/frame.h"
#include "raft/codec/entry_codec.h"
#include "storage/segment/folders.h"

namespace millrace::storage {

using raft::core::Entry;

Entry EntryMaker::Make(FrameHeader header, Buffer buffer) {
  header.group = group_;
  header.term = term_;
  header.index = end_.index + 1;
  header.base_offset = end_.next_offset;
  header.append_time_ms = append_time_ms_;
  header.payload_crc = Crc32c({FramePayload(buffer), header.payload_size});
  header.stored_crc = header.payload_crc;
  header.chain = FrameChain(end_.chain, header);
  end_ = EndAfter(header);
  Result<Entry> entry = raft::DecodeEntry(SealFrame(header, std::move(buffer)));
  CHECK(entry.ok()) << entry.status();
  return std::move(*entry);
}

Entry EntryMaker::Batch(uint32_t records, uint32_t payload_bytes, char fill) {
  return BatchOf(records, std::string(payload_bytes, fill));
}

Entry EntryMaker::BatchOf(uint32_t records, std::string_view payload) {
  Buffer buffer = AllocateFrame(payload.size());
  std::memcpy(FramePayload(buffer), payload.data(), payload.size());
  return Make({.type = FrameType::kRecordBatch,
               .payload_size = static_cast<uint32_t>(payload.size()),
               .offset_span = records,
               .record_count = records,
               .max_timestamp_ms = static_cast<int64_t>(end_.index.value())},
              std::move(buffer));
}

Entry EntryMaker::BatchAt(int64_t timestamp_ms, uint32_t payload_bytes) {
  Buffer buffer = AllocateFrame(payload_bytes);
  std::memset(FramePayload(buffer), 'x', payload_bytes);
  return Make({.type = FrameType::kRecordBatch,
               .payload_size = payload_bytes,
               .offset_span = 1,
               .record_count = 1,
               .max_timestamp_ms = timestamp_ms},
              std::move(buffer));
}

Entry EntryMaker::NoOp() {
  return Make({.type = FrameType::kNoOp, .flags = kFrameControl}, AllocateFrame(0));
}

Entry EntryMaker::Marker(ProducerId producer, uint64_t reach) {
  return Make({.type = FrameType::kTransactionMarker,
               .feature_level = kFeatureLevel,
               .flags = kFrameControl | kFrameTransactional,
               .producer_id = producer,
               .transaction_number = 1,
               .reach = reach},
              AllocateFrame(0));
}

Entry EntryMaker::Configure(const raft::core::Configuration& configuration) {
  const std::string payload = raft::EncodeConfiguration(configuration);
  Buffer buffer = AllocateFrame(payload.size());
  std::memcpy(FramePayload(buffer), payload.data(), payload.size());
  return Make({.type = FrameType::kConfiguration,
               .flags = kFrameControl,
               .payload_size = static_cast<uint32_t>(payload.size())},
              std::move(buffer));
}

SegmentRig::SegmentRig(uint64_t seed)
    : world_(seed), random_(world_.Fork()), process_(&world_.AddProcess("broker")) {
  files_ = std::make_unique<sim::SimFileSystem>(disk, process_->executor(), process_->Fork());
  segments_ = std::make_shared<GroupSegments>(*files_, kFolder);
}

SegmentRig::~SegmentRig() = default;

template <typename T>
T SegmentRig::Wait(const std::function<void(MoveFunction<void(T)>)>& begin) {
  auto outcome = std::make_shared<std::optional<T>>();
  begin([outcome](T value) { *outcome = std::move(value); });
  const bool is_done =
      world_.RunUntil([&] { return outcome->has_value(); }, std::chrono::seconds(60));
  CHECK(is_done) << "an operation did not end";
  return std::move(**outcome);
}

Status SegmentRig::TryAppend(std::vector<Entry> batch) {
  RETURN_IF_ERROR(TryWrite(batch));
  return TryCommit(batch.back().index).status();
}

Status SegmentRig::TryWrite(const std::vector<Entry>& batch) {
  return Wait<Status>([&](StatusDone done) { segments_->Append(batch, std::move(done)); });
}

Result<LogPoint> SegmentRig::TryCommit(LogIndex index) {
  ASSIGN_OR_RETURN(reached_, Wait<Result<SegmentsEnd>>(
                                 [&](auto done) { segments_->Commit(index, std::move(done)); }));
  return reached_.end;
}

Status SegmentRig::TryTruncate(LogIndex from) {
  return Wait<Status>([&](StatusDone done) { segments_->Truncate(from, std::move(done)); });
}

Result<LogPoint> SegmentRig::TrySync() {
  ASSIGN_OR_RETURN(reached_,
                   Wait<Result<SegmentsEnd>>([&](auto done) { segments_->Sync(std::move(done)); }));
  return reached_.end;
}

Result<LogPoint> SegmentRig::TrySeal(const std::optional<std::string>& state) {
  std::optional<Bytes> bytes;
  if (state.has_value()) bytes = Bytes::CopyOf(*state);
  ASSIGN_OR_RETURN(reached_, Wait<Result<SegmentsEnd>>(
                                 [&](auto done) { segments_->Seal(bytes, std::move(done)); }));
  return reached_.end;
}

Result<LogPoint> SegmentRig::TryCheckpoint(const std::string& state) {
  ASSIGN_OR_RETURN(reached_, Wait<Result<SegmentsEnd>>([&](auto done) {
                     segments_->Checkpoint(Bytes::CopyOf(state), std::move(done));
                   }));
  return reached_.end;
}

void SegmentRig::Append(Entry entry) {
  entries.push_back(entry);
  const Status status = TryAppend({std::move(entry)});
  ASSERT_TRUE(status.ok()) << status;
}

LogPoint SegmentRig::Sync() { return TrySync().value(); }
LogPoint SegmentRig::Seal(const std::optional<std::string>& state) {
  return TrySeal(state).value();
}
LogPoint SegmentRig::Checkpoint(const std::string& state) { return TryCheckpoint(state).value(); }

LogPoint SegmentRig::Fill(uint64_t segments, uint64_t count, uint32_t payload_bytes) {
  for (uint64_t i = 0; i <= segments; ++i) {
    for (uint64_t k = 0; k < count; ++k) {
      const bool is_control = k % 5 == 0;
      const auto records = static_cast<uint32_t>(1 + k % 3);
      if (is_control) maker.set_term(Term(i * 100 + k + 1));
      Append(is_control ? maker.NoOp() : maker.Batch(records, payload_bytes));
    }
    if (i < segments) Seal("state@" + std::to_string(maker.end().index.value()));
  }
  return Sync();
}

Result<std::vector<Entry>> SegmentRig::Read(uint64_t first, uint64_t bytes_max) {
  return Wait<Result<std::vector<Entry>>>(
      [&](auto done) { segments_->Read(LogIndex(first), bytes_max, std::move(done)); });
}

Result<std::vector<Entry>> SegmentRig::Salvage(uint64_t first, uint64_t bytes_max) {
  return Wait<Result<std::vector<Entry>>>(
      [&](auto done) { segments_->Salvage(LogIndex(first), bytes_max, std::move(done)); });
}

Result<std::vector<Entry>> SegmentRig::ReadFromOffset(int64_t offset, uint64_t bytes_max) {
  return Wait<Result<std::vector<Entry>>>(
      [&](auto done) { segments_->ReadFromOffset(Offset(offset), bytes_max, std::move(done)); });
}

Result<LogIndex> SegmentRig::FindTimestamp(int64_t timestamp_ms, LogIndex before, Offset from) {
  return Wait<Result<LogIndex>>(
      [&](auto done) { segments_->FindTimestamp(timestamp_ms, from, before, std::move(done)); });
}

Result<int64_t> SegmentRig::FindNewestTime(Offset from) {
  return Wait<Result<int64_t>>(
      [&](auto done) { segments_->FindNewestTime(from, std::move(done)); });
}

Status SegmentRig::DropTo(LogIndex begin) {
  return Wait<Status>([&](StatusDone done) { segments_->DropTo(begin, std::move(done)); });
}

Status SegmentRig::WriteBesideDropTo(LogIndex begin, Entry entry) {
  return Wait<Status>([&](StatusDone done) {
    segments_->DropTo(begin, [](const Status& dropped) { CHECK(dropped.ok()) << dropped; });
    segments_->Append({std::move(entry)}, std::move(done));
  });
}

Result<std::vector<Entry>> SegmentRig::ReadBesideDropTo(LogIndex begin, uint64_t first) {
  return Wait<Result<std::vector<Entry>>>([&](auto done) {
    segments_->Read(LogIndex(first), 1, std::move(done));
    segments_->DropTo(begin, [](const Status& dropped) { CHECK(dropped.ok()) << dropped; });
  });
}

Result<std::vector<Entry>> SegmentRig::ReadFromOffsetBesideDropTo(LogIndex begin, int64_t offset) {
  return Wait<Result<std::vector<Entry>>>([&](auto done) {
    segments_->ReadFromOffset(Offset(offset), 1, std::move(done));
    segments_->DropTo(begin, [](const Status& dropped) { CHECK(dropped.ok()) << dropped; });
  });
}

void SegmentRig::Restart(bool power, const SegmentFolder& folder) {
  process_->Kill();
  segments_.reset();
  files_.reset();
  if (power) disk.PowerLoss(random_);
  process_->Restart();
  files_ = std::make_unique<sim::SimFileSystem>(disk, process_->executor(), process_->Fork());
  segments_ = std::make_shared<GroupSegments>(*files_, folder);
}

void SegmentRig::DieWhileSealing(const std::string& state, uint64_t operation) {
  bool is_dead = false;
  disk.CrashAtOperation(operation, [&is_dead] { is_dead = true; });
  segments_->Seal(Bytes::CopyOf(state), [](const Result<SegmentsEnd>&) {});
  CHECK(world_.RunUntil([&is_dead] { return is_dead; }, std::chrono::seconds(60)));
  Restart(/*power=*/false);
}

Status SegmentRig::RemoveFolders(std::function<bool(const SegmentFolder&)> is_left_over) {
  return Wait<Status>([&](StatusDone done) {
    storage::RemoveFolders(*files_, kGroup, std::move(is_left_over), std::move(done));
  });
}

journal::LogRecord SegmentRig::LogUpTo(const LogPoint& synced_end) const {
  journal::LogRecord log{.end = synced_end};
  for (const Entry& entry : entries) {
    if (entry.configuration == nullptr || entry.index > synced_end.index) continue;
    log.configuration_index = entry.index;
    log.configuration = *entry.configuration;
  }
  return log;
}

Result<RecoveredSegments> SegmentRig::Recover(const LogPoint& synced_end, LastFile last_file) {
  return Recover(LogUpTo(synced_end), last_file);
}

Result<RecoveredSegments> SegmentRig::Recover(const journal::LogRecord& log, LastFile last_file,
                                              LogAbove above) {
  return Wait<Result<RecoveredSegments>>(
      [&](auto done) { segments_->Recover(log, above, last_file, std::move(done)); });
}

Status SegmentRig::RecoverDamaged(const journal::LogRecord& log) {
  const Result<RecoveredSegments> recovered = Recover(log);
  if (!recovered.ok() || recovered->damaged.empty()) return recovered.status();
  return recovered->damaged.front().why;
}

VerifiedSegments SegmentRig::Verify(const journal::LogRecord& log) {
  return Wait<VerifiedSegments>(
      [&](auto done) { VerifySegments(*files_, kFolder, log, std::move(done)); });
}

std::vector<std::string> SegmentRig::Files() const {
  std::vector<std::string> paths = disk.Paths();
  std::erase_if(paths, [](const std::string& path) { return !path.ends_with(".segment"); });
  return paths;
}

void SegmentRig::ChangeHeader(size_t at, std::string* segment) {
  SegmentHeader header;
  CHECK_GE(segment->size(), sizeof(header));
  (*segment)[at] = static_cast<char>((*segment)[at] + 1);
  std::memcpy(&header, segment->data(), sizeof(header));
  header.crc = 0;
  header.crc = Crc32c({reinterpret_cast<const char*>(&header), sizeof(header)});
  std::memcpy(segment->data(), &header, sizeof(header));
}

void SegmentRig::ExpectAllReadable(uint64_t last) {
  for (uint64_t index = 1; index <= last; ++index) {
    const Result<std::vector<Entry>> read = Read(index, 1);
    ASSERT_TRUE(read.ok()) << "index=" << index << " " << read.status();
    ASSERT_EQ(read->size(), 1U);
    const Entry& expected = entries.at(index - 1);
    EXPECT_EQ(read->front().index, LogIndex(index));
    EXPECT_EQ(read->front().frame.view(), expected.frame.view()) << "index=" << index;
  }
}

}  // namespace millrace::storage

#include "storage/wal/replay.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/mutants.h"
#include "proto/frame/frame.h"

namespace millrace::storage::wal {
namespace {

// A valid block's place.
struct Found {
  size_t file = 0;
  uint64_t position = 0;
  BlockHeader header;
};

struct Head {
  size_t file = 0;
  BlockHeader header;
  CheckpointPayload checkpoint;
};

std::string_view From(const JournalFileImage& file, uint64_t position) {
  const std::string_view bytes = file.bytes.view();
  return position < bytes.size() ? bytes.substr(position) : std::string_view();
}

// The header of a whole and undamaged block at `position`.
std::optional<BlockHeader> BlockAt(const JournalFileImage& file, uint64_t position) {
  const std::string_view bytes = From(file, position);
  const std::optional<BlockHeader> header = ParseBlockHeader(bytes);
  if (!header.has_value() || !ParseBlockRecords(*header, bytes).has_value()) return std::nullopt;
  return header;
}

class Replayer {
 public:
  explicit Replayer(const std::vector<JournalFileImage>& files) : files_(files) {}

  Result<JournalState> Run();

 private:
  void FindHeads();
  // Every intact block of the file sequence from `position` on, wherever damage may have hidden it.
  std::vector<Found> Scan(size_t file, uint64_t sequence, uint64_t position) const;
  void ReplayFile(uint64_t sequence, const Head* next);
  void OnBlock(const JournalFileImage& file, uint64_t position, const BlockHeader& header);
  void OnDamage(const std::string& file, uint64_t position, const std::string& what);
  void ClearDoubt(const std::vector<RecordView>& checkpoint, uint64_t sequence);
  void DropWhatSegmentsHave();

  const std::vector<JournalFileImage>& files_;
  std::map<uint64_t, Head> heads_;  // by file sequence
  JournalState state_;
  bool is_damaged_ = false;  // since the last checkpoint that was read
};

void Replayer::FindHeads() {
  for (size_t i = 0; i < files_.size(); ++i) {
    const std::optional<BlockHeader> header = BlockAt(files_[i], 0);
    if (!header.has_value()) continue;
    const auto records = ParseBlockRecords(*header, From(files_[i], 0));
    if (records->empty() || records->front().type != RecordType::kCheckpoint) continue;
    const Result<CheckpointPayload> checkpoint = ParseCheckpoint(records->front().payload);
    if (!checkpoint.ok()) continue;
    heads_[header->file_sequence] = {.file = i, .header = *header, .checkpoint = *checkpoint};
  }
}

std::vector<Found> Replayer::Scan(size_t file, uint64_t sequence, uint64_t position) const {
  std::vector<Found> found;
  for (; position < files_[file].bytes.size(); position += kBlockAlignment) {
    const std::optional<BlockHeader> header = BlockAt(files_[file], position);
    if (header.has_value() && header->file_sequence == sequence) {
      found.push_back({.file = file, .position = position, .header = *header});
    }
  }
  return found;
}

void Replayer::OnDamage(const std::string& file, uint64_t position, const std::string& what) {
  state_.damage.push_back("journal/" + file + " at byte " + std::to_string(position) + ": " + what);
  is_damaged_ = true;
  for (auto& [id, group] : state_.groups) {
    if (!group.is_removed && group.health.ok()) {
      group.health = DataLoss(state_.damage.back() + "; the replica's state is in doubt");
    }
  }
}

// A checkpoint after damage restates hard states and how far each log went: whoever is whole by it
// is not in doubt any more.
void Replayer::ClearDoubt(const std::vector<RecordView>& checkpoint, uint64_t sequence) {
  std::set<RaftGroupId> in_doubt;
  for (const RecordView& record : checkpoint) {
    const Status status = ApplyRecord(record, sequence, Bytes(), &state_.groups);
    if (!status.ok() || record.type == RecordType::kInDoubt) in_doubt.insert(record.group);
    if (record.type != RecordType::kLogEnd || in_doubt.contains(record.group)) continue;
    const Result<LogIndex> last = ParseIndex(record.payload);
    JournalGroup& group = state_.groups[record.group];
    const bool is_whole =
        last.ok() && group.last_index() == *last &&
        (group.entries.empty() || group.entries.begin()->first <= group.segment_end.index + 1);
    if (is_whole) group.health = Status::Ok();
  }
}

void Replayer::OnBlock(const JournalFileImage& file, uint64_t position, const BlockHeader& header) {
  const auto records = ParseBlockRecords(header, From(file, position));
  CHECK(records.has_value());
  state_.last_lsn = Lsn(header.lsn);
  state_.last_crc = header.header_crc;
  if (position == 0 && is_damaged_) {
    is_damaged_ = false;
    ClearDoubt(*records, header.file_sequence);
    return;
  }
  for (const RecordView& record : *records) {
    // Frames are copied out: a file's image must not stay in memory for one entry.
    Bytes frame = record.type == RecordType::kEntry ? Bytes::CopyOf(record.payload) : Bytes();
    const Status status =
        ApplyRecord(record, header.file_sequence, std::move(frame), &state_.groups);
    if (!status.ok()) OnDamage(file.name, position, std::string(status.message()));
  }
}

void Replayer::ReplayFile(uint64_t sequence, const Head* next) {
  const Head& head = heads_.at(sequence);
  const JournalFileImage& file = files_[head.file];
  const bool is_first = state_.last_lsn == Lsn();
  uint64_t position = 0;
  while (position < file.bytes.size()) {
    const std::optional<BlockHeader> header = BlockAt(file, position);
    const bool follows =
        header.has_value() && header->file_sequence == sequence &&
        header->journal_uuid == state_.journal_uuid &&
        ((is_first && position == 0) ||
         (header->lsn == state_.last_lsn.value() + 1 && header->previous_crc == state_.last_crc));
    if (follows) {
      OnBlock(file, position, *header);
      position += BlockSize(header->length);
      continue;
    }
    // Where the next file's synced head says that the journal ended here, what follows is nobody's.
    if (next != nullptr && next->checkpoint.end_lsn == state_.last_lsn.value()) return;
    const uint64_t missing = state_.last_lsn.value() + 1;
    const std::vector<Found> later = Scan(head.file, sequence, position);
    const bool was_durable =
        next != nullptr || std::any_of(later.begin(), later.end(), [missing](const Found& block) {
          return block.header.durable_lsn >= missing;
        });
    if (!was_durable || MILLRACE_MUTANT(kCutAtFirstBadChecksum)) {
      state_.torn_blocks += later.size() + 1;
      return;
    }
    OnDamage(file.name, position, "block " + std::to_string(missing) + " is damaged");
    // Goes on with the first intact block that is surely younger than the damage.
    auto resume = std::find_if(later.begin(), later.end(), [missing](const Found& block) {
      return block.header.lsn > missing;
    });
    if (resume == later.end()) {
      if (next != nullptr) {
        state_.last_lsn = Lsn(next->checkpoint.end_lsn);
        state_.last_crc = next->header.previous_crc;
      }
      return;
    }
    OnBlock(file, resume->position, resume->header);
    position = resume->position + BlockSize(resume->header.length);
  }
}

Result<JournalState> Replayer::Run() {
  FindHeads();
  if (heads_.empty()) {
    for (size_t i = 0; i < files_.size(); ++i) {
      for (uint64_t at = 0; at < files_[i].bytes.size(); at += kBlockAlignment) {
        const std::optional<BlockHeader> header = BlockAt(files_[i], at);
        // A first file whose head never became durable has no block that says that one was.
        if (header.has_value() && header->durable_lsn > 0) {
          return DataLoss("journal/" + files_[i].name +
                          " holds blocks, but no journal file has a readable checkpoint");
        }
      }
    }
    return std::move(state_);
  }
  const uint64_t newest = heads_.rbegin()->first;
  const uint64_t oldest = heads_.rbegin()->second.checkpoint.oldest_file_sequence;
  state_.journal_uuid = heads_.rbegin()->second.header.journal_uuid;
  for (uint64_t sequence = oldest; sequence <= newest; ++sequence) {
    auto head = heads_.find(sequence);
    if (head == heads_.end()) {
      OnDamage("file of sequence " + std::to_string(sequence), 0, "is missing or has no head");
      const auto after = heads_.upper_bound(sequence);
      state_.last_lsn = Lsn(after->second.checkpoint.end_lsn);
      state_.last_crc = after->second.header.previous_crc;
      continue;
    }
    auto next = heads_.upper_bound(sequence);
    ReplayFile(sequence,
               next == heads_.end() || next->first != sequence + 1 ? nullptr : &next->second);
    state_.live.push_back({.sequence = sequence, .name = files_[head->second.file].name});
  }
  // A newer file whose head is gone, though blocks in it tell that it had been synced.
  for (size_t i = 0; i < files_.size(); ++i) {
    for (const Found& block : Scan(i, newest + 1, 0)) {
      if (block.header.durable_lsn > state_.last_lsn.value()) {
        OnDamage(files_[i].name, 0, "the newest file's head is damaged");
        break;
      }
    }
  }
  DropWhatSegmentsHave();
  return std::move(state_);
}

void Replayer::DropWhatSegmentsHave() {
  for (auto& [id, group] : state_.groups) {
    group.entries.erase(group.entries.begin(), group.entries.upper_bound(group.segment_end.index));
    LogIndex expected = group.segment_end.index;
    for (const auto& [index, entry] : group.entries) {
      if (index == ++expected) continue;
      if (group.health.ok()) {
        group.health = DataLoss("the journal lacks entry " + std::to_string(expected.value()) +
                                " of group " + std::to_string(id.value()));
      }
      break;
    }
  }
}

}  // namespace

Status ApplyRecord(const RecordView& record, uint64_t file_sequence, Bytes frame,
                   std::map<RaftGroupId, JournalGroup>* groups) {
  if (record.type == RecordType::kCheckpoint) return {};
  JournalGroup& group = (*groups)[record.group];
  switch (record.type) {
    case RecordType::kEntry: {
      const Result<FrameHeader> header = ParseFrameHeader(frame.view());
      if (!header.ok()) return header.status();
      const LogIndex index = header->index;
      const bool is_void = std::any_of(
          group.truncations.begin(), group.truncations.end(),
          [&](const Truncation& cut) { return cut.epoch > record.epoch && cut.from <= index; });
      if (is_void && !MILLRACE_MUTANT(kIgnoreTruncationEpoch)) return {};
      if (index <= group.segment_end.index) return {};
      group.entries[index] = {.term = header->term,
                              .epoch = record.epoch,
                              .frame = std::move(frame),
                              .file_sequence = file_sequence};
      return {};
    }
    case RecordType::kHardState: {
      ASSIGN_OR_RETURN(group.hard_state, ParseHardState(record.payload));
      return {};
    }
    case RecordType::kTruncate: {
      ASSIGN_OR_RETURN(const LogIndex from, ParseIndex(record.payload));
      group.epoch = std::max(group.epoch, record.epoch);
      const bool is_known = std::any_of(
          group.truncations.begin(), group.truncations.end(),
          [&](const Truncation& cut) { return cut.epoch == record.epoch && cut.from == from; });
      if (!is_known) {
        group.truncations.push_back(
            {.epoch = record.epoch, .from = from, .file_sequence = file_sequence});
      }
      for (auto at = group.entries.lower_bound(from); at != group.entries.end();) {
        at = at->second.epoch < record.epoch ? group.entries.erase(at) : std::next(at);
      }
      return {};
    }
    case RecordType::kReplica: {
      ASSIGN_OR_RETURN(group.replica, ParseReplica(record.group, record.payload));
      return {};
    }
    case RecordType::kTombstone:
      group = JournalGroup{};
      group.is_removed = true;
      return {};
    case RecordType::kSegmentEnd: {
      ASSIGN_OR_RETURN(const SegmentEnd end, ParseSegmentEnd(record.payload));
      if (end.index > group.segment_end.index) group.segment_end = end;
      group.entries.erase(group.entries.begin(), group.entries.upper_bound(end.index));
      return {};
    }
    case RecordType::kLogEnd:
      group.epoch = std::max(group.epoch, record.epoch);
      return {};
    case RecordType::kInDoubt:
      group.health = DataLoss(std::string(record.payload));
      return {};
    case RecordType::kCheckpoint:
      return {};
  }
  return DataLoss("a journal record has the unknown type " +
                  std::to_string(static_cast<int>(record.type)));
}

Result<JournalState> Replay(const std::vector<JournalFileImage>& files) {
  return Replayer(files).Run();
}

}  // namespace millrace::storage::wal

#include "storage/journal/replay.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "raft/codec/entry_codec.h"
#include "storage/journal/file_scan.h"
#include "storage/journal/group_replay.h"

namespace millrace::storage::journal {
namespace {

constexpr uint64_t kNoLimit = UINT64_MAX;
constexpr std::string_view kBlockMagicBytes = "MRLJ";

class Replayer {
 public:
  Replayer(uint64_t key, std::vector<FileImage> images) : images_(std::move(images)) {
    for (const FileImage& image : images_) files_.push_back(ScanFile(key, image));
  }

  Result<Replayed> Run();

 private:
  // Maps sequences to files and finds where replay begins and ends.
  Status FindRange();
  // Up to block `limit`, with which a later file's head begins; `ends_at_limit` if that is the very
  // next file.
  Status WalkFile(const ScannedFile& file, uint64_t limit, bool ends_at_limit);
  Status Accept(const ScannedFile& file, const FoundBlock& block);
  void Lose(const std::string& name, uint64_t offset, uint64_t last_lsn, const std::string& what);
  void NoteTornWrite(const ScannedFile& file, uint64_t position);
  // The number of the block that the files after `sequence` begin with; kNoLimit if there is none.
  uint64_t LimitAfter(uint64_t sequence) const;

  std::vector<FileImage> images_;
  std::vector<ScannedFile> files_;  // one for each
  std::map<uint64_t, const ScannedFile*> by_sequence_;
  uint64_t oldest_ = 0;
  uint64_t newest_ = 0;

  uint64_t expected_lsn_ = 0;             // 0: whatever the first block says
  std::optional<uint32_t> expected_crc_;  // of the block before; nullopt after damage
  GroupReplay groups_;
  Replayed out_;
};

Status Replayer::FindRange() {
  const bool has_foreign = std::any_of(files_.begin(), files_.end(),
                                       [](const auto& file) { return file.has_foreign_blocks; });
  // Intact heads decide before headless files, which may be recycled ones with a torn head.
  for (const bool wants_head : {true, false}) {
    for (const ScannedFile& file : files_) {
      if (file.sequence == 0 || file.head.has_value() != wants_head) continue;
      by_sequence_.try_emplace(file.sequence, &file);
    }
  }
  if (by_sequence_.empty()) {
    if (has_foreign) return FailedPrecondition("journal files belong to another data directory");
    return Status::Ok();
  }
  newest_ = by_sequence_.rbegin()->first;
  oldest_ = OldestFileOf(*by_sequence_.rbegin()->second);
  if (oldest_ == 0 || oldest_ > newest_) {
    return DataLoss("journal file " + by_sequence_.rbegin()->second->image->name +
                    " says that replay begins at a file that cannot be");
  }
  return Status::Ok();
}

uint64_t Replayer::LimitAfter(uint64_t sequence) const {
  for (auto next = by_sequence_.upper_bound(sequence); next != by_sequence_.end(); ++next) {
    if (next->second->head) return next->second->blocks.front().header.lsn;
  }
  return kNoLimit;
}

void Replayer::Lose(const std::string& name, uint64_t offset, uint64_t last_lsn,
                    const std::string& what) {
  out_.may_lack_groups = true;
  out_.damage.push_back({.file = name,
                         .offset = offset,
                         .first_lsn = expected_lsn_,
                         .last_lsn = last_lsn,
                         .what = what});
  groups_.OnDamage("journal file " + name + ", byte " + std::to_string(offset) + ": " + what);
  expected_crc_.reset();
}

// A block that is intact is one of the file's earlier lives, or past a cut.
void Replayer::NoteTornWrite(const ScannedFile& file, uint64_t position) {
  const auto is_here = [position](const FoundBlock& block) { return block.position == position; };
  if (std::any_of(file.blocks.begin(), file.blocks.end(), is_here)) return;
  const std::string_view bytes = file.image->bytes.view();
  if (position >= bytes.size() || !bytes.substr(position).starts_with(kBlockMagicBytes)) return;
  out_.torn_write = {.name = file.image->name, .offset = position};
}

// A block in its place, with the key and all checksums right, is no damage: what this build cannot
// read of it is another build's, and must be neither skipped nor cut.
Status Replayer::Accept(const ScannedFile& file, const FoundBlock& block) {
  const std::string place =
      "journal file " + file.image->name + ", byte " + std::to_string(block.position);
  if (!IsKnown(block.header)) {
    return Unimplemented(place + ": a block of version " + std::to_string(block.header.version) +
                         ", flags " + std::to_string(block.header.flags) +
                         ", is of another build; this one knows version " +
                         std::to_string(kJournalVersion));
  }
  expected_lsn_ = block.header.lsn + 1;
  expected_crc_ = block.header.crc;
  out_.end_lsn = block.header.lsn;
  out_.end_crc = block.header.crc;
  const Bytes bytes = file.image->bytes.Slice(block.position, block.header.length);
  const std::optional<BlockView> view = ParseBlock(bytes.view());
  CHECK(view.has_value());
  if ((block.header.flags & kHeadBlock) != 0) {
    out_.may_lack_groups = (block.header.flags & kLackingHead) != 0;
  }
  const Status status = groups_.ApplyBlock(*view, bytes, block.position);
  if (status.ok()) return {};
  return Unimplemented(place + ": " + std::string(status.message()));
}

// Blocks follow each other by number and by checksum. Where none follows, it is one of these:
// - The journal's end. Nothing says that a later block was durable, so that what stands there, if
//   anything does, is a write that a crash cut off: nobody was told of it, and it is cut.
// - Damage. A later file, or a block, says that this one was durable. What is lost is the stretch
// up
//   to the next block that is whole, or up to the limit where none is.
// - Damage up to the end of a file after which another one is missing. How far it went nobody
//   knows; who walks the next file finds the gap in the numbers, and counts it there.
Status Replayer::WalkFile(const ScannedFile& file, uint64_t limit, bool ends_at_limit) {
  const std::string& name = file.image->name;
  uint64_t position = 0;
  while (expected_lsn_ != limit) {
    const FoundBlock* block = file.At(position);
    const bool follows = block != nullptr &&
                         (expected_lsn_ == 0 || block->header.lsn == expected_lsn_) &&
                         (!expected_crc_ || block->header.previous_crc == *expected_crc_);
    if (follows) {
      RETURN_IF_ERROR(Accept(file, *block));
      position += BlockSize(block->header.length);
      continue;
    }
    const bool was_durable =
        limit != kNoLimit || file.SaysDurable(std::max(expected_lsn_, uint64_t{1}));
    MILLRACE_SOMETIMES_IF("a torn tail of the journal was cut",
                          !was_durable && block == nullptr && position < file.image->bytes.size() &&
                              file.image->bytes.view()[position] != '\0');
    MILLRACE_SOMETIMES_IF("damage in the journal was found", was_durable);
    if (!was_durable || MILLRACE_MUTANT(kCutAtFirstBadChecksum)) {
      NoteTornWrite(file, position);
      break;
    }
    const FoundBlock* next = file.FirstAfter(position, expected_lsn_, limit);
    if (next == nullptr && limit != kNoLimit && !ends_at_limit) return Status::Ok();
    const uint64_t last = next != nullptr ? next->header.lsn - 1 : limit - 1;
    Lose(
        name, position, last,
        "blocks " + std::to_string(expected_lsn_) + " to " + std::to_string(last) + " are damaged");
    if (next == nullptr) break;
    expected_lsn_ = next->header.lsn;
    position = next->position;
  }
  out_.live[file.sequence].filled_bytes = position;
  // Files are written with zeros to their full length before their first use, so a short one has
  // lost bytes; in the newest, blocks that nothing later speaks of may have been among them.
  const uint64_t size = file.image->bytes.size();
  if (limit == kNoLimit && file.head && size < file.head->file_bytes) {
    Lose(name, size, expected_lsn_,
         "the file is cut off at " + std::to_string(size) + " of " +
             std::to_string(file.head->file_bytes) + " bytes");
  }
  if (limit != kNoLimit && expected_lsn_ != limit) {
    expected_lsn_ = limit;
    expected_crc_.reset();
  }
  return Status::Ok();
}

Result<Replayed> Replayer::Run() {
  RETURN_IF_ERROR(FindRange());
  for (uint64_t sequence = oldest_; newest_ != 0 && sequence <= newest_; ++sequence) {
    const uint64_t limit = LimitAfter(sequence);
    const auto found = by_sequence_.find(sequence);
    if (found != by_sequence_.end()) {
      const FileImage& image = *found->second->image;
      out_.live[sequence] = {.name = image.name, .filled_bytes = image.bytes.size()};
      const auto next = by_sequence_.find(sequence + 1);
      RETURN_IF_ERROR(
          WalkFile(*found->second, limit, next != by_sequence_.end() && next->second->head));
      groups_.LetGoOf(sequence);
      images_[static_cast<size_t>(found->second - files_.data())].bytes = {};
      continue;
    }
    Lose("of sequence " + std::to_string(sequence), 0, limit - 1, "the file is missing");
    expected_lsn_ = limit;
  }
  for (const ScannedFile& file : files_) {
    if (file.sequence != 0 || file.image->bytes.size() >= file.image->made_bytes) continue;
    out_.unusable.push_back(file.image->name);
    if (newest_ == 0) continue;
    Lose(file.image->name, file.image->bytes.size(), expected_lsn_,
         "the file is cut off and holds no block");
  }
  out_.next_file = newest_ + 1;
  std::move(groups_).Finish(&out_);
  return std::move(out_);
}

}  // namespace

JournalState StateOf(Replayed replayed) {
  JournalState state;
  for (const auto& [group, removed] : replayed.removed) state.removed[group] = removed.number;
  state.controller_floor = replayed.controller_floor;
  state.nameless = std::move(replayed.nameless);
  state.damage = std::move(replayed.damage);
  state.may_lack_groups = replayed.may_lack_groups;
  for (auto& [id, found] : replayed.groups) {
    GroupState& group = state.groups[id];
    group.record = std::move(found.ledger.record);
    group.hard_state = found.ledger.hard_state;
    group.epoch = found.ledger.epoch;
    group.log = std::move(found.ledger.log);
    if (!found.doubt.empty()) group.health = DataLoss(found.doubt, Reason::kReplicaSilent);
    for (auto& [index, frame] : found.frames) {
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

Result<Replayed> Replay(uint64_t key, std::vector<FileImage> files) {
  return Replayer(key, std::move(files)).Run();
}

}  // namespace millrace::storage::journal

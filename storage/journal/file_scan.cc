#include "storage/journal/file_scan.h"

#include <algorithm>
#include <string_view>

namespace millrace::storage::journal {
namespace {

std::optional<HeadRecord> HeadOf(const BlockView& block) {
  if ((block.header.flags & kHeadBlock) == 0) return std::nullopt;
  const Result<std::vector<RecordView>> records = ParseRecords(block);
  if (!records.ok() || records->empty()) return std::nullopt;
  if (records->front().type != RecordType::kHead) return std::nullopt;
  const Result<HeadRecord> head = ParseHead(records->front().payload);
  return head.ok() ? std::optional<HeadRecord>(*head) : std::nullopt;
}

}  // namespace

ScannedFile ScanFile(uint64_t key, const FileImage& image) {
  ScannedFile file{.image = &image};
  const std::string_view bytes = image.bytes.view();
  for (uint64_t at = 0; at < bytes.size();) {
    const std::optional<BlockHeader> header = ParseBlockHeader(bytes.substr(at));
    // Whoever lacks the key may have written this, with any length: it hides nothing behind it.
    const bool is_foreign = header && header->key != key;
    file.has_foreign_blocks |= is_foreign;
    std::optional<BlockView> block;
    if (header && !is_foreign) block = ParseBlock(*header, bytes.substr(at));
    // What the body of another version's block is checked by, its version knows.
    if (!header || is_foreign || (!block && IsKnown(*header))) {
      at += kBlockAlignment;
      continue;
    }
    if (at == 0 && block) file.head = HeadOf(*block);
    file.blocks.push_back({at, *header});
    file.sequence = std::max(file.sequence, header->file_sequence);
    at += BlockSize(header->length);
  }
  if (file.head) file.sequence = file.blocks.front().header.file_sequence;
  return file;
}

uint64_t OldestFileOf(const ScannedFile& file) {
  uint64_t oldest = 0;
  for (const FoundBlock& block : file.blocks) {
    if (block.header.file_sequence == file.sequence) oldest = block.header.oldest_file;
  }
  return oldest;
}

const FoundBlock* ScannedFile::At(uint64_t position) const {
  const auto found =
      std::lower_bound(blocks.begin(), blocks.end(), position,
                       [](const FoundBlock& block, uint64_t at) { return block.position < at; });
  if (found == blocks.end() || found->position != position) return nullptr;
  return found->header.file_sequence == sequence ? &*found : nullptr;
}

const FoundBlock* ScannedFile::FirstAfter(uint64_t position, uint64_t lsn, uint64_t limit) const {
  for (const FoundBlock& block : blocks) {
    if (block.position < position || block.header.file_sequence != sequence) continue;
    if (block.header.lsn > lsn && block.header.lsn < limit) return &block;
  }
  return nullptr;
}

bool ScannedFile::SaysDurable(uint64_t lsn) const {
  return std::any_of(blocks.begin(), blocks.end(), [&](const FoundBlock& block) {
    return block.header.file_sequence == sequence && block.header.durable_lsn >= lsn;
  });
}

}  // namespace millrace::storage::journal

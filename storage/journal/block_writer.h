// Lays records out in blocks, for one write into one file: closes a block when it is full, numbers
// and links the blocks, and leaves large frames where they lie in memory.
//
// A value that lives for one commit; on the journal's executor.
//
//   BlockWriter writer({.header = {.key = ..., .lsn = next}, .position = at, .block_bytes = n});
//   uint64_t place = writer.Add({.type = RecordType::kEntry, .replica = replica},
//                               EncodeEntryPrefix(epoch), frame);
//   BlockWriter::Blocks blocks = std::move(writer).Finish();
//   file.Write(at, std::move(blocks.pieces), ...);
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/base/bytes.h"
#include "storage/journal/format.h"

namespace millrace::storage::journal {

class BlockWriter {
 public:
  struct Start {
    BlockHeader header;        // of the first block, but for what depends on its records
    uint64_t position = 0;     // of the first block in its file
    uint64_t block_bytes = 0;  // a block takes no further record past this
  };
  struct Blocks {
    std::vector<Bytes> pieces;
    uint64_t size = 0;
    uint64_t last_lsn = 0;
    uint32_t last_crc = 0;
  };

  explicit BlockWriter(const Start& start) : start_(start), header_(start.header) {}

  // `payload` and then `frame` make the record. Returns where in the file `frame` begins.
  uint64_t Add(const RecordHeader& header, const std::string& payload, const Bytes& frame = {});
  // All of it; at least one block, which then has no records.
  Blocks Finish() &&;

 private:
  void CloseBlock();
  void CloseText();

  const Start start_;
  BlockHeader header_;  // of the block that is open
  Blocks done_;
  std::vector<Bytes> body_;  // of the open block, but for text_
  std::string text_;
  uint64_t body_bytes_ = 0;  // with text_
};

// The most that records of so many bytes take of a file (RecordSize each), however they fall into
// blocks.
constexpr uint64_t BlocksBytesMax(uint64_t record_bytes, uint64_t block_bytes) {
  return record_bytes + (2 * record_bytes / block_bytes + 2) * (kBlockAlignment + kBlockHeaderSize);
}

}  // namespace millrace::storage::journal

#include "storage/journal/block_writer.h"

#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"

namespace millrace::storage::journal {
namespace {

// Smaller frames are packed together: a piece of its own costs more than the copy.
constexpr size_t kByReferenceMin = 4096;

}  // namespace

uint64_t BlockWriter::Add(const RecordHeader& header, const std::string& payload,
                          const Bytes& frame) {
  const uint64_t size = payload.size() + frame.size();
  if (body_bytes_ > 0 && body_bytes_ + RecordSize(size) > start_.block_bytes) CloseBlock();
  const uint64_t place = start_.position + done_.size + kBlockHeaderSize + body_bytes_ +
                         kRecordHeaderSize + payload.size();
  text_ += EncodeRecordHeader(header, size);
  text_ += payload;
  if (frame.size() >= kByReferenceMin) {
    CloseText();
    body_.push_back(frame);
  } else {
    text_ += frame.view();
  }
  text_.append(RecordSize(size) - kRecordHeaderSize - size, '\0');
  body_bytes_ += RecordSize(size);
  ++header_.record_count;
  return place;
}

void BlockWriter::CloseText() {
  if (!text_.empty()) body_.push_back(Bytes::Own(std::exchange(text_, {})));
}

void BlockWriter::CloseBlock() {
  CloseText();
  header_.length = static_cast<uint32_t>(kBlockHeaderSize + body_bytes_);
  header_.body_crc = 0;
  for (const Bytes& piece : body_) header_.body_crc = Crc32c(piece.view(), header_.body_crc);
  std::string encoded = EncodeBlockHeader(header_);
  header_.crc = ParseBlockHeader(encoded)->crc;
  done_.pieces.push_back(Bytes::Own(std::move(encoded)));
  for (Bytes& piece : body_) done_.pieces.push_back(std::move(piece));
  const uint64_t size = BlockSize(header_.length);
  if (size > header_.length) {
    done_.pieces.push_back(Bytes::Own(std::string(size - header_.length, '\0')));
  }
  done_.size += size;
  done_.last_lsn = header_.lsn;
  done_.last_crc = header_.crc;
  body_.clear();
  body_bytes_ = 0;
  ++header_.lsn;
  header_.previous_crc = header_.crc;
  header_.record_count = 0;
}

BlockWriter::Blocks BlockWriter::Finish() && {
  if (body_bytes_ > 0 || done_.pieces.empty()) CloseBlock();
  CHECK_EQ(done_.size % kBlockAlignment, 0U);
  return std::move(done_);
}

}  // namespace millrace::storage::journal

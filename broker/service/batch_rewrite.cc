#include "broker/service/batch_rewrite.h"

#include <algorithm>
#include <string>

#include <glog/logging.h>

#include "broker/service/fetch_wire.h"
#include "proto/base/checksum.h"
#include "proto/record/unpack.h"

namespace millrace::broker {
namespace {

using raft::core::Entry;

Status Unreadable(const FrameHeader& header, const Status& why) {
  return DataLoss("the batch at offset " + std::to_string(header.base_offset.value()) +
                  " cannot be rewritten: " + std::string(why.message()));
}

// Takes one batch after the other, until the reader has enough.
class Rewriter {
 public:
  explicit Rewriter(const BatchReader& reader)
      : reader_(reader),
        next_offset_(reader.offset),
        encoder_(reader.offset, reader.leader_epoch_base) {}

  Status Add(const FrameHeader& header, Bytes payload);
  bool is_full() const { return is_full_; }
  RewrittenBatches Take() && {
    return {.pieces = std::move(encoder_).Take(), .next_offset = next_offset_};
  }

 private:
  Status AddUnpacked(const FrameHeader& header, const RecordBatchView& batch);
  // Whether a batch of so many bytes still goes in; it is full if not.
  bool TakesMore(uint64_t bytes);
  void GoOnAt(Offset offset) { next_offset_ = std::max(next_offset_, offset); }

  const BatchReader reader_;
  Offset next_offset_;
  BatchEncoder encoder_;
  bool is_full_ = false;
};

Status Rewriter::Add(const FrameHeader& header, Bytes payload) {
  ASSIGN_OR_RETURN(const RecordBatchView batch, ParseRecordBatchHeader(payload.view()));
  const bool is_taken = !batch.is_packed || reader_.accepted.Takes(batch.compression);
  if (!is_taken) return AddUnpacked(header, batch);
  if (!TakesMore(payload.size())) return {};
  encoder_.Add(header, std::move(payload), header.stored_crc);
  GoOnAt(header.base_offset + header.offset_span);
  return {};
}

Status Rewriter::AddUnpacked(const FrameHeader& header, const RecordBatchView& batch) {
  constexpr uint64_t kPieceBytesMax = kRewrittenBytesMax - BatchEncoder::kHeadBytesMax;
  // A guess at the first piece: what would not be sent is not decompressed.
  if (!TakesMore(std::min<uint64_t>(UnpackedSize(batch), kPieceBytesMax))) return {};
  const int64_t behind = std::max<int64_t>(reader_.offset.value() - header.base_offset.value(), 0);
  ASSIGN_OR_RETURN(BatchUnpacker unpacker,
                   BatchUnpacker::Open(batch, {.first_place = static_cast<uint32_t>(behind),
                                               .bytes_max = kPieceBytesMax}));
  UnpackedBatch piece;
  while (unpacker.Next(&piece)) {
    if (!TakesMore(piece.bytes.size())) return {};
    FrameHeader part = header;
    part.base_offset += piece.first_place;
    part.offset_span = piece.end_place - piece.first_place;
    part.record_count = piece.record_count;
    const uint32_t checksum = Crc32c(piece.bytes.view());
    encoder_.Add(part, std::move(piece.bytes), checksum);
    GoOnAt(part.base_offset + part.offset_span);
  }
  RETURN_IF_ERROR(unpacker.status());
  GoOnAt(header.base_offset + header.offset_span);
  return {};
}

bool Rewriter::TakesMore(uint64_t bytes) {
  const uint64_t with_head = bytes + BatchEncoder::kHeadBytesMax;
  is_full_ = !encoder_.empty() && encoder_.bytes() + with_head > reader_.bytes_max;
  return !is_full_;
}

}  // namespace

AcceptedForms AcceptedForms::FromMask(uint64_t mask) {
  AcceptedForms forms = TypedOnly();
  for (const BatchCompression compression : kBatchCompressions) {
    if ((mask & MaskOf(compression)) != 0) forms.Add(compression);
  }
  return forms;
}

void AcceptedForms::Add(BatchCompression compression) { mask_ |= MaskOf(compression); }

bool AcceptedForms::Takes(BatchCompression compression) const {
  if (compression == BatchCompression::kUnspecified) compression = BatchCompression::kNone;
  return (mask_ & MaskOf(compression)) != 0;
}

bool AcceptedForms::TakesFrame(const FrameHeader& header) const {
  if ((header.flags & kFramePacked) == 0) return true;
  if ((header.flags & kFrameCompressed) == 0) return Takes(BatchCompression::kNone);
  return std::all_of(std::begin(kBatchCompressions), std::end(kBatchCompressions),
                     [this](BatchCompression compression) {
                       return !IsCompressed(compression) || Takes(compression);
                     });
}

bool AcceptedForms::TakesAllOf(const std::vector<Entry>& entries) const {
  return std::all_of(entries.begin(), entries.end(),
                     [this](const Entry& entry) { return TakesFrame(entry.frame.header()); });
}

Result<RewrittenBatches> RewriteBatches(const std::vector<Entry>& entries,
                                        const BatchReader& reader) {
  CHECK(!entries.empty());
  Rewriter rewriter(reader);
  for (const Entry& entry : entries) {
    const FrameHeader header = entry.frame.header();
    const Status added = rewriter.Add(header, entry.frame.payload());
    if (!added.ok()) return Unreadable(header, added);
    if (rewriter.is_full()) break;
  }
  return std::move(rewriter).Take();
}

}  // namespace millrace::broker

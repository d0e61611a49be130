#include "broker/service/fetch/batch_rewrite.h"

#include <algorithm>
#include <string>

#include <glog/logging.h>

#include "broker/service/fetch/fetch_wire.h"
#include "proto/base/checksum.h"
#include "proto/record/record_batch_builder.h"
#include "proto/record/unpack.h"

namespace millrace::broker {
namespace {

using raft::core::Entry;

// Of a batch that is served as it is stored: its records, and its header.
constexpr uint32_t kPayloadBytesMax = kServedWholeBytesMax + RecordBatchBuilder::kHeaderBytesMax;

Status Unreadable(Offset base_offset, const Status& why) {
  return DataLoss("the batch at offset " + std::to_string(base_offset.value()) +
                  " cannot be rewritten: " + std::string(why.message()));
}

// Whether compaction made more of it than a message takes; what is typed it leaves smaller.
bool IsTooLarge(const FrameHeader& header) { return header.payload_size > kPayloadBytesMax; }

// Takes one batch after the other, until the reader has enough.
class Rewriter {
 public:
  explicit Rewriter(const BatchReader& reader)
      : reader_(reader), rewritten_{.batches = {}, .next_offset = reader.offset} {}

  Status Add(FetchedBatch stored);
  bool is_full() const { return is_full_; }
  RewrittenBatches Take() && {
    rewritten_.is_whole = !is_full_;
    return std::move(rewritten_);
  }

 private:
  Status AddUnpacked(const FrameHeader& header, const RecordBatchView& batch);
  // Whether a batch of so many bytes still goes in; it is full if not.
  bool TakesMore(uint64_t bytes);
  void Take(FetchedBatch batch);
  void GoOnAt(Offset offset) { rewritten_.next_offset = std::max(rewritten_.next_offset, offset); }

  const BatchReader reader_;
  RewrittenBatches rewritten_;
  uint64_t bytes_ = 0;  // of what is rewritten, with what stands before each
  bool is_full_ = false;
};

Status Rewriter::Add(FetchedBatch stored) {
  ASSIGN_OR_RETURN(const RecordBatchView batch, ParseRecordBatchHeader(stored.payload.view()));
  const bool is_taken =
      !batch.is_packed || (reader_.accepted.Takes(batch.compression) && !IsTooLarge(stored.header));
  if (!is_taken) return AddUnpacked(stored.header, batch);
  if (TakesMore(stored.payload.size())) Take(std::move(stored));
  return {};
}

void Rewriter::Take(FetchedBatch batch) {
  bytes_ += batch.payload.size() + kBatchHeadBytesMax;
  GoOnAt(batch.header.base_offset + batch.header.offset_span);
  rewritten_.batches.push_back(std::move(batch));
}

Status Rewriter::AddUnpacked(const FrameHeader& header, const RecordBatchView& batch) {
  constexpr uint64_t kPieceBytesMax = kRewrittenBytesMax - kBatchHeadBytesMax;
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
    part.stored_crc = Crc32c(piece.bytes.view());
    Take({.header = part, .payload = std::move(piece.bytes)});
  }
  RETURN_IF_ERROR(unpacker.status());
  GoOnAt(header.base_offset + header.offset_span);
  return {};
}

bool Rewriter::TakesMore(uint64_t bytes) {
  const uint64_t with_head = bytes + kBatchHeadBytesMax;
  is_full_ = !rewritten_.batches.empty() && bytes_ + with_head > reader_.bytes_max;
  return !is_full_;
}

}  // namespace

void AcceptedForms::Add(BatchCompression compression) { mask_ |= MaskOf(compression); }

bool AcceptedForms::Takes(BatchCompression compression) const {
  if (compression == BatchCompression::kUnspecified) compression = BatchCompression::kNone;
  return (mask_ & MaskOf(compression)) != 0;
}

bool AcceptedForms::TakesFrame(const FrameHeader& header) const {
  if ((header.flags & kFramePacked) == 0) return true;
  if (IsTooLarge(header)) return false;
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
    FetchedBatch stored = FetchedAsStored(entry);
    const Offset base_offset = stored.header.base_offset;
    const Status added = rewriter.Add(std::move(stored));
    if (!added.ok()) return Unreadable(base_offset, added);
    if (rewriter.is_full()) break;
  }
  return std::move(rewriter).Take();
}

}  // namespace millrace::broker

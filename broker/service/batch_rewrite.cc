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

// Of an entry in our own log, whose frame was checked when it came in.
FrameHeader HeaderOf(const Entry& entry) {
  const Result<FrameHeader> header = ParseFrameHeader(entry.frame.view());
  CHECK(header.ok()) << "index=" << entry.index << " " << header.status();
  return *header;
}

Status Unreadable(const FrameHeader& header, const Status& why) {
  return DataLoss("the batch at offset " + std::to_string(header.base_offset.value()) +
                  " cannot be rewritten: " + std::string(why.message()));
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
                     [this](const Entry& entry) { return TakesFrame(HeaderOf(entry)); });
}

Result<RewrittenBatches> RewriteBatches(const std::vector<Entry>& entries,
                                        const BatchReader& reader) {
  CHECK(!entries.empty());
  BatchEncoder encoder(reader.offset);
  uint64_t bytes = 0;
  for (const Entry& entry : entries) {
    const FrameHeader header = HeaderOf(entry);
    Bytes payload = FramePayloadOf(entry.frame, header);
    const Result<RecordBatchView> batch = ParseRecordBatchHeader(payload.view());
    if (!batch.ok()) return Unreadable(header, batch.status());
    const bool is_taken = !batch->is_packed || reader.accepted.Takes(batch->compression);
    bytes += is_taken ? payload.size() : UnpackedSize(*batch);
    if (!encoder.empty() && bytes > reader.bytes_max) break;
    uint32_t checksum = header.stored_crc;
    if (!is_taken) {
      Result<Bytes> unpacked = UnpackRecordBatch(*batch);
      if (!unpacked.ok()) return Unreadable(header, unpacked.status());
      payload = std::move(*unpacked);
      checksum = Crc32c(payload.view());
    }
    encoder.Add(header, std::move(payload), checksum);
  }
  const Offset next_offset = encoder.reader();
  return RewrittenBatches{.pieces = std::move(encoder).Take(), .next_offset = next_offset};
}

}  // namespace millrace::broker

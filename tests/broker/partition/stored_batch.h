// Batches as a partition stores them, made of records that a test can name.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "proto/base/checksum.h"
#include "proto/frame/frame.h"
#include "proto/record/record_batch.h"
#include "proto/record/record_batch_builder.h"

namespace millrace::broker {

inline constexpr TopicPartition kHome{TopicId(7), PartitionId(3)};
inline constexpr int64_t kAppendTimeMs = 5'000;
inline constexpr Offset kBase(1'000);

using Header = std::pair<std::string, std::optional<std::string>>;
struct Record {
  std::optional<std::string> key;
  std::optional<std::string> value;
  std::vector<Header> headers;
  int64_t timestamp_ms = 0;
  bool operator==(const Record&) const = default;
};

// As a leader frames what a producer sent.
inline Frame FrameOf(std::string_view payload, const std::vector<Record>& records, uint16_t flags) {
  int64_t newest_ms = 0;
  for (const Record& record : records) {
    newest_ms = std::max(newest_ms, record.timestamp_ms == 0 ? kAppendTimeMs : record.timestamp_ms);
  }
  const uint32_t crc = Crc32c(payload);
  const auto count = static_cast<uint32_t>(records.size());
  Buffer buffer = AllocateFrame(payload.size());
  std::memcpy(FramePayload(buffer), payload.data(), payload.size());
  return SealFrame({.type = FrameType::kRecordBatch,
                    .flags = flags,
                    .payload_size = static_cast<uint32_t>(payload.size()),
                    .group = RaftGroupId(9),
                    .term = Term(2),
                    .index = LogIndex(44),
                    .base_offset = kBase,
                    .offset_span = count,
                    .record_count = count,
                    .append_time_ms = kAppendTimeMs,
                    .max_timestamp_ms = newest_ms,
                    .producer_id = ProducerId(5),
                    .producer_epoch = 1,
                    .first_sequence = 9,
                    .payload_crc = crc,
                    .stored_crc = crc,
                    .chain = 77},
                   std::move(buffer));
}

struct Form {
  BatchEncoding encoding = BatchEncoding::kPacked;
  BatchCompression compression = BatchCompression::kUnspecified;
};

inline Frame Stored(const std::vector<Record>& records, const Form& form) {
  RecordBatchBuilder builder({.records_bytes_max = SIZE_MAX, .encoding = form.encoding});
  for (const Record& record : records) {
    std::vector<HeaderView> headers;
    for (const Header& header : record.headers) headers.push_back({header.first, header.second});
    CHECK(builder.TryAppend({.key = record.key,
                             .value = record.value,
                             .headers = headers,
                             .timestamp_ms = record.timestamp_ms}));
  }
  const Bytes batch = std::move(builder).Finish({.producer_id = ProducerId(5),
                                                 .producer_epoch = 1,
                                                 .first_sequence = 9,
                                                 .destination = kHome,
                                                 .compression = form.compression});
  const Result<RecordBatchView> view = ParseRecordBatch(batch.view(), kHome);
  CHECK(view.ok()) << view.status();
  uint16_t flags = view->is_packed ? kFramePacked : 0;
  if (IsCompressed(view->compression)) flags |= kFrameCompressed;
  return FrameOf(batch.view(), records, flags);
}

}  // namespace millrace::broker

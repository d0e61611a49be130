// Writes a record batch as a producer sends it: records are appended straight into the batch's own
// buffer, without an allocation a record, and the header is put in front at the end, when count,
// sequence and checksum are known. Compression takes place there too.
//
// One owner; any one thread.
//
//   RecordBatchBuilder builder({.records_bytes_max = 256 << 10});
//   while (builder.TryAppend({.key = "AA", .value = row})) { ... }
//   Bytes batch = std::move(builder).Finish(
//       {.producer_id = id, .first_sequence = n, .destination = tp});
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/record/record_batch.h"

namespace millrace {

// A record to append; what it views is copied by the append.
struct NewRecord {
  std::optional<std::string_view> key;
  std::optional<std::string_view> value;
  std::span<const HeaderView> headers;
  int64_t timestamp_ms = 0;
};

enum class BatchEncoding { kPacked, kTyped };

// Serialized bytes of `record` in a batch, its tag and length included.
size_t EncodedRecordSize(const NewRecord& record);

class RecordBatchBuilder {
 public:
  struct Options {
    // Beyond this no record is taken, but for the first, which always fits.
    size_t records_bytes_max = size_t{256} << 10;
    // Memory to begin with; it grows by doubling.
    size_t initial_bytes = 1024;
    BatchEncoding encoding = BatchEncoding::kPacked;
  };
  struct Header {
    ProducerId producer_id;
    uint32_t producer_epoch = 0;
    uint32_t first_sequence = 0;
    uint64_t transaction_number = 0;  // 0: of none
    TopicPartition destination;
    // How packed records are compressed. Where that would not make them smaller they are left as
    // they are.
    BatchCompression compression = BatchCompression::kUnspecified;
  };
  // What stands before the records at most: every header field at its longest, of epochs as they
  // are given out.
  static constexpr size_t kHeaderBytesMax = 64;

  explicit RecordBatchBuilder(const Options& options);

  // False, and nothing happens, if the batch has records and this one would make it too large.
  bool TryAppend(const NewRecord& record);

  bool empty() const { return record_count_ == 0; }
  uint32_t record_count() const { return record_count_; }
  size_t records_bytes() const { return end_ - kHeaderBytesMax; }

  // The serialized RecordBatch. Pre: not empty.
  Bytes Finish(const Header& header) &&;

 private:
  void Reserve(size_t more);

  Options options_;
  Buffer buffer_;
  size_t end_ = kHeaderBytesMax;  // of what is written in buffer_
  uint32_t record_count_ = 0;
  int64_t max_timestamp_ms_ = 0;
};

}  // namespace millrace

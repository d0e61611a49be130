// Records as programs write and read them, and what became of a record that was sent.
//
// Values; any thread. Views point into memory that whoever made them owns: the caller's for a
// Record, the Records object's for a ConsumedRecord.
//
//   millrace::Status sent = (*producer)->Send({.key = "AA", .value = row});
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "millrace/status.h"

namespace millrace {

// A named value beside a record. Order and repetition are kept.
struct Header {
  std::string_view key = {};                   // UTF-8
  std::optional<std::string_view> value = {};  // absent (null) differs from empty
};

// A record to be produced. All that it views is copied before the call that takes it returns.
struct Record {
  // Records of one key go to one partition and keep their order. Absent differs from empty.
  std::optional<std::string_view> key = {};
  std::optional<std::string_view> value = {};
  std::span<const Header> headers = {};
  // Milliseconds since 1970 UTC, at most a day ahead of the brokers' clocks; 0: none, and readers
  // use the time at which the leader stored it.
  int64_t timestamp_ms = 0;
  // Where it goes; by the key's hash if absent, and without a key to one partition after the other,
  // many records at a time.
  std::optional<uint32_t> partition = {};
  // With a partition: the record is stored at this offset or not at all. It is where the log must
  // end when the leader takes it, all that the leader took before included; 0: nothing was ever
  // stored there. Otherwise its delivery is FAILED_PRECONDITION (OFFSET_MOVED) and tells the end.
  // Such records may be sent without waiting, each to where the one before it ends; if one is
  // refused, those that wait right behind it are, too. 0 and up.
  std::optional<int64_t> expected_end_offset = {};
};

// A record that was read.
struct ConsumedRecord {
  std::string_view topic = {};
  uint32_t partition = 0;
  int64_t offset = 0;
  // The producer's, or the append time if it gave none. Milliseconds since 1970 UTC.
  int64_t timestamp_ms = 0;
  // When the leader stored it; never goes back within a partition.
  int64_t append_time_ms = 0;
  std::optional<std::string_view> key = {};
  std::optional<std::string_view> value = {};
  std::span<const Header> headers = {};
};

// What became of a record that was sent.
struct Delivery {
  // Ok: fsynced on a majority of the partition's replicas. DEADLINE_EXCEEDED: no answer within
  // delivery_timeout. CANCELLED: the producer was destroyed before the answer.
  Status status = {};
  uint32_t partition = 0;
  // -1 with an error, and where a retry found the record stored and nobody knows any more where.
  int64_t offset = -1;
  // When the leader stored it, milliseconds since 1970 UTC; 0 if that is not known.
  int64_t append_time_ms = 0;
  // With an error: it was sent, and may be stored now or yet. If not, it certainly is not.
  bool may_be_stored = false;
  // With OFFSET_MOVED: where the log ended, with what is committed. A record that names it is
  // stored, if nobody was faster.
  std::optional<int64_t> end_offset = {};
};
using DeliveryCallback = std::function<void(const Delivery&)>;

// How a batch of records is compressed, by the producer; every consumer reads every kind.
enum class Compression { kNone, kGzip, kSnappy, kLz4, kZstd };

// "none", "gzip", "snappy", "lz4", "zstd". INVALID_ARGUMENT for any other name.
Result<Compression> ParseCompression(std::string_view name);

}  // namespace millrace

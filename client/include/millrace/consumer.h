// Reads partitions of one topic. It fetches ahead, within bounds, verifies every checksum, and
// reads on after changes of leaders and broken connections: per partition every record once, in
// order.
//
// Made by Client::OpenConsumer. One thread at a time; Pause, Resume, Seek and Assign may be called
// between two Polls. Positions are not stored anywhere: keep the offset that you want to go on
// from.
//
//   auto consumer = (*client)->OpenConsumer("flights", {.stop_at_end = true});
//   while (!(*consumer)->at_end()) {
//     auto records = (*consumer)->Poll(std::chrono::seconds(1));
//     if (!records.ok()) return Complain(records.status());
//     for (const millrace::ConsumedRecord& record : *records) Use(*record.value);
//   }
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "millrace/isolation.h"
#include "millrace/record.h"
#include "millrace/status.h"

namespace millrace {

namespace internal {
class Runtime;
class ConsumerHandle;
class ChunkRecords;
}  // namespace internal

// Where to begin in a partition.
class Position {
 public:
  static Position Earliest() { return Position(Kind::kEarliest, 0); }
  // After the last record that is committed when the broker is asked.
  static Position Latest() { return Position(Kind::kLatest, 0); }
  // At this offset, 0 and up. Beyond the end it is OUT_OF_RANGE, in Poll.
  static Position At(int64_t offset) { return Position(Kind::kOffset, offset); }
  // At the first record whose timestamp is not below this, in milliseconds since 1970 UTC; after
  // the last record if there is none.
  static Position Time(int64_t timestamp_ms) { return Position(Kind::kTime, timestamp_ms); }

  enum class Kind { kEarliest, kLatest, kOffset, kTime };
  Kind kind() const { return kind_; }
  int64_t value() const { return value_; }

 private:
  Position(Kind kind, int64_t value) : kind_(kind), value_(value) {}
  Kind kind_;
  int64_t value_;
};

// What a consumer does whose position lies below where the log starts, as its records went.
enum class OffsetReset {
  kFail,      // Poll says OUT_OF_RANGE, and reads the partition no more until a Seek
  kEarliest,  // it goes on with the oldest record that is left
  kLatest,    // it goes on after the newest
};

struct ConsumerOptions {
  // Partitions to read; all if absent, none yet (Assign does it) if empty. All are those, too, that
  // the topic gets later, unless reading stops somewhere: they are read from their first record on,
  // at most ClientOptions::metadata_age_max after they came.
  std::optional<std::vector<uint32_t>> partitions = {};
  Position start = Position::Earliest();
  // Of every partition, at its beginning and later. The records' offsets show what was passed over.
  // An offset past the end is OUT_OF_RANGE whatever this says.
  OffsetReset auto_offset_reset = OffsetReset::kFail;
  // Also where latest is, and the end to stop at.
  Isolation isolation = Isolation::kCommitted;
  // Read up to where each partition ended when it was assigned, no further.
  bool stop_at_end = false;
  // The same, but no further than before this position either: an offset, or the first record that
  // is not older than a time. Latest is stop_at_end again, earliest is INVALID_ARGUMENT.
  std::optional<Position> stop = {};
  // What may be fetched ahead of Poll, per broker; 64 KiB and up. Twice a batch of the topic is the
  // least that keeps a broker busy.
  size_t prefetch_bytes = size_t{8} << 20;
  // How long OpenConsumer and Assign try. 1 ms and up.
  std::chrono::milliseconds open_timeout{30'000};
};

// What one Poll gave: a list of records, and the memory that they view.
class Records {
 public:
  Records() = default;
  Records(Records&&) = default;
  Records& operator=(Records&&) = default;

  bool empty() const { return records_.empty(); }
  size_t size() const { return records_.size(); }
  auto begin() const { return records_.begin(); }
  auto end() const { return records_.end(); }
  const ConsumedRecord& operator[](size_t index) const { return records_[index]; }

 private:
  friend class internal::ChunkRecords;
  std::vector<ConsumedRecord> records_;
  std::vector<std::shared_ptr<const void>>
      owners_;  // shared with the fetched messages' other parts
};

class Consumer {
 public:
  ~Consumer();
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;

  // The records that are there, a MiB or so at most after decompression, but for the batch that
  // crosses it; waits for the first up to `timeout`, and is empty if none came. An error is that of
  // one partition, which its message and its metadata `topic` and `partition` name: OUT_OF_RANGE
  // (OFFSET_OUT_OF_RANGE), NOT_FOUND (TOPIC_DELETED, UNKNOWN_TOPIC) or DATA_LOSS (a checksum that
  // does not match, a gap, a batch that cannot be read). All that came before it was given out.
  // That partition is read no more until a Seek, the others go on. What may heal is tried again
  // inside, and never an error here.
  Result<Records> Poll(std::chrono::milliseconds timeout);
  // With stop_at_end or stop: whether Poll has given everything, of partitions that have not
  // failed.
  bool at_end() const;
  // The offset of the record that Poll will give next; absent while that is not known.
  std::optional<int64_t> position(uint32_t partition) const;

  // Reads one more partition. NOT_FOUND (UNKNOWN_PARTITION); ALREADY_EXISTS; with stop_at_end
  // or stop UNAVAILABLE, if its end cannot be found out in time.
  Status Assign(uint32_t partition, const Position& start);
  // What follows names an assigned partition, or is NOT_FOUND.
  // Reads on from elsewhere; also after an error. No record of before comes after it.
  Status Seek(uint32_t partition, const Position& position);
  // Gives out none of its records, and fetches none, until Resume goes on where it was.
  Status Pause(uint32_t partition);
  Status Resume(uint32_t partition);
  // Of the topic; it may grow.
  uint32_t partition_count() const;

 private:
  friend class Client;
  explicit Consumer(std::unique_ptr<internal::ConsumerHandle> handle);

  std::unique_ptr<internal::ConsumerHandle> handle_;
};

}  // namespace millrace

// Records that a program has sent and the client's thread has not taken yet, copied into one piece
// of memory that is used again and again.
//
// One owner; any one thread at a time.
//
//   queue.Push(record, size, on_delivery);
//   queue.TakeAll([&](const NewRecord& record, const RecordQueue::Place& place, size_t size,
//                     DeliveryCallback on_delivery) { ... });
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "millrace/record.h"
#include "proto/base/ids.h"
#include "proto/record/record_batch_builder.h"

namespace millrace::internal {

class RecordQueue {
 public:
  // Where a record goes; an expected end only with a partition.
  struct Place {
    std::optional<PartitionId> partition = {};
    std::optional<Offset> expected_end = {};
  };

  // What a record takes beside its bytes.
  static constexpr size_t record_bytes() { return sizeof(Item); }

  bool empty() const { return items_.empty(); }

  void Push(const NewRecord& record, const Place& place, size_t size,
            DeliveryCallback on_delivery) {
    items_.push_back({.key_size = Append(record.key),
                      .value_size = Append(record.value),
                      .header_count = record.headers.size(),
                      .timestamp_ms = record.timestamp_ms,
                      .expected_end = place.expected_end.value_or(Offset(-1)),
                      .partition = place.partition,
                      .size = size,
                      .on_delivery = std::move(on_delivery)});
    for (const HeaderView& header : record.headers) {
      headers_.push_back({.key_size = Append(header.key), .value_size = Append(header.value)});
    }
  }

  // Calls `take` for each in order, and forgets them all.
  template <typename Take>
  void TakeAll(Take take) {
    const char* at = bytes_.data();
    size_t next_header = 0;
    std::vector<HeaderView> headers;
    for (Item& item : items_) {
      NewRecord record{.timestamp_ms = item.timestamp_ms};
      record.key = Read(&at, item.key_size);
      record.value = Read(&at, item.value_size);
      headers.clear();
      for (size_t i = 0; i < item.header_count; ++i) {
        const HeaderSizes& sizes = headers_[next_header++];
        const std::string_view key = *Read(&at, sizes.key_size);
        headers.push_back({.key = key, .value = Read(&at, sizes.value_size)});
      }
      record.headers = headers;
      Place place{.partition = item.partition};
      if (item.expected_end >= Offset(0)) place.expected_end = item.expected_end;
      take(record, place, item.size, std::move(item.on_delivery));
    }
    items_.clear();
    headers_.clear();
    bytes_.clear();
  }

 private:
  static constexpr size_t kAbsent = SIZE_MAX;
  struct Item {
    size_t key_size = kAbsent;
    size_t value_size = kAbsent;
    size_t header_count = 0;
    int64_t timestamp_ms = 0;
    Offset expected_end{-1};  // none
    std::optional<PartitionId> partition;
    size_t size = 0;
    DeliveryCallback on_delivery;
  };
  struct HeaderSizes {
    size_t key_size = 0;
    size_t value_size = kAbsent;
  };

  size_t Append(std::optional<std::string_view> text) {
    if (!text) return kAbsent;
    bytes_.append(*text);
    return text->size();
  }
  static std::optional<std::string_view> Read(const char** at, size_t size) {
    if (size == kAbsent) return std::nullopt;
    const std::string_view text(*at, size);
    *at += size;
    return text;
  }

  std::vector<Item> items_;
  std::vector<HeaderSizes> headers_;
  std::string bytes_;  // keys, values and headers, one after the other
};

}  // namespace millrace::internal

// Reads partitions of one topic: a FetchDriver that has found it.
//
// Made from a Client, which outlives it; one owner; everything on the client's executor.
//
//   ConsumerDriver consumer(client, "flights", {}, [&] {
//     while (auto chunk = consumer.Next()) ...
//   });
//   consumer.Open(timeout, [&](Status status) {
//     consumer.Assign(PartitionId(0), StartAt::Earliest());
//   });
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "client/core/consumer.h"
#include "client/core/fetch_driver.h"

namespace millrace::client {

class ConsumerDriver {
 public:
  // `on_ready` and `on_grown` as the FetchDriver's.
  ConsumerDriver(Client& client, std::string topic, const ConsumerTuning& tuning,
                 std::function<void()> on_ready, std::function<void(PartitionId)> on_grown = {});

  // Finds the topic. NOT_FOUND; UNAVAILABLE.
  void Open(Duration timeout, MoveFunction<void(Status)> done);

  // Pre of what follows: Open succeeded.
  TopicId topic_id() const { return topic_id_; }
  uint32_t partition_count() const { return fetcher_.topic(topic_id_).partition_count(); }
  // As the FetchDriver's. NOT_FOUND if there is no such partition.
  Status Assign(PartitionId partition, const StartAt& start, std::optional<Offset> stop_at = {});
  bool IsAssigned(PartitionId partition) const { return fetcher_.IsAssigned(At(partition)); }
  void Seek(PartitionId partition, const StartAt& start) { fetcher_.Seek(At(partition), start); }
  void Pause(PartitionId partition) { fetcher_.Pause(At(partition)); }
  void Resume(PartitionId partition) { fetcher_.Resume(At(partition)); }
  void Fail(PartitionId partition, const Status& why) { fetcher_.Fail(At(partition), why); }
  std::optional<FetchedChunk> Next() { return fetcher_.Next(); }

 private:
  TopicPartition At(PartitionId partition) const {
    return {.topic = topic_id_, .partition = partition};
  }

  const std::string topic_;
  TopicId topic_id_;
  FetchDriver fetcher_;
};

}  // namespace millrace::client

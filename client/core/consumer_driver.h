// Consumes partitions of one topic: the Consumer state machine with streams, timers and metadata
// behind it.
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
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/core/consumer.h"
#include "client/core/topic_driver.h"

namespace millrace::client {

class ConsumerDriver : private TopicDriver {
 public:
  // `on_ready` is called when Next has something after it had nothing; `on_grown`, if it is not
  // empty, with the first of those partitions that the topic has got since it was opened. That may
  // Assign them, but not destroy this.
  ConsumerDriver(Client& client, std::string topic, const ConsumerTuning& tuning,
                 std::function<void()> on_ready, std::function<void(PartitionId)> on_grown = {});

  // Finds the topic. NOT_FOUND; UNAVAILABLE.
  void Open(Duration timeout, MoveFunction<void(Status)> done);

  // Pre of what follows: Open succeeded.
  using TopicDriver::partition_count;
  using TopicDriver::topic_id;
  // Reads the partition from `start` on, up to the offset before `stop_at`; once each. NOT_FOUND if
  // there is no such partition.
  Status Assign(PartitionId partition, const StartAt& start, std::optional<Offset> stop_at = {});
  bool IsAssigned(PartitionId partition) const { return handles_.contains(partition); }
  // As the Consumer's. Pre: the partition is assigned.
  void Seek(PartitionId partition, const StartAt& start);
  void Pause(PartitionId partition);
  void Resume(PartitionId partition);
  void Fail(PartitionId partition, const Status& status);
  // What came in, in order per partition. Taking it lets the broker send more.
  std::optional<FetchedChunk> Next();

 private:
  Status OnMessage(BrokerId broker, const Bytes& message, MonotonicTime now) override;
  void OnStreamClosed(BrokerId broker, const Status& why, MonotonicTime now) override;
  std::vector<BrokerId> Awaited() const override { return consumer_.Awaited(); }
  std::optional<TopicPartition> Leaderless() const override { return consumer_.Leaderless(); }
  void OnLeaders() override;
  void OnGrown(PartitionId first) override;
  void OnTopicLost(const Status& status) override;
  void Pump(MonotonicTime now) override;
  uint32_t HandleOf(PartitionId partition) const;

  const std::function<void()> on_ready_;
  const std::function<void(PartitionId)> on_grown_;
  Consumer consumer_;
  std::map<PartitionId, uint32_t> handles_;
  bool is_drained_ = true;
};

}  // namespace millrace::client

// Consumes partitions of one topic: the Consumer state machine with streams, timers and metadata
// behind it.
//
// Made from a Client, which outlives it; one owner; everything on the client's executor.
//
//   ConsumerClient consumer(client, "flights", {}, [&] { while (auto chunk = consumer.Next()) ...
//   }); consumer.Open(timeout, [&](Status status) { consumer.Assign(PartitionId(0),
//   StartAt::Earliest()); });
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/cpp/client.h"
#include "client/cpp/consumer.h"
#include "client/cpp/stream_pool.h"

namespace millrace::client {

class ConsumerClient {
 public:
  // `on_ready` is called when Next has something after it had nothing.
  ConsumerClient(Client& client, std::string topic, const ConsumerOptions& options,
                 std::function<void()> on_ready);
  ~ConsumerClient();
  ConsumerClient(const ConsumerClient&) = delete;
  ConsumerClient& operator=(const ConsumerClient&) = delete;

  // Finds the topic. NOT_FOUND; UNAVAILABLE.
  void Open(Duration timeout, MoveFunction<void(Status)> done);

  // Pre of what follows: Open succeeded.
  uint32_t partition_count() const { return partition_count_; }
  // Reads the partition from `start` on; once each. NOT_FOUND if there is no such partition.
  Status Assign(PartitionId partition, const StartAt& start);
  // What came in, in order per partition. Taking it lets the broker send more.
  std::optional<FetchedChunk> Next();

 private:
  void OnOpened();
  void OnMessage(BrokerId broker, const Bytes& message);
  void OnMetadata(const Status& status);
  void PostPump();
  void Pump();

  Client& client_;
  const std::string topic_;
  const ConsumerOptions options_;
  const std::function<void()> on_ready_;
  TopicId topic_id_;
  uint32_t partition_count_ = 0;
  Consumer consumer_;
  std::vector<PartitionId> assigned_;  // by handle
  std::unique_ptr<StreamPool> streams_;
  uint64_t watch_ = 0;
  std::optional<MonotonicTime> topic_missing_since_;
  bool is_pump_posted_ = false;
  bool is_drained_ = true;
  TimerId timer_;
  // Guards callbacks that outlive the consumer; shared with those alone.
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace::client

// Produces to one topic: the Producer state machine with a partitioner in front of it and streams,
// timers and metadata behind it.
//
// Made from a Client, which outlives it; one owner; everything on the client's executor. Records
// that are not answered when it is destroyed have an unknown fate.
//
//   ProducerClient producer(client, "flights", {}, {.on_report = ..., .on_room = ...});
//   producer.Open([](Status status) { ... });
//   Result<PartitionId> partition = producer.Send(record);   // after Open
//   producer.Flush([] { ... });                              // all are answered
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/cpp/client.h"
#include "client/cpp/partitioner.h"
#include "client/cpp/producer.h"
#include "client/cpp/stream_pool.h"

namespace millrace::client {

class ProducerClient {
 public:
  struct Callbacks {
    // For every batch; per partition in the order of the records that were sent.
    std::function<void(const DeliveryReport&)> on_report;
    // There is room again after has_room() was false.
    std::function<void()> on_room;
  };

  ProducerClient(Client& client, std::string topic, const ProducerOptions& options,
                 Callbacks callbacks);
  ~ProducerClient();
  ProducerClient(const ProducerClient&) = delete;
  ProducerClient& operator=(const ProducerClient&) = delete;

  // Finds the topic and gets a producer id. NOT_FOUND; UNAVAILABLE.
  void Open(Duration timeout, MoveFunction<void(Status)> done);

  // Pre of what follows: Open succeeded.
  uint32_t partition_count() const { return partition_count_; }
  TopicId topic_id() const { return topic_id_; }
  // Whether the next record will be taken.
  bool has_room() const { return producer_->HasRoom(options_.record_bytes_max); }
  // The partition that the record goes to: the one that is given, or by key. Errors as
  // Producer::Send.
  Result<PartitionId> Send(const NewRecord& record, std::optional<PartitionId> partition = {});
  // Sends what is collected; `done` once everything is answered. One at a time.
  void Flush(MoveFunction<void()> done);
  uint64_t unanswered_records() const { return producer_ ? producer_->unanswered_records() : 0; }

 private:
  void OnOpened(const v1::InitProducerResponse& response);
  void OnMessage(BrokerId broker, const Bytes& message);
  void OnMetadata(const Status& status);
  void PostPump();
  void Pump();
  void Deliver(std::vector<DeliveryReport> reports);

  Client& client_;
  const std::string topic_;
  const ProducerOptions options_;
  const Callbacks callbacks_;
  TopicId topic_id_;
  uint32_t partition_count_ = 0;
  std::unique_ptr<Producer> producer_;
  std::optional<Partitioner> partitioner_;
  std::unique_ptr<StreamPool> streams_;
  uint64_t watch_ = 0;
  std::optional<MonotonicTime> topic_missing_since_;
  bool is_pump_posted_ = false;
  bool was_full_ = false;
  TimerId timer_;
  MoveFunction<void()> flushed_;
  // Guards callbacks that outlive the producer; shared with those alone.
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace::client

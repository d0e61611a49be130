// Reads partitions of any number of topics: the Consumer state machine with streams, timers and
// metadata behind it. One stream and one prefetch per broker, whatever is read there.
//
// Made from a Client, which outlives it; one owner; everything on the client's executor.
//
//   FetchDriver reader(client, {}, {.ready = [&] { while (auto chunk = reader.Next()) ... }});
//   reader.Follow(topic_id, "flights");
//   reader.Assign({topic_id, PartitionId(0)}, StartAt::Earliest());
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/core/consumer.h"
#include "client/core/stream_driver.h"
#include "client/core/topic_watch.h"

namespace millrace::client {

class FetchDriver : private StreamDriver {
 public:
  struct Callbacks {
    // Next has something after it had nothing. May destroy the driver.
    std::function<void()> ready = {};
    // The topic has got partitions since it was followed, from this one on. May assign them, but
    // not destroy the driver. May be empty.
    std::function<void(const TopicPartition& first)> grown = {};
  };

  FetchDriver(Client& client, const ConsumerTuning& tuning, Callbacks callbacks);

  // Finds a topic by its name and follows it; its id. NOT_FOUND; UNAVAILABLE.
  void Find(const std::string& topic, Duration timeout, MoveFunction<void(Result<TopicId>)> done);
  // Follows a topic that is known to be there.
  void Follow(TopicId id, const std::string& topic);
  bool IsFollowed(TopicId id) const { return topics_.contains(id); }
  // Follows it no more. Pre: none of its partitions is assigned.
  void Forget(TopicId id);
  // Pre: it is followed.
  const TopicWatch& topic(TopicId id) const;

  // Reads the partition from `start` on, up to the offset before `stop_at`; once each. What it is
  // read for, its end by a failure too, comes out of Next. Pre: its topic is followed.
  void Assign(const TopicPartition& partition, const StartAt& start,
              std::optional<Offset> stop_at = {});
  bool IsAssigned(const TopicPartition& partition) const { return handles_.contains(partition); }
  bool IsAnyAssigned(TopicId topic) const;
  // As the Consumer's. Pre: the partition is assigned.
  void Unassign(const TopicPartition& partition);
  void Seek(const TopicPartition& partition, const StartAt& start);
  void Pause(const TopicPartition& partition);
  void Resume(const TopicPartition& partition);
  void ReadOn(const TopicPartition& partition);
  void Fail(const TopicPartition& partition, const Status& status);
  // What came in, in order per partition. Taking it lets the broker send more.
  std::optional<FetchedChunk> Next();

 private:
  Status OnMessage(BrokerId broker, const Bytes& message, MonotonicTime now) override;
  void OnStreamClosed(BrokerId broker, const Status& why, MonotonicTime now) override;
  std::vector<BrokerId> Awaited() const override { return consumer_.Awaited(); }
  std::optional<TopicPartition> Leaderless() const override { return consumer_.Leaderless(); }
  const std::string& NameOf(TopicId topic) const override;
  void Pump(MonotonicTime now) override;
  std::unique_ptr<TopicWatch> Watch(const std::string& topic);
  void OnGrown(const TopicWatch& topic, PartitionId first);
  void OnLeaders(const TopicWatch& topic);
  uint32_t HandleOf(const TopicPartition& partition) const;

  const Callbacks callbacks_;
  const Duration unknown_topic_grace_;
  Consumer consumer_;
  std::map<TopicPartition, uint32_t> handles_;
  std::map<TopicId, std::unique_ptr<TopicWatch>> topics_;
  std::vector<std::unique_ptr<TopicWatch>> finding_;
  bool is_drained_ = true;
};

}  // namespace millrace::client

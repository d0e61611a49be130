// What the drivers of producer and consumer have in common: one topic, found once and watched from
// then on, a stream per broker, and a pump that runs the state machine after whatever happened, all
// of one turn together, and again when the machine wants it.
//
// A broker that is stopped or cut off keeps its connections: it only says nothing. So when one
// whose answer is awaited has been silent for a second, the others are asked who leads now, and
// again after ever longer pauses, for a reader at the end of a quiet partition hears nothing
// either.
//
// The base of ProducerDriver and ConsumerDriver; on the client's executor.
//
//   class ConsumerDriver : private TopicDriver { void Pump(MonotonicTime now) override; ... };
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/core/client.h"
#include "client/core/metadata.h"
#include "client/core/retry.h"
#include "client/core/stream_pool.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"

namespace millrace::client {

class TopicDriver {
 public:
  virtual ~TopicDriver();
  TopicDriver(const TopicDriver&) = delete;
  TopicDriver& operator=(const TopicDriver&) = delete;

 protected:
  TopicDriver(Client& client, std::string topic, Duration unknown_topic_grace);

  // Fetches the topic's metadata; then topic_id() and partition_count() are known.
  void FindTopic(Duration timeout, MoveFunction<void(Status)> done);
  // Streams of `method` begin with `first_message`. From now on the topic is watched.
  // Pre: FindTopic succeeded.
  void Start(const std::string& method, const google::protobuf::MessageLite& first_message);
  bool is_started() const { return streams_ != nullptr; }

  // Pump, soon.
  void PostPump();
  // For Pump, with what the state machine put out.
  void Send(BrokerId broker, std::vector<Bytes> pieces);
  void PlanNext(MonotonicTime now, bool wants_metadata, std::optional<MonotonicTime> wake_at);
  void Tell(const std::optional<Trouble>& trouble);

  LeaderInfo LeaderOf(PartitionId partition) const;
  Status NoSuchPartition(PartitionId partition) const;

  Client& client() { return client_; }
  const std::string& topic() const { return topic_; }
  TopicId topic_id() const { return topic_id_; }
  uint32_t partition_count() const { return partition_count_; }
  const Lifetime& lifetime() const { return lifetime_; }

 private:
  // An error closes the stream; OnStreamClosed follows.
  virtual Status OnMessage(BrokerId broker, const Bytes& message, MonotonicTime now) = 0;
  virtual void OnStreamClosed(BrokerId broker, const Status& why, MonotonicTime now) = 0;
  // Brokers that owe an answer, or are being read from.
  virtual std::vector<BrokerId> Awaited() const = 0;
  // A partition with something to do and no known leader, if there is one.
  virtual std::optional<TopicPartition> Leaderless() const = 0;
  // Leaders may have changed: LeaderOf.
  virtual void OnLeaders() = 0;
  // The topic has more partitions, from this one on; OnLeaders follows.
  virtual void OnGrown(PartitionId first) = 0;
  // The topic is no more.
  virtual void OnTopicLost(const Status& status) = 0;
  // Runs the state machine; the last thing that a turn does, so that its callbacks may destroy
  // this.
  virtual void Pump(MonotonicTime now) = 0;

  // An awaited broker, since it was last heard or became awaited.
  struct Silence {
    MonotonicTime since{};
    Duration patience{};
  };

  void OnMetadata(const Status& status);
  std::optional<MonotonicTime> WatchSilence(MonotonicTime now);
  void TellLeaderless(MonotonicTime now);

  Client& client_;
  const std::string topic_;
  const Duration unknown_topic_grace_;
  TopicId topic_id_;
  uint32_t partition_count_ = 0;
  std::unique_ptr<StreamPool> streams_;
  uint64_t watch_ = 0;
  std::optional<MonotonicTime> topic_missing_since_;
  std::optional<MonotonicTime> leaderless_since_;
  std::map<BrokerId, Silence> silences_;
  bool is_pump_posted_ = false;
  TimerId timer_;
  Lifetime lifetime_;
};

}  // namespace millrace::client

// What the drivers of producers and consumers have in common: a stream per broker, and a pump that
// runs the state machine after whatever happened, all of one turn together, and again when the
// machine wants it.
//
// A broker that is stopped or cut off keeps its connections: it only says nothing. So when one
// whose answer is awaited has been silent for a second, the others are asked who leads now, and
// again after ever longer pauses, for a reader at the end of a quiet partition hears nothing
// either.
//
// The base of ProducerDriver and FetchDriver; on the client's executor.
//
//   class FetchDriver : private StreamDriver { void Pump(MonotonicTime now) override; ... };
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

class StreamDriver {
 public:
  virtual ~StreamDriver();
  StreamDriver(const StreamDriver&) = delete;
  StreamDriver& operator=(const StreamDriver&) = delete;

 protected:
  explicit StreamDriver(Client& client) : client_(client) {}

  // Streams of `method` begin with `first_message`. Once, before anything is sent.
  void Start(const std::string& method, const google::protobuf::MessageLite& first_message);
  bool is_started() const { return streams_ != nullptr; }

  // Pump, soon.
  void PostPump();
  // After whatever was learned of topics: tells of a partition without a leader, and pumps.
  void OnMetadata();
  // For Pump, with what the state machine put out.
  void Send(BrokerId broker, std::vector<Bytes> pieces);
  void PlanNext(MonotonicTime now, bool wants_metadata, std::optional<MonotonicTime> wake_at);
  void Tell(const std::optional<Trouble>& trouble);

  Client& client() { return client_; }
  const Lifetime& lifetime() const { return lifetime_; }

 private:
  // An error closes the stream; OnStreamClosed follows.
  virtual Status OnMessage(BrokerId broker, const Bytes& message, MonotonicTime now) = 0;
  virtual void OnStreamClosed(BrokerId broker, const Status& why, MonotonicTime now) = 0;
  // Brokers that owe an answer, or are being read from.
  virtual std::vector<BrokerId> Awaited() const = 0;
  // A partition with something to do and no known leader, if there is one.
  virtual std::optional<TopicPartition> Leaderless() const = 0;
  virtual const std::string& NameOf(TopicId topic) const = 0;
  // Runs the state machine; the last thing that a turn does, so that its callbacks may destroy
  // this.
  virtual void Pump(MonotonicTime now) = 0;

  // An awaited broker, since it was last heard or became awaited.
  struct Silence {
    MonotonicTime since{};
    Duration patience{};
  };

  std::optional<MonotonicTime> WatchSilence(MonotonicTime now);
  void TellLeaderless(MonotonicTime now);

  Client& client_;
  std::unique_ptr<StreamPool> streams_;
  std::optional<MonotonicTime> leaderless_since_;
  std::map<BrokerId, Silence> silences_;
  bool is_pump_posted_ = false;
  TimerId timer_;
  Lifetime lifetime_;
};

}  // namespace millrace::client

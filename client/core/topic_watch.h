// A topic as a client follows it: found by its name, and watched from then on, as it gets
// partitions, as they change their leaders, and until it is no more.
//
// Made from a Client, which outlives it; one owner; on the client's executor. The listener is
// called after metadata was refreshed, and may not destroy this.
//
//   TopicWatch topic(client, "flights", grace, {.leaders = [&](const TopicWatch& t) { ... }});
//   topic.Find(timeout, [&](Status found) { if (found.ok()) topic.Follow(); });
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "client/core/client.h"
#include "client/core/metadata.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/lifetime.h"

namespace millrace::client {

class TopicWatch {
 public:
  struct Listener {
    // It has more partitions, from this one on; `leaders` follows. May be empty.
    std::function<void(const TopicWatch& topic, PartitionId first)> grown = {};
    // It is no more, or another one has its name; told again as long as that is so.
    std::function<void(const TopicWatch& topic, const Status& why)> lost = {};
    // Leaders may have changed.
    std::function<void(const TopicWatch& topic)> leaders = {};
  };

  // A broker that does not know the topic may not know it yet: for `grace` that is believed.
  TopicWatch(Client& client, std::string name, Duration grace, Listener listener);
  ~TopicWatch();
  TopicWatch(const TopicWatch&) = delete;
  TopicWatch& operator=(const TopicWatch&) = delete;

  // Fetches the topic's metadata; then id() and partition_count() are known.
  void Find(Duration timeout, MoveFunction<void(Status)> done);
  // That one is meant, of which nothing else is known yet; in place of Find.
  void Know(TopicId id) { id_ = id; }
  // From now on the listener is called. Pre: it is found or known.
  void Follow();

  const std::string& name() const { return name_; }
  TopicId id() const { return id_; }
  uint32_t partition_count() const { return partition_count_; }
  LeaderInfo LeaderOf(PartitionId partition) const;
  // NOT_FOUND (UNKNOWN_PARTITION) unless it has this partition.
  Status CheckPartition(PartitionId partition) const;

 private:
  void OnMetadata(const Status& status);

  Client& client_;
  const std::string name_;
  const Duration grace_;
  const Listener listener_;
  TopicId id_;
  uint32_t partition_count_ = 0;
  uint64_t watch_ = 0;
  std::optional<MonotonicTime> missing_since_;
  Lifetime lifetime_;
};

}  // namespace millrace::client

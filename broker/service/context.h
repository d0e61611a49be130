// What the public services work with: the parts of one broker, borrowed from its Node, and the few
// questions that every service asks of them.
//
// On the shard's thread.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "broker/controller/controller.h"
#include "broker/metadata/forwarder.h"
#include "broker/metadata/leader_table.h"
#include "broker/partition/batch_worker.h"
#include "broker/partition/partition_set.h"
#include "broker/service/call.h"
#include "broker/service/client_memory.h"
#include "millrace/v1/metadata_service.pb.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"

namespace millrace::broker {

// How long a request that one broker passes to another may take, unless the client wants less
// (ServiceContext::TimeFor).
inline constexpr Duration kForwardTimeout = std::chrono::seconds(10);

// One partition as a client names it.
struct PartitionName {
  std::string_view topic;  // or, where empty, `topic_id`
  TopicId topic_id;
  PartitionId partition;
};

struct ServiceContext {
  Executor& executor;
  const Clock& clock;
  raft::Transport& transport;
  Controller& controller;
  LeaderTable& leaders;
  PartitionSet& partitions;
  Forwarder& forwarder;
  ClientMemory& memory;
  BatchWorker& batches;
  BrokerIncarnation self;
  std::string cluster_name;
  std::string client_address;
  size_t cluster_size = 1;
  // Largest message that this broker takes, bytes.
  uint64_t message_bytes_max = 0;
  // Calls and streams that one connection of a client may have.
  uint64_t streams_per_connection_max = 0;
  // Once the bootstrap is done; 0 before.
  std::function<uint64_t()> cluster_uuid;
  // Whether this broker's image is new enough to say that something does not exist.
  std::function<bool()> is_ready;
  // Not ok, for clients, where this broker's replica of the controller's log is silent.
  std::function<Status()> controller_health;
  // Calls the task once, after the next change of the image.
  std::function<void(Task)> once_image_changed;

  const Image& image() const { return controller.image(); }

  // Ok if what is not in the image does not exist; else why it may: this broker starts
  // (NOT_INITIALIZED), or never gets to know (REPLICA_SILENT).
  Status CheckKnowsTopics() const;
  // NOT_FOUND (UNKNOWN_TOPIC or UNKNOWN_PARTITION) naming it; UNAVAILABLE while this broker starts.
  Result<const TopicInfo*> FindTopic(std::string_view name, TopicId id) const;
  Result<const PartitionInfo*> FindPartition(const PartitionName& name) const;
  // Who leads the group, as far as is known here; broker 0 if nobody is.
  BrokerId LeaderOf(RaftGroupId group) const { return leaders.Find(group).leader; }
  // The partition's replica here if this broker leads it; null otherwise.
  Partition* LedHere(RaftGroupId group) const;
  // The epoch that outside is told of a leader's term; none where the group's topic is not known.
  std::optional<LeaderEpoch> EpochOf(RaftGroupId group, Term term) const;
  // NOT_LEADER with all that is known: leader_id, leader_address, leader_epoch.
  Status NotLeader(RaftGroupId group) const;
  // Adds leader_id and leader_address to a NOT_LEADER error that lacks them.
  Status WithLeader(Status status, RaftGroupId group) const;

  // How long what is done for `call` may take, `time_max` at most: less than its client waits by a
  // tenth, so that what others answered meanwhile still reaches it.
  Duration TimeFor(const Call& call, Duration time_max) const;

  // Has the controller's leader, here or one hop away, serve `method`
  // (broker/metadata/forwarder.h).
  void AskController(std::string_view method, Bytes body, Duration timeout, ForwardDone done);

  void Describe(const TopicInfo& topic, v1::Topic* out) const;
};

}  // namespace millrace::broker

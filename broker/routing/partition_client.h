// The leader of a partition, wherever it is: batches to it and records from it, here or one hop
// away. An entry that is read is the same whether it came from this broker's memory or from
// another broker.
//
// Owned by the Node, on the shard's thread. `done` is called once: with the outcome, the
// partition's error (broker/partition/partition.h), UNAVAILABLE (NOT_LEADER) if nobody is known to
// lead it, or what Forwarder::Forward says.
//
//   partitions.Produce(principal, group, {.bytes = batch}, [](Result<ProduceOutcome> outcome) { });
//   partitions.Read(principal, group, {.offset = o, .bytes_max = n}, wait, done);
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "broker/api/principal.h"
#include "broker/partition/partition.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/forwarder.h"
#include "proto/base/ids.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {

class PartitionClient {
 public:
  // All outlive this.
  struct Environment {
    Executor& executor;
    const ClusterView& view;
    // The replica of the group that is here; null if there is none.
    std::function<Partition*(RaftGroupId)> find_replica;
    Forwarder& forwarder;
    BrokerId self;
  };

  // Serves what others ask of partitions that are led here, too.
  explicit PartitionClient(Environment environment);
  PartitionClient(const PartitionClient&) = delete;
  PartitionClient& operator=(const PartitionClient&) = delete;

  // Appends the batch.
  void Produce(const Principal& principal, RaftGroupId group, SentBatch batch, ProduceDone done);
  // Reads committed batches from request.offset on, waiting up to `wait` for the first if there is
  // none.
  void Read(const Principal& principal, RaftGroupId group, const ReadRequest& request,
            Duration wait, ReadDone done);
  // The offsets after a read barrier at the leader, with the record's that is asked for. Another
  // broker has `time_max` to answer.
  void Offsets(const Principal& principal, RaftGroupId group, const OffsetsQuery& query,
               Duration time_max, OffsetsDone done);
  // Deletes the records before `before`. Another broker has `time_max` to answer.
  void DeleteRecords(const Principal& principal, RaftGroupId group, Offset before,
                     Duration time_max, OffsetsDone done);

 private:
  class LongPoll;

  // The partition's replica here if this broker leads it; null otherwise.
  Partition* LedHere(RaftGroupId group) const;
  // What a forwarded request is for: NOT_LEADER if this broker does not lead it, or only in an
  // older epoch than the asker knows of.
  Result<Partition*> FindLed(RaftGroupId group, LeaderEpoch expected) const;
  // Hands the request to the group's leader if that is another broker.
  void Forward(RaftGroupId group, Forwarder::Request request, ForwardDone done);
  void ReadHere(RaftGroupId group, const ReadRequest& request, Duration wait, ReadDone done);

  void ServeProduce(const ForwardedRequest& forwarded, ForwardReplied done);
  void ServeRead(const ForwardedRequest& forwarded, ForwardReplied done);
  void ServeOffsets(const ForwardedRequest& forwarded, ForwardReplied done);
  void ServeDelete(const ForwardedRequest& forwarded, ForwardReplied done);

  Environment environment_;
  Lifetime lifetime_;
};

}  // namespace millrace::broker

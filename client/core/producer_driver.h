// Produces to one topic: the Producer state machine with a partitioner in front of it and streams,
// timers and metadata behind it.
//
// Made from a Client, which outlives it; one owner; everything on the client's executor. Records
// that are not answered when it is destroyed have an unknown fate; Abandon reports them before.
//
//   ProducerDriver producer(client, "flights", {}, {.on_report = ..., .on_room = ...});
//   producer.Open([](Status status) { ... });
//   Result<PartitionId> partition = producer.Send(record, clock.Now());   // after Open
//   producer.Flush([] { ... });                              // what was sent is answered
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/core/partitioner.h"
#include "client/core/producer.h"
#include "client/core/stream_driver.h"
#include "client/core/topic_watch.h"
#include "millrace/v1/group_service.pb.h"

namespace millrace::client {

class ProducerDriver : private StreamDriver {
 public:
  struct Callbacks {
    // For every batch; per partition in the order of the records that were sent.
    std::function<void(const DeliveryReport&)> on_report;
    // There is room again after has_room() was false.
    std::function<void()> on_room;
    // The largest record that the topic takes, serialized: once it is known, and when it changes.
    // May be empty.
    std::function<void(size_t)> on_record_bytes_max = {};
    // partition_count() is larger than before. May be empty, and may not destroy the driver.
    std::function<void()> on_grown = {};
  };

  ProducerDriver(Client& client, std::string topic, const ProducerTuning& tuning,
                 Callbacks callbacks);

  // Finds the topic and gets a producer id. NOT_FOUND; UNAVAILABLE.
  void Open(Duration timeout, MoveFunction<void(Status)> done);

  // Pre of what follows: Open succeeded.
  uint32_t partition_count() const { return topic_.partition_count(); }
  TopicId topic_id() const { return topic_.id(); }
  // Whether the next record will be taken, if it is no larger than a batch.
  bool has_room() const { return producer_->HasRoom(tuning_.batch_bytes); }
  // The partition for a record that names none: by its key, or in turn. `size` is its encoded one.
  PartitionId Pick(std::optional<std::string_view> key, size_t size) {
    return partitioner_->Pick(key, size);
  }
  // The partition that the record goes to: the one that is given, or Pick's. Errors as
  // Producer::Send. `now` is the caller's, for reading the clock costs as much as taking a small
  // record: many that are sent together share one. `expected_end` as Producer::Send's; with a
  // partition.
  Result<PartitionId> Send(const NewRecord& record, MonotonicTime now,
                           std::optional<PartitionId> partition = {},
                           std::optional<Offset> expected_end = {});
  // Sends what is collected; `done` once everything that was sent before is answered.
  void Flush(MoveFunction<void()> done);
  // Errors as Producer's. What ended is told by `done`, in its order and after the reports of its
  // records; by then it is ABORTED, if it could not be committed, or of another error, if nobody
  // knows.
  Status BeginTransaction() { return producer_->BeginTransaction(); }
  void EndTransaction(bool is_commit, MoveFunction<void(const Status&)> done);
  // What a group has read is part of the open one; of a partition, what was said last.
  Status AddOffsets(v1::CommitOffsetsRequest offsets);
  // Whose transactions they are now. Pre: it has a transactional id.
  v1::MemberProducer member_producer() const;
  // Reports what is decided and not reported yet, now. So that a record that Send has just refused
  // is not told of before those that were sent earlier: an end of its partition may wait for that.
  void Report();
  // Reports everything that is unanswered with `status`, now. Nothing can be sent any more.
  void Abandon(const Status& status);
  uint64_t unanswered_records() const { return producer_ ? producer_->unanswered_records() : 0; }

 private:
  // Records of one partition so far.
  struct Counts {
    uint64_t sent = 0;
    uint64_t answered = 0;
  };
  struct PendingFlush {
    std::vector<uint64_t> sent;  // by partition that there was: what is to be answered
    MoveFunction<void()> done;
  };
  struct PendingEnd {
    Status refusal;  // ok: there will be an outcome
    MoveFunction<void(const Status&)> done;
  };

  Status CheckPartitioning();
  void OnOpened(const v1::InitProducerResponse& response);
  void AddPartitions();
  Status OnMessage(BrokerId broker, const Bytes& message, MonotonicTime now) override;
  void OnStreamClosed(BrokerId broker, const Status& why, MonotonicTime now) override;
  std::vector<BrokerId> Awaited() const override { return producer_->Awaited(); }
  std::optional<TopicPartition> Leaderless() const override { return producer_->Leaderless(); }
  const std::string& NameOf(TopicId) const override { return topic_.name(); }
  void OnLeaders();
  void OnGrown(PartitionId first);
  void Pump(MonotonicTime now) override;
  // The topic's limits may have changed.
  void LearnLimits();
  void TellRecordLimit();
  void AskEpoch(uint32_t current);
  void OnEpochAsked();
  v1::InitProducerRequest InitRequest();
  void Ask(const TransactionAsk& ask);
  // One request after the other.
  void AskStage(const TransactionAsk& ask);
  void OnStaged(const TransactionAsk& ask, const Status& staged);
  void AskEnd(const TransactionAsk& ask);
  void AskInitialize();
  void OnTransactionAsked(const Status& status);
  void TellOutcomes(std::vector<Status> outcomes);
  void Deliver(const std::vector<DeliveryReport>& reports, std::vector<Status> outcomes);
  bool HasAnswered(const std::vector<uint64_t>& sent) const;
  void EndFlushes();

  const ProducerTuning tuning_;
  const Callbacks callbacks_;
  TopicWatch topic_;
  ProducerId producer_id_;
  std::unique_ptr<Producer> producer_;
  std::vector<Counts> counts_;  // by partition
  std::optional<Partitioner> partitioner_;
  size_t told_record_bytes_max_ = 0;
  bool was_full_ = false;
  bool is_asking_epoch_ = false;
  std::deque<PendingFlush> flushes_;
  // Of the InitProducer of a transactional id, until it is answered: what is repeated is the same.
  uint64_t init_request_id_ = 0;
  bool is_asking_of_transactions_ = false;
  bool is_id_forgotten_ = false;  // the transactional id: nobody has it
  std::deque<PendingEnd> ends_;
  // By transaction; not staged yet. Each has the epoch in which its partitions were the member's.
  std::map<uint64_t, std::deque<v1::CommitOffsetsRequest>> offsets_;
};

}  // namespace millrace::client

// Brokers as a producer sees them, for tests: partitions with leaders that change, sequences
// checked as the protocol says, messages and answers that are delivered one by one or lost with
// their stream.
//
// They have one coordinator of transactions, for one transactional id. A batch of the one after
// that which is open is refused as passing, where a broker would hold it for a while before it does
// so.
//
// One thread; everything from the caller's hands.
//
//   ModelBrokers brokers(3, 2);
//   brokers.Receive(message);            // what the producer's Poll put out
//   brokers.HandleOne(broker);           // takes a batch, perhaps appends, queues the answer
//   if (auto result = brokers.TakeAnswer(broker)) producer.OnResult(broker, *result, now);
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/core/producer.h"
#include "millrace/v1/producer_service.pb.h"
#include "proto/base/ids.h"
#include "proto/record/record_batch.h"

namespace millrace::client {

class ModelBrokers {
 public:
  static constexpr TopicId kTopic{9};

  ModelBrokers(uint32_t broker_count, uint32_t partition_count);

  void Receive(const ProducerOutput::Message& message);
  bool has_work(BrokerId broker) const { return !inbox_.at(broker).empty(); }
  size_t unhandled(BrokerId broker) const { return inbox_.at(broker).size(); }
  // Handles the oldest batch of a broker's inbox; `error` refuses it instead.
  void HandleOne(BrokerId broker, const Status& error = Status::Ok());
  std::optional<v1::ProduceResult> TakeAnswer(BrokerId broker);
  // What was not handled and what was not taken is lost.
  void BreakStream(BrokerId broker);
  void SetLeader(uint32_t partition, BrokerId leader);
  // What a partition knows of its producer is gone, to make room for others. While a batch is under
  // way nothing happens: what an attempt says that another has overtaken is not modelled.
  void ForgetProducer(uint32_t partition);
  // Somebody else stores a record.
  void AppendForeign(uint32_t partition) { partitions_[partition].log.emplace_back(kForeign); }
  static constexpr char kForeign[] = "foreign";

  // Grants the transactional id anew: its epoch. What is open is aborted.
  uint32_t InitTransactions();
  // Ends a transaction of that epoch.
  Status EndTransaction(uint32_t epoch, uint64_t number, bool is_commit);
  // The values that the partition holds of transactions that were committed, by offset.
  std::vector<std::string> Committed(uint32_t partition) const;
  // The one that has records and did not end; 0: none.
  uint64_t open_transaction() const { return open_transaction_; }

  // What a batch may take from now on, serialized and before compression.
  void SetBatchLimit(size_t bytes) { batch_limit_ = bytes; }

  LeaderInfo leader(uint32_t partition) const { return partitions_[partition].leader; }
  // The values that the partition holds, by offset.
  const std::vector<std::string>& log(uint32_t partition) const {
    return partitions_[partition].log;
  }
  uint64_t duplicates_seen() const { return duplicates_seen_; }
  uint64_t too_large_seen() const { return too_large_seen_; }
  uint64_t compressed_seen() const { return compressed_seen_; }

 private:
  struct Stored {
    uint32_t first_sequence = 0;
    int64_t base_offset = 0;
  };
  struct Sequences {
    bool is_known = false;
    bool has_forgotten = false;
    uint32_t epoch = 0;
    uint32_t next_sequence = 0;
    std::deque<Stored> batches;
  };
  // By epoch and number.
  using TransactionName = std::pair<uint32_t, uint64_t>;
  struct Partition {
    LeaderInfo leader;
    Sequences producer;
    std::vector<std::string> log;
    std::vector<TransactionName> transactions;  // as `log`
  };

  // Ok if the log ends where the batch is to be stored, or it does not say.
  static Status CheckEnd(const v1::ProduceBatch& batch, const Partition& partition);
  v1::ProduceResult Append(BrokerId broker, const v1::ProduceBatch& batch);
  // Ok if the batch is of no transaction, or of one that is open, or is now.
  Status CheckTransaction(const RecordBatchView& batch) const;
  Status TransactionEnded(const TransactionName& name) const;
  // Ok if the batch is next, or if it is stored already; then the result says so.
  Status CheckSequence(const RecordBatchView& batch, bool is_repeated, Sequences* producer,
                       v1::ProduceResult* result);

  std::vector<Partition> partitions_;
  std::map<BrokerId, std::deque<v1::ProduceBatch>> inbox_;
  std::map<BrokerId, std::deque<v1::ProduceResult>> answers_;
  uint32_t transactions_epoch_ = 0;
  uint64_t open_transaction_ = 0;
  uint64_t last_ended_ = 0;
  std::map<TransactionName, bool> outcomes_;  // whether it is committed
  size_t batch_limit_ = SIZE_MAX;
  uint64_t duplicates_seen_ = 0;
  uint64_t too_large_seen_ = 0;
  uint64_t compressed_seen_ = 0;
};

}  // namespace millrace::client

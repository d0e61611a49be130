// The producing side of a client as a state machine without I/O: it batches records, keeps several
// batches a partition in flight, and sends what was not answered again, in order and with the same
// sequences, when a leader changes or a stream breaks, so that nothing is lost, doubled or
// reordered.
//
// Driven by ProducerDriver, which owns it: call in, then Poll, and send what comes out. On the
// client's executor. It never touches a clock, a socket or a thread.
//
// Adaptive batching: a partition with nothing in flight sends at once; one that waits for answers
// collects until a batch is full, `linger` has passed or the answers are there.
//
// A batch that is refused for good (or whose fate is unknown after `delivery_timeout`) fails with
// all that wait behind it in its partition, so that nothing overtakes it. What is sent later counts
// its sequences anew, under a new epoch of the producer id: once a record of that is stored,
// nothing of the old epoch can follow. (After the last epoch, one id in 32,766, it is a new id.) A
// partition whose topic is gone, or whose producer is fenced, takes no more.
//
// A record that is to be stored at one offset or not at all is a batch by itself. If its log ends
// elsewhere it alone fails, with those of its kind that wait right behind it, since they rest on
// it; what else waits is sent under new sequences.
//
// What a batch may hold is the topic's to say. A batch that a broker finds too large nevertheless,
// since the limit was lowered, was not stored: it is split and sent again, its records under the
// sequences that they have. Only a record that is too large by itself fails.
//
// With a transactional id every record is of a transaction, which Transactions keeps. Then nothing
// fails alone: what fails takes its transaction with it, and what is behind that waits for a new
// epoch, which all partitions take at once.
//
// Work is kept in lists of what is ready, so that a call costs as much as what it does, not as much
// as there are partitions.
//
//   uint32_t handle = producer.AddPartition({topic, partition});
//   if (producer.HasRoom(size)) RETURN_IF_ERROR(producer.Send(handle, record, now));
//   producer.Poll(now, &output);     // output.messages, output.reports
//   producer.OnResult(broker, result, now);
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "client/core/metadata.h"
#include "client/core/retry.h"
#include "client/core/transactions.h"
#include "millrace/v1/producer_service.pb.h"
#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "proto/record/record_batch_builder.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/random.h"

namespace millrace::client {

struct ProducerTuning {
  // How large batches grow, in bytes of their records; less where the topic takes less. A record
  // that is larger is a batch by itself.
  size_t batch_bytes = size_t{512} << 10;
  // How long a record waits for others while earlier ones are in flight.
  Duration linger = std::chrono::milliseconds(5);
  // Records that are not answered; beyond it Send refuses.
  size_t memory_bytes_max = size_t{32} << 20;
  // Unanswered on one stream, and of one partition; the broker may ask for less.
  uint64_t inflight_bytes_max = uint64_t{4} << 20;
  uint32_t inflight_batches_max = 8;
  // Several batches for one broker go in one message up to this size.
  size_t message_bytes_max = size_t{1} << 20;
  // From the first record of a batch to giving it up.
  Duration delivery_timeout = std::chrono::seconds(120);
  // How long a topic that a broker does not know may be one that it does not know yet.
  Duration unknown_topic_grace = std::chrono::seconds(2);
  BackoffOptions backoff;
  BatchEncoding encoding = BatchEncoding::kPacked;
  // How each batch is compressed when it is sealed.
  BatchCompression compression = BatchCompression::kNone;
  // Empty: no transactions.
  std::string transactional_id = {};
  // How long one may be open.
  Duration transaction_timeout = std::chrono::seconds(60);
};

// From InitProducer.
struct ProducerIdentity {
  ProducerId id;
  uint32_t epoch = 0;
  // 0: the broker sets no limit.
  uint32_t inflight_batches_max = 0;
};

// What became of a batch; per partition in the order of the records that were sent.
struct DeliveryReport {
  TopicPartition partition;
  Status status;
  // The first record's offset; -1 with an error, and for a duplicate stored too long ago to know.
  Offset base_offset{-1};
  uint32_t record_count = 0;
  size_t bytes = 0;
  // When the leader stored it; 0 if it is not known to be stored.
  int64_t append_time_ms = 0;
  // With an error: some attempt may have stored it. If not, it is certainly not stored.
  bool may_be_stored = false;
};

struct ProducerOutput {
  struct Message {
    BrokerId to;
    std::vector<Bytes> pieces;  // one serialized ProduceRequest
  };
  std::vector<Message> messages;
  std::vector<DeliveryReport> reports;
  // A leader is unknown or does not answer as one.
  bool wants_metadata = false;
  // A partition waits for an epoch above this one: OnEpoch.
  std::optional<uint32_t> wants_epoch_after;
  // What is to be asked for transactions; the same until it was answered.
  std::optional<TransactionAsk> wants_of_transactions;
  // How transactions ended, in their order; after the reports of their records.
  std::vector<Status> outcomes;
  // The trouble that lasts longest, of all since the last Poll.
  std::optional<Trouble> trouble;
  // When to call Poll again if nothing else happens.
  std::optional<MonotonicTime> wake_at;
};

class Producer {
 public:
  Producer(const ProducerTuning& tuning, const ProducerIdentity& identity, Random random);

  // The partition's handle. Pre: it was not added before.
  uint32_t AddPartition(const TopicPartition& partition);

  bool HasRoom(size_t bytes) const { return unanswered_bytes_ + bytes <= tuning_.memory_bytes_max; }
  // RESOURCE_EXHAUSTED without room, unless nothing is unanswered; INVALID_ARGUMENT
  // (BATCH_TOO_LARGE) over record_bytes_max(); the partition's error if it takes no more.
  // `expected_end`: where the log must end for the record to be stored.
  Status Send(uint32_t handle, const NewRecord& record, MonotonicTime now,
              std::optional<Offset> expected_end = {});
  // What was sent so far lingers no longer.
  void Flush(MonotonicTime now);
  uint64_t unanswered_records() const { return unanswered_records_; }
  size_t unanswered_bytes() const { return unanswered_bytes_; }

  // The largest batch that the topic takes, serialized and before compression.
  void SetBatchLimit(size_t batch_bytes_max);
  // The largest record, serialized, that fits into such a batch.
  size_t record_bytes_max() const { return batch_limit_ - RecordBatchBuilder::kHeaderBytesMax; }
  // Leaders as metadata says; an older epoch than the known one is ignored.
  void OnLeader(uint32_t handle, const LeaderInfo& leader);
  // The brokers gave this epoch, of the same producer id or of another.
  void OnEpoch(ProducerId id, uint32_t epoch);
  void OnStreamInit(BrokerId broker, uint64_t inflight_bytes_max);
  void OnResult(BrokerId broker, const v1::ProduceResult& result, MonotonicTime now);
  // `why` is an error.
  void OnStreamClosed(BrokerId broker, const Status& why, MonotonicTime now);
  // Ends every partition with `status`; reports follow.
  void FailAll(const Status& status);

  // Brokers that have batches to answer.
  std::vector<BrokerId> Awaited() const;

  // A partition that has something to send and nowhere to send it, if there is one.
  std::optional<TopicPartition> Leaderless() const;

  // Errors as Transactions'; FAILED_PRECONDITION without a transactional id.
  Status BeginTransaction();
  // Ok: its outcome follows in ProducerOutput. An abort waits for no answers.
  Status EndTransaction(bool is_commit, MonotonicTime now);
  // Offsets are part of the open one: kStageOffsets will ask for them. Errors as
  // Transactions::CheckSend.
  Status HasOffsets();
  // The open one, as Transactions counts.
  uint64_t current_transaction() const { return transactions_->current(); }
  // What ProducerOutput wanted of transactions has this answer: of kStageOffsets, kEnd, and of
  // kInitialize.
  void OnOffsetsStaged(const TransactionAsk& ask, const Status& status);
  void OnTransactionEnded(const TransactionAsk& ask, const Status& status);
  void OnTransactionsInitialized(ProducerId id, uint32_t epoch);
  const ProducerIdentity& identity() const { return identity_; }

  // Everything that is due. Appends to `output`, and sets all of it but messages, reports and
  // outcomes.
  void Poll(MonotonicTime now, ProducerOutput* output);

  void CheckInvariants() const;

 private:
  // The limit of a topic that does not say.
  static constexpr size_t kBatchLimitDefault = size_t{1} << 20;
  // No topic takes less; a broker that says so is not believed.
  static constexpr size_t kBatchLimitMin = size_t{1} << 10;

  struct Batch {
    Bytes bytes;
    uint32_t record_count = 0;
    size_t records_bytes = 0;
    MonotonicTime created_at{};
    uint64_t attempt = 0;  // 0: not in flight
    // Some attempt may have stored it: its answer was lost or did not say.
    bool is_in_doubt = false;
    // It was on its way once under its sequence.
    bool was_sent = false;
    std::optional<Offset> expected_end = {};
    uint64_t transaction = 0;
  };
  struct Partition {
    TopicPartition name;
    LeaderInfo leader;
    std::optional<RecordBatchBuilder> open;
    MonotonicTime opened_at{};
    uint64_t open_transaction = 0;  // what `open` is of
    std::deque<Batch> batches;      // oldest first; the first `in_flight` of them are on their way
    size_t in_flight = 0;
    size_t bytes_hint = 1024;  // what the last batch took
    ProducerId producer_id;    // and its epoch, under which the sequences count
    uint32_t epoch = 0;
    uint32_t next_sequence = 0;
    bool needs_epoch = false;  // a newer one, before anything more is sent
    RetryState retry;
    Status error;  // not ok: the partition takes no more
    bool is_ready = false;
    bool is_blocked = false;
    bool is_troubled = false;
    std::optional<MonotonicTime> timer;
  };
  // A batch on its way. One that was sent again since is nobody's, but takes room in its stream's
  // window.
  struct Attempt {
    BrokerId broker;
    uint64_t bytes = 0;
    std::optional<uint32_t> partition;
  };
  struct Broker {
    uint64_t inflight_bytes = 0;
    uint64_t inflight_bytes_max = 0;
    std::vector<Bytes> pieces;
    size_t pieces_bytes = 0;
    RetryState retry;
    std::deque<uint32_t> blocked;  // partitions that wait for room in its window
  };

  // producer.cc
  static bool IsRefusal(const Status& error);
  void Seal(Partition* partition);
  void Rewind(Partition* partition, bool is_in_doubt);
  void OnFailure(uint32_t handle, const Status& error, MonotonicTime now);
  bool MayRetry(const Partition& partition, const Status& error, MonotonicTime now) const;
  bool HasNewestEpoch(const Partition& partition) const {
    return partition.producer_id == identity_.id && partition.epoch == identity_.epoch;
  }
  void TakeNewEpoch(Partition* partition);
  void Renumber(Partition* partition, uint32_t first_sequence);
  void WaitForEpoch(Partition* partition);
  bool RefuseMoved(Partition* partition, const Status& error);
  bool SplitOldest(Partition* partition, const Status& error);
  // Whether `error` is a broker's answer to the oldest batch, or comes from elsewhere.
  enum class Cause : uint8_t { kAnswer, kOther };
  void Fail(Partition* partition, const Status& error, Cause cause);
  void End(uint32_t handle, const Status& error, Cause cause);
  void Answer(Partition* partition, Status status, Offset base_offset, int64_t append_time_ms);
  void TakeBack(Partition* partition, size_t first, bool is_in_doubt);

  // producer_transactions.cc
  bool has_transactions() const { return transactions_.has_value(); }
  static uint64_t OldestTransaction(const Partition& partition);
  // On the wire.
  uint64_t NumberOf(uint64_t transaction) const {
    return has_transactions() ? transactions_->NumberOf(transaction) : 0;
  }
  static uint64_t NextTransaction(const Partition& partition);
  bool MaySendNext(const Partition& partition) const;
  void FailTransaction(uint64_t transaction, const Status& why);
  void FailOldest(Partition* partition, const Status& error, Cause cause);
  void AnswerFailed(Partition* partition);
  void MarkAllReady();

  // producer_transmit.cc
  Broker& BrokerOf(BrokerId id);
  void MarkReady(uint32_t handle);
  void Unblock(Broker* broker);
  void Serve(uint32_t handle, MonotonicTime now, ProducerOutput* output);
  void Expire(Partition* partition, MonotonicTime now);
  bool CanTransmit(uint32_t handle, MonotonicTime now);
  size_t NextBytes(const Partition& partition) const;
  bool IsDue(const Partition& partition, MonotonicTime now) const;
  bool TransmitOne(uint32_t handle, MonotonicTime now, ProducerOutput* output);
  void Transmit(uint32_t handle, Batch* batch, ProducerOutput* output);
  void FlushMessage(BrokerId to, Broker* broker, ProducerOutput* output);
  std::optional<MonotonicTime> WakeTime(const Partition& partition, MonotonicTime now) const;
  void Settle(uint32_t handle, MonotonicTime now);

  const ProducerTuning tuning_;
  std::optional<Transactions> transactions_;
  Random random_;
  ProducerIdentity identity_;
  uint32_t inflight_batches_max_;
  size_t batch_limit_ = kBatchLimitDefault;
  MonotonicTime flushed_until_ = MonotonicTime::min();
  std::deque<Partition> partitions_;
  std::map<BrokerId, Broker> brokers_;
  std::map<uint64_t, Attempt> attempts_;
  uint64_t next_attempt_ = 1;
  uint64_t unanswered_records_ = 0;
  size_t unanswered_bytes_ = 0;
  std::vector<DeliveryReport> reports_;
  std::optional<Trouble> trouble_;
  // Partitions to look at in the next Poll, in turn; when to look at others; how many have work and
  // no leader that takes it, and how many wait for an epoch.
  std::deque<uint32_t> ready_;
  std::set<std::pair<MonotonicTime, uint32_t>> timers_;
  uint32_t troubled_count_ = 0;
  uint32_t epoch_waiters_ = 0;
};

}  // namespace millrace::client

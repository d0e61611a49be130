// The producing side of a client as a state machine without I/O: it batches records, keeps several
// batches a partition in flight, and sends what was not answered again, in order and with the same
// sequences, when a leader changes or a stream breaks, so that nothing is lost, doubled or
// reordered.
//
// Driven by ProducerClient, which owns it: call in, then Poll, and send what comes out. On the
// client's executor. It never touches a clock, a socket or a thread.
//
// Adaptive batching: a partition with nothing in flight sends at once; one that waits for answers
// collects until a batch is full, `linger` has passed or the answers are there.
//
// A batch that is refused for good (or whose fate is unknown after `delivery_timeout`) ends its
// partition: its later records would leave a gap in the sequence, so they fail with the same error.
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
#include <vector>

#include "client/cpp/backoff.h"
#include "client/cpp/metadata.h"
#include "millrace/v1/producer_service.pb.h"
#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "proto/record/record_batch_builder.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/random.h"

namespace millrace::client {

struct ProducerOptions {
  // Of records in a batch.
  size_t batch_bytes_max = size_t{512} << 10;
  // The largest record, serialized.
  size_t record_bytes_max = (size_t{1} << 20) - 1024;
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
  // Of the first record; -1 with an error, and for a duplicate stored too long ago to know.
  Offset base_offset{-1};
  uint32_t record_count = 0;
  size_t bytes = 0;
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
  // When to call Poll again if nothing else happens.
  std::optional<MonotonicTime> wake_at;
};

class Producer {
 public:
  Producer(const ProducerOptions& options, const ProducerIdentity& identity, Random random);

  // The partition's handle. Pre: it was not added before.
  uint32_t AddPartition(const TopicPartition& partition);

  bool HasRoom(size_t bytes) const {
    return unanswered_bytes_ + bytes <= options_.memory_bytes_max;
  }
  // RESOURCE_EXHAUSTED without room, unless nothing is unanswered; INVALID_ARGUMENT
  // (BATCH_TOO_LARGE); the partition's error if it has ended.
  Status Send(uint32_t handle, const NewRecord& record, MonotonicTime now);
  // Sends what is collected without lingering, until everything is answered.
  void Flush() { is_flushing_ = true; }
  uint64_t unanswered_records() const { return unanswered_records_; }
  size_t unanswered_bytes() const { return unanswered_bytes_; }

  // Leaders as metadata says; an older epoch than the known one is ignored.
  void OnLeader(uint32_t handle, const LeaderInfo& leader);
  void OnStreamInit(BrokerId broker, uint64_t inflight_bytes_max);
  void OnResult(BrokerId broker, const v1::ProduceResult& result, MonotonicTime now);
  void OnStreamClosed(BrokerId broker, MonotonicTime now);
  // Ends every partition with `status`; reports follow.
  void FailAll(const Status& status);

  // Everything that is due. Appends to `output`, and sets its wake_at and wants_metadata.
  void Poll(MonotonicTime now, ProducerOutput* output);

  void CheckInvariants() const;

 private:
  struct Batch {
    Bytes bytes;
    uint32_t record_count = 0;
    size_t records_bytes = 0;
    MonotonicTime created_at{};
    uint64_t attempt = 0;  // 0: not in flight
  };
  struct Partition {
    TopicPartition name;
    LeaderInfo leader;
    std::optional<RecordBatchBuilder> open;
    MonotonicTime opened_at{};
    std::deque<Batch> batches;  // oldest first; the first `in_flight` of them are on their way
    size_t in_flight = 0;
    size_t bytes_hint = 1024;  // what the last batch took
    uint32_t next_sequence = 0;
    uint32_t failures = 0;
    MonotonicTime retry_at{};
    Status last_failure;  // why the oldest batch was sent again, if it was
    Status error;         // not ok: the partition has ended
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
  };

  bool CanTransmit(const Partition& partition, MonotonicTime now) const;
  bool IsDue(const Partition& partition, MonotonicTime now) const;
  void Seal(Partition* partition);
  bool TransmitOne(uint32_t handle, MonotonicTime now, ProducerOutput* output);
  void Transmit(uint32_t handle, Batch* batch, ProducerOutput* output);
  void FlushMessage(BrokerId to, Broker* broker, ProducerOutput* output);
  void Rewind(Partition* partition);
  void OnFailure(uint32_t handle, const Status& error, MonotonicTime now);
  bool IsRetriable(const Partition& partition, const Status& error, MonotonicTime now) const;
  void End(Partition* partition, const Status& error);
  void Answer(Partition* partition, Status status, Offset base_offset);
  void Expire(Partition* partition, MonotonicTime now);
  void PlanWake(const Partition& partition, MonotonicTime now, ProducerOutput* output) const;

  const ProducerOptions options_;
  Random random_;
  const ProducerIdentity identity_;
  uint32_t inflight_batches_max_;
  bool is_flushing_ = false;
  std::deque<Partition> partitions_;
  uint32_t first_served_ = 0;
  std::map<BrokerId, Broker> brokers_;
  std::map<uint64_t, Attempt> attempts_;
  uint64_t next_attempt_ = 1;
  uint64_t unanswered_records_ = 0;
  size_t unanswered_bytes_ = 0;
  std::vector<DeliveryReport> reports_;
};

}  // namespace millrace::client

// The consuming side of a client as a state machine without I/O: which partition is read where and
// from which offset, how many bytes each broker may send, and what was fetched and not yet taken.
// After a lost leader or stream it reads on from the next offset; nothing is given out twice or
// skipped. A partition may be paused, moved, told where to stop, and let go of.
//
// Driven by FetchDriver, which owns it: call in, then Poll, and send what comes out. On the
// client's executor. It never touches a clock, a socket or a thread.
//
//   uint32_t handle = consumer.Assign({topic, partition}, StartAt::Earliest());
//   consumer.OnLeader(handle, leader);
//   consumer.Poll(now, &output);                  // output.messages
//   consumer.OnMessage(broker, message, now);
//   while (std::optional<FetchedChunk> chunk = consumer.Next()) { ... }
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "client/core/fetch_wire.h"
#include "client/core/metadata.h"
#include "client/core/retry.h"
#include "millrace/v1/consumer_service.pb.h"
#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/random.h"

namespace millrace::client {

// Where to begin.
struct StartAt {
  enum Kind { kEarliest, kLatest, kOffset, kTimestamp };
  Kind kind = kEarliest;
  Offset offset;             // of kOffset
  int64_t timestamp_ms = 0;  // of kTimestamp: at the first record that is not older

  static StartAt Earliest() { return {}; }
  static StartAt Latest() { return {.kind = kLatest, .offset = {}}; }
  static StartAt At(Offset offset) { return {.kind = kOffset, .offset = offset}; }
  static StartAt Time(int64_t timestamp_ms) {
    return {.kind = kTimestamp, .offset = {}, .timestamp_ms = timestamp_ms};
  }
};

struct ConsumerTuning {
  // What one broker may have sent and the application not taken: the prefetch's bound.
  uint64_t credit_bytes = uint64_t{8} << 20;
  // How long a topic that a broker does not know may be one that it does not know yet.
  Duration unknown_topic_grace = std::chrono::seconds(2);
  BackoffOptions backoff;
  v1::Isolation isolation = v1::ISOLATION_COMMITTED;
  // Where to go on if what is next lies below the log start by now; none: that is an error.
  std::optional<StartAt> below_log_start = {};
};

// One batch, or why a partition is read no more.
struct FetchedChunk {
  TopicPartition partition;
  // OUT_OF_RANGE; NOT_FOUND; DATA_LOSS for a checksum that does not match or a gap in the offsets.
  // Then there is no batch, and none follows until a seek.
  Status status;
  // The offset to stop at is reached: no batch, and none follows until a seek.
  bool is_end = false;
  // What was next lay below the log start: no batch, and what follows begins elsewhere.
  bool has_moved = false;
  Bytes batch;  // serialized RecordBatch, its checksum verified
  Offset base_offset;
  // Records below the first and from the second on were not asked for; skip them.
  Offset first_wanted;
  Offset end_wanted;
  Offset end_offset;  // of the batch
  Term leader_epoch;  // of who appended it
  int64_t append_time_ms = 0;
  Offset high_watermark;
};

struct ConsumerOutput {
  struct Message {
    BrokerId to;
    Bytes bytes;  // a serialized FetchRequest without init
  };
  std::vector<Message> messages;
  bool wants_metadata = false;
  // The trouble that lasts longest, of all since the last Poll.
  std::optional<Trouble> trouble;
  std::optional<MonotonicTime> wake_at;
};

class Consumer {
 public:
  Consumer(const ConsumerTuning& tuning, Random random) : tuning_(tuning), random_(random) {}

  // Reads `partition` from `start` on, up to the offset before `stop_at`; the partition's handle.
  uint32_t Assign(const TopicPartition& partition, const StartAt& start,
                  std::optional<Offset> stop_at = {});
  // Reads it no more; what was fetched and not taken is dropped. The handle may be another
  // partition's afterwards.
  void Unassign(uint32_t handle);
  // Reads it from elsewhere on, also if it had ended; what was fetched and not taken is dropped.
  void Seek(uint32_t handle, const StartAt& start);
  // Gives out nothing of it until Resume, and goes on then where it was: what was fetched and not
  // taken is dropped, and fetched again.
  void Pause(uint32_t handle);
  void Resume(uint32_t handle);

  // Goes on with a partition that has ended, if its end was taken; where it ended, not behind it.
  void ReadOn(uint32_t handle);

  void OnLeader(uint32_t handle, const LeaderInfo& leader);
  // A FetchResponse. One that cannot be read is an error; close the stream then.
  Status OnMessage(BrokerId broker, const Bytes& message, MonotonicTime now);
  // `why` is an error.
  void OnStreamClosed(BrokerId broker, const Status& why, MonotonicTime now);
  // Ends the partition with `status`: what was fetched and not taken is dropped.
  void Fail(uint32_t handle, const Status& status);
  // Ends every partition of the topic with `status`, behind what was fetched.
  void FailTopic(TopicId topic, const Status& status);

  // What was fetched, in order per partition.
  std::optional<FetchedChunk> Next();

  // Brokers that partitions are read from.
  std::vector<BrokerId> Awaited() const;

  // A partition that is to be read and has no known leader, if there is one.
  std::optional<TopicPartition> Leaderless() const;

  // Everything that is due. Appends to `output`, and sets its wake_at and wants_metadata.
  void Poll(MonotonicTime now, ConsumerOutput* output);

  // The next offset to be fetched; empty while `earliest` or `latest` was not answered.
  std::optional<Offset> position(uint32_t handle) const { return partitions_[handle].next_offset; }
  uint64_t queued_bytes() const { return queued_bytes_; }
  bool has_queued() const { return !queue_.empty(); }

 private:
  enum class Mode { kIdle, kReading, kEnded };
  struct Partition {
    TopicPartition name;
    StartAt start;
    std::optional<Offset> stop_at;
    LeaderInfo leader;
    Mode mode = Mode::kIdle;
    bool is_paused = false;
    BrokerId reading_at;
    uint32_t fetch_id = 0;
    std::optional<Offset> next_offset;
    RetryState retry;
  };
  struct Broker {
    int64_t granted_bytes = 0;  // and not used; below zero after an oversized batch
    uint64_t queued_bytes = 0;  // received and not taken
    uint32_t reading = 0;       // partitions
    RetryState retry;
  };
  struct Queued {
    FetchedChunk chunk;
    uint32_t handle = 0;
    BrokerId broker;
    uint64_t credit_bytes = 0;
  };

  void OnPartition(BrokerId broker, FetchedPartitionView view, MonotonicTime now);
  Status TakeBatch(Partition* partition, const FetchedBatchView& batch, FetchedChunk* chunk);
  void OnFailure(uint32_t handle, const Status& error, MonotonicTime now);
  bool MayMove(const Partition& partition, const Status& error) const;
  void MoveToStart(uint32_t handle);
  void End(uint32_t handle, FetchedChunk last);
  void StartReading(uint32_t handle, v1::FetchRequest* request);
  // The broker is told, unless its stream is gone.
  void StopReading(uint32_t handle, bool tells_broker);
  std::optional<Offset> DropQueued(uint32_t handle);
  void GiveBack(const Queued& queued);
  void Settle(uint32_t handle);
  uint64_t CreditToGrant(const Broker& broker) const;

  const ConsumerTuning tuning_;
  Random random_;
  std::deque<Partition> partitions_;
  std::vector<uint32_t> free_;  // handles that are nobody's
  // Partitions to be read that are not; those of them and of the others that look for a leader.
  std::set<uint32_t> idle_;
  std::set<uint32_t> troubled_;
  std::map<uint32_t, uint32_t> handles_;  // by fetch_id, of those being read
  uint32_t next_fetch_id_ = 1;
  std::map<BrokerId, Broker> brokers_;
  std::map<BrokerId, std::vector<uint32_t>> removals_;  // fetch_ids
  std::deque<Queued> queue_;
  uint64_t queued_bytes_ = 0;
  std::optional<Trouble> trouble_;
};

}  // namespace millrace::client

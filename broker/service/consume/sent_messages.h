// What a Consume stream's client was sent and is not done with, which is what its window bounds;
// and how far it is done with each partition, which is what it commits.
//
// Owned by the stream's handler. Pure; one thread.
//
//   SentMessages sent(window_bytes);
//   sent.Begin(7, partition);
//   sent.Add(bytes, {{.reading = 7, .end = end, .leader_epoch = epoch}});
//   RETURN_IF_ERROR(sent.Done(up_to));
//   session.Commit(sent.TakeCommit(commit_id));
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "broker/controller/leader_epoch.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

class SentMessages {
 public:
  // How far a message goes in a partition.
  struct ReadTo {
    uint64_t reading = 0;
    Offset end;  // of the next record
    LeaderEpoch leader_epoch;
  };
  // What a message counts for at least: this broker remembers it, however small it is.
  static constexpr uint64_t kMessageBytesMin = 512;
  // What one that the client is not done with costs this broker, for each of its partitions.
  static constexpr uint64_t kEntryBytes = 64;
  // In one commit.
  static constexpr size_t kCommitPartitionsMax = 10'000;

  explicit SentMessages(uint64_t window_bytes) : window_bytes_(window_bytes) {}

  // The member's partition, from now on as `reading`, a number that is used once.
  void Begin(uint64_t reading, const TopicPartition& partition);
  // Nothing more is committed for it.
  void End(uint64_t reading);

  // The next one to be acknowledged; the first is 1.
  uint64_t next_number() const { return last_ + 1; }
  // It was sent. Pre: each reading has begun.
  void Add(uint64_t bytes, const std::vector<ReadTo>& read = {});
  bool has_room() const { return bytes_ < window_bytes_; }
  bool is_all_done() const { return done_ == last_; }
  uint64_t done() const { return done_; }
  size_t entry_count() const { return entries_.size(); }

  // The client is done with all messages up to this one. INVALID_ARGUMENT for one that was not
  // sent.
  Status Done(uint64_t up_to);

  // All that it is done with and that was not taken before; of very many partitions, some.
  v1::OffsetCommit TakeCommit(uint64_t commit_id);
  // A commit by offsets of the client's own: it has an answer, too.
  void SkipCommit() { taken_.emplace_back(); }
  // The oldest commit was answered. What was not taken and may be later is part of the next one.
  void OnResult(const v1::CommitResult& result);

 private:
  struct Entry {
    uint64_t number = 0;
    uint64_t bytes = 0;
    std::optional<ReadTo> read;
  };
  struct Reading {
    TopicPartition partition;
    std::optional<ReadTo> done;  // what is to be committed
  };
  void SetDone(const ReadTo& read);

  const uint64_t window_bytes_;
  uint64_t bytes_ = 0;
  uint64_t last_ = 0;
  uint64_t done_ = 0;
  std::deque<Entry> entries_;  // one for each message and partition
  std::map<uint64_t, Reading> readings_;
  std::set<uint64_t> to_commit_;  // readings
  std::deque<std::vector<ReadTo>> taken_;
};

}  // namespace millrace::broker

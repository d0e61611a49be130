// A group as a shard of the coordinator keeps it: what it is, who its members are, and what it has
// committed.
//
// Values; any thread.
//
//   group.offsets[topic].Commit({.offset = o, .partition = p, ...}, metadata);
//   if (const CommittedOffset* committed = group.FindOffset({topic, p})) ...
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "broker/controller/leader_epoch.h"
#include "broker/controller/transaction_name.h"
#include "broker/coordinator/membership.h"
#include "broker/coordinator/partition_runs.h"
#include "millrace/v1/group_member.pb.h"
#include "proto/base/copy_on_write.h"
#include "proto/base/ids.h"

namespace millrace::broker {

enum class GroupKind : uint8_t {
  kLog = 1,  // partitions are read as logs, each by one member
};

// The record that is read next of a partition. Millions of them: order and types are for size.
struct CommittedOffset {
  Offset offset;
  LogIndex index;       // of the entry that committed it
  int64_t time_ms = 0;  // of that entry
  PartitionId partition;
  LeaderEpoch leader_epoch;  // of the record before it, as the reader was told; 0: not known
  bool operator==(const CommittedOffset&) const = default;
};

// Those of one topic, by partition.
class TopicOffsets {
 public:
  const std::vector<CommittedOffset>& all() const { return offsets_; }
  // Null if there is none.
  const CommittedOffset* Find(PartitionId partition) const;
  // The reader's own; empty if it gave none.
  const std::string& MetadataOf(PartitionId partition) const;
  // Makes room for so many more at once.
  void Reserve(size_t more) { offsets_.reserve(offsets_.size() + more); }
  // In the place of what was committed for the partition.
  void Commit(const CommittedOffset& committed, std::string metadata);
  // Those of `later` that were committed by a later entry than what there is.
  void Merge(const TopicOffsets& later);
  // Unless it was committed after that entry.
  void Remove(PartitionId partition, LogIndex up_to);
  void RemoveAll(LogIndex up_to);
  // What it holds in memory, about.
  size_t bytes() const;
  bool operator==(const TopicOffsets& other) const {
    return offsets_ == other.offsets_ && metadata_ == other.metadata_;
  }

 private:
  void SetMetadata(PartitionId partition, std::string metadata);

  std::vector<CommittedOffset> offsets_;  // by partition
  std::map<PartitionId, std::string> metadata_;
  size_t metadata_bytes_ = 0;
};

using OffsetsByTopic = std::map<TopicId, TopicOffsets>;

// A producer of a member that was taken out: nobody may write with it any more.
struct ToBeFenced {
  std::string transactional_id;
  ProducerId producer;
  uint32_t epoch = 0;
  auto operator<=>(const ToBeFenced&) const = default;
};
ToBeFenced FencedFrom(const v1::MemberProducer& producer);
void Fill(const ToBeFenced& fenced, v1::MemberProducer* out);

struct Group {
  GroupKind kind = GroupKind::kLog;
  // Raised by what changes it other than what is committed.
  uint32_t epoch = 0;
  // The entry that did so last, or made it, and its time.
  LogIndex changed_index;
  int64_t changed_ms = 0;
  OffsetsByTopic offsets;
  // What counts once its transaction is committed: of a partition, what was committed by the later
  // entry then counts, be it this or not.
  std::map<TransactionName, OffsetsByTopic> staged;
  CopyOnWrite<Membership> membership;
  // Whom their transactional ids have not been told of yet.
  std::set<ToBeFenced> to_be_fenced;

  const CommittedOffset* FindOffset(const TopicPartition& partition) const;
  size_t offset_count() const;
  // Whether a transaction that is open, or not known to have ended, has an offset of the partition.
  bool IsStaged(const TopicPartition& partition) const;
  Assignment StagedPartitions() const;
  // The newest entry that changed anything of it.
  LogIndex newest_index() const;
  size_t bytes() const;
};

}  // namespace millrace::broker

// Groups: readers that share topics. A group is a name under which the cluster keeps, for each
// partition, the offset of the record that is read next; it comes into being with its first commit.
// Every call waits for the answer, asking one broker after the other with back-off until one has it
// or the time is up: then UNAVAILABLE or DEADLINE_EXCEEDED, and a change may or may not have been
// made.
//
// Client::groups() has it. Any thread, several at once.
//
//   auto offsets = (*client)->groups().DescribeOffsets("billing");
//   if (!offsets.ok()) return Complain(offsets.status());
//   for (const millrace::GroupOffset& row : *offsets) std::cout << row.lag.value_or(0) << "\n";
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "millrace/consumer.h"
#include "millrace/status.h"

namespace millrace {

namespace internal {
class Runtime;
}  // namespace internal

enum class GroupState : uint8_t {
  kUnknown,      // of a later version of Millrace
  kEmpty,        // it has no members
  kStable,       // each member has what it is to have
  kRebalancing,  // somebody is to give something up, or waits for it
};

// Partitions by topic's name; none: all of the topic for which there is something.
using TopicPartitions = std::map<std::string, std::vector<uint32_t>>;

enum class MemberState : uint8_t {
  kUnknown,   // of a later version of Millrace
  kStable,    // it has what it is to have
  kRevoking,  // it was told to give something up
  kWaiting,   // for what others are to give up
  kAway,      // it left, and what it had waits for its instance_id
};

struct GroupMember {
  std::string id = {};
  std::string instance_id = {};  // empty: it is not static
  std::string client_id = {};
  std::string client_host = {};
  MemberState state = MemberState::kUnknown;
  int32_t epoch = 0;
  // A topic that is not there any more has its id for a name.
  TopicPartitions assigned = {};
  TopicPartitions revoking = {};
  uint32_t topic_count = 0;  // that it subscribes to by name
  std::string pattern = {};
  std::string rack = {};
  std::chrono::milliseconds session_timeout{0};
};

enum class GroupEventKind : uint8_t {
  kUnknown,  // of a later version of Millrace
  kJoined,
  kChanged,  // it subscribes to something else
  kReplaced,
  kLeft,
  kSessionEnded,  // it was not heard of for its session's time
  kRevokeEnded,   // it did not give up in time what it was to
  kTopicsChanged,
};

// What happened to a group's members.
struct GroupEvent {
  GroupEventKind kind = GroupEventKind::kUnknown;
  uint32_t epoch = 0;
  int64_t time_ms = 0;  // since 1970 UTC
  std::string member_id = {};
  std::string instance_id = {};
};

struct GroupListing {
  std::string group = {};
  GroupState state = GroupState::kUnknown;
  uint32_t member_count = 0;
  uint32_t offset_count = 0;  // partitions for which something is committed
};

struct GroupDescription {
  GroupListing group = {};
  uint32_t epoch = 0;      // raised by every change other than commits
  int64_t changed_ms = 0;  // of what raised it, or of the group's beginning, since 1970 UTC
  // The broker that leads the group's shard, 0 if none is known; and which partition of the topic
  // __coordinator that is.
  uint32_t coordinator_id = 0;
  uint32_t shard = 0;
  // By which it was computed last who is to have what; empty: never.
  std::string assignor = {};
  std::vector<GroupMember> members = {};  // by id
  // That members read and nobody has, until those who had them let go.
  TopicPartitions unowned = {};
  std::vector<GroupEvent> events = {};  // the last 64, the oldest first
};

struct OffsetCommit {
  std::string topic = {};
  uint32_t partition = 0;
  int64_t offset = 0;         // of the record to be read next
  uint64_t leader_epoch = 0;  // of the record before it, as it was read; 0: not known
  std::string metadata = {};  // the reader's own, UTF-8, at most 4 KiB
};

struct RefusedOffset {
  std::string topic = {};
  uint32_t partition = 0;
  Status status = {};
};

struct CommittedOffset {
  std::string topic = {};
  uint64_t topic_id = 0;
  uint32_t partition = 0;
  std::optional<int64_t> offset = {};  // nothing: none is committed
  uint64_t leader_epoch = 0;           // as it was committed, as is metadata
  std::string metadata = {};
  int64_t commit_time_ms = 0;  // since 1970 UTC
};

// How far a group is in a partition.
struct GroupOffset {
  CommittedOffset committed = {};
  Status status = {};  // why start, end and what follows from them are not known
  int64_t start = 0;   // of the first record
  int64_t end = 0;     // one past the last committed record
  // Offsets from what is committed, or from the start if that is later, to the end: as many records
  // are to be read, or fewer where compaction took some. Nothing if none is committed.
  std::optional<int64_t> lag = {};
  // Offsets from what is committed to the start: those records went before the group read them.
  int64_t lost = 0;
};

// What to think of a partition's reader. Behind is one whose first record that is not read is more
// than 10 s old; millrace/v1/group_service.proto has the thresholds.
enum class LagVerdict : uint8_t {
  kUnknown,     // its grounds say why; or of a later version of Millrace
  kKeepingUp,   // it is not behind
  kCatchingUp,  // it is, and reads more than comes in
  kSlow,        // it is, and comes no nearer
  kHotKey,      // it is slow, and gets far more than others of its topic, which keep up
  kStuck,       // its owner lives and commits nothing
  kDead,        // there is something to read and nobody to read it
};

struct PartitionLag {
  std::string topic = {};
  uint64_t topic_id = 0;
  uint32_t partition = 0;
  LagVerdict verdict = LagVerdict::kUnknown;
  std::string grounds = {};         // for people: what the verdict rests on
  std::string member_id = {};       // who has it; empty: nobody
  std::optional<int64_t> lag = {};  // as in GroupOffset, as is lost; nothing: not known
  int64_t lost = 0;
  // How long the first record that is not read lies there: between these.
  std::chrono::milliseconds lag_time_min{0};
  std::chrono::milliseconds lag_time_max{0};
  // In so much time so many records came in, and by so many the committed offset moved; 0: it is
  // not measured yet.
  std::chrono::milliseconds measured{0};
  int64_t came_in = 0;
  int64_t read = 0;
  // For so long at least the committed offset has not moved.
  std::chrono::milliseconds unmoved{0};
};

// How far a group is behind, in all that its members read or for which it has committed something.
struct GroupLag {
  LagVerdict verdict = LagVerdict::kUnknown;  // that of its worst partition
  std::string grounds = {};
  int64_t lag = 0;  // sums of the partitions'
  int64_t lost = 0;
  std::chrono::milliseconds lag_time_min{0};  // the longest of the partitions'
  std::chrono::milliseconds lag_time_max{0};
  uint32_t partition_count = 0;
  uint32_t unknown_count = 0;  // of which it is not known how far the group is
  std::vector<PartitionLag> partitions = {};
};

// Which partitions a GroupLag has; its sums are of all.
enum class LagRows : uint8_t {
  kAll,
  kBehind,  // those that do not keep up
};

// Where a group is to go. Exactly one of `to`, `shift_by` and `offsets`.
struct GroupReset {
  // Which partitions; of a topic without partitions all that it has. Empty: all for which something
  // is committed.
  TopicPartitions topics = {};
  // Time is the first record that is not older, or the end; an offset that a partition has not is
  // OUT_OF_RANGE.
  std::optional<Position> to = {};
  // So many records on, or back if negative, from what is committed, not before the start nor past
  // the end. NOT_FOUND for a partition for which nothing is committed.
  std::optional<int64_t> shift_by = {};
  // Each partition its own, with its leader epoch and metadata; `topics` is empty then.
  std::vector<OffsetCommit> offsets = {};
  bool is_dry_run = false;  // nothing is changed
};

struct MovedOffset {
  std::string topic = {};
  uint64_t topic_id = 0;
  uint32_t partition = 0;
  Status status = {};
  std::optional<int64_t> before = {};  // what was committed; nothing: none was
  int64_t after = 0;                   // what is, or would be
};

class Groups {
 public:
  static constexpr std::chrono::milliseconds kTimeout{30'000};

  ~Groups();
  Groups(const Groups&) = delete;
  Groups& operator=(const Groups&) = delete;

  // Those whose names begin so, by name.
  Result<std::vector<GroupListing>> ListGroups(const std::string& prefix = "",
                                               std::chrono::milliseconds timeout = kTimeout);
  // NOT_FOUND (UNKNOWN_GROUP).
  Result<GroupDescription> DescribeGroup(const std::string& group,
                                         std::chrono::milliseconds timeout = kTimeout);
  // Keeps the offsets, at most 10,000, each by itself; those that were not taken. A partition whose
  // leader is away is asked for again until the time is up. For readers that share the partitions
  // out themselves: FAILED_PRECONDITION (GROUP_NOT_EMPTY) while the group has members.
  Result<std::vector<RefusedOffset>> CommitOffsets(const std::string& group,
                                                   const std::vector<OffsetCommit>& offsets,
                                                   std::chrono::milliseconds timeout = kTimeout);
  // What is committed for these partitions, for all without any, as new as anything that was
  // answered before; sorted by topic and partition. A partition that is named has a row in any
  // case, and a group that is not there has committed nothing. NOT_FOUND for a topic or partition.
  Result<std::vector<CommittedOffset>> FetchOffsets(const std::string& group,
                                                    const TopicPartitions& partitions = {},
                                                    std::chrono::milliseconds timeout = kTimeout);
  // How far the group is in every partition of the topics for which it has committed something,
  // also in those for which it has not; of these topics alone if some are named. Sorted by topic
  // and partition. Partitions without a leader are asked for until the time is up; then theirs is a
  // row with an error.
  Result<std::vector<GroupOffset>> DescribeOffsets(const std::string& group,
                                                   const std::vector<std::string>& topics = {},
                                                   std::chrono::milliseconds timeout = kTimeout);
  // Measured anew, but for what its verdicts need of the past. Sorted by topic and partition.
  // NOT_FOUND (UNKNOWN_GROUP); UNIMPLEMENTED by brokers of an earlier version.
  Result<GroupLag> DescribeLag(const std::string& group, LagRows rows = LagRows::kAll,
                               std::chrono::milliseconds timeout = kTimeout);
  // All of it or nothing: if a row has an error, nothing was changed. Sorted by topic and
  // partition; empty where nothing is committed and no topic is named. INVALID_ARGUMENT unless it
  // is said once where to; FAILED_PRECONDITION (GROUP_NOT_EMPTY) while a member owns one of the
  // partitions.
  Result<std::vector<MovedOffset>> ResetOffsets(const std::string& group, const GroupReset& reset,
                                                std::chrono::milliseconds timeout = kTimeout);
  // Forgets what is committed for these partitions, at least one; how many there were. NOT_FOUND
  // (UNKNOWN_GROUP, UNKNOWN_TOPIC); FAILED_PRECONDITION as above.
  Result<uint32_t> DeleteOffsets(const std::string& group, const TopicPartitions& partitions,
                                 std::chrono::milliseconds timeout = kTimeout);
  // Forgets the group. NOT_FOUND (UNKNOWN_GROUP), also where this call has deleted it and the
  // answer was lost; FAILED_PRECONDITION (GROUP_NOT_EMPTY).
  Status DeleteGroup(const std::string& group, std::chrono::milliseconds timeout = kTimeout);

 private:
  friend class Client;
  explicit Groups(std::shared_ptr<internal::Runtime> runtime);

  // Shared with the client and all that was made from it.
  std::shared_ptr<internal::Runtime> runtime_;
};

}  // namespace millrace

// What exists in a cluster, and changing it. Every call waits for the answer, asking one broker
// after the other with back-off until one has it or the time is up: then UNAVAILABLE or
// DEADLINE_EXCEEDED, and a change may or may not have been made.
//
// Client::admin() has it. Any thread, several at once.
//
//   auto topic = (*client)->admin().CreateTopic({.name = "flights", .partition_count = 16});
//   auto offsets = (*client)->admin().ListOffsets("flights");
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "millrace/isolation.h"
#include "millrace/status.h"

namespace millrace {

namespace internal {
class Runtime;
}  // namespace internal

struct TopicSpec {
  std::string name = {};
  uint32_t partition_count = 0;     // 1 to 10,000; 0: the brokers' default
  uint32_t replication_factor = 0;  // 1 to 5; 0: 3, or 1 in a cluster of fewer brokers
  std::map<std::string, std::string> settings = {};
};

struct PartitionDescription {
  uint32_t partition = 0;
  uint32_t leader_id = 0;     // 0: none known at the moment
  uint64_t leader_epoch = 0;  // grows with every election
  std::vector<uint32_t> replica_ids = {};
};

struct TopicDescription {
  std::string name = {};
  uint64_t topic_id = 0;  // never used again, also not for a topic of the same name
  uint32_t replication_factor = 0;
  std::map<std::string, std::string> settings = {};  // those that differ from the defaults
  std::vector<PartitionDescription> partitions = {};
};

// Settings that are not named stay as they are.
struct TopicChange {
  std::map<std::string, std::string> set = {};
  std::vector<std::string> unset = {};  // these get their defaults again
  bool is_dry_run = false;              // nothing is changed
  // More than the topic has and at most 10,000; 0: as many as it has. Keys may go to other
  // partitions from then on, while what is stored stays where it is: over that change the records
  // of a key are in no order.
  uint32_t partition_count = 0;
};

struct TopicAlteration {
  TopicDescription topic = {};            // as it is now, or would be
  std::vector<std::string> changed = {};  // keys of another value than before, sorted
  uint32_t partitions_added = 0;          // the last ones of `topic`
};

// A setting that a topic may have.
struct TopicSettingDescription {
  std::string key = {};
  std::string type = {};           // "switch", "number", "size", "time", "share" or "choice"
  std::string default_value = {};  // as it would be given
  std::string min_value = {};      // empty for a switch and a choice
  std::string max_value = {};
  std::string description = {};
  std::string kafka_name = {};            // empty: Kafka has nothing like it
  std::vector<std::string> choices = {};  // the values that a choice may have
};

// A topic without what its partitions are doing.
struct TopicListing {
  std::string name = {};
  uint64_t topic_id = 0;
  uint32_t partition_count = 0;
  uint32_t replication_factor = 0;
  bool is_internal = false;  // one of Millrace's own, which hold no records for clients
};

struct BrokerDescription {
  uint32_t broker_id = 0;
  std::string address = {};  // HOST:PORT for clients
  bool is_alive = false;     // as the broker that answered sees it
  uint32_t leader_count = 0;
  uint32_t replica_count = 0;
};

struct ClusterDescription {
  std::string name = {};
  std::string uuid = {};
  uint32_t controller_id = 0;  // 0: none known
  std::vector<BrokerDescription> brokers = {};
  uint32_t topic_count = 0;
  uint32_t partition_count = 0;
};

struct OffsetRange {
  uint32_t partition = 0;
  // Why there is nothing else, for this partition.
  Status status = {};
  int64_t start = 0;  // of the first record
  int64_t end = 0;    // one past the last committed record
  // With a timestamp asked for: the first record that is not older, or `end`.
  std::optional<int64_t> at_timestamp = {};
  // The time of the record there, or its batch's append time where it has none, in milliseconds
  // since 1970 UTC, and the epoch of the leader that appended it; nothing where no record is as
  // new.
  std::optional<int64_t> found_timestamp_ms = {};
  std::optional<uint64_t> found_leader_epoch = {};
  uint64_t leader_epoch = 0;
};

enum class ReplicaRole : uint8_t {
  kUnknown,  // of a later version of Millrace
  kLeader,
  kFollower,
  kCandidate,  // it asks for votes: it hears of no leader
  kSilent,     // it takes no part; `fault` says why
  kJoining,    // it does not take part yet
  kRestoring,  // it pulls the log from the leader; `restore` says how far it is
  kMissing,    // its broker answered, and has none
};

// How far a replica is that pulls the log from another broker.
struct RestoreDescription {
  uint32_t source_id = 0;    // it pulls from: the leader that it knew last
  int64_t begin_offset = 0;  // of the first record of the log that is pulled
  uint64_t entry_count = 0;  // that were pulled; an entry is a batch, or one of the brokers' own
  // That the source had when it answered last; it grows while records come.
  uint64_t entry_count_total = 0;
  uint64_t bytes = 0;  // of all entries that were pulled
  std::chrono::milliseconds elapsed{0};
};

// How far a replica is compacted. The leader decides a pass, each replica does it in its time.
struct CompactionDescription {
  uint32_t pass_done = 0;     // the newest; 0: none
  uint32_t pass_decided = 0;  // likewise, as far as the replica knows
  int64_t clean_to = 0;       // of two records of a key below this that one takes the older
  bool is_under_way = false;  // just now
  std::string failure = {};   // why the last attempt ended early, and begins again; else empty
};

// A replica as its own broker knows it.
struct ReplicaDescription {
  uint32_t partition = 0;
  uint32_t broker_id = 0;
  Status status = {};  // why there is nothing else: its broker did not answer
  ReplicaRole role = ReplicaRole::kUnknown;
  uint64_t term = 0;                        // Raft's; 0 while it takes no part
  uint32_t leader_id = 0;                   // 0: it knows of none
  int64_t start = 0;                        // of the first record
  int64_t end = 0;                          // one past the last record that it knows committed
  std::optional<int64_t> log_end = {};      // one past the last record of its log
  std::optional<uint64_t> last_index = {};  // the last entry of its log, counted from 1
  uint64_t applied_index = 0;
  // How many entries its log ends before the leader's, which told its own at about the same time;
  // nothing for the leader, and where one of both is not known.
  std::optional<uint64_t> entries_behind = {};
  uint64_t sealed_segment_count = 0;  // files that are ended
  uint64_t sealed_segment_bytes = 0;
  uint64_t active_segment_bytes = 0;  // of the one that is written on
  std::string fault = {};             // why it is silent, or applies no further; else empty
  std::string write_stall = {};       // why its files cannot be written just now; else empty
  std::optional<RestoreDescription> restore = {};
  std::optional<CompactionDescription> compaction = {};  // once a pass was decided
};

// What became of one replica in PartitionVerification.
struct ReplicaVerification {
  uint32_t broker_id = 0;
  Status status = {};       // not ok: why it is compared no further
  int64_t compared_to = 0;  // its records below this were compared
  // Of the record where replicas differ, in hex; nothing: it has none there.
  std::optional<std::string> digest = {};
};

// Whether the replicas of a partition hold the same records: offsets, keys, values, headers and
// times.
struct PartitionVerification {
  uint32_t partition = 0;
  // Records [start, end) are the same in all replicas whose status is ok, and could be read.
  int64_t start = 0;
  int64_t end = 0;
  uint64_t record_count = 0;
  uint64_t bytes = 0;  // as stored, in one replica
  // The first offset at which they differ, which is `end`.
  std::optional<int64_t> first_difference = {};
  std::vector<ReplicaVerification> replicas = {};
};

struct ServerInfo {
  std::string version = {};  // semantic version of the broker that answered
  uint32_t broker_id = 0;
  std::string cluster_name = {};
  std::string cluster_uuid = {};
  uint32_t batch_bytes_max = 0;    // a batch that a topic takes by default
  uint32_t message_bytes_max = 0;  // a message on any stream
};

class Admin {
 public:
  static constexpr std::chrono::milliseconds kTimeout{30'000};

  ~Admin();
  Admin(const Admin&) = delete;
  Admin& operator=(const Admin&) = delete;

  // Answers when every partition has a leader. ALREADY_EXISTS; INVALID_ARGUMENT naming the field.
  Result<TopicDescription> CreateTopic(const TopicSpec& topic,
                                       std::chrono::milliseconds timeout = kTimeout);
  // All of it or nothing; answers when every new partition has a leader. NOT_FOUND;
  // INVALID_ARGUMENT naming the setting, or the topic's and the wanted number of partitions;
  // FAILED_PRECONDITION while a broker is of a version that does not know of it.
  Result<TopicAlteration> AlterTopic(const std::string& name, const TopicChange& change,
                                     std::chrono::milliseconds timeout = kTimeout);
  // By key: those that the broker that answers knows.
  Result<std::vector<TopicSettingDescription>> ListTopicSettings(
      std::chrono::milliseconds timeout = kTimeout);
  // Its id. NOT_FOUND; FAILED_PRECONDITION if its setting `protected` is true. The name may be used
  // again at once.
  Result<uint64_t> DeleteTopic(const std::string& name,
                               std::chrono::milliseconds timeout = kTimeout);
  // By name.
  Result<std::vector<TopicListing>> ListTopics(std::chrono::milliseconds timeout = kTimeout);
  // The same with Millrace's own.
  Result<std::vector<TopicListing>> ListAllTopics(std::chrono::milliseconds timeout = kTimeout);
  // NOT_FOUND.
  Result<TopicDescription> DescribeTopic(const std::string& name,
                                         std::chrono::milliseconds timeout = kTimeout);
  Result<ClusterDescription> DescribeCluster(std::chrono::milliseconds timeout = kTimeout);
  // The offsets of every partition, in order; with `timestamp_ms` (since 1970 UTC) also where that
  // begins. Partitions that have no leader are asked for until the time is up; then theirs is a row
  // with an error. The end is that of readers of this isolation.
  Result<std::vector<OffsetRange>> ListOffsets(const std::string& topic,
                                               std::optional<int64_t> timestamp_ms = {},
                                               std::chrono::milliseconds timeout = kTimeout,
                                               Isolation isolation = Isolation::kCommitted);
  // The same with the record that has the newest time, the first if several have it.
  Result<std::vector<OffsetRange>> ListNewestOffsets(const std::string& topic,
                                                     std::chrono::milliseconds timeout = kTimeout);
  // Deletes the records before an offset in each of these partitions; what the log holds then, in
  // the order of their numbers. Partitions without a leader are asked until the time is up; then
  // theirs is a row with an error, as OUT_OF_RANGE is past the end, and FAILED_PRECONDITION if the
  // topic is protected. NOT_FOUND.
  Result<std::vector<OffsetRange>> DeleteRecords(const std::string& topic,
                                                 const std::map<uint32_t, int64_t>& before,
                                                 std::chrono::milliseconds timeout = kTimeout);
  // A topic's replicas, or those of one partition, each as its own broker knows it: sorted by
  // partition, and in the order of PartitionDescription::replica_ids. Every broker that has some is
  // asked, all at the same time, and has two seconds; one that does not answer makes rows with an
  // error. NOT_FOUND.
  Result<std::vector<ReplicaDescription>> DescribeReplicas(
      const std::string& topic, std::optional<uint32_t> partition = {},
      std::chrono::milliseconds timeout = kTimeout);
  // Has every replica of a partition read from where their logs start to what all have applied, and
  // compares digests of what they hold. Takes as long as reading takes; `timeout` is how long a
  // replica may be in trouble before it is left out, and how long replicas may differ while
  // they are being compacted. NOT_FOUND; UNAVAILABLE if no replica can be asked.
  Result<PartitionVerification> VerifyPartition(const std::string& topic, uint32_t partition,
                                                std::chrono::milliseconds timeout = kTimeout);
  Result<ServerInfo> GetServerInfo(std::chrono::milliseconds timeout = kTimeout);

 private:
  friend class Client;
  explicit Admin(std::shared_ptr<internal::Runtime> runtime);

  // Shared with the client and all that was made from it.
  std::shared_ptr<internal::Runtime> runtime_;
};

}  // namespace millrace

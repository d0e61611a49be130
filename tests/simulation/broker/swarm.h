// What one seed is made of: how many brokers, and which classes of faults happen, how often and how
// strongly. Each class is on for about a third of the seeds, so that some seeds dwell on few faults
// (swarm testing). Every concern draws from a stream of its own: switching a class off leaves the
// plans of the others as they were, which is what makes a failure shrink.
//
// A value; any thread.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "raft/runtime/random.h"

namespace millrace::sim {

enum class FaultClass {
  kKills,          // a process dies; its page cache lives
  kPowerLoss,      // of one broker or of all: what was not synced is lost, kept or torn
  kCrashInside,    // a process dies in the middle of a disk operation
  kPartitions,     // a pair, or one against all, both ways or one way
  kBridges,        // two groups that see each other only through one broker
  kResets,         // connections break, in mid-frame too
  kSlowLinks,      // delay and little bandwidth between two brokers
  kSlowDisks,      // every call takes 1 ms to 200 ms longer
  kStalls,         // a disk stands still for 10 ms to 30 s
  kFullDisks,      // a disk has no room to spare, and is freed again
  kAllDisksFull,   // so have all at once, and some not a byte
  kJournalErrors,  // EIO on write (a part is written) and fsync of the journal: the process ends
  kPassingErrors,  // any call at one broker or all fails for a while: no room, EIO, no descriptors
  kBadDisk,        // one broker's: rot, truncation
  kSegmentRot,     // every broker's sealed segments rot, each entry on one of them at most
  kPauses,         // a broker stands still for 10 ms to 30 s
  kSlowClients,    // producers and consumers stand still
  kClocks,         // wall clocks jump, clocks and timers drift by up to a fifth
  kTopics,         // a topic is created, written, deleted and created again, others beside it
  kRetention,      // the topic keeps little, or for a short time
  kDeletions,      // its oldest records are deleted, again and again
  kCompaction,     // beside the topic there is one of keys, which is compacted
  kContests,       // beside the topic there is one that writers append to where they saw it end
  kMembers,        // the topic is shared by groups, whose members come, go and fall silent
  kReaders,        // the topic is read by processes that share it, and come and go
  kTransactions,   // beside the topic there is one that producers of transactions write to
  kCopiers,        // ... which a group copies, each record exactly once
  kWrongClock,     // one broker's wall clock is hours to days off for a while; see retention_time
};

inline constexpr std::pair<FaultClass, std::string_view> kFaultClasses[] = {
    {FaultClass::kKills, "kills"},
    {FaultClass::kPowerLoss, "power_loss"},
    {FaultClass::kCrashInside, "crash_inside"},
    {FaultClass::kPartitions, "partitions"},
    {FaultClass::kBridges, "bridges"},
    {FaultClass::kResets, "resets"},
    {FaultClass::kSlowLinks, "slow_links"},
    {FaultClass::kSlowDisks, "slow_disks"},
    {FaultClass::kStalls, "stalls"},
    {FaultClass::kFullDisks, "full_disks"},
    {FaultClass::kAllDisksFull, "all_disks_full"},
    {FaultClass::kJournalErrors, "journal_errors"},
    {FaultClass::kPassingErrors, "passing_errors"},
    {FaultClass::kBadDisk, "bad_disk"},
    {FaultClass::kSegmentRot, "segment_rot"},
    {FaultClass::kPauses, "pauses"},
    {FaultClass::kSlowClients, "slow_clients"},
    {FaultClass::kClocks, "clocks"},
    {FaultClass::kTopics, "topics"},
    {FaultClass::kRetention, "retention"},
    {FaultClass::kDeletions, "deletions"},
    {FaultClass::kCompaction, "compaction"},
    {FaultClass::kContests, "contests"},
    {FaultClass::kMembers, "members"},
    {FaultClass::kReaders, "readers"},
    {FaultClass::kTransactions, "transactions"},
    {FaultClass::kCopiers, "copiers"},
    {FaultClass::kWrongClock, "wrong_clock"},
};
std::string_view NameOf(FaultClass fault);
std::optional<FaultClass> FaultClassNamed(std::string_view name);

// The stream of chance of one concern of one seed.
Random StreamOf(uint64_t seed, std::string_view concern);

struct Swarm {
  size_t brokers = 3;
  uint32_t replication_factor = 3;
  // 8 to 256 KiB: what the controller's log holds in a run is rarely more.
  uint32_t coordinator_shards = 0;  // 0: there is no coordinator
  uint64_t controller_segment_bytes = 256 << 10;
  uint64_t large_write_bytes = 64 << 10;
  uint64_t segment_bytes = 256 << 10;
  uint64_t tail_bytes_max = 256 << 10;
  uint64_t value_bytes_max = 400;
  // Of the topic that is used; 0: it keeps all. The time is seconds, so that much expires in a run,
  // or hours where a clock is wrong, so that nothing may.
  uint64_t retention_bytes = 0;
  std::chrono::seconds retention_time{0};
  std::set<FaultClass> on;
  // The one whose disk may be damaged for good.
  size_t bad_disk = 0;
  // The one whose clock may be far off: more than one of three could not be told from the right
  // ones.
  size_t wrong_clock = 0;

  // Whether the topic's log may start behind its first record.
  bool MayLoseRecords() const {
    return Has(FaultClass::kDeletions) || retention_bytes > 0 || retention_time.count() > 0;
  }
  bool Has(FaultClass fault) const { return on.contains(fault); }
  // `brokers` 0: as the seed says.
  static Swarm Draw(uint64_t seed, size_t brokers, const std::set<FaultClass>& without);
  // Of the topic that is used: retention's, as they are written.
  std::vector<std::pair<std::string, std::string>> TopicSettings() const;
  // "brokers=3 kills stalls ...".
  std::string ToString() const;

 private:
  bool MayRot() const;
  void DrawRetention(uint64_t seed);
};

}  // namespace millrace::sim

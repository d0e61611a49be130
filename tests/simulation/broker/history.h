// What a simulated run's producers were told and consumers saw, held against the rules that real
// clusters are held against (tests/checker), and five that only a simulator can see: two leaders
// in a term, acknowledged but not durable on a majority, damage of a broker's own making, records
// gone before their time, no progress.
//
// Each value is sent once, by one producer to one partition. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/ids.h"
#include "tests/checker/history.h"

namespace millrace::sim {

// A value's identity: "p<producer>-<number>" on the wire.
struct ValueId {
  uint32_t producer = 0;
  uint64_t number = 0;
  auto operator<=>(const ValueId&) const = default;
  std::string Text() const;
  static std::optional<ValueId> Parse(std::string_view text);
};

class History {
 public:
  // A value was given to a producer.
  void Sent(uint32_t partition, ValueId value);
  // The producer was told that it is stored at `offset` (-1: stored, offset unknown).
  void Acknowledged(uint32_t partition, ValueId value, Offset offset);
  // The producer was told that it certainly is not stored, and never will be.
  void Failed(uint32_t partition, ValueId value);
  // A consumer begins to read the partition.
  void Assigned(uint32_t partition, uint64_t reader);
  // A consumer saw it.
  void Read(uint32_t partition, uint64_t reader, Offset offset, std::string_view value);
  // A consumer's partition showed this high watermark in this leader epoch.
  void SawHighWatermark(uint32_t partition, uint64_t reader, Offset high_watermark);
  // It was told that what it reads is gone, and where the log starts.
  void ToldLogStart(uint32_t partition, uint64_t reader, Offset start);
  // Where logs start; one at a time of a client, and of the deletions below, too.
  void OffsetsAsked(uint64_t client);
  void OffsetsTold(uint64_t client, const std::map<uint32_t, Offset>& starts);
  // A client asks for the deletion of what lies before, and knows what became of it.
  void DeletionAsked(uint32_t partition, uint64_t client, Offset before);
  void Deleted(uint32_t partition, uint64_t client, Offset before, Offset start);
  void DeletionFailed(uint32_t partition, uint64_t client, Offset before, bool may_be_done);
  // What lies before may be gone by the topic's retention.
  void Expired(uint32_t partition, Offset before);
  // Records are gone, and nobody may have let them go; replicas that applied the same differ.
  void SawLogStart(const std::string& what);
  void SawLeader(RaftGroupId group, Term term, BrokerId leader);
  void SawUndurable(const std::string& what);
  // A replica says that its files are damaged, and nobody damaged them.
  void SawDamage(const std::string& what);
  // Of the compacted topic, which the checker knows nothing of.
  void SawKeyed(const std::string& what);
  // Of records that are to be at one offset or nowhere.
  void SawContest(const std::string& what);
  // Of transactions, likewise.
  void SawTransaction(const std::string& what);
  // Of what groups commit, likewise.
  void SawOffset(const std::string& what);
  // Of who works on what.
  void SawMember(const std::string& what);
  // A phase did not come to its end in time, or something failed that must not.
  void SawStuck(const std::string& what);
  // The partition's topic is deleted: what was in it need not be read.
  void TopicDeleted(uint32_t partition) { deleted_.insert(checker::Key(partition)); }
  // After healing, and once everything has been read from the first offset to the last.
  void CheckComplete();

  // Named anomalies; those of the checker since CheckComplete. Empty is good.
  const std::vector<std::string>& anomalies() const { return anomalies_; }
  uint64_t acknowledged() const { return acknowledged_; }
  uint64_t reads() const { return reads_; }
  uint64_t deletions() const { return deletions_; }

 private:
  void Add(checker::Op op);
  void Report(const std::string& anomaly);

  checker::History ops_;
  std::set<checker::Key> deleted_;
  std::map<std::pair<RaftGroupId, Term>, BrokerId> leaders_;
  std::vector<std::string> anomalies_;
  uint64_t acknowledged_ = 0;
  uint64_t reads_ = 0;
  uint64_t deletions_ = 0;  // acknowledged
};

}  // namespace millrace::sim

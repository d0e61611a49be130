// What producers were told and consumers saw, and the rules that both must satisfy. Names what it
// finds: lost write, duplicate, reordering, phantom, offset divergence, high watermark going back,
// two leaders in a term, acknowledged but not durable on a majority.
//
// Each value is sent once, by one producer to one partition, with a number that grows per
// (producer, partition). One thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proto/base/ids.h"

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
  // A consumer saw it.
  void Read(uint32_t partition, Offset offset, const std::string& value);
  // A consumer's partition showed this high watermark in this leader epoch.
  void SawHighWatermark(uint32_t partition, uint64_t reader, Offset high_watermark);
  void SawLeader(RaftGroupId group, Term term, BrokerId leader);
  void SawUndurable(const std::string& what);
  // A phase did not come to its end in time, or something failed that must not.
  void SawStuck(const std::string& what);
  // The partition's topic is deleted: what was in it need not be read.
  void Deleted(uint32_t partition) { logs_.erase(partition); }
  // After healing: everything must have been read from the first offset to the last.
  void CheckComplete();

  // Named anomalies, in the order found; empty is good.
  const std::vector<std::string>& anomalies() const { return anomalies_; }
  uint64_t acknowledged() const { return acknowledged_; }
  uint64_t reads() const { return reads_; }

 private:
  struct Log {
    std::map<Offset, ValueId> at;
    std::map<ValueId, Offset> where;
    std::map<ValueId, std::optional<Offset>> sent;  // with the acknowledged offset
    std::set<ValueId> acknowledged;
    std::set<ValueId> read;
  };
  void Report(const std::string& anomaly);
  void Place(uint32_t partition, Offset offset, const ValueId& value);

  std::map<uint32_t, Log> logs_;
  std::map<std::pair<uint32_t, uint64_t>, Offset> high_watermarks_;
  std::map<std::pair<RaftGroupId, Term>, BrokerId> leaders_;
  std::vector<std::string> anomalies_;
  uint64_t acknowledged_ = 0;
  uint64_t reads_ = 0;
};

}  // namespace millrace::sim

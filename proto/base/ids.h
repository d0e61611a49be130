// The vocabulary of both sides of every interface: distinct types for the numbers that must never
// be mixed. A Term is not a LogIndex, a LogIndex (counts every entry of a Raft log) is not an
// Offset (counts records that a consumer sees).
//
// Values, free of I/O; any thread.
//
//   LogIndex next = log.last_index() + 1;
//   Offset end = base_offset + record_count;
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <ostream>

namespace millrace {

// An identifier: comparable, hashable, printable, without arithmetic.
template <typename Tag, typename Rep>
class StrongId {
 public:
  using ValueType = Rep;
  constexpr StrongId() = default;
  constexpr explicit StrongId(Rep value) : value_(value) {}
  constexpr Rep value() const { return value_; }
  constexpr auto operator<=>(const StrongId&) const = default;
  friend std::ostream& operator<<(std::ostream& out, StrongId id) { return out << +id.value_; }

 private:
  Rep value_{};
};

// A position in a sequence: may be moved by a count, and two of a kind differ by a count.
template <typename Tag, typename Rep>
class StrongOrdinal {
 public:
  using ValueType = Rep;
  constexpr StrongOrdinal() = default;
  constexpr explicit StrongOrdinal(Rep value) : value_(value) {}
  constexpr Rep value() const { return value_; }
  constexpr auto operator<=>(const StrongOrdinal&) const = default;
  friend constexpr StrongOrdinal operator+(StrongOrdinal at, Rep count) {
    return StrongOrdinal(static_cast<Rep>(at.value_ + count));
  }
  friend constexpr StrongOrdinal operator-(StrongOrdinal at, Rep count) {
    return StrongOrdinal(static_cast<Rep>(at.value_ - count));
  }
  friend constexpr Rep operator-(StrongOrdinal a, StrongOrdinal b) {
    return static_cast<Rep>(a.value_ - b.value_);
  }
  StrongOrdinal& operator+=(Rep count) { return *this = *this + count; }
  StrongOrdinal& operator++() { return *this += 1; }
  friend std::ostream& operator<<(std::ostream& out, StrongOrdinal at) { return out << at.value_; }

 private:
  Rep value_{};
};

// A broker's number in its cluster, chosen by the operator, 1 and up; 0 means none.
using BrokerId = StrongId<struct BrokerIdTag, uint32_t>;
// Random, minted when a data directory is made: a wiped disk is another voter (design D3,
// "Identity").
using Incarnation = StrongId<struct IncarnationTag, uint64_t>;
// Counts the starts of one incarnation; 1 and up.
using BootEpoch = StrongId<struct BootEpochTag, uint64_t>;
// A Raft group. 1 is the controller; partitions get theirs from the controller and never again.
using RaftGroupId = StrongId<struct RaftGroupIdTag, uint64_t>;
// A topic's number, given by the controller, never reused; 0 means none.
using TopicId = StrongId<struct TopicIdTag, uint64_t>;
// A partition's number in its topic, 0 and up.
using PartitionId = StrongId<struct PartitionIdTag, uint32_t>;
// An idempotent producer, given by the controller; 0 means a producer without one.
using ProducerId = StrongId<struct ProducerIdTag, uint64_t>;

// A replica's number in its group, given by the controller and never twice in a group: one that
// leaves and comes back, or lost its disk, is another replica. 1 and up, below 2^24; 0 means none.
using ReplicaNumber = StrongId<struct ReplicaNumberTag, uint32_t>;

// Raft's term; 0 before the first election.
using Term = StrongOrdinal<struct TermTag, uint64_t>;
// Position in a Raft log, counting every entry; the first entry is 1, 0 means none.
using LogIndex = StrongOrdinal<struct LogIndexTag, uint64_t>;
// Position of a record in a partition, counting records alone; the first record is 0.
using Offset = StrongOrdinal<struct OffsetTag, int64_t>;
// Counts the truncations of one replica's log (design D4): an entry older than its group's epoch
// and at or past the cut is void.
using TruncationEpoch = StrongOrdinal<struct TruncationEpochTag, uint32_t>;

inline constexpr RaftGroupId kControllerGroup{1};
// The top 8 bits of a number are kept for what kind of replica it is.
inline constexpr uint32_t kReplicaNumberEnd = uint32_t{1} << 24;

// A broker with one data directory: what a handshake proves.
struct BrokerIncarnation {
  BrokerId broker;
  Incarnation incarnation;
  constexpr auto operator<=>(const BrokerIncarnation&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const BrokerIncarnation& who) {
    return out << who.broker << '@' << who.incarnation;
  }
};

// A voter is a replica: a broker, its incarnation *and* the replica's number, in every
// configuration (design D3). So what one life of a replica promised never counts for another.
struct Voter {
  BrokerId broker;
  Incarnation incarnation;
  ReplicaNumber number{};
  constexpr BrokerIncarnation holder() const { return {broker, incarnation}; }
  constexpr auto operator<=>(const Voter&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const Voter& voter) {
    return out << voter.holder() << '#' << voter.number;
  }
};

// One partition of one topic.
struct TopicPartition {
  TopicId topic;
  PartitionId partition;
  constexpr auto operator<=>(const TopicPartition&) const = default;
};

}  // namespace millrace

template <typename Tag, typename Rep>
struct std::hash<millrace::StrongId<Tag, Rep>> {
  size_t operator()(millrace::StrongId<Tag, Rep> id) const { return std::hash<Rep>()(id.value()); }
};
template <typename Tag, typename Rep>
struct std::hash<millrace::StrongOrdinal<Tag, Rep>> {
  size_t operator()(millrace::StrongOrdinal<Tag, Rep> at) const {
    return std::hash<Rep>()(at.value());
  }
};

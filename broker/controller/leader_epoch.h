// Leader epochs: what everybody outside is told of a partition's leadership, in gRPC as in Kafka's
// protocol. A group's term begins anew with each group, and a topic that is made again has new
// groups under old names; so an epoch is the topic's base, fixed when it is made, and the term
// (docs/adr/0006). It grows with every election and never goes back for a name.
//
// Brokers among themselves speak of terms. Where a topic's base is not known, no epoch is told.
//
// Values; any thread.
//
//   LeaderEpoch epoch = LeaderEpochOf(topic.leader_epoch_base, leadership.term);
#pragma once

#include <algorithm>
#include <cstdint>

#include "proto/base/ids.h"

namespace millrace::broker {

using LeaderEpoch = StrongOrdinal<struct LeaderEpochTag, uint32_t>;

// Kafka's clients hold an epoch as a positive int32.
inline constexpr uint32_t kLeaderEpochMax = (uint32_t{1} << 31) - 1;
// The last base that a topic gets: it has room for millions of elections.
inline constexpr uint32_t kLeaderEpochBaseMax = kLeaderEpochMax - (uint32_t{1} << 24);

// How many elections may have happened that the controller does not know of when it deletes a
// topic: leaders report at once, but reports are lost while brokers cannot reach each other, and
// the replicas elect on until they hear of the deletion. So many take more than a minute of nothing
// but elections. Whatever happened longer ago than that the clock covers: a base grows by one in 4
// seconds, and terms do not, on the average. More would be no safer, but would push the base of a
// name that is made and deleted all day far ahead of the clock.
inline constexpr uint32_t kUnreportedElections = 256;

// The base of a topic that is made now, as far as the clock goes: units of 4 seconds since
// 2025-01-01T00:00Z, which last for 272 years; at least 1, as 0 says that a base is not known.
uint32_t LeaderEpochBaseAt(int64_t wall_ms);

// As it came from another process; one that is too large to be any is the largest.
inline LeaderEpoch LeaderEpochFrom(uint64_t told) {
  return LeaderEpoch(static_cast<uint32_t>(std::min<uint64_t>(told, kLeaderEpochMax)));
}

// Pre: the base is known, or the group is the controller's, whose base is 0.
LeaderEpoch LeaderEpochOf(uint32_t base, Term term);

}  // namespace millrace::broker

// Whether the replicas of a partition hold the same records: each member's broker digests one
// stretch of offsets after the other, from where all logs start to what all have applied, and the
// digests are compared. A stretch that differs is halved until the first record that does is
// known. Where a compaction may be why, that is waited for.
//
// A member that does not answer, cannot read, or differs and is not compacted like the others, is
// left out from there on, and says why.
//
// On the client's executor.
//
//   VerifyPartition(client, {.topic = "flights", .partition = PartitionId(0)},
//                   [](Result<Verification> verified) { ... });
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/core/client.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::client {

struct VerifyRequest {
  std::string topic;
  PartitionId partition;
  // How long a member may be in trouble, and how long what differs may be a compaction's doing.
  Duration patience = std::chrono::seconds(30);
};

struct VerifiedMember {
  BrokerId broker;
  Status status;       // not ok: why it is compared no further
  Offset compared_to;  // what it holds below this was compared
  // Of the record where members differ: whether it has one, and its digest.
  bool has_record = false;
  uint64_t digest_high = 0;
  uint64_t digest_low = 0;
};

struct Verification {
  // Records [begin, end) are the same in all members whose status is ok.
  Offset begin;
  Offset end;
  uint64_t records = 0;
  uint64_t bytes = 0;  // as stored, in one member
  std::optional<Offset> first_difference;
  // In the order of the metadata's replicas.
  std::vector<VerifiedMember> members;
};

// NOT_FOUND if there is no such topic or partition; UNAVAILABLE if no member can be asked. The
// client outlives the call, or `done` is not called.
void VerifyPartition(Client& client, const VerifyRequest& request, ResponseDone<Verification> done);

}  // namespace millrace::client

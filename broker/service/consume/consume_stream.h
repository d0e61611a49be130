// One Consume stream: a member's session and the records of what it owns. It joins what Join and
// Subscribe do; of its own it has which message the client is done with, and what follows from
// that.
//
//   client:   init | commit up to N, done up to N | ping | leave
//   client:   joined | assigned N | records N | revoked N, lost N | nothing, N | results
//
//   assigned:   located (its offset, or where init says) -> told, then its records
//   revoked:    read no more -> told as N -> done with N, its commits before -> given up
//
// What keeps the member alive is what its client says, as on a Join stream: a message is heard of
// if the client is done with more by it, or if its transport took something of what waited for it
// since the last one that was. Who reads nothing more is taken out, whatever it says.
//
// On the shard's thread.
#pragma once

#include <memory>
#include <string>

#include "broker/api/stream.h"
#include "broker/routing/coordinator_client.h"
#include "broker/service/fetch/environment.h"

namespace millrace::broker {

// All outlive the stream.
struct ConsumeEnvironment {
  FetchEnvironment fetch;
  CoordinatorClient& coordinators;
};

// `drawn_member_id`: of a client that names none.
std::unique_ptr<StreamHandler> MakeConsumeStream(const ConsumeEnvironment& environment,
                                                 std::shared_ptr<Stream> stream,
                                                 std::string drawn_member_id);

}  // namespace millrace::broker

// One Join stream: a member's session at this broker, as requests to the coordinator
// (MemberRequest) and their answers. It holds nothing that the next stream of the member, at
// another broker, could not say again.
//
//   client:   init | subscription, done, ping, leave | commit
//   asked:    what the member says now, one at a time, answered at once
//             else one that waits for news; the next request ends its wait
//   client:   joined, then the assignment whenever it is another one | pong | results
//
// What keeps a member alive: what its client says, on this stream, and nothing else. Each such
// request is heard of at the coordinator; one that only asks for news again, because the last one
// has waited for long enough, says that it is silent (MemberRequest.is_silent). So a client that
// stands still is taken out after its session's time, though its connection lives. A commit is
// heard of within a quarter of a second, as others may follow it closely.
//
// What is said is done in order: an answer to an assignment, and a leave, wait for the results of
// the commits before them, so that a partition is never given away before its last commit.
//
// A client that does not read is told no second assignment before it took the first one, the newest
// then; and what it says is not read while much of what it was told is not taken, so that its
// session's time ends it.
//
// On the shard's thread.
#pragma once

#include <memory>

#include "broker/api/client_memory.h"
#include "broker/api/stream.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/coordinator_client.h"
#include "raft/runtime/executor.h"

namespace millrace::broker {

// All outlive the stream.
struct JoinEnvironment {
  Executor& executor;
  ClusterView& view;
  CoordinatorClient& coordinators;
  ClientMemory& memory;
};

std::unique_ptr<StreamHandler> MakeJoinStream(const JoinEnvironment& environment,
                                              std::shared_ptr<Stream> stream);

}  // namespace millrace::broker

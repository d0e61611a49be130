// One Join stream: a member's session (member_session.h), said and told by its client.
//
//   client:   init | subscription, done, ping, leave | commit
//   client:   joined, then the assignment whenever it is another one | pong | results
//
// A client that does not read is told no second assignment before it took the first one, the newest
// then; and what it says is not read while much of what it was told is not taken, so that its
// session's time ends it.
//
// On the shard's thread.
#pragma once

#include <memory>

#include "broker/api/stream.h"
#include "broker/service/group/member_session.h"

namespace millrace::broker {

// What of `environment` is named outlives the stream.
std::unique_ptr<StreamHandler> MakeJoinStream(const MemberSession::Environment& environment,
                                              std::shared_ptr<Stream> stream);

}  // namespace millrace::broker

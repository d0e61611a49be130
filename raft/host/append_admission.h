// What a follower looks at before its core sees entries from a leader: that they go on from what is
// here, and that there is room for them.
//
// Pure; on the shard's thread.
#pragma once

#include "raft/core/log.h"
#include "raft/core/message.h"

namespace millrace::raft {

// Whether the first entry's chain follows from what `log` holds before it; those after it were held
// against each other when the message was read. A chain that breaks here would be found only when
// segments are written, on every replica at once. True where that cannot be told.
bool FollowsOn(const core::Log& log, const core::AppendRequest& append);

// Leaves of `append` what does not make a full journal fuller; false if that is nothing. A follower
// that refused it would stay full for ever: entries go to segments once they are known to be
// committed, and come off the journal once others take their place. What controls the group is
// small, and makes room: a command that lets records go above all.
bool KeepWhatMakesRoom(const core::Log& log, LogIndex commit_index, core::AppendRequest* append);

}  // namespace millrace::raft

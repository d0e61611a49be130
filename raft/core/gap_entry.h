// The entry that stands for entries of which nothing is left, as compaction makes it, a repair, and
// whoever takes a part of one.
//
// Pure; any thread.
//
//   entries.push_back(core::GapEntry({.group = group, .term = term, .first = first, .last = last}));
#pragma once

#include "proto/frame/frame.h"
#include "raft/core/entry.h"

namespace millrace::raft::core {

// Pre: it ends no sooner than it begins.
Entry GapEntry(const GapEnds& ends);

}  // namespace millrace::raft::core

// Log entries from the frames that they lie in (proto/frame), and the payload of configuration
// entries: one reading for the peers' wire, the journal and the segments.
//
// Pure; any thread. Bytes are never trusted: what is wrong is DATA_LOSS.
//
//   ASSIGN_OR_RETURN(core::Entry entry, DecodeEntry(frame));
//   frame payload: EncodeConfiguration(configuration)
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "proto/frame/frame.h"
#include "raft/core/configuration.h"
#include "raft/core/entry.h"
#include "raft/core/log.h"

namespace millrace::raft {

// The entry whose frame `bytes` begins with, sharing it. Both checksums must hold and the padding
// be zero.
Result<core::Entry> DecodeEntry(const Bytes& bytes);
// The same of a frame whose payload was not looked at yet.
Result<core::Entry> DecodeEntry(Frame frame);

// As DecodeEntry; but it may be what compaction left of an entry, or of several: a gap.
Result<core::Entry> DecodeStored(const Bytes& bytes);
Result<core::Entry> DecodeStored(Frame frame);

// The entry of a frame whose checksums were verified before, and its header. One that is not
// understood becomes an entry of type kUnknown; but a configuration that is not is UNIMPLEMENTED.
Result<core::Entry> MakeEntry(const FrameHeader& header, Frame frame);

// Whether the entry with this header follows `end` in the group: index, term, offset and chain
// (design D6: asserted at append, recovery and read). DATA_LOSS if not. A gap's chain is proven by
// what follows it.
Status CheckFollows(const core::LogPoint& end, RaftGroupId group, const FrameHeader& header);
// The end after that entry.
core::LogPoint EndAfter(const FrameHeader& header);
// Of entries of another replica's those behind `end` and up to `limit`: its gaps may begin before
// the one, and end behind the other.
std::vector<core::Entry> FitBetween(const core::LogPoint& end, const core::LogPoint& limit,
                                    std::vector<core::Entry> entries);

// The payload of a configuration entry.
std::string EncodeConfiguration(const core::Configuration& configuration);
Result<core::Configuration> DecodeConfiguration(std::string_view payload);

}  // namespace millrace::raft

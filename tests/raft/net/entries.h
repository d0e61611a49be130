// Log entries for the tests of raft/net, with frames whose checksums hold.
#pragma once

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "proto/base/checksum.h"
#include "proto/frame/frame.h"
#include "raft/core/entry.h"

namespace millrace::raft::net {

inline core::Entry MakeEntry(RaftGroupId group, Term term, LogIndex index,
                             const std::string& payload, uint32_t previous_chain = 0) {
  FrameHeader header;
  header.type = FrameType::kRecordBatch;
  header.payload_size = static_cast<uint32_t>(payload.size());
  header.group = group;
  header.term = term;
  header.index = index;
  header.payload_crc = header.stored_crc = Crc32c(payload);
  header.chain = FrameChain(previous_chain, header);
  Buffer buffer = AllocateFrame(payload.size());
  std::memcpy(FramePayload(buffer), payload.data(), payload.size());
  core::Entry entry;
  entry.term = term;
  entry.index = index;
  entry.type = core::EntryType::kCommand;
  entry.chain = header.chain;
  entry.frame = SealFrame(header, std::move(buffer));
  return entry;
}

// So many entries of `term` behind the entry `after`, whose chain is `previous_chain`.
inline std::vector<core::Entry> MakeEntries(RaftGroupId group, Term term, LogIndex after,
                                            uint64_t count, uint32_t previous_chain = 0) {
  std::vector<core::Entry> entries;
  for (uint64_t i = 1; i <= count; ++i) {
    entries.push_back(MakeEntry(group, term, after + i, "payload", previous_chain));
    previous_chain = entries.back().chain;
  }
  return entries;
}

}  // namespace millrace::raft::net

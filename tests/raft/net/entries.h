// Log entries for the tests of raft/net, with frames whose checksums hold.
#pragma once

#include <cstring>
#include <string>
#include <utility>

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

}  // namespace millrace::raft::net

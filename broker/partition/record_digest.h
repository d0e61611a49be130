// What a replica holds of some records, as a number: the same wherever the same offsets hold the
// same keys, values, headers and times, however the batches around them lie on disk. Digests of
// stretches that follow each other add up to the digest of all, so that a stretch may be read in
// pieces of any size.
//
// The sum of a hash of each record (XXH3, 128 bits), offset included. It tells what differs by
// accident; whoever can choose records can choose some that have the same sum.
//
// Pure; any thread, and meant for one beside the shard: decompressing takes time.
//
//   ASSIGN_OR_RETURN(const RecordDigest more, DigestRecords(frame, begin, end));
//   digest += more;
#pragma once

#include <cstdint>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "proto/frame/frame.h"

namespace millrace::broker {

struct RecordDigest {
  uint64_t low = 0;
  uint64_t high = 0;
  uint64_t records = 0;

  RecordDigest& operator+=(const RecordDigest& more);
  bool operator==(const RecordDigest&) const = default;
};

// Of those of the batch's records whose offsets are in [begin, end). DATA_LOSS naming the entry if
// they cannot be read; RESOURCE_EXHAUSTED if a codec has no memory. Pre: an entry of type
// kRecordBatch that is understood, and whose payload matches stored_crc.
Result<RecordDigest> DigestRecords(const Frame& frame, Offset begin, Offset end);

}  // namespace millrace::broker

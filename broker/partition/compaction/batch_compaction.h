// One stored batch and compaction: which keys its records have, and the batch without the records
// that go. What the chain and the producers' sequences rest on stays as it was produced: the header
// but for what it says of the payload as stored (docs/formats.md, "Frame").
//
// Pure; any thread, and meant for one beside the shard: decompressing takes time. Batches that were
// compacted before are like others.
//
//   RETURN_IF_ERROR(VisitKeys(frame, [&](const KeyedRecord& r) { return map.Add(r.key, r.offset); })
//                       .status());
//   ASSIGN_OR_RETURN(const CompactedBatch batch, CompactBatch(frame, name, is_kept));
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "proto/frame/frame.h"
#include "proto/record/record_batch.h"

namespace millrace::broker {

// A record that has a key: nothing supersedes one that has none.
struct KeyedRecord {
  Offset offset;
  std::string_view key;
  bool is_tombstone = false;  // it has no value; an empty one is a value
};

// Calls `visit` with each record, in order, until it says false; whether it never did. DATA_LOSS
// naming the entry if the payload is no batch; RESOURCE_EXHAUSTED if a codec has no memory. Pre, of
// all these functions: an entry of type kRecordBatch that is understood, and whose payload matches
// stored_crc.
Result<bool> VisitRecords(const Frame& frame, const std::function<bool(const RecordView&)>& visit);
// The same with each record that has a key.
Result<bool> VisitKeys(const Frame& frame, const std::function<bool(const KeyedRecord&)>& visit);

struct CompactedBatch {
  enum class Outcome : uint8_t {
    kUnchanged,  // all stay: the frame may be left as it is
    kEmpty,      // none does
    kRewritten,
  };
  Outcome outcome = Outcome::kUnchanged;
  Frame frame;  // if it is rewritten
};

// The batch with those records alone that have no key or for which `is_kept` says true. `home` is
// the partition that stores it. A batch keeps its compression, and typed records stay typed, unless
// offset_delta makes its records larger than any that is taken in: then they are packed,
// uncompressed, as what serves them can cut them into pieces (BatchUnpacker). DATA_LOSS as above;
// RESOURCE_EXHAUSTED if a codec has no memory.
Result<CompactedBatch> CompactBatch(const Frame& frame, TopicPartition home,
                                    const std::function<bool(const KeyedRecord&)>& is_kept);

}  // namespace millrace::broker

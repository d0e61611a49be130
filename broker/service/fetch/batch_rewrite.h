// Which forms of a batch a reader takes, and the rewriting of those that it does not: with typed
// records, which every generated client reads (design D5), in pieces of less than 1 MiB each. A
// batch that is small compressed may be larger than the 4 MiB that such clients take in a message,
// and than the credit that they give. So may one be that compaction left, and everybody gets that
// in pieces.
//
// Pure; any thread. Rewriting takes the time of decompression: not on a shard's thread.
//
//   AcceptedForms accepted = AcceptedForms::TypedOnly();
//   if (!accepted.TakesAllOf(entries)) RewriteBatches(entries, {.offset = o, .accepted = accepted});
#pragma once

#include <cstdint>
#include <vector>

#include "broker/service/fetch/fetched_batch.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "proto/frame/frame.h"
#include "proto/record/compression.h"
#include "raft/core/entry.h"

namespace millrace::broker {

// Typed records, which everybody takes, and `packed` under some compressions.
class AcceptedForms {
 public:
  static constexpr AcceptedForms TypedOnly() { return AcceptedForms(0); }
  // Also `packed` that is not compressed.
  static constexpr AcceptedForms Uncompressed() {
    return AcceptedForms(MaskOf(BatchCompression::kNone));
  }

  void Add(BatchCompression compression);
  bool Takes(BatchCompression compression) const;
  // Whether nothing has to be rewritten, as far as the frames tell; if not, the batches tell more.
  bool TakesAllOf(const std::vector<raft::core::Entry>& entries) const;

 private:
  constexpr explicit AcceptedForms(uint32_t mask) : mask_(mask) {}
  static constexpr uint32_t MaskOf(BatchCompression compression) {
    return uint32_t{1} << static_cast<uint32_t>(compression);
  }
  bool TakesFrame(const FrameHeader& header) const;

  uint32_t mask_;
};

// What is sent of a batch that is rewritten is less than this at a time, with what stands before
// it; but for a record that is larger by itself.
inline constexpr uint64_t kRewrittenBytesMax = 1 << 20;

// Whom batches are rewritten for.
struct BatchReader {
  Offset offset;  // where it stands; the records before it in a rewritten batch are left out
  AcceptedForms accepted;
  uint64_t bytes_max = 0;
};

struct RewrittenBatches {
  std::vector<FetchedBatch> batches;
  // Where the reader goes on: one past the last record in them, or past the last batch.
  Offset next_offset;
  bool is_whole = false;  // they are all that was to be rewritten
};

// The batches of `entries` in forms that are accepted, up to `bytes_max` with what stands before
// them; the first, or the first piece of it, always passes. DATA_LOSS if a batch is none. Pre:
// `entries` is not empty.
Result<RewrittenBatches> RewriteBatches(const std::vector<raft::core::Entry>& entries,
                                        const BatchReader& reader);

}  // namespace millrace::broker

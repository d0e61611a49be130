#include "broker/partition/record_digest.h"

#include <optional>
#include <string_view>

#include <glog/logging.h>
#include <xxhash.h>

#include "broker/partition/compaction/batch_compaction.h"
#include "proto/record/record_batch.h"

namespace millrace::broker {
namespace {

// A field that is not there is another one than an empty one.
constexpr uint64_t kAbsent = UINT64_MAX;

// Hashes one record after the other.
class RecordHasher {
 public:
  RecordHasher() : state_(XXH3_createState()) { CHECK_NE(state_, nullptr) << "out of memory"; }
  ~RecordHasher() { XXH3_freeState(state_); }
  RecordHasher(const RecordHasher&) = delete;
  RecordHasher& operator=(const RecordHasher&) = delete;

  RecordDigest DigestOf(const RecordView& record, Offset offset, int64_t time_ms) {
    XXH3_128bits_reset(state_);
    Add(static_cast<uint64_t>(offset.value()));
    Add(static_cast<uint64_t>(time_ms));
    Add(record.key);
    Add(record.value);
    Add(record.header_count);
    HeaderIterator headers(record);
    HeaderView header;
    while (headers.Next(&header)) {
      Add(std::optional(header.key));
      Add(header.value);
    }
    const XXH128_hash_t hash = XXH3_128bits_digest(state_);
    return {.low = hash.low64, .high = hash.high64, .records = 1};
  }

 private:
  void Add(uint64_t number) { XXH3_128bits_update(state_, &number, sizeof(number)); }
  void Add(const std::optional<std::string_view>& text) {
    Add(text.has_value() ? text->size() : kAbsent);
    if (text.has_value()) XXH3_128bits_update(state_, text->data(), text->size());
  }

  XXH3_state_t* state_;
};

}  // namespace

RecordDigest& RecordDigest::operator+=(const RecordDigest& more) {
  low += more.low;
  high += more.high + (low < more.low ? 1 : 0);
  records += more.records;
  return *this;
}

Result<RecordDigest> DigestRecords(const Frame& frame, Offset begin, Offset end) {
  const FrameHeader header = frame.header();
  RecordDigest digest;
  RecordHasher hasher;
  RETURN_IF_ERROR(VisitRecords(frame, [&](const RecordView& record) {
                    const Offset offset = header.base_offset + record.place;
                    if (offset < begin || offset >= end) return true;
                    digest +=
                        hasher.DigestOf(record, offset, record.time_ms(header.append_time_ms));
                    return true;
                  }).status());
  return digest;
}

}  // namespace millrace::broker

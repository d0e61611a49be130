// Records that are copied from one batch to another keep their bytes, but for the field that says
// where in the batch they are.
//
// Pure; any thread.
//
//   std::string records;
//   AppendRecord(record, {.tag = kPackedRecordTag, .offset_delta = record.place}, &records);
#pragma once

#include <cstdint>
#include <string>

#include "proto/record/record_batch.h"
#include "proto/record/wire.h"

namespace millrace {

// What begins a record in Records, and in a RecordBatch that has typed ones.
inline constexpr uint8_t kPackedRecordTag = WireTag(1, WireType::kLengthDelimited);
inline constexpr uint8_t kTypedRecordTag = WireTag(14, WireType::kLengthDelimited);

struct RecordPlace {
  uint8_t tag = kPackedRecordTag;
  uint32_t offset_delta = 0;  // 0: the field is left out, so that counting is right
};

// Appends tag, length and content. Pre: RecordIterator gave the record out.
void AppendRecord(const RecordView& record, const RecordPlace& place, std::string* records);

}  // namespace millrace

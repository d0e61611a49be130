// Writes what stands before a batch's records: the header fields that are set, and for `packed` its
// tag and length. Reading is ParseRecordBatchHeader (proto/record/record_batch.h).
//
// Pure; any thread.
//
//   WireWriter out(memory of BatchHeaderSize(batch) bytes);
//   WriteBatchHeader(batch, &out);   // batch.records follow
#pragma once

#include <cstddef>

#include "proto/record/record_batch.h"
#include "proto/record/wire.h"

namespace millrace {

size_t BatchHeaderSize(const RecordBatchView& batch);
void WriteBatchHeader(const RecordBatchView& batch, WireWriter* out);

}  // namespace millrace

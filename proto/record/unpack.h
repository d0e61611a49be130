// A packed batch as one with typed `records`, for readers that neither decompress nor parse twice.
//
// Pure; any thread; takes time and memory as decompressing does.
//
//   ASSIGN_OR_RETURN(const Bytes typed, UnpackRecordBatch(batch));
#pragma once

#include <string_view>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "proto/record/record_batch.h"

namespace millrace {

// Header fields are kept, but for those that speak of `packed`. INVALID_ARGUMENT (CORRUPT_BATCH) if
// it is no batch or holds something else than records. Pre: `batch` is packed.
Result<Bytes> UnpackRecordBatch(const RecordBatchView& batch);

// The size of what UnpackRecordBatch makes of it.
size_t UnpackedSize(const RecordBatchView& batch);

}  // namespace millrace

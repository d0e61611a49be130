// Between the public Compression and the one that batches carry.
//
// Pure; any thread.
#pragma once

#include "millrace/record.h"
#include "proto/record/compression.h"

namespace millrace::internal {

constexpr BatchCompression ToBatchCompression(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return BatchCompression::kNone;
    case Compression::kGzip:
      return BatchCompression::kGzip;
    case Compression::kSnappy:
      return BatchCompression::kSnappy;
    case Compression::kLz4:
      return BatchCompression::kLz4;
    case Compression::kZstd:
      return BatchCompression::kZstd;
  }
  return BatchCompression::kNone;
}

}  // namespace millrace::internal

#include "millrace/record.h"

#include <string>

#include "client/api/compression_names.h"
#include "proto/base/status.h"

namespace millrace {

Result<Compression> ParseCompression(std::string_view name) {
  for (const Compression compression :
       {Compression::kNone, Compression::kGzip, Compression::kSnappy, Compression::kLz4,
        Compression::kZstd}) {
    if (CompressionName(internal::ToBatchCompression(compression)) == name) return compression;
  }
  return InvalidArgument("there is no compression \"" + std::string(name) +
                         "\", but none, gzip, snappy, lz4 and zstd");
}

}  // namespace millrace

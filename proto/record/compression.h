// The codecs of a batch's `packed` bytes: gzip, snappy (raw), lz4 (frame) and zstd, each by its own
// library at that library's usual level. docs/formats.md, "Record batch", has the rules.
//
// Pure; any thread. Decompress trusts nothing: it writes into memory of exactly the size that it
// was told, and whatever does not fill that exactly, as one frame and to its last byte, is refused.
//
//   ASSIGN_OR_RETURN(Bytes compressed, Compress(BatchCompression::kZstd, records));
//   ASSIGN_OR_RETURN(Bytes same, Decompress(BatchCompression::kZstd, compressed.view(),
//                                           records.size()));
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

namespace millrace {

// The numbers of millrace.v1.Compression.
enum class BatchCompression : uint32_t {
  kUnspecified = 0,  // none
  kNone = 1,
  kGzip = 2,    // RFC 1952, one member
  kSnappy = 3,  // raw, without framing
  kLz4 = 4,     // the frame format, one frame
  kZstd = 5,    // RFC 8878, one frame
};

inline constexpr BatchCompression kBatchCompressions[] = {
    BatchCompression::kNone, BatchCompression::kGzip, BatchCompression::kSnappy,
    BatchCompression::kLz4, BatchCompression::kZstd};

// No batch, whatever its topic allows, is larger than this before compression: so that it still
// fits into a message when the broker unpacks it for a simple client.
inline constexpr uint32_t kUncompressedBytesMax = uint32_t{4} << 20;

// Of a batch's records before compression, as it is taken in and as it is served in one piece: with
// what a message adds to them, they fit the 4 MiB that gRPC clients receive.
inline constexpr uint32_t kServedWholeBytesMax = kUncompressedBytesMax - (64 << 10);

// Whether bytes under this name have to be decompressed.
constexpr bool IsCompressed(BatchCompression compression) {
  return compression > BatchCompression::kNone;
}

// "none", "gzip", "snappy", "lz4", "zstd".
std::string_view CompressionName(BatchCompression compression);
std::optional<BatchCompression> ParseCompressionName(std::string_view name);

// `bytes` compressed, which may be larger than before. Pre: IsCompressed(compression).
// INVALID_ARGUMENT beyond kUncompressedBytesMax; RESOURCE_EXHAUSTED if the codec has no memory.
Result<Bytes> Compress(BatchCompression compression, std::string_view bytes);

// The `uncompressed_size` bytes that `compressed` holds. INVALID_ARGUMENT (CORRUPT_BATCH) if it
// holds more, fewer or none, if anything follows the frame, or if the size is over
// kUncompressedBytesMax. Beside the result it takes a codec's fixed working memory, at most 9 MiB.
Result<Bytes> Decompress(BatchCompression compression, std::string_view compressed,
                         size_t uncompressed_size);

}  // namespace millrace

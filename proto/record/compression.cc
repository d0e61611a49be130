#include "proto/record/compression.h"

#include <array>
#include <cstring>
#include <memory>
#include <string>

#include <glog/logging.h>
#include <lz4frame.h>
#include <snappy.h>
#include <zlib.h>
#include <zstd.h>

namespace millrace {
namespace {

constexpr std::array<std::string_view, 6> kNames = {"none",   "none", "gzip",
                                                    "snappy", "lz4",  "zstd"};
// Asks zlib for a gzip member, with the largest window.
constexpr int kGzipWindowBits = 15 + 16;
constexpr int kGzipMemoryLevel = 8;
constexpr uint32_t kLz4Magic = 0x184D2204;
// What RFC 8878 asks every decoder to support: others' need not take more, though ours could.
constexpr uint64_t kZstdWindowBytesMax = uint64_t{8} << 20;

Status Corrupt(BatchCompression compression, std::string_view what) {
  return InvalidArgument("record batch: packed, as " + std::string(CompressionName(compression)) +
                             ": " + std::string(what),
                         Reason::kCorruptBatch);
}

Status NoMemory(BatchCompression compression) {
  return ResourceExhausted("no memory for " + std::string(CompressionName(compression)));
}

// Both libraries also read older and skippable frames; neither is the format that was agreed on.
bool BeginsWith(std::string_view bytes, uint32_t magic) {
  uint32_t found = 0;
  if (bytes.size() < sizeof(found)) return false;
  std::memcpy(&found, bytes.data(), sizeof(found));  // little-endian
  return found == magic;
}

struct Closer {
  void operator()(z_stream* stream) const {
    if (is_inflating) {
      inflateEnd(stream);
    } else {
      deflateEnd(stream);
    }
  }
  void operator()(LZ4F_dctx* context) const { LZ4F_freeDecompressionContext(context); }
  bool is_inflating = false;
};

// zlib takes its input without const, and does not write to it.
void SetSpans(z_stream* stream, std::string_view in, Buffer* out) {
  stream->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
  stream->avail_in = static_cast<uInt>(in.size());
  stream->next_out = reinterpret_cast<Bytef*>(out->data());
  stream->avail_out = static_cast<uInt>(out->size());
}

Result<Bytes> CompressGzip(std::string_view bytes) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzipWindowBits, kGzipMemoryLevel,
                   Z_DEFAULT_STRATEGY) != Z_OK) {
    return NoMemory(BatchCompression::kGzip);
  }
  const std::unique_ptr<z_stream, Closer> closer(&stream);
  Buffer out = Buffer::Allocate(deflateBound(&stream, bytes.size()));
  SetSpans(&stream, bytes, &out);
  CHECK_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END) << "within deflateBound";
  return std::move(out).Freeze(stream.total_out);
}

Result<Bytes> CompressSnappy(std::string_view bytes) {
  Buffer out = Buffer::Allocate(snappy::MaxCompressedLength(bytes.size()));
  size_t size = 0;
  snappy::RawCompress(bytes.data(), bytes.size(), out.data(), &size);
  return std::move(out).Freeze(size);
}

Result<Bytes> CompressLz4(std::string_view bytes) {
  LZ4F_preferences_t preferences = LZ4F_INIT_PREFERENCES;
  preferences.frameInfo.contentSize = bytes.size();
  Buffer out = Buffer::Allocate(LZ4F_compressFrameBound(bytes.size(), &preferences));
  const size_t size =
      LZ4F_compressFrame(out.data(), out.size(), bytes.data(), bytes.size(), &preferences);
  if (LZ4F_isError(size) != 0) return NoMemory(BatchCompression::kLz4);
  return std::move(out).Freeze(size);
}

Result<Bytes> CompressZstd(std::string_view bytes) {
  Buffer out = Buffer::Allocate(ZSTD_compressBound(bytes.size()));
  const size_t size =
      ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), ZSTD_CLEVEL_DEFAULT);
  if (ZSTD_isError(size) != 0) return NoMemory(BatchCompression::kZstd);
  return std::move(out).Freeze(size);
}

// The functions below fill `out` exactly; null, or what is wrong with `in`.

const char* InflateGzip(std::string_view in, Buffer* out) {
  z_stream stream{};
  if (inflateInit2(&stream, kGzipWindowBits) != Z_OK) return "no memory";
  const std::unique_ptr<z_stream, Closer> closer(&stream, Closer{.is_inflating = true});
  SetSpans(&stream, in, out);
  const int outcome = inflate(&stream, Z_FINISH);
  if (outcome == Z_BUF_ERROR) return "it is cut off or larger than uncompressed_size";
  if (outcome != Z_STREAM_END) return "malformed";
  if (stream.total_out != out->size()) return "it is smaller than uncompressed_size";
  return stream.avail_in == 0 ? nullptr : "bytes follow the first member";
}

const char* InflateSnappy(std::string_view in, Buffer* out) {
  size_t size = 0;
  if (!snappy::GetUncompressedLength(in.data(), in.size(), &size)) return "malformed";
  if (size != out->size()) return "its own length is not uncompressed_size";
  return snappy::RawUncompress(in.data(), in.size(), out->data()) ? nullptr : "malformed";
}

const char* InflateLz4(std::string_view in, Buffer* out) {
  if (!BeginsWith(in, kLz4Magic)) return "no frame begins there";
  LZ4F_dctx* context = nullptr;
  if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)) != 0) {
    return "no memory";
  }
  const std::unique_ptr<LZ4F_dctx, Closer> closer(context);
  size_t read = 0;
  size_t written = 0;
  size_t hint = 1;  // 0 once the frame has ended
  while (hint != 0) {
    size_t in_size = in.size() - read;
    size_t out_size = out->size() - written;
    hint = LZ4F_decompress(context, out->data() + written, &out_size, in.data() + read, &in_size,
                           nullptr);
    if (LZ4F_isError(hint) != 0) return "malformed";
    read += in_size;
    written += out_size;
    if (hint != 0 && in_size == 0 && out_size == 0) {
      return "it is cut off or larger than uncompressed_size";
    }
  }
  if (written != out->size()) return "it is smaller than uncompressed_size";
  return read == in.size() ? nullptr : "bytes follow the first frame";
}

// The window that a frame's header declares: what a reader that does not decompress it in one call
// has to keep. RFC 8878, 3.1.1.1: a frame without one is a single segment, no larger than its
// content.
uint64_t ZstdWindowBytes(std::string_view frame) {
  constexpr uint8_t kSingleSegment = 0x20;
  constexpr size_t kDescriptorAt = 4;
  if (frame.size() < kDescriptorAt + 2) return 0;  // no frame; the library says so
  if ((static_cast<uint8_t>(frame[kDescriptorAt]) & kSingleSegment) != 0) return 0;
  const auto window = static_cast<uint8_t>(frame[kDescriptorAt + 1]);
  const uint64_t base = uint64_t{1} << (10 + (window >> 3));
  return base + base / 8 * (window & 7);
}

const char* InflateZstd(std::string_view in, Buffer* out) {
  if (!BeginsWith(in, ZSTD_MAGICNUMBER)) return "no frame begins there";
  if (ZstdWindowBytes(in) > kZstdWindowBytesMax) return "its window is larger than 8 MiB";
  const size_t frame = ZSTD_findFrameCompressedSize(in.data(), in.size());
  if (ZSTD_isError(frame) != 0) return "malformed or cut off";
  if (frame != in.size()) return "bytes follow the first frame";
  // In one call, the output is the window: there is no other memory to claim.
  const size_t size = ZSTD_decompress(out->data(), out->size(), in.data(), in.size());
  if (ZSTD_isError(size) != 0) return "malformed, or larger than uncompressed_size";
  return size == out->size() ? nullptr : "it is smaller than uncompressed_size";
}

const char* Inflate(BatchCompression compression, std::string_view in, Buffer* out) {
  switch (compression) {
    case BatchCompression::kGzip:
      return InflateGzip(in, out);
    case BatchCompression::kSnappy:
      return InflateSnappy(in, out);
    case BatchCompression::kLz4:
      return InflateLz4(in, out);
    case BatchCompression::kZstd:
      return InflateZstd(in, out);
    case BatchCompression::kUnspecified:
    case BatchCompression::kNone:
      break;
  }
  return "it is not compressed";
}

}  // namespace

std::string_view CompressionName(BatchCompression compression) {
  const auto number = static_cast<size_t>(compression);
  return number < kNames.size() ? kNames[number] : "unknown";
}

std::optional<BatchCompression> ParseCompressionName(std::string_view name) {
  for (const BatchCompression compression : kBatchCompressions) {
    if (CompressionName(compression) == name) return compression;
  }
  return std::nullopt;
}

Result<Bytes> Compress(BatchCompression compression, std::string_view bytes) {
  if (bytes.size() > kUncompressedBytesMax) {
    return InvalidArgument("records of " + std::to_string(bytes.size()) +
                           " bytes are too large to be compressed");
  }
  switch (compression) {
    case BatchCompression::kGzip:
      return CompressGzip(bytes);
    case BatchCompression::kSnappy:
      return CompressSnappy(bytes);
    case BatchCompression::kLz4:
      return CompressLz4(bytes);
    case BatchCompression::kZstd:
      return CompressZstd(bytes);
    case BatchCompression::kUnspecified:
    case BatchCompression::kNone:
      break;
  }
  LOG(FATAL) << "no codec for compression " << static_cast<uint32_t>(compression);
}

Result<Bytes> Decompress(BatchCompression compression, std::string_view compressed,
                         size_t uncompressed_size) {
  if (uncompressed_size == 0 || uncompressed_size > kUncompressedBytesMax) {
    return Corrupt(compression,
                   "uncompressed_size is not 1 to " + std::to_string(kUncompressedBytesMax));
  }
  Buffer out = Buffer::Allocate(uncompressed_size);
  const char* error = Inflate(compression, compressed, &out);
  if (error != nullptr) return Corrupt(compression, error);
  return std::move(out).Freeze();
}

}  // namespace millrace

#include "broker/edge/byte_transfer.h"

#include <cstring>
#include <string>
#include <utility>

#include <glog/logging.h>
#include <grpcpp/support/slice.h>

namespace millrace::broker::edge {
namespace {

// A slice that holds Bytes costs two allocations and an atomic count; below this a copy is cheaper.
constexpr size_t kCopyBytesMax = 1024;

void Release(void* held) { delete static_cast<Bytes*>(held); }

// A slice of the piece's own memory, which lives as long as the slice.
grpc::Slice Hold(Bytes piece) {
  auto* held = new Bytes(std::move(piece));
  // gRPC takes a mutable pointer for all slices, and writes through none.
  return grpc::Slice(const_cast<char*>(held->data()), held->size(), Release, held);
}

}  // namespace

Bytes Gather(const grpc::ByteBuffer& buffer) {
  if (!buffer.Valid()) return {};
  std::vector<grpc::Slice> slices;
  const grpc::Status status = buffer.Dump(&slices);
  CHECK(status.ok()) << status.error_message();
  Buffer whole = Buffer::Allocate(buffer.Length());
  size_t at = 0;
  for (const grpc::Slice& slice : slices) {
    CHECK_LE(at + slice.size(), whole.size());
    std::memcpy(whole.data() + at, slice.begin(), slice.size());
    at += slice.size();
  }
  CHECK_EQ(at, whole.size());
  return std::move(whole).Freeze();
}

grpc::ByteBuffer Scatter(std::vector<Bytes> pieces) {
  std::vector<grpc::Slice> slices;
  std::string small;
  for (Bytes& piece : pieces) {
    if (piece.size() <= kCopyBytesMax) {
      small += piece.view();
      continue;
    }
    if (!small.empty()) slices.emplace_back(std::exchange(small, {}));
    slices.push_back(Hold(std::move(piece)));
  }
  // A buffer without a slice is no message; an empty message is one empty slice.
  if (!small.empty() || slices.empty()) slices.emplace_back(small);
  return grpc::ByteBuffer(slices.data(), slices.size());
}

}  // namespace millrace::broker::edge

#include "client/grpc/grpc_bytes.h"

#include <cstring>
#include <string>

#include <glog/logging.h>

#include "client/core/error.h"

namespace millrace::client {
namespace {

// Below this a copy costs less than a slice with an owner.
constexpr size_t kShareBytesMin = 4096;

grpc::Slice ToSlice(const Bytes& piece) {
  if (piece.size() < kShareBytesMin) return {piece.data(), piece.size()};
  auto* owner = new Bytes(piece);  // lives until gRPC has sent it
  return {const_cast<char*>(piece.data()), piece.size(),
          [](void* held) { delete static_cast<Bytes*>(held); }, owner};
}

}  // namespace

grpc::ByteBuffer ToByteBuffer(const std::vector<Bytes>& pieces) {
  std::vector<grpc::Slice> slices;
  slices.reserve(pieces.size());
  for (const Bytes& piece : pieces) slices.push_back(ToSlice(piece));
  return {slices.data(), slices.size()};
}

Bytes ToBytes(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  Buffer gathered = Buffer::Allocate(buffer.Length());
  const grpc::Status dumped = buffer.Dump(&slices);
  CHECK(dumped.ok()) << dumped.error_message();
  char* at = gathered.data();
  for (const grpc::Slice& slice : slices) {
    if (slice.size() > 0) std::memcpy(at, slice.begin(), slice.size());
    at += slice.size();
  }
  return std::move(gathered).Freeze();
}

Status ToStatus(const grpc::Status& status, const RpcTarget& target) {
  if (status.ok()) return {};
  const auto code = static_cast<int>(status.error_code());
  if (status.error_details().empty()) return TransportError(code, status.error_message(), target);
  return FromRpcStatus(code, status.error_message(), status.error_details());
}

}  // namespace millrace::client

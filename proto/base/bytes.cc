#include "proto/base/bytes.h"

#include <cstring>
#include <new>

#include <glog/logging.h>

namespace millrace {

Bytes Bytes::CopyOf(std::string_view text) {
  Buffer buffer = Buffer::Allocate(text.size());
  if (!text.empty()) std::memcpy(buffer.data(), text.data(), text.size());
  return std::move(buffer).Freeze();
}

Bytes Bytes::Own(std::string text) {
  auto owned = std::make_shared<const std::string>(std::move(text));
  Bytes bytes;
  bytes.data_ = owned->data();
  bytes.size_ = owned->size();
  bytes.owner_ = std::shared_ptr<const char[]>(owned, owned->data());
  return bytes;
}

Bytes Bytes::Slice(size_t offset, size_t count) const {
  CHECK_LE(offset, size_);
  CHECK_LE(count, size_ - offset);
  Bytes slice = *this;
  slice.data_ += offset;
  slice.size_ = count;
  return slice;
}

Buffer Buffer::Allocate(size_t size, size_t alignment) {
  CHECK_GE(alignment, kAlignment);
  const auto align = static_cast<std::align_val_t>(alignment);
  char* memory = static_cast<char*>(::operator new(size, align));
  Buffer buffer;
  buffer.owner_ =
      std::shared_ptr<char[]>(memory, [align](char* at) { ::operator delete(at, align); });
  buffer.size_ = size;
  return buffer;
}

Bytes Buffer::Freeze(size_t size) && {
  CHECK_LE(size, size_);
  Bytes bytes;
  bytes.owner_ = std::move(owner_);
  bytes.data_ = bytes.owner_.get();
  bytes.size_ = size;
  size_ = 0;
  return bytes;
}

uint64_t TotalSize(const std::vector<Bytes>& pieces) {
  uint64_t size = 0;
  for (const Bytes& piece : pieces) size += piece.size();
  return size;
}

}  // namespace millrace

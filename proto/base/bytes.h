// Bytes that several parties hold without copying: the journal's write queue, the peers' send
// queues and the tail cache all point into the one aligned buffer that a payload was copied into
// (design D2).
//
// A Buffer is written by the one that allocated it, then frozen into Bytes, which are immutable and
// may be passed to any thread. The memory lives as long as any Bytes into it.
//
//   Buffer buffer = Buffer::Allocate(header_size + payload.size());
//   memcpy(buffer.data(), ...);
//   Bytes frame = std::move(buffer).Freeze();
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

class Buffer;

// An immutable view that keeps what it views alive. Copying copies a pointer and a count.
class Bytes {
 public:
  Bytes() = default;

  // A copy of `text` in memory of its own.
  static Bytes CopyOf(std::string_view text);
  // Takes the string's memory over, without copying.
  static Bytes Own(std::string text);

  const char* data() const { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::string_view view() const { return {data_, size_}; }

  // The part [offset, offset + count), sharing ownership. Pre: it lies within this view.
  Bytes Slice(size_t offset, size_t count) const;

 private:
  friend class Buffer;
  // Shared by everything that points into the buffer: journal, peers, tail cache, fetch replies.
  std::shared_ptr<const char[]> owner_;
  const char* data_ = nullptr;
  size_t size_ = 0;
};

// The bytes of all pieces together.
uint64_t TotalSize(const std::vector<Bytes>& pieces);

// Writable memory, aligned to 64 bytes, with one owner until it is frozen.
class Buffer {
 public:
  static constexpr size_t kAlignment = 64;

  // `size` bytes whose content is undefined; aligned to kAlignment or a larger power of two.
  static Buffer Allocate(size_t size, size_t alignment = kAlignment);

  char* data() { return owner_.get(); }
  size_t size() const { return size_; }

  // The first `size` bytes as Bytes; the buffer is spent. Pre: size <= size().
  Bytes Freeze(size_t size) &&;
  Bytes Freeze() && { return std::move(*this).Freeze(size_); }

 private:
  std::shared_ptr<char[]> owner_;
  size_t size_ = 0;
};

}  // namespace millrace

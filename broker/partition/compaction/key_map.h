// Where the newest record of each key is: what a pass of compaction gathers before it rewrites.
// Memory is bounded however many keys there are: a key is held as a hash of 128 bits, and a table
// that is full says so and takes no more.
//
// One owner; any one thread, and meant for one beside the shard: it holds nothing of others.
//
//   KeyMap newest({.bytes_max = 64 << 20, .keys_max = records}, random.Fork());
//   if (!newest.Add(key, offset)) ... full: what is known so far is right up to here
//   if (newest.NewestOf(key) > offset) ... superseded
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "proto/base/ids.h"
#include "raft/runtime/random.h"

namespace millrace::broker {

struct KeyHash {
  uint64_t low = 0;
  uint64_t high = 0;
  bool operator==(const KeyHash&) const = default;
};

// XXH3 with a secret of its own, drawn at random, so that nobody can choose keys that collide: of
// two keys that do, one would be taken for the other and its record lost.
class KeyHasher {
 public:
  explicit KeyHasher(Random random);
  KeyHash operator()(std::string_view key) const;

 private:
  static constexpr size_t kSecretWords = 24;
  std::array<uint64_t, kSecretWords> secret_;
};

class KeyMap {
 public:
  struct Options {
    // Of the table. Some 27 bytes a key can be held.
    uint64_t bytes_max = 0;
    // How many keys there can be at most, if that is known: no more memory is taken than they need.
    uint64_t keys_max = UINT64_MAX;
  };

  // Pre: room for a key.
  KeyMap(const Options& options, Random random);

  // Notes a record. False, and nothing happens, if its key is new and the table full.
  [[nodiscard]] bool Add(std::string_view key, Offset offset);
  // The largest offset that was noted for the key.
  std::optional<Offset> NewestOf(std::string_view key) const;

  uint64_t size() const { return size_; }
  uint64_t capacity() const { return capacity_; }
  uint64_t size_bytes() const { return slots_.size() * sizeof(Slot); }

 private:
  struct Slot {
    KeyHash hash;
    int64_t end = 0;  // one past the offset; 0: the slot is free
  };
  static_assert(sizeof(Slot) == 24);

  // Where the key is, or else the free slot where it would go: one always is.
  size_t Find(const KeyHash& hash) const;

  KeyHasher hasher_;
  uint64_t capacity_;
  uint64_t size_ = 0;
  std::vector<Slot> slots_;
};

}  // namespace millrace::broker

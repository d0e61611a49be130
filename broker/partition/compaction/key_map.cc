#include "broker/partition/compaction/key_map.h"

#include <algorithm>

#include <glog/logging.h>
#include <xxhash.h>

#include "proto/base/mutants.h"

namespace millrace::broker {
namespace {

// Of eight slots one stays free: probes stay short, and the last one ends.
constexpr uint64_t kSlotsPerFree = 8;

}  // namespace

KeyHasher::KeyHasher(Random random) {
  static_assert(sizeof(secret_) >= XXH3_SECRET_SIZE_MIN);
  for (uint64_t& word : secret_) word = random.Next();
}

KeyHash KeyHasher::operator()(std::string_view key) const {
  const XXH128_hash_t hash =
      XXH3_128bits_withSecret(key.data(), key.size(), secret_.data(), sizeof(secret_));
  return {.low = hash.low64, .high = hash.high64};
}

KeyMap::KeyMap(const Options& options, Random random) : hasher_(random) {
  const uint64_t slots_max = options.bytes_max / sizeof(Slot);
  capacity_ = std::min(slots_max - slots_max / kSlotsPerFree - 1, options.keys_max);
  CHECK_GT(slots_max, 1U);
  CHECK_GT(capacity_, 0U);
  // The largest table, or what leaves as many slots free as there.
  slots_.resize(std::min(slots_max, capacity_ + capacity_ / (kSlotsPerFree - 1) + 1));
  CHECK_LT(capacity_, slots_.size());
}

bool KeyMap::Add(std::string_view key, Offset offset) {
  CHECK_GE(offset, Offset(0));
  const KeyHash hash = hasher_(key);
  Slot& slot = slots_[Find(hash)];
  const int64_t end = offset.value() + 1;
  if (slot.end != 0) {
    slot.end = std::max(slot.end, end);
    return true;
  }
  if (size_ == capacity_) return false;
  slot = {.hash = hash, .end = end};
  ++size_;
  return true;
}

std::optional<Offset> KeyMap::NewestOf(std::string_view key) const {
  const KeyHash hash = hasher_(key);
  const Slot& slot = slots_[Find(hash)];
  if (slot.end == 0) return std::nullopt;
  if (MILLRACE_MUTANT(kKeysSupersededByChance) && hash.high % 4 == 0) return std::nullopt;
  return Offset(slot.end - 1);
}

size_t KeyMap::Find(const KeyHash& hash) const {
  size_t at = hash.low % slots_.size();
  while (slots_[at].end != 0 && slots_[at].hash != hash) {
    at = at + 1 == slots_.size() ? 0 : at + 1;
  }
  return at;
}

}  // namespace millrace::broker

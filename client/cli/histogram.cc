#include "client/cli/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace millrace::client::cli {

// Values below 2^kSubBits have buckets of their own; above, the leading bit chooses the group and
// the bits after it the bucket in the group.
size_t Histogram::BucketOf(uint64_t value) {
  constexpr uint64_t kFine = uint64_t{1} << kSubBits;
  if (value < kFine) return static_cast<size_t>(value);
  const auto power = static_cast<unsigned>(std::bit_width(value)) - 1;
  const unsigned shift = power - kSubBits;
  const uint64_t within = (value >> shift) - kFine;
  const size_t bucket = (size_t{shift + 1} << kSubBits) + static_cast<size_t>(within);
  return std::min(bucket, kBuckets - 1);
}

uint64_t Histogram::UpperEnd(size_t bucket) {
  constexpr uint64_t kFine = uint64_t{1} << kSubBits;
  if (bucket < kFine) return bucket;
  const size_t shift = (bucket >> kSubBits) - 1;
  const uint64_t within = bucket & (kFine - 1);
  return ((kFine + within + 1) << shift) - 1;
}

void Histogram::Record(Duration value, uint64_t count) {
  const auto micros = static_cast<uint64_t>(std::max<int64_t>(value.count(), 0));
  buckets_[BucketOf(micros)] += count;
  count_ += count;
  max_ = std::max(max_, Duration(static_cast<int64_t>(micros)));
}

void Histogram::Add(const Histogram& other) {
  for (size_t bucket = 0; bucket < kBuckets; ++bucket) buckets_[bucket] += other.buckets_[bucket];
  count_ += other.count_;
  max_ = std::max(max_, other.max_);
}

Duration Histogram::Quantile(double fraction) const {
  if (count_ == 0) return Duration(0);
  const auto rank =
      static_cast<uint64_t>(std::max(1.0, std::ceil(fraction * static_cast<double>(count_))));
  uint64_t seen = 0;
  for (size_t bucket = 0; bucket < kBuckets; ++bucket) {
    seen += buckets_[bucket];
    if (seen >= rank) {
      return std::min(max_, Duration(static_cast<int64_t>(UpperEnd(bucket))));
    }
  }
  return max_;
}

}  // namespace millrace::client::cli

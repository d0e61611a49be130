// A histogram of durations with a bounded relative error: 128 buckets for every power of two, so a
// quantile is at most 0.8 % too high, in 40 KiB whatever the number of samples.
//
// One owner; any thread.
//
//   histogram.Record(latency, count);
//   Duration p99 = histogram.Quantile(0.99);
#pragma once

#include <array>
#include <cstdint>

#include "raft/runtime/clock.h"

namespace millrace::client::cli {

class Histogram {
 public:
  // `count` samples of `value`; below zero counts as zero.
  void Record(Duration value, uint64_t count = 1);
  // The samples of another one, too.
  void Add(const Histogram& other);
  // The upper end of the bucket of the sample that `fraction` of all are not above; 0 without
  // samples.
  Duration Quantile(double fraction) const;
  Duration max() const { return max_; }
  uint64_t count() const { return count_; }

 private:
  static constexpr unsigned kSubBits = 7;
  static constexpr unsigned kPowers = 40;  // up to 12 days in microseconds
  static constexpr size_t kBuckets = size_t{kPowers - kSubBits + 1} << kSubBits;

  static size_t BucketOf(uint64_t value);
  static uint64_t UpperEnd(size_t bucket);

  std::array<uint64_t, kBuckets> buckets_{};
  uint64_t count_ = 0;
  Duration max_{0};
};

}  // namespace millrace::client::cli

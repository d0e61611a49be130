#include "broker/coordinator/partition_runs.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "broker/controller/decide.h"

namespace millrace::broker {
namespace {

// Whether what lies behind so many bounds is of a run: a first one and an end come in turn.
bool IsWithinRun(size_t bounds) { return bounds % 2 == 1; }

}  // namespace

PartitionRuns::Iterator& PartitionRuns::Iterator::operator++() {
  CHECK_NE(bound_, bounds_end_);
  if (++at_ == bound_[1]) {
    bound_ += 2;
    at_ = bound_ == bounds_end_ ? 0 : *bound_;
  }
  return *this;
}

PartitionRuns::Iterator PartitionRuns::Iterator::operator++(int) {
  Iterator before = *this;
  ++*this;
  return before;
}

PartitionRuns::Iterator PartitionRuns::begin() const {
  Iterator first(bounds_.data());
  first.bounds_end_ = bounds_.data() + bounds_.size();
  if (!bounds_.empty()) first.at_ = bounds_.front();
  return first;
}

PartitionRuns::Iterator PartitionRuns::end() const {
  Iterator end(bounds_.data() + bounds_.size());
  end.bounds_end_ = end.bound_;
  return end;
}

void PartitionRuns::Add(PartitionRun run) {
  CHECK_LE(run.first, run.end);
  if (run.first == run.end) return;
  const uint32_t first = run.first.value();
  const uint32_t end = run.end.value();
  if (bounds_.empty() || bounds_.back() < first) {
    bounds_.insert(bounds_.end(), {first, end});
  } else if (bounds_.back() == first) {
    bounds_.back() = end;
  } else {
    PartitionRuns added;
    added.bounds_ = {first, end};
    *this = Union(*this, added);
  }
}

void PartitionRuns::Add(PartitionId partition) {
  CHECK_LT(partition.value(), std::numeric_limits<uint32_t>::max());
  Add({.first = partition, .end = PartitionId(partition.value() + 1)});
}

size_t PartitionRuns::size() const {
  size_t count = 0;
  for (size_t i = 0; i < bounds_.size(); i += 2) count += bounds_[i + 1] - bounds_[i];
  return count;
}

bool PartitionRuns::Contains(PartitionId partition) const {
  const auto above = std::upper_bound(bounds_.begin(), bounds_.end(), partition.value());
  return IsWithinRun(static_cast<size_t>(above - bounds_.begin()));
}

PartitionRun PartitionRuns::run(size_t index) const {
  CHECK_LT(index, run_count());
  return {.first = PartitionId(bounds_[2 * index]), .end = PartitionId(bounds_[2 * index + 1])};
}

std::ostream& operator<<(std::ostream& out, const PartitionRuns& runs) {
  if (runs.empty()) return out << "none";
  for (size_t i = 0; i < runs.run_count(); ++i) {
    const auto [first, end] = runs.run(i);
    out << (i == 0 ? "" : " ") << first;
    if (const uint32_t last = end.value() - 1; last != first.value()) out << '-' << last;
  }
  return out;
}

void PartitionRuns::AppendTo(google::protobuf::RepeatedField<uint32_t>* field) const {
  uint32_t before = 0;
  for (const uint32_t bound : bounds_) {
    field->Add(bound - before);
    before = bound;
  }
}

Result<PartitionRuns> PartitionRuns::Parse(const google::protobuf::RepeatedField<uint32_t>& field) {
  if (field.size() % 2 != 0) {
    return InvalidArgument("runs of partitions are pairs of numbers, and there are " +
                           std::to_string(field.size()) + " numbers");
  }
  PartitionRuns runs;
  uint64_t bound = 0;
  for (const uint32_t step : field) {
    if (step == 0 && !runs.bounds_.empty()) {
      return InvalidArgument("runs of partitions have a length of 0, or no gap between two");
    }
    bound += step;
    if (bound > kPartitionCountMax) {
      return InvalidArgument("runs of partitions go beyond " + std::to_string(kPartitionCountMax));
    }
    runs.bounds_.push_back(static_cast<uint32_t>(bound));
  }
  return runs;
}

// The partitions for which `keep` says so of (is in a, is in b). Goes along the bounds of both:
// between two of them nothing changes. Pre: not keep(false, false).
template <typename Keep>
PartitionRuns PartitionRuns::Combine(const PartitionRuns& a, const PartitionRuns& b, Keep keep) {
  PartitionRuns combined;
  size_t in_a = 0;
  size_t in_b = 0;
  while (in_a < a.bounds_.size() || in_b < b.bounds_.size()) {
    const bool is_of_a =
        in_b == b.bounds_.size() || (in_a < a.bounds_.size() && a.bounds_[in_a] <= b.bounds_[in_b]);
    const uint32_t bound = is_of_a ? a.bounds_[in_a] : b.bounds_[in_b];
    if (in_a < a.bounds_.size() && a.bounds_[in_a] == bound) ++in_a;
    if (in_b < b.bounds_.size() && b.bounds_[in_b] == bound) ++in_b;
    const bool is_kept = keep(IsWithinRun(in_a), IsWithinRun(in_b));
    if (is_kept != IsWithinRun(combined.bounds_.size())) combined.bounds_.push_back(bound);
  }
  CHECK(!IsWithinRun(combined.bounds_.size()));
  return combined;
}

PartitionRuns Union(const PartitionRuns& a, const PartitionRuns& b) {
  return PartitionRuns::Combine(a, b, [](bool in_a, bool in_b) { return in_a || in_b; });
}

PartitionRuns Intersection(const PartitionRuns& a, const PartitionRuns& b) {
  return PartitionRuns::Combine(a, b, [](bool in_a, bool in_b) { return in_a && in_b; });
}

PartitionRuns Difference(const PartitionRuns& a, const PartitionRuns& b) {
  return PartitionRuns::Combine(a, b, [](bool in_a, bool in_b) { return in_a && !in_b; });
}

Assignment Union(const Assignment& a, const Assignment& b) {
  Assignment both = a;
  for (const auto& [topic, runs] : b) {
    const auto [held, is_new] = both.try_emplace(topic, runs);
    if (!is_new) held->second = Union(held->second, runs);
  }
  return both;
}

Assignment Intersection(const Assignment& a, const Assignment& b) {
  Assignment both;
  for (const auto& [topic, runs] : a) {
    const auto other = b.find(topic);
    if (other == b.end()) continue;
    PartitionRuns shared = Intersection(runs, other->second);
    if (!shared.empty()) both.emplace_hint(both.end(), topic, std::move(shared));
  }
  return both;
}

Assignment Difference(const Assignment& a, const Assignment& b) {
  Assignment rest;
  for (const auto& [topic, runs] : a) {
    const auto other = b.find(topic);
    PartitionRuns left = other == b.end() ? runs : Difference(runs, other->second);
    if (!left.empty()) rest.emplace_hint(rest.end(), topic, std::move(left));
  }
  return rest;
}

size_t PartitionCountOf(const Assignment& assignment) {
  size_t count = 0;
  for (const auto& [topic, runs] : assignment) count += runs.size();
  return count;
}

bool Contains(const Assignment& assignment, const TopicPartition& partition) {
  const auto runs = assignment.find(partition.topic);
  return runs != assignment.end() && runs->second.Contains(partition.partition);
}

}  // namespace millrace::broker

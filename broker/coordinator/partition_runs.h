// Sets of partitions: what a member of a group owns, gives up or is to have. A member mostly has
// neighbours, so a set is kept as runs of them: few numbers, in memory, in the log and on the wire.
//
// In a message a set is a packed `repeated uint32`, two numbers a run: the gap before it, counted
// from the end of the run before (of the first one from 0), and its length. {0, 1, 2, 7, 8} is
// 0 3 4 2. A set has one such form alone: no length is 0, and no gap but the first.
//
// Values; any thread.
//
//   PartitionRuns owned({PartitionId(0), PartitionId(5)});  // 0 to 4
//   owned.Add({PartitionId(7), PartitionId(9)});
//   for (PartitionId partition : owned) Read(partition);
//   Assignment revoked = Difference(assigned, target);
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <ostream>
#include <vector>

#include <google/protobuf/repeated_field.h>

#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

// The partitions [first, end).
struct PartitionRun {
  PartitionId first;
  PartitionId end;
  constexpr auto operator<=>(const PartitionRun&) const = default;
};

// Partitions of one topic.
class PartitionRuns {
 public:
  // In order, each partition once.
  class Iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = PartitionId;
    using difference_type = ptrdiff_t;
    using pointer = const PartitionId*;
    using reference = PartitionId;

    Iterator() = default;
    PartitionId operator*() const { return PartitionId(at_); }
    Iterator& operator++();
    Iterator operator++(int);
    bool operator==(const Iterator& other) const = default;

   private:
    friend PartitionRuns;
    explicit Iterator(const uint32_t* bound) : bound_(bound) {}

    const uint32_t* bound_ = nullptr;  // the first one's of the run; past the last run's at the end
    const uint32_t* bounds_end_ = nullptr;
    uint32_t at_ = 0;
  };

  PartitionRuns() = default;
  explicit PartitionRuns(PartitionRun run) { Add(run); }

  // What is there already stays. Pre: the run is not the wrong way round.
  void Add(PartitionRun run);
  void Add(PartitionId partition);

  bool empty() const { return bounds_.empty(); }
  size_t size() const;  // partitions
  bool Contains(PartitionId partition) const;
  size_t run_count() const { return bounds_.size() / 2; }
  PartitionRun run(size_t index) const;  // in order, with a gap between two
  Iterator begin() const;
  Iterator end() const;
  bool operator==(const PartitionRuns&) const = default;
  // As people read it, "0-2 7-8 11"; "none".
  friend std::ostream& operator<<(std::ostream& out, const PartitionRuns& runs);

  // Adds the set's form in messages to `field`.
  void AppendTo(google::protobuf::RepeatedField<uint32_t>* field) const;
  // INVALID_ARGUMENT that says what is wrong: it is no set's form, or goes beyond what a topic may
  // have.
  static Result<PartitionRuns> Parse(const google::protobuf::RepeatedField<uint32_t>& field);

 private:
  friend PartitionRuns Union(const PartitionRuns& a, const PartitionRuns& b);
  friend PartitionRuns Intersection(const PartitionRuns& a, const PartitionRuns& b);
  friend PartitionRuns Difference(const PartitionRuns& a, const PartitionRuns& b);
  template <typename Keep>
  static PartitionRuns Combine(const PartitionRuns& a, const PartitionRuns& b, Keep keep);

  // Of each run its first partition and its end: each number is larger than the one before.
  std::vector<uint32_t> bounds_;
};

PartitionRuns Union(const PartitionRuns& a, const PartitionRuns& b);
PartitionRuns Intersection(const PartitionRuns& a, const PartitionRuns& b);
PartitionRuns Difference(const PartitionRuns& a, const PartitionRuns& b);  // of a, not of b

// Partitions of several topics. A topic without any is not in it.
using Assignment = std::map<TopicId, PartitionRuns>;

Assignment Union(const Assignment& a, const Assignment& b);
Assignment Intersection(const Assignment& a, const Assignment& b);
Assignment Difference(const Assignment& a, const Assignment& b);  // of a, not of b
size_t PartitionCountOf(const Assignment& assignment);
bool Contains(const Assignment& assignment, const TopicPartition& partition);

}  // namespace millrace::broker

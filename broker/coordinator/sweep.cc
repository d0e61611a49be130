#include "broker/coordinator/sweep.h"

#include <algorithm>

namespace millrace::broker {

using internal::v1::CoordinatorRecords;
using internal::v1::OffsetsRemoved;

namespace {

// At a time: about a millisecond.
constexpr size_t kGroupsMax = 1'000;
constexpr size_t kOffsetsMax = 50'000;
// Of removals in one entry.
constexpr int kRecordsMax = 1'000;

bool IsOld(int64_t since_ms, const SweepTime& time) {
  return time.wall_ms.has_value() && since_ms + time.retention_ms <= *time.wall_ms;
}

// Nobody is there who reads, or whose transaction is still to say how far it has read.
bool IsUnused(const Group& group) { return group.membership->empty() && group.staged.empty(); }

class Sweeper {
 public:
  Sweeper(LogIndex applied, const Image& image, const SweepTime& time)
      : applied_(applied), image_(&image), time_(time) {}

  void Look(const std::string& name, const Group& group) {
    bool has_any = false;
    for (const auto& [topic, offsets] : group.offsets) {
      visited_ += offsets.all().size();
      has_any = LookAt(name, group, topic, offsets) || has_any;
    }
    const bool is_empty = !has_any && IsUnused(group) && group.to_be_fenced.empty();
    if (!is_empty || !IsOld(group.changed_ms, time_)) return;
    // With all that was found of it.
    for (; of_group_ > 0; --of_group_) records_.mutable_records()->RemoveLast();
    auto& removed = *records_.add_records()->mutable_group_removed();
    removed.set_group(name);
    removed.set_up_to_index(applied_.value());
  }
  void BeginGroup() { of_group_ = 0; }
  bool has_enough() const {
    return visited_ >= kOffsetsMax || records_.records_size() >= kRecordsMax;
  }
  CoordinatorRecords Take() { return std::move(records_); }

 private:
  // Whether anything stays.
  bool LookAt(const std::string& name, const Group& group, TopicId topic,
              const TopicOffsets& offsets) {
    const bool is_deleted = image_->IsDeleted(topic);
    OffsetsRemoved removed;
    for (const CommittedOffset& one : offsets.all()) {
      const bool is_old = IsUnused(group) && IsOld(std::max(one.time_ms, group.changed_ms), time_);
      if (is_deleted || is_old) removed.add_partitions(one.partition.value());
    }
    const auto count = static_cast<size_t>(removed.partitions_size());
    if (count == 0) return true;
    removed.set_group(name);
    removed.set_topic_id(topic.value());
    removed.set_up_to_index(applied_.value());
    *records_.add_records()->mutable_offsets_removed() = std::move(removed);
    ++of_group_;
    return count < offsets.all().size();
  }

  const LogIndex applied_;
  const Image* image_;
  const SweepTime time_;
  CoordinatorRecords records_;
  int of_group_ = 0;  // records of the group that is looked at
  size_t visited_ = 0;
};

}  // namespace

CoordinatorRecords Sweep(const ShardState& state, LogIndex applied, const Image& image,
                         const SweepTime& time, ShardState::Cursor* cursor) {
  Sweeper sweeper(applied, image, time);
  for (size_t i = 0; i < kGroupsMax && !sweeper.has_enough(); ++i) {
    const Group* group = state.Next(cursor);
    if (group == nullptr) {
      *cursor = {};
      break;
    }
    sweeper.BeginGroup();
    sweeper.Look(cursor->name, *group);
  }
  return sweeper.Take();
}

}  // namespace millrace::broker

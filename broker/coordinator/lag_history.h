// How a group's reader of one partition has done: a few of the looks that were taken at it, so that
// there are rates, and what these tell beyond each single one.
//
// A value of a hundred bytes, in memory alone; pure. On the shard's thread.
//
//   history.Add({.at_ms = now, .committed = o, .commit_age_ms = age, .unread = answer});
//   const LagLook look = history.Look();
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "broker/coordinator/unread.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

// One look at a partition.
struct LagSample {
  int64_t at_ms = 0;  // of a clock that does not jump
  std::optional<Offset> committed;
  int64_t commit_age_ms = 0;  // of what is committed
  Unread unread;
};

// What all of them tell, as of the last one.
struct LagLook {
  bool is_committed = false;
  int64_t lag = 0;            // of what is committed; else all records that are there
  int64_t lost = 0;           // records that went before they were read
  int64_t waited_ms_min = 0;  // the first record that is not read; 0 where there is none
  int64_t waited_ms_max = 0;
  int64_t commit_age_ms = 0;
  int64_t unmoved_ms = 0;  // for so long at least what is committed has not moved
  // So long the last commit that moved it took at least, from when there was something to read.
  int64_t commit_took_ms = 0;
  // So long ago rates begin to count; 0: not yet.
  int64_t measured_ms = 0;
  int64_t came_in = 0;
  int64_t read = 0;
};

class LagHistory {
 public:
  // Rates are of so much at least, once there is as much, and twice as much at most.
  static constexpr int64_t kWindowMs = 30'000;

  // Begins anew where what is committed, or the log's end, went back. Nothing of one that is older
  // than the last.
  void Add(const LagSample& sample);
  bool is_empty() const { return !has_looked_; }
  // Pre: !is_empty().
  LagLook Look() const;

 private:
  struct Mark {
    int64_t at_ms = 0;
    int64_t end = 0;
    int64_t committed = -1;  // -1: none
  };

  bool GoesOn(const Mark& mark) const;
  void NoteMove(const LagSample& sample);
  void NoteAppendTime(const LagSample& sample, bool goes_on);
  int64_t next() const;  // the first record that is not read
  bool is_at_end() const { return next() >= last_.end; }

  bool has_looked_ = false;
  Mark older_;  // where rates begin
  Mark newer_;  // where they begin once it is old enough
  Mark last_;
  int64_t log_start_ = 0;
  int64_t commit_age_ms_ = 0;
  int64_t moved_ms_ = 0;  // what is committed has not moved since
  int64_t commit_took_ms_ = 0;
  // When the record at next() came, by this clock; where there is none, what is known of one to
  // come.
  int64_t came_ms_min_ = 0;
  int64_t came_ms_max_ = 0;
};

// All that was measured of a group.
struct MeasuredLag {
  // By partition.
  std::map<TopicId, std::vector<LagHistory>> topics;
  // Whose leaders did not answer the last time, and why.
  std::map<TopicPartition, Status> unanswered;
};

}  // namespace millrace::broker

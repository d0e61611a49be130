// A replica's disk: writes queue, are synced in groups after a while, and only then belong to the
// durable image. A crash keeps any prefix of what was not synced, torn in the middle of a write
// too.
//
// Owned by SimReplica, and outlives its crashes. What is durable is what acknowledgements are held
// against.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "raft/core/raft.h"
#include "raft/runtime/random.h"
#include "tests/simulation/core/event_queue.h"

namespace millrace::simulation::core {

// What a boot finds.
struct DiskImage {
  raft::core::HardState hard_state;
  std::vector<raft::core::Entry> entries;  // from index 1
  TruncationEpoch epoch;
  // What the segments hold: committed for certain.
  LogIndex segment_end;
  // Up to here a boot does not find the entries any more; they stay in `entries` for the oracle.
  raft::core::LogPoint begin;

  LogIndex last_index() const { return LogIndex(entries.size()); }
  // Whether the entry with this identity and chain is here.
  bool Holds(const raft::core::Entry& entry) const;
};

class SimDisk {
 public:
  using OnDurable = std::function<void(const raft::core::DurablePoint&)>;

  SimDisk(EventQueue* queue, Random random) : queue_(queue), random_(random) {}

  const DiskImage& image() const { return image_; }
  // While it is slow, a sync may take longer than an election timeout.
  void set_slow(bool is_slow) { is_slow_ = is_slow; }

  // `on_durable` is called some time after the write and all before it are synced, or never.
  void Write(raft::core::StorageWrite write, OnDurable on_durable);
  // The process or the machine died: what is not durable is lost, but for a prefix of it.
  void Crash();
  // Commits up to `index` have reached the segments. Pre: durable.
  void MoveToSegments(LogIndex index);
  // Retention dropped what lies up to there. Pre: in segments.
  void MoveBegin(const raft::core::LogPoint& begin) { image_.begin = begin; }

 private:
  struct Pending {
    raft::core::StorageWrite write;
    OnDurable on_durable;
  };

  void StartSync();
  void FinishSync(size_t count);
  // Applies hard state, truncation and the first `entries_max` entries.
  void Apply(const raft::core::StorageWrite& write, size_t entries_max);
  int64_t SyncTime();

  EventQueue* queue_;
  Random random_;
  DiskImage image_;
  std::deque<Pending> pending_;
  bool is_syncing_ = false;
  bool is_slow_ = false;
  uint64_t boot_ = 0;  // completions of earlier boots are void
};

}  // namespace millrace::simulation::core

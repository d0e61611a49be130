// A log store on a simulated disk, used the way the host uses it, and a model of what it was given:
// after any crash each group must be in a state that it had at or after the last acknowledged one,
// with its committed entries readable and its snapshot that of exactly its index.
//
// One per test; one thread.
//
//   LogStoreRig rig(seed);
//   ASSERT_TRUE(rig.Start().ok());
//   rig.CreateGroup(2);
//   rig.Append(2, 3, 100);
//   rig.Settle();
//   rig.Commit(2);
//   rig.Crash(/*power=*/true);
//   ASSERT_TRUE(rig.Start().ok());
//   EXPECT_EQ(rig.CompareWithModel(), "");
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "storage/logstore/log_store.h"
#include "tests/storage/segment/segment_rig.h"
#include "tests/support/sim_file/sim_disk.h"
#include "tests/support/sim_file/sim_file_system.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::storage {

class LogStoreRig {
 public:
  // The number of each group's first replica here.
  static constexpr ReplicaNumber kNumber{1};

  explicit LogStoreRig(uint64_t seed);
  ~LogStoreRig();

  // ABORTED if the machine died meanwhile.
  Status Start();
  void Crash(bool power);
  // A clean end of the process.
  void Stop();
  bool is_alive() const { return store_ != nullptr && process_->is_alive(); }
  // Everything that was asked for is acknowledged, or the machine died.
  void Settle();
  void RunFor(Duration span) { world_.RunFor(span); }
  // The status that `begin` gives to the callback that it is given; ABORTED if the machine died
  // meanwhile, or nothing was said for ten seconds.
  template <typename Begin>
  Status Await(Begin begin) {
    const auto outcome = std::make_shared<std::optional<Status>>();
    begin([outcome](const Status& status) { *outcome = status; });
    world_.RunUntil([&] { return outcome->has_value() || !is_alive(); }, std::chrono::seconds(10));
    return outcome->value_or(Aborted("no answer"));
  }
  MonotonicTime Now() const { return process_->clock().Now(); }
  // What is appended from now on says so much more than the time.
  void SetWallOffset(std::chrono::milliseconds offset) { process_->SetWallOffset(offset.count()); }
  // Nothing more goes into the journal, whatever it is given.
  void HoldJournal() { journal_process_->Pause(); }

  // What a host does with a group that it has.
  // Its first replica, or the next one, once the removal of the one before is acknowledged.
  void CreateGroup(uint64_t group);
  void RemoveGroup(uint64_t group);
  void Append(uint64_t group, uint64_t count, uint32_t payload_bytes);
  void SetTerm(uint64_t group, uint64_t term);
  // A new leader's suffix in place of the entries that are not committed.
  void Rewrite(uint64_t group, uint64_t count);
  // Commits what is acknowledged and hands it over; rolls when the store wants it.
  void Commit(uint64_t group);
  // Nobody asks for records before `start` any more. Pre: those are handed over.
  void SetLogStart(uint64_t group, Offset start);
  void RandomStep();

  // "" if what was recovered is allowed, else what is wrong. The model goes on from it.
  std::string CompareWithModel();
  // Gives the store these writes, which are not the model's; how many are told soon.
  uint64_t CountTold(std::vector<raft::ReplicaWrite> writes);
  // Reads everything back that should be in segments. "" or what is wrong.
  std::string CompareSegments(uint64_t group);

  Result<std::vector<raft::core::Entry>> Read(uint64_t group, uint64_t first, uint64_t bytes_max);
  Result<std::vector<raft::core::Entry>> Salvage(uint64_t group, uint64_t first,
                                                 uint64_t bytes_max);
  Result<std::vector<raft::core::Entry>> ReadFromOffset(uint64_t group, int64_t offset,
                                                        uint64_t bytes_max);
  const raft::RecoveredReplica* Recovered(uint64_t group) const;

  JournalLogStore& store() { return *store_; }
  sim::SimDisk& disk() { return disk_; }
  sim::SimWorld& world() { return world_; }
  Random& random() { return random_; }
  uint64_t committed(uint64_t group) const { return models_.at(group).committed; }
  uint64_t last_index(uint64_t group) const { return models_.at(group).entries.size(); }
  // What it was given, from index 1 on.
  const std::vector<raft::core::Entry>& entries(uint64_t group) const {
    return models_.at(group).entries;
  }
  // After everything that is handed over.
  Offset end_offset(uint64_t group) const;
  // Where its log begins, as it was told or recovered.
  LogIndex begin(uint64_t group) const { return models_.at(group).begin; }
  const std::string& failure() const { return failure_; }  // of FailStop
  // Damage that was reported of groups.
  const std::map<uint64_t, Status>& faults() const { return faults_; }
  // How often a damaged range of a group was told.
  const std::map<uint64_t, int>& damage_told() const { return damage_told_; }
  // Groups whose segments cannot be written just now.
  const std::set<uint64_t>& stalled() const { return stalled_; }
  // Group and index pairs that the segment listener was told, the newest of each.
  const std::map<uint64_t, uint64_t>& readable() const { return readable_; }
  // Where the store wants it, with each commit.
  bool rolls = true;
  bool makes_checkpoints = false;
  // Small, so that everything happens often.
  LogStoreOptions options;
  std::string state_padding;  // at the end of every state

 private:
  Result<std::vector<raft::core::Entry>> AwaitEntries(
      const std::function<void(raft::EntriesDone)>& begin);
  void Kill();
  // The group after one piece of a write.
  struct Snapshot {
    bool exists = false;
    uint32_t number = 0;  // of the replica, or of the last that there was
    bool is_removed = false;
    uint64_t term = 0;
    uint64_t epoch = 0;
    uint64_t last_index = 0;
    uint32_t last_chain = 0;
    bool operator==(const Snapshot&) const = default;
  };
  struct Model {
    std::vector<Snapshot> history{Snapshot{}};
    size_t acked = 0;  // into history
    std::vector<raft::core::Entry> entries;
    std::vector<LogPoint> ends{LogPoint{}};  // by index
    uint64_t committed = 0;                  // ever
    uint64_t handed = 0;                     // in this life
    Offset start;                            // the largest that the store was told
    LogIndex begin;
  };

  void Submit(uint64_t group, raft::core::StorageWrite write);
  void AddEntries(uint64_t group, uint64_t count, uint32_t payload_bytes,
                  raft::core::StorageWrite* write);
  MoveFunction<void()> Acknowledge(uint64_t group);
  std::string Compare(uint64_t group, Model& model);
  std::string CompareReplica(const raft::RecoveredReplica& replica, const Model& model);

  sim::SimWorld world_;
  Random random_;
  sim::SimDisk disk_;
  sim::SimProcess* process_;
  sim::SimProcess* journal_process_;  // the journal's thread
  std::unique_ptr<sim::SimFileSystem> journal_files_;
  std::unique_ptr<sim::SimFileSystem> segment_files_;
  std::unique_ptr<JournalLogStore> store_;
  std::vector<raft::RecoveredReplica> recovered_;
  std::map<uint64_t, Model> models_;
  std::map<uint64_t, Status> faults_;
  std::map<uint64_t, int> damage_told_;
  std::set<uint64_t> stalled_;
  std::map<uint64_t, uint64_t> readable_;
  std::string failure_;
  std::map<raft::ReplicaId, std::deque<Task>> submitted_;  // what waits for its completion
  uint64_t outstanding_ = 0;
  int64_t append_time_ms_ = 0;  // the latest
  uint64_t next_group_ = 1;
};

}  // namespace millrace::storage

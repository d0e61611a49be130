// A journal on a simulated disk, and a model of what it was given: after any crash, each group must
// be in a state that it had at or after the last one that was acknowledged.
//
// One per test; one thread.
//
//   JournalRig rig(seed);
//   ASSERT_TRUE(rig.Start().ok());
//   rig.CreateGroup(2);
//   rig.Append(2, 3);
//   rig.Settle();                     // everything is acknowledged
//   rig.PowerLoss();
//   ASSERT_TRUE(rig.Start().ok());
//   EXPECT_EQ(rig.CompareWithModel(), "");
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "storage/journal/journal.h"
#include "tests/support/sim_file/sim_disk.h"
#include "tests/support/sim_file/sim_file_system.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::storage::journal {

class JournalRig {
 public:
  struct Options {
    uint64_t file_bytes = 64 << 10;
    uint32_t live_files_max = 8;
    uint64_t block_bytes = 16 << 10;
    bool must_exist = false;
    uint64_t key = 0xC0FFEE;
  };
  explicit JournalRig(uint64_t seed) : JournalRig(seed, Options()) {}
  JournalRig(uint64_t seed, const Options& options);
  ~JournalRig();

  // Opens the journal. An error if it could not be opened, ABORTED if the machine died meanwhile.
  Status Start();
  // Everything submitted is acknowledged, or the machine died.
  void Settle();
  void RunFor(Duration span) { world_.RunFor(span); }
  // The process dies; with `power`, unsynced writes too.
  void Crash(bool power);
  void PowerLoss() { Crash(true); }
  bool StopCleanly();

  // What a host does with a group. Pre: the journal is open and the group is as it must be.
  // Its first replica, or the next one after one that was removed, or is there still.
  void CreateGroup(uint64_t group);
  void RemoveGroup(uint64_t group);
  void Append(uint64_t group, uint64_t count, uint64_t payload_bytes = 100);
  void SetHardState(uint64_t group, uint64_t term, uint32_t vote);
  // A new leader's conflicting suffix: a new term, entries from `from` on cut, and `count` new
  // ones.
  void Rewrite(uint64_t group, uint64_t from, uint64_t count);
  // Segments are synced up to `index`, which must be acknowledged. Every 4th entry or so makes a
  // configuration.
  void SyncSegment(uint64_t group, uint64_t index);
  // What lies up to `index`, at most the synced end, is dropped from segments.
  void MoveBegin(uint64_t group, uint64_t index);
  // Another log takes the place of the group's, up to `end` in segments and with nothing above.
  void ResetLog(uint64_t group, uint64_t end);
  // What comes late, of a log that was reset or a replica that another one followed: says nothing.
  void SubmitStale(uint64_t group);
  void MarkFaulty(uint64_t group);
  // One random step of any of these, on any group.
  void RandomStep();

  uint64_t last_index(uint64_t group) const { return models_.at(group).history.back().last_index; }
  uint64_t acked_index(uint64_t group) const;
  uint64_t outstanding() const { return outstanding_; }
  // "" if what was recovered is a state that the model allows, else what is wrong. The model goes
  // on from what was recovered.
  std::string CompareWithModel();

  // What was acknowledged may be lost: a test took it away.
  void ForgiveLoss();
  // For a disk that was damaged after everything was acknowledged: "" if each group is as it was or
  // in doubt, else what is wrong.
  std::string CompareAfterDamage();
  uint64_t healthy_groups() const;

  Options& options() { return options_; }
  bool is_alive() const { return journal_ != nullptr && process_->is_alive(); }
  Journal& journal() { return *journal_; }
  const JournalState& recovered() const { return recovered_; }
  sim::SimDisk& disk() { return disk_; }
  sim::SimWorld& world() { return world_; }
  Random& random() { return random_; }
  const std::string& failure() const { return failure_; }
  // The journal's files with their content, for damage.
  std::vector<std::string> Files() const;

 private:
  // A group's state after one piece of a write.
  struct Snapshot {
    bool exists = false;
    uint32_t number = 0;  // of the replica that exists, or of the last that did
    bool is_removed = false;
    bool is_faulty = false;
    uint64_t term = 0;
    uint32_t vote = 0;
    uint32_t epoch = 0;
    uint64_t last_index = 0;
    uint32_t last_chain = 0;
    uint64_t segment_end = 0;
    uint64_t begin = 0;
    uint32_t reset_epoch = 0;
    uint64_t configuration_index = 0;
    bool operator==(const Snapshot&) const = default;
  };
  struct Model {
    std::vector<Snapshot> history{Snapshot{}};
    size_t acked = 0;                 // into history
    std::vector<uint32_t> chains{0};  // by index, of the log now
    std::vector<uint64_t> terms{0};
  };

  static raft::core::Configuration ConfigurationOf(uint64_t index);
  LogRecord LogOf(const Snapshot& now, const Model& model) const;
  void Submit(uint64_t group, decltype(GroupRecord::body) body);
  raft::core::Entry MakeEntry(uint64_t group, uint64_t term, uint64_t payload_bytes);
  LogWrite MakeEntries(uint64_t group, uint64_t count, uint64_t payload_bytes);
  std::string Compare(uint64_t id, Model& model);
  Snapshot Recovered(uint64_t id) const;
  static std::string Text(const Snapshot& at);

  Options options_;
  sim::SimWorld world_;
  Random random_;
  sim::SimDisk disk_;
  sim::SimProcess* process_;
  std::unique_ptr<sim::SimFileSystem> files_;
  std::unique_ptr<Journal> journal_;
  JournalState recovered_;
  std::string failure_;  // of the journal's FailStop
  std::map<uint64_t, Model> models_;
  uint64_t outstanding_ = 0;
  uint64_t next_group_ = 1;
  uint64_t life_ = 0;
  bool may_lack_groups_ = false;  // since some damage
};

}  // namespace millrace::storage::journal

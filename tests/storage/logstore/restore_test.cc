// A log from elsewhere that takes the place of a group's own, whatever happens meanwhile.
#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/storage/logstore/log_store_rig.h"

namespace millrace::storage {
namespace {

using raft::core::Entry;

constexpr uint64_t kGroupNumber = 2;
constexpr RaftGroupId kGroup{kGroupNumber};
constexpr raft::ReplicaId kReplica{kGroup, LogStoreRig::kNumber};
constexpr LogPoint kBegin{
    .index = LogIndex(100), .term = Term(4), .chain = 0xBEEF, .next_offset = Offset(700)};

// A part of another replica's log.
std::vector<Entry> MakeLog(uint64_t count, uint32_t bytes) {
  EntryMaker maker{kGroup};
  maker.ResetTo(kBegin);
  maker.set_term(Term(5));
  maker.set_append_time_ms(1'000'000'000'000);
  std::vector<Entry> entries;
  for (uint64_t i = 0; i < count; ++i) {
    if (i == count / 2) maker.set_term(Term(7));
    entries.push_back(i % 4 == 0 ? maker.NoOp() : maker.Batch(2, bytes));
  }
  return entries;
}

raft::core::Configuration Voters() {
  raft::core::Configuration configuration;
  configuration.voters = {{BrokerId(1), Incarnation(1), ReplicaNumber(1)}};
  return configuration;
}

// What a host does that restores the group, and what it may expect.
struct RestoreSteps {
  static void Prepare(LogStoreRig& rig) {
    ASSERT_TRUE(rig.Start().ok());
    rig.CreateGroup(kGroupNumber);
    rig.SetTerm(kGroupNumber, 9);
    rig.Append(kGroupNumber, 8, 400);
    rig.Settle();
    while (rig.committed(kGroupNumber) < 6) rig.Commit(kGroupNumber);
    rig.RunFor(std::chrono::milliseconds(200));
  }
  static Status Begin(LogStoreRig& rig) {
    return rig.Await(
        [&](auto done) { rig.store().BeginRestore(kReplica, kBegin, std::move(done)); });
  }
  static Status Append(LogStoreRig& rig, const std::vector<Entry>& entries) {
    return rig.Await(
        [&](auto done) { rig.store().AppendRestored(kReplica, entries, std::move(done)); });
  }
  static Status Seal(LogStoreRig& rig) {
    return rig.Await([&](auto done) {
      rig.store().SealRestored(kReplica,
                               {.state = Bytes::CopyOf("the state"), .configuration = Voters()},
                               std::move(done));
    });
  }
  // All of it, a few entries at a time; "" or where it ended.
  static std::string Restore(LogStoreRig& rig, const std::vector<Entry>& entries) {
    const auto failed = [&rig](const char* where, const Status& status) {
      if (status.ok() || !rig.is_alive()) return std::string();
      return std::string(where) + ": " + status.ToString();
    };
    const Status begun = Begin(rig);
    if (!begun.ok()) return failed("begin", begun);
    for (size_t at = 0; at < entries.size();) {
      const size_t end = std::min(entries.size(), at + 5);
      const Status appended = Append(rig, {entries.begin() + static_cast<ptrdiff_t>(at),
                                           entries.begin() + static_cast<ptrdiff_t>(end)});
      if (!appended.ok()) return failed("append", appended);
      at = end;
    }
    const Status sealed = Seal(rig);
    if (!sealed.ok()) return failed("seal", sealed);
    const Status adopted = rig.Await([&rig](auto done) {
      rig.store().AdoptRestored(
          kReplica, [done = std::move(done)](const raft::core::InitialState& initial) mutable {
            EXPECT_EQ(initial.log.begin(), kBegin);
            done(Status::Ok());
          });
    });
    return failed("adopt", adopted);
  }
  // "" or what is wrong with the log that was restored, as a start finds it.
  static std::string CompareRestored(const LogStoreRig& rig, const std::vector<Entry>& entries) {
    const raft::RecoveredReplica* replica = rig.Recovered(kGroupNumber);
    if (replica == nullptr) return "it is gone";
    if (!replica->health.ok()) return replica->health.ToString();
    const raft::core::Log& log = replica->initial.log;
    if (log.begin() != kBegin) return "another begin";
    if (log.last_index() != entries.back().index) return "another end";
    if (log.last_chain() != entries.back().chain) return "another last entry";
    if (replica->initial.commit_index != log.last_index()) return "another commit index";
    if (replica->initial.hard_state.term != Term(9)) return "its term was lost";
    if (replica->initial.configuration != Voters()) return "another configuration";
    if (!replica->snapshot.has_value()) return "no state";
    if (replica->snapshot->index != log.last_index()) return "a state of elsewhere";
    if (replica->snapshot->state.view() != "the state") return "another state";
    for (const Entry& entry : entries) {
      if (log.TermAt(entry.index) != entry.term) return "another term";
    }
    return "";
  }
  static std::string ReadAll(LogStoreRig& rig, const std::vector<Entry>& entries) {
    for (size_t at = 0; at < entries.size();) {
      const auto read = rig.Read(kGroupNumber, entries[at].index.value(), 3000);
      if (!read.ok()) return read.status().ToString();
      for (const Entry& entry : *read) {
        if (entry.frame.view() != entries.at(at).frame.view()) return "another entry";
        ++at;
      }
    }
    return "";
  }
  static size_t Folders(LogStoreRig& rig) {
    std::set<std::string> folders;
    for (const std::string& path : rig.disk().Paths()) {
      if (path.starts_with("groups/2/")) folders.insert(path.substr(0, path.rfind('/')));
    }
    return folders.size();
  }
};

class RestoreTest : public testing::Test, protected RestoreSteps {
 protected:
  void SetUp() override { Prepare(rig_); }

  LogStoreRig rig_{51};
};

TEST_F(RestoreTest, ARestoredLog_TakesThePlace_AndIsThereAfterAPowerCut_AndGoesOn) {
  const std::vector<Entry> entries = MakeLog(60, 1500);
  ASSERT_EQ(Restore(rig_, entries), "");
  EXPECT_EQ(ReadAll(rig_, entries), "");
  EXPECT_EQ(rig_.Read(kGroupNumber, 3, 1).status().code(), Code::kOutOfRange) << "the old one";
  EXPECT_GT(rig_.store().sealed_segments(kGroup).size(), 2U);
  rig_.RunFor(std::chrono::milliseconds(100));
  EXPECT_EQ(Folders(rig_), 1U) << "the old one is gone";
  rig_.Crash(true);
  ASSERT_TRUE(rig_.Start().ok());
  EXPECT_EQ(CompareRestored(rig_, entries), "");
  EXPECT_EQ(ReadAll(rig_, entries), "");
  EXPECT_EQ(Folders(rig_), 1U);
}

TEST_F(RestoreTest, UntilThen_TheOldLogGoesOn_AndWhatWasGivenUpLeavesNothing) {
  const std::vector<Entry> entries = MakeLog(20, 1500);
  ASSERT_TRUE(Begin(rig_).ok());
  ASSERT_TRUE(Append(rig_, entries).ok());
  rig_.Append(kGroupNumber, 3, 400);
  rig_.Settle();
  EXPECT_EQ(rig_.CompareSegments(kGroupNumber), "");
  rig_.store().EndRestore(kReplica);
  rig_.RunFor(std::chrono::milliseconds(100));
  EXPECT_EQ(Folders(rig_), 1U);
  // Again, and to its end.
  EXPECT_EQ(Restore(rig_, entries), "");
  rig_.Crash(true);
  ASSERT_TRUE(rig_.Start().ok());
  EXPECT_EQ(CompareRestored(rig_, entries), "");
}

TEST_F(RestoreTest, WhatIsUnderWayForTheOldLog_EndsFirst_AndIsTold) {
  const std::vector<Entry> entries = MakeLog(20, 1500);
  ASSERT_TRUE(Begin(rig_).ok());
  ASSERT_TRUE(Append(rig_, entries).ok());
  ASSERT_TRUE(Seal(rig_).ok());
  rig_.disk().Stall();
  rig_.Append(kGroupNumber, 3, 400);
  rig_.SetTerm(kGroupNumber, 9);
  bool is_adopted = false;
  rig_.store().AdoptRestored(kReplica,
                             [&is_adopted](const raft::core::InitialState&) { is_adopted = true; });
  rig_.RunFor(std::chrono::seconds(1));
  EXPECT_FALSE(is_adopted);
  rig_.disk().Resume();
  rig_.Settle();
  rig_.RunFor(std::chrono::seconds(1));
  EXPECT_TRUE(is_adopted);
  rig_.Crash(true);
  ASSERT_TRUE(rig_.Start().ok());
  EXPECT_EQ(CompareRestored(rig_, entries), "");
}

TEST_F(RestoreTest, AReplicaThatIsRemovedMeanwhile_LeavesNothing) {
  ASSERT_TRUE(Begin(rig_).ok());
  ASSERT_TRUE(Append(rig_, MakeLog(20, 1500)).ok());
  rig_.RemoveGroup(kGroupNumber);
  rig_.Settle();
  rig_.RunFor(std::chrono::seconds(1));
  EXPECT_EQ(Folders(rig_), 0U);
}

// The same restore, ended at its first disk operation, its second, and so on to its last: a start
// finds the one log or the other, whole.
TEST(RestoreSweep, TheOldLogOrTheNew_IsThere_WhereverTheMachineDies) {
  const std::vector<Entry> entries = MakeLog(30, 1500);
  size_t old_logs = 0;
  size_t new_logs = 0;
  bool has_crashed = true;
  for (uint64_t operation = 1; has_crashed; ++operation) {
    LogStoreRig rig(52);
    RestoreSteps::Prepare(rig);
    has_crashed = false;
    rig.disk().CrashAtOperation(operation, [&] {
      has_crashed = true;
      rig.Crash(false);
    });
    ASSERT_EQ(RestoreSteps::Restore(rig, entries), "") << "operation=" << operation;
    if (rig.is_alive()) rig.RunFor(std::chrono::milliseconds(100));
    rig.Crash(true);
    ASSERT_TRUE(rig.Start().ok()) << "operation=" << operation;
    const raft::RecoveredReplica* replica = rig.Recovered(kGroupNumber);
    ASSERT_NE(replica, nullptr);
    if (replica->initial.log.begin() == kBegin) {
      ++new_logs;
      ASSERT_EQ(RestoreSteps::CompareRestored(rig, entries), "") << "operation=" << operation;
    } else {
      ++old_logs;
      ASSERT_EQ(rig.CompareWithModel(), "") << "operation=" << operation;
    }
    rig.RunFor(std::chrono::milliseconds(100));
    ASSERT_EQ(RestoreSteps::Folders(rig), 1U) << "operation=" << operation;
  }
  EXPECT_GT(old_logs, 15U);
  EXPECT_GT(new_logs, 1U);
}

// One call of a group's folder fails: who restores hears of it, or it is nobody's matter, and the
// log that is here is whole.
TEST(RestoreSweep, AnErrorOfTheDisk_IsTold_AndTheOldLogGoesOn) {
  const std::vector<Entry> entries = MakeLog(30, 1500);
  size_t errors = 0;
  bool has_failed = true;
  for (uint64_t call = 1; has_failed; ++call) {
    LogStoreRig rig(53);
    RestoreSteps::Prepare(rig);
    has_failed = false;
    bool is_segments = false;
    rig.disk().FailCall(call, Internal("input/output error"),
                        [&](sim::SimDisk::Kind, const std::string& path) {
                          has_failed = true;
                          is_segments = path.starts_with("groups");
                        });
    const std::string ended = RestoreSteps::Restore(rig, entries);
    rig.disk().ForgetFaults();
    if (has_failed && !is_segments) continue;
    if (!ended.empty()) {
      ++errors;
      rig.store().EndRestore(kReplica);
      ASSERT_EQ(RestoreSteps::Restore(rig, entries), "") << "call=" << call << " " << ended;
    }
    rig.Crash(true);
    ASSERT_TRUE(rig.Start().ok()) << "call=" << call;
    ASSERT_EQ(RestoreSteps::CompareRestored(rig, entries), "") << "call=" << call;
  }
  EXPECT_GT(errors, 10U);
}

}  // namespace
}  // namespace millrace::storage

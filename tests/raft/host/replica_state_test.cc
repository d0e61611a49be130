// What a host tells of a replica to people who look after it.
#include "raft/ports/replica_state.h"

#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "raft/host/host.h"
#include "tests/raft/host/memory_log_store.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::raft {
namespace {

constexpr RaftGroupId kGroup{7};
constexpr Voter kSelf{BrokerId(1), Incarnation(11), ReplicaNumber(1)};
constexpr Voter kSecond{BrokerId(2), Incarnation(12), ReplicaNumber(2)};
constexpr Voter kThird{BrokerId(3), Incarnation(13), ReplicaNumber(3)};

// Counts what records it applied, until it refuses them.
class Records final : public StateMachine {
 public:
  void Attach(Group& to) override { group = &to; }
  Status Restore(Bytes) override { return {}; }
  Status Apply(const core::Entry& entry) override {
    if (entry.type == core::EntryType::kNoOp) return {};
    if (refuses) return Unimplemented("of a later version");
    ++records;
    return {};
  }
  StateEncoder TakeSnapshot() const override {
    return [] { return Bytes(); };
  }
  Offset next_offset() const override { return Offset(records); }
  Offset log_start() const override { return Offset(); }
  int64_t last_append_time_ms() const override { return 0; }
  void OnLeadership(const Leadership&) override {}

  Group* group = nullptr;
  int64_t records = 0;
  bool refuses = false;
};

class ReplicaStateTest : public testing::Test {
 protected:
  ReplicaStateTest() {
    FLAGS_minloglevel = google::GLOG_FATAL;
    host_.Start();
  }
  void Create(std::vector<Voter> voters) {
    ReplicaRecord record{.group = kGroup, .number = kSelf.number};
    record.configuration.voters = std::move(voters);
    host_.CreateReplica(record, /*campaign=*/true, machine_);
  }
  void Settle() { world_.RunFor(std::chrono::milliseconds(10)); }
  void CreateAlone() {
    Create({kSelf});
    Settle();
  }
  void ProposeRecord() {
    const FrameHeader draft{.type = FrameType::kRecordBatch,
                            .base_offset = machine_.group->next_offset(),
                            .offset_span = 1};
    ASSERT_TRUE(machine_.group->Propose(ProposalClass::kBulk, draft, AllocateFrame(0)).ok());
    world_.RunFor(std::chrono::milliseconds(1));
  }
  ReplicaState State() const { return host_.StateOf(kGroup).value(); }

  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("broker");
  MemoryTransport transport_;
  MemoryLogStore store_{process_.executor()};
  Records machine_;
  Host host_{HostOptions{.self = kSelf.holder()},
             HostEnvironment{process_.executor(), process_.clock(), transport_, store_},
             process_.Fork()};
};

TEST_F(ReplicaStateTest, AGroupWithoutAReplicaHere_HasNone) {
  EXPECT_FALSE(host_.StateOf(kGroup).has_value());
}

TEST_F(ReplicaStateTest, AReplicaThatIsBeingMade_IsJoining) {
  Create({kSelf});
  EXPECT_EQ(State().role, ReplicaRole::kJoining);
  EXPECT_FALSE(State().last.has_value());
  Settle();
  EXPECT_EQ(State().role, ReplicaRole::kLeader);
}

TEST_F(ReplicaStateTest, ALeader_TellsWhereItsLogEnds_AndHowMuchOfItIsCommitted) {
  CreateAlone();
  ProposeRecord();
  store_.write_time = std::chrono::seconds(1);
  ProposeRecord();
  const ReplicaState state = State();
  EXPECT_EQ(state.role, ReplicaRole::kLeader);
  EXPECT_EQ(state.term, host_.Find(kGroup)->core().term());
  EXPECT_EQ(state.leader, kSelf.broker);
  EXPECT_EQ(state.high_watermark, Offset(1));
  EXPECT_EQ(state.log_end, Offset(2)) << "the second is not durable";
  EXPECT_EQ(state.last, LogIndex(3)) << "a no-op and two records";
  EXPECT_EQ(state.applied, LogIndex(2));
  EXPECT_TRUE(state.fault.ok() && state.stall.ok() && !state.restore.has_value());
}

TEST_F(ReplicaStateTest, WhatItsFilesHave_IsTheirSum_AndApartWhatIsWrittenOn) {
  CreateAlone();
  store_.groups.at(kGroup).sealed = {{.bytes = 100}, {.bytes = 20}};
  store_.groups.at(kGroup).active_bytes = 3;
  EXPECT_EQ(State().sealed_segments, 2u);
  EXPECT_EQ(State().sealed_bytes, 120u);
  EXPECT_EQ(State().active_bytes, 3u);
}

TEST_F(ReplicaStateTest, WhoHearsOfNoLeader_IsACandidate_AndFollowsOnceOneSpeaks) {
  Create({kSelf, kSecond, kThird});
  Settle();
  EXPECT_EQ(State().role, ReplicaRole::kCandidate);
  EXPECT_EQ(State().leader, BrokerId());
  host_.OnRaftMessage(kSecond, kGroup, kSelf.number, core::Heartbeat{.term = Term(9)});
  Settle();
  EXPECT_EQ(State().role, ReplicaRole::kFollower);
  EXPECT_EQ(State().leader, kSecond.broker);
  EXPECT_EQ(State().term, Term(9));
}

TEST_F(ReplicaStateTest, AStall_IsToldForAsLongAsItLasts) {
  CreateAlone();
  store_.TellSegmentsState(kGroup, ResourceExhausted("no room"));
  EXPECT_EQ(State().stall.code(), Code::kResourceExhausted);
  EXPECT_EQ(State().role, ReplicaRole::kLeader) << "nobody else could be";
  store_.TellSegmentsState(kGroup, Status::Ok());
  EXPECT_TRUE(State().stall.ok());
}

TEST_F(ReplicaStateTest, WhatMetDamage_IsSilent_AndTellsWhy) {
  CreateAlone();
  ProposeRecord();
  store_.TellSegmentsState(kGroup, DataLoss("a frame is rotten"));
  const ReplicaState state = State();
  EXPECT_EQ(state.role, ReplicaRole::kSilent);
  EXPECT_EQ(state.fault.code(), Code::kDataLoss);
  EXPECT_EQ(state.term, Term());
  EXPECT_FALSE(state.last.has_value());
  EXPECT_EQ(state.high_watermark, Offset(1)) << "as it was";
}

TEST_F(ReplicaStateTest, WhatAppliesNoFurther_TellsWhy_AndNotAtWhichOffsetItsLogEnds) {
  CreateAlone();
  machine_.refuses = true;
  ProposeRecord();
  const ReplicaState state = State();
  EXPECT_EQ(state.role, ReplicaRole::kFollower);
  EXPECT_EQ(state.fault.code(), Code::kUnimplemented);
  EXPECT_EQ(state.last, LogIndex(2));
  EXPECT_EQ(state.applied, LogIndex(1));
  EXPECT_FALSE(state.log_end.has_value());
}

}  // namespace
}  // namespace millrace::raft

// Where a partition's log starts: deleting records, retention, and what readers see of them.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "broker/partition/partition.h"
#include "millrace/internal/v1/partition_command.pb.h"
#include "millrace/internal/v1/partition_state.pb.h"
#include "millrace/v1/record.pb.h"
#include "proto/base/checksum.h"
#include "tests/broker/partition/lone_partition.h"

namespace millrace::broker {
namespace {

constexpr RaftGroupId kGroup{7};

class LogStartTest : public testing::Test, protected LonePartition {
 protected:
  LogStartTest() : LonePartition(kGroup) {}

  void SetUp() override {
    SetLevel(2);
    partition_.set_leader_epoch_base(100);
    group_.Lead(Term(1));
    store_.groups[kGroup];
  }
  void SetLevel(uint32_t level) {
    internal::v1::ControllerRecord record;
    record.mutable_level_raised()->set_level(level);
    ASSERT_TRUE(image_.Apply(record).ok());
  }
  // One batch of so many records, committed.
  void Produce(int records) {
    v1::RecordBatch batch;
    for (int i = 0; i < records; ++i) batch.add_records()->set_value("v");
    partition_.Produce({.bytes = Bytes::Own(batch.SerializeAsString())},
                       [](const Result<ProduceOutcome>&) {});
    group_.CommitAll();
  }
  using Answer = std::optional<Result<PartitionOffsets>>;
  // Asked for, and the barrier before it answered.
  Answer& Delete(int64_t before) {
    Answer& answer = *answers_.emplace_back(std::make_unique<Answer>());
    partition_.DeleteRecords(
        Offset(before), [&answer](Result<PartitionOffsets> done) { answer = std::move(done); });
    group_.AnswerBarriers(Status::Ok());
    return answer;
  }
  Status ReadAt(int64_t offset) {
    std::optional<Status> answer;
    partition_.Read({.offset = Offset(offset), .bytes_max = 1},
                    [&answer](const Result<ReadOutcome>& done) { answer = done.status(); });
    group_.AnswerBarriers(Status::Ok());
    return answer.value_or(Internal("no answer"));
  }
  // An entry with this command, as another leader may have written it.
  Status ApplyCommand(const std::string& payload, Offset base_offset) {
    Buffer frame = AllocateFrame(payload.size());
    std::memcpy(FramePayload(frame), payload.data(), payload.size());
    const uint32_t crc = Crc32c(payload);
    const FrameHeader header{.type = FrameType::kPartitionCommand,
                             .feature_level = 2,
                             .flags = kFrameControl,
                             .payload_size = static_cast<uint32_t>(payload.size()),
                             .group = kGroup,
                             .term = Term(1),
                             .index = group_.log().last_index() + 1,
                             .base_offset = base_offset,
                             .append_time_ms = partition_.last_append_time_ms(),
                             .payload_crc = crc,
                             .stored_crc = crc};
    return partition_.Apply({.term = header.term,
                             .index = header.index,
                             .type = raft::core::EntryType::kCommand,
                             .frame = SealFrame(header, std::move(frame))});
  }
  static std::string StartCommand(int64_t offset) {
    internal::v1::PartitionCommand command;
    command.mutable_log_start()->set_offset(offset);
    return command.SerializeAsString();
  }

  std::vector<std::unique_ptr<Answer>> answers_;
};

TEST_F(LogStartTest, ADeletion_IsAnswered_OnceItIsCommittedAndApplied_AndReadersAreToldTheStart) {
  Produce(5);
  EXPECT_TRUE(ReadAt(0).ok());
  const Answer& answer = Delete(3);
  EXPECT_FALSE(answer.has_value());
  EXPECT_EQ(partition_.log_start(), Offset(0));
  group_.CommitAll();
  ASSERT_TRUE(answer.has_value() && answer->ok());
  EXPECT_EQ((*answer)->log_start, Offset(3));
  EXPECT_EQ((*answer)->high_watermark, Offset(5));
  const Status refused = ReadAt(2);
  EXPECT_EQ(refused.reason(), Reason::kOffsetOutOfRange);
  EXPECT_NE(refused.message().find("3 to 5"), std::string::npos) << refused;
  EXPECT_TRUE(ReadAt(3).ok());
  EXPECT_EQ(partition_.high_watermark(), Offset(5)) << "the command takes no offset";
}

TEST_F(LogStartTest, WhatIsBelowTheStart_OrPastTheEnd_ChangesNothing) {
  Produce(5);
  Delete(3);
  group_.CommitAll();
  const LogIndex last = group_.log().last_index();
  EXPECT_EQ((*Delete(3))->log_start, Offset(3));
  EXPECT_EQ((*Delete(0))->log_start, Offset(3));
  const Answer& past = Delete(6);
  EXPECT_EQ(past->status().reason(), Reason::kOffsetOutOfRange) << past->status();
  EXPECT_EQ(group_.log().last_index(), last);
  EXPECT_FALSE(Delete(5).has_value()) << "all of them may go";
}

// A leader that was deposed and does not know it would refuse what another one has.
TEST_F(LogStartTest, ARefusal_WaitsForTheLeaderToBeConfirmed) {
  Produce(1);
  std::optional<Status> answer;
  partition_.DeleteRecords(
      Offset(9), [&answer](const Result<PartitionOffsets>& done) { answer = done.status(); });
  EXPECT_FALSE(answer.has_value());
  group_.AnswerBarriers(Unavailable("deposed", Reason::kNotLeader));
  EXPECT_EQ(answer->reason(), Reason::kNotLeader);
}

TEST_F(LogStartTest, DeletionsThatCome_WhileOneIsUnderWay_GoTogetherInTheNext) {
  Produce(9);
  const Answer& first = Delete(2);
  const LogIndex one = group_.log().last_index();
  const Answer& second = Delete(7);
  const Answer& third = Delete(4);
  EXPECT_EQ(group_.log().last_index(), one);
  group_.CommitAll();
  EXPECT_TRUE(first.has_value() && first->ok());
  ASSERT_TRUE(second.has_value() && third.has_value());
  EXPECT_EQ((*second)->log_start, Offset(7));
  EXPECT_EQ((*third)->log_start, Offset(7));
  EXPECT_EQ(group_.log().last_index(), one + 1);
}

TEST_F(LogStartTest, WhoeverLosesTheLead_SaysSo_AndWhatWasCommittedCounts) {
  Produce(5);
  const Answer& answer = Delete(3);
  group_.Follow(Term(2));
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->status().reason(), Reason::kNotLeader);
  group_.CommitAll();
  EXPECT_EQ(partition_.log_start(), Offset(3));
  group_.Lead(Term(3));
  EXPECT_FALSE(Delete(4).has_value()) << "nothing is left under way";
}

TEST_F(LogStartTest, AProtectedTopic_AndAClusterOfAnOlderLevel_RefuseIt) {
  Produce(5);
  partition_.set_settings({.is_protected = true});
  EXPECT_EQ(Delete(3)->status().code(), Code::kFailedPrecondition);
  partition_.set_settings({});
  Image old;
  Partition before(kGroup, {TopicId(1), PartitionId(0)},
                   {store_, process_.clock(), batches_, lookups_, old, producers_, registrar_});
  before.set_leader_epoch_base(100);
  std::optional<Status> answer;
  before.DeleteRecords(Offset(0),
                       [&answer](const Result<PartitionOffsets>& done) { answer = done.status(); });
  EXPECT_EQ(answer->code(), Code::kFailedPrecondition) << *answer;
}

// Commands of a deposed leader may come after those of the next.
TEST_F(LogStartTest, TheStart_IsTheLargestOfAllCommands) {
  Produce(9);
  EXPECT_TRUE(ApplyCommand(StartCommand(7), Offset(9)).ok());
  EXPECT_TRUE(ApplyCommand(StartCommand(2), Offset(9)).ok());
  EXPECT_EQ(partition_.log_start(), Offset(7));
}

TEST_F(LogStartTest, ACommandThatCannotBe_IsNotApplied) {
  Produce(9);
  EXPECT_EQ(ApplyCommand(StartCommand(10), Offset(9)).code(), Code::kDataLoss);
  EXPECT_EQ(ApplyCommand("\xFF", Offset(9)).code(), Code::kDataLoss);
  EXPECT_EQ(ApplyCommand("", Offset(9)).code(), Code::kUnimplemented) << "one of a later level";
  EXPECT_EQ(partition_.log_start(), Offset(0));
}

TEST_F(LogStartTest, TheStart_IsInTheState_WhichAnOldBuildReadsWhereThereIsNone) {
  const auto version = [this] {
    internal::v1::PartitionState state;
    const Bytes saved = partition_.TakeSnapshot()();
    EXPECT_TRUE(state.ParseFromArray(saved.data(), static_cast<int>(saved.size())));
    return state.version();
  };
  Produce(5);
  EXPECT_EQ(version(), 1u);
  Delete(3);
  group_.CommitAll();
  EXPECT_EQ(version(), 2u);
  Partition restored(
      kGroup, {TopicId(1), PartitionId(0)},
      {store_, process_.clock(), batches_, lookups_, image_, producers_, registrar_});
  ASSERT_TRUE(restored.Restore(partition_.TakeSnapshot()()).ok());
  EXPECT_EQ(restored.log_start(), Offset(3));
}

// Retention -------------------------------------------------------------------------------------

class RetentionOfPartition : public LogStartTest {
 protected:
  void SetUp() override {
    LogStartTest::SetUp();
    for (int i = 0; i < 4; ++i) Produce(5);
    for (uint64_t i = 1; i <= 3; ++i) {
      const auto end = static_cast<int64_t>(5 * i);
      store_.groups[kGroup].sealed.push_back(
          {.end = {.index = LogIndex(i), .next_offset = Offset(end)},
           .base_offset = Offset(end - 5),
           .bytes = 100,
           .last_append_ms = static_cast<int64_t>(1000 * i),
           .has_state = true});
    }
  }
  Offset Tend(std::optional<int64_t> wall_ms) {
    partition_.Tend(wall_ms);
    group_.CommitAll();
    return partition_.log_start();
  }
};

TEST_F(RetentionOfPartition, TheLeader_MovesTheStart_ToWhereASegmentEnds) {
  EXPECT_EQ(Tend(1'000'000), Offset(0)) << "nothing is set";
  partition_.set_settings({.retention = {.bytes = 200}});
  EXPECT_EQ(Tend(1'000'000), Offset(5));
  partition_.set_settings({.retention = {.time_ms = 1000}});
  EXPECT_EQ(Tend(3500), Offset(10));
  const LogIndex last = group_.log().last_index();
  EXPECT_EQ(Tend(3500), Offset(10));
  EXPECT_EQ(group_.log().last_index(), last) << "it is there already";
}

TEST_F(RetentionOfPartition, AProtectedTopicsRecords_Expire) {
  partition_.set_settings({.is_protected = true, .retention = {.bytes = 200}});
  EXPECT_EQ(Tend(1'000'000), Offset(5));
}

TEST_F(RetentionOfPartition, AFollower_AndWhoWaitsForACommand_ProposeNothing) {
  partition_.set_settings({.retention = {.bytes = 200}});
  partition_.Tend(1'000'000);
  const LogIndex last = group_.log().last_index();
  partition_.set_settings({.retention = {.bytes = 100}});
  partition_.Tend(1'000'000);
  EXPECT_EQ(group_.log().last_index(), last);
  group_.CommitAll();
  group_.Follow(Term(2));
  partition_.Tend(1'000'000);
  EXPECT_EQ(group_.log().last_index(), last);
}

TEST_F(RetentionOfPartition, ADoubtfulClock_ExpiresNothing) {
  partition_.set_settings({.retention = {.time_ms = 1000}});
  EXPECT_EQ(Tend(std::nullopt), Offset(0));
  EXPECT_EQ(Tend(10'000), Offset(15));
}

TEST_F(RetentionOfPartition, WhereTheStoreWantsAnEntry_ItGetsOne) {
  store_.groups[kGroup].wants_entry = true;
  const LogIndex last = group_.log().last_index();
  EXPECT_EQ(Tend(std::nullopt), Offset(0));
  EXPECT_EQ(group_.log().last_index(), last + 1);
}

// The start told once more ---------------------------------------------------------------------

class StartToldAgain : public LogStartTest {
 protected:
  // So many entries were added in a minute of looks, once a second.
  uint64_t AddedInAMinute() {
    const LogIndex last = group_.log().last_index();
    for (int second = 0; second < 60; ++second) {
      world_.RunFor(std::chrono::seconds(1));
      partition_.Tend(std::nullopt);
      group_.CommitAll();
    }
    return group_.log().last_index().value() - last.value();
  }
  void DeleteTo(int64_t before) {
    Delete(before);
    group_.CommitAll();
  }
};

TEST_F(StartToldAgain, WhereAllRecordsAreGone_ItComesOnce_SomeSecondsLater) {
  Produce(5);
  DeleteTo(5);
  const LogIndex last = group_.log().last_index();
  world_.RunFor(std::chrono::seconds(2));
  partition_.Tend(std::nullopt);
  EXPECT_EQ(group_.log().last_index(), last) << "the others look at their files once a second";
  EXPECT_EQ(AddedInAMinute(), 1u);
  EXPECT_EQ(partition_.log_start(), Offset(5));
  EXPECT_EQ(AddedInAMinute(), 0u);
}

TEST_F(StartToldAgain, WhereRecordsAreLeft_OrCameSince_ItDoesNot) {
  Produce(5);
  DeleteTo(3);
  EXPECT_EQ(AddedInAMinute(), 0u);
  DeleteTo(5);
  Produce(1);
  EXPECT_EQ(AddedInAMinute(), 0u);
}

TEST_F(StartToldAgain, AStartThatMovedNothing_IsNotTold) {
  EXPECT_TRUE(ApplyCommand(StartCommand(0), Offset(0)).ok());
  EXPECT_EQ(AddedInAMinute(), 0u);
}

// One that the store asked for before may be the last that another replica's last file took in.
TEST_F(StartToldAgain, AnEntryThatTheStoreWantedBefore_IsNotTheOne) {
  Produce(5);
  DeleteTo(5);
  store_.groups[kGroup].wants_entry = true;
  partition_.Tend(std::nullopt);
  group_.CommitAll();
  store_.groups[kGroup].wants_entry = false;
  EXPECT_EQ(AddedInAMinute(), 1u);
}

TEST_F(StartToldAgain, WhoeverLeadsThen_TellsIt) {
  Produce(5);
  group_.Follow(Term(2));
  EXPECT_TRUE(ApplyCommand(StartCommand(5), Offset(5)).ok());
  EXPECT_EQ(AddedInAMinute(), 0u) << "a follower";
  group_.Lead(Term(3));
  EXPECT_EQ(AddedInAMinute(), 1u);
}

TEST_F(StartToldAgain, WhereItIsRefused_ItIsTriedAgain) {
  FLAGS_minloglevel = google::GLOG_FATAL;
  Produce(5);
  DeleteTo(5);
  group_.refusal = ResourceExhausted("no room");
  EXPECT_EQ(AddedInAMinute(), 0u);
  group_.refusal = {};
  EXPECT_EQ(AddedInAMinute(), 1u);
}

}  // namespace
}  // namespace millrace::broker

// Offsets in transactions where their group's shard is led: it is registered first, told how it
// ends, and gives away then what that held up. And producers of members that were taken out.
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "broker/coordinator/coordinator_server.h"
#include "broker/coordinator/producer_fencer.h"
#include "raft/host/host.h"
#include "tests/broker/controller/records.h"
#include "tests/broker/coordinator/member_rig.h"
#include "tests/broker/partition/hand_registrar.h"
#include "tests/raft/host/group_tap.h"
#include "tests/raft/host/memory_log_store.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {
namespace {

using internal::v1::InitTransactionsRequest;

constexpr RaftGroupId kShard{9};
constexpr TopicId kTopic{2};
constexpr Voter kSelf{BrokerId(1), Incarnation(11), ReplicaNumber(1)};
constexpr int64_t kEnd = 1'000;  // of each partition

TransactionName Number(uint64_t number) {
  return {.producer = ProducerId(7), .epoch = 1, .number = number};
}

TopicPartition Place(uint32_t partition) {
  return {.topic = kTopic, .partition = PartitionId(partition)};
}

class StagingTest : public testing::Test {
 protected:
  struct Answer {
    std::optional<Status> status;  // none: it waits
    int refused = 0;
    bool is_ok() const { return status.has_value() && status->ok() && refused == 0; }
    Reason reason() const { return status.has_value() ? status->reason() : Reason::kNone; }
  };

  void SetUp() override {
    FLAGS_minloglevel = google::GLOG_FATAL;
    MakeImage(kTransactionLevel);
    Make();
    raft::ReplicaRecord record{
        .group = kShard, .number = kSelf.number, .kind = raft::ReplicaKind::kCoordinator};
    record.configuration.voters = {kSelf};
    host_->CreateReplica(record, /*campaign=*/true, *tap_);
    Run(100);
    ASSERT_TRUE(shard_->is_ready());
  }
  void TearDown() override { Stop(); }
  void Stop() {
    members_->Stop();
    fencer_->Stop();
    server_->Stop();
  }
  void MakeImage(uint32_t level) {
    image_ = Image();
    auto created = Created(1, std::string(kCoordinatorTopic), kShard.value(), 1);
    created.mutable_topic_created()->set_kind(internal::v1::TopicCreated::KIND_COORDINATOR);
    created.mutable_topic_created()->set_slot_count(kCoordinatorSlots);
    ASSERT_TRUE(image_.Apply(created).ok());
    ASSERT_TRUE(image_.Apply(Created(kTopic.value(), "t", 20, 8)).ok());
    internal::v1::ControllerRecord raised;
    raised.mutable_level_raised()->set_level(level);
    ASSERT_TRUE(image_.Apply(raised).ok());
  }
  void Make() {
    host_.reset();
    host_ = std::make_unique<raft::Host>(
        raft::HostOptions{.self = kSelf.holder()},
        raft::HostEnvironment{process_.executor(), process_.clock(), transport_, store_},
        process_.Fork());
    shard_ = std::make_unique<CoordinatorShard>(
        kShard,
        CoordinatorShard::Environment{process_.executor(), process_.clock(), image_, memory_});
    tap_ = std::make_unique<raft::GroupTap>(*shard_);
    const auto find_shard = [this](RaftGroupId) { return shard_.get(); };
    const auto not_leader = [](RaftGroupId) { return Unavailable("no", Reason::kNotLeader); };
    members_.reset(new MemberServer({.executor = process_.executor(),
                                     .clock = process_.clock(),
                                     .image = image_,
                                     .memory = memory_,
                                     .find_shard = find_shard,
                                     .not_leader = not_leader,
                                     .aside = [](auto work, auto done) { done(work()); }}));
    lags_.reset(new LagServer(
        {.executor = process_.executor(),
         .clock = process_.clock(),
         .image = image_,
         .find_shard = find_shard,
         .not_leader = not_leader,
         .groups_with_members = [](RaftGroupId) { return std::vector<std::string>(); },
         .ask = [](const std::vector<UnreadQuestion>&, const UnreadDone&) {}}));
    server_.reset(new CoordinatorServer({.image = image_,
                                         .memory = memory_,
                                         .ends = ends_,
                                         .members = *members_,
                                         .lags = *lags_,
                                         .registrar = registrar_,
                                         .find_shard = find_shard,
                                         .not_leader = not_leader}));
    fencer_.reset(new ProducerFencer(
        {.executor = process_.executor(),
         .find_shard = find_shard,
         .init = [this](const InitTransactionsRequest& request, raft::StatusDone done) {
           fences_.push_back({request, std::move(done)});
         }}));
    shard_->SetLeadershipListener([this](const raft::Leadership& leadership) {
      members_->OnLeadership(kShard, leadership);
      fencer_->OnLeadership(kShard, leadership);
    });
    shard_->SetChangeListener([this](const CoordinatorShard::Changes& changes) {
      members_->OnReleased(kShard, changes.released);
      fencer_->OnChanged(kShard, changes.fencing);
    });
    host_->Start();
  }
  // kill -9, and another start, in another term.
  void Restart() {
    Stop();
    Make();
    host_->AddReplica(store_.Recovered(kShard), *tap_);
    Run(100);
    ASSERT_TRUE(shard_->is_ready());
  }
  void Run(int64_t ms) { world_.RunFor(std::chrono::milliseconds(ms)); }

  // Of partition 0, by somebody without a membership unless a member is named.
  Answer& Stage(const TransactionName& name, int64_t offset, const std::string& member_id = "") {
    auto request = std::make_shared<v1::CommitOffsetsRequest>();
    request->set_group("g");
    if (!member_id.empty()) {
      request->set_member_id(member_id);
      request->set_member_epoch(static_cast<int32_t>(Find(member_id)->epoch));
    }
    request->mutable_transaction()->set_producer_id(name.producer.value());
    request->mutable_transaction()->set_producer_epoch(name.epoch);
    request->mutable_transaction()->set_number(name.number);
    auto& topic = *request->add_topics();
    topic.set_topic("t");
    topic.set_topic_id(kTopic.value());
    auto& commit = *topic.add_partitions();
    commit.set_partition(0);
    commit.set_offset(offset);
    Answer& answer = answers_.emplace_back();
    server_->CommitOffsets(kShard, request,
                           [&answer](const Result<v1::CommitOffsetsResponse>& response) {
                             answer.status = response.status();
                             if (response.ok()) answer.refused = response->refused_size();
                           });
    return answer;
  }
  Answer& End(const TransactionName& name, bool is_committed) {
    Answer& answer = answers_.emplace_back();
    server_->EndTransaction(kShard, {.name = name, .is_committed = is_committed, .reason = {}},
                            [&answer](Status status) { answer.status = std::move(status); });
    return answer;
  }
  const Group* FindGroup() const { return shard_->state().Find("g"); }
  // What counts of partition 0; -1: nothing.
  int64_t Committed() const {
    const CommittedOffset* found =
        FindGroup() == nullptr ? nullptr : FindGroup()->FindOffset(Place(0));
    return found == nullptr ? -1 : found->offset.value();
  }
  bool HasStaged() const { return FindGroup() != nullptr && !FindGroup()->staged.empty(); }

  void Join(const std::string& id, uint32_t producer_epoch) {
    auto request = std::make_shared<internal::v1::MemberRequest>();
    request->set_group("g");
    request->set_member_id(id);
    request->set_session(1);
    request->set_sequence(++sequence_);
    *request->mutable_info() = InfoOf(id);
    auto& producer = *request->mutable_info()->mutable_producer();
    producer.set_transactional_id("payments");
    producer.set_producer_id(7);
    producer.set_producer_epoch(producer_epoch);
    server_->Member(kShard, request,
                    [](const auto& reply) { EXPECT_TRUE(reply.ok()) << reply.status(); });
    Run(200);
  }
  const Member* Find(const std::string& id) const {
    return FindGroup() == nullptr ? nullptr : FindGroup()->membership->Find(id);
  }
  bool Has(const std::string& id, uint32_t partition) const {
    const Member* member = Find(id);
    return member != nullptr && EpochIn(member->assigned, Place(partition)).has_value();
  }

  struct Fence {
    InitTransactionsRequest request;
    raft::StatusDone done;
  };

  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("broker");
  raft::MemoryTransport transport_;
  raft::MemoryLogStore store_{process_.executor()};
  Image image_;
  CoordinatorMemory memory_{CoordinatorLimits{}};
  PartitionEnds ends_{{.applied_here = [](RaftGroupId) { return Offset(kEnd); },
                       .ask = [](RaftGroupId, PartitionEnds::Done done) { done(Offset(kEnd)); }}};
  HandRegistrar registrar_;
  std::deque<Fence> fences_;
  std::unique_ptr<raft::Host> host_;
  std::unique_ptr<CoordinatorShard> shard_;
  std::unique_ptr<raft::GroupTap> tap_;
  std::unique_ptr<MemberServer> members_;
  std::unique_ptr<LagServer> lags_;
  std::unique_ptr<CoordinatorServer> server_;
  std::unique_ptr<ProducerFencer> fencer_;
  std::deque<Answer> answers_;
  uint64_t sequence_ = 0;
};

TEST_F(StagingTest, TheShardIsRegistered_BeforeAnythingIsStaged) {
  const Answer& staged = Stage(Number(1), 5);
  Run(100);
  ASSERT_EQ(registrar_.asked.size(), 1U);
  EXPECT_EQ(registrar_.asked[0].participant, kShard);
  EXPECT_EQ(registrar_.asked[0].name, Number(1));
  EXPECT_FALSE(HasStaged());
  registrar_.Answer(Status::Ok());
  Run(100);
  EXPECT_TRUE(staged.is_ok());
  EXPECT_TRUE(HasStaged());
  EXPECT_EQ(Committed(), -1);
  const Answer& ended = End(Number(1), /*is_committed=*/true);
  Run(100);
  EXPECT_TRUE(ended.is_ok());
  EXPECT_EQ(Committed(), 5);
}

TEST_F(StagingTest, WhatCannotBeRegistered_IsNotStaged_AndTheCallerIsToldWhy) {
  const Answer& staged = Stage(Number(1), 5);
  registrar_.Answer(Aborted("another has it", Reason::kTransactionFenced));
  Run(100);
  EXPECT_EQ(staged.reason(), Reason::kTransactionFenced);
  EXPECT_FALSE(HasStaged());
}

// In a shard as in a partition: the answer to the registration may be older than the end.
TEST_F(StagingTest, Rule60_WhatComesBehindTheEnd_IsNotStaged) {
  const Answer& late = Stage(Number(1), 5);
  const Answer& next = Stage(Number(2), 6);
  const Answer& ended = End(Number(1), /*is_committed=*/true);
  Run(100);
  ASSERT_TRUE(ended.is_ok());
  registrar_.Answer(Status::Ok());
  registrar_.Answer(Status::Ok());
  Run(100);
  EXPECT_EQ(late.reason(), Reason::kTransactionEnded);
  EXPECT_TRUE(next.is_ok()) << "that one has not ended";
  EXPECT_EQ(FindGroup()->staged.size(), 1U);
  EXPECT_EQ(Committed(), -1);
}

TEST_F(StagingTest, WhatIsInAnEntryBeforeTheEnd_IsEndedByIt) {
  const Answer& staged = Stage(Number(1), 5);
  registrar_.Answer(Status::Ok());
  ASSERT_FALSE(HasStaged()) << "it is not applied yet";
  const Answer& ended = End(Number(1), /*is_committed=*/true);
  Run(100);
  EXPECT_TRUE(staged.is_ok());
  EXPECT_TRUE(ended.is_ok());
  EXPECT_FALSE(HasStaged());
  EXPECT_EQ(Committed(), 5);
}

TEST_F(StagingTest, WhatWasRegisteredInAnotherTerm_IsNotStaged) {
  const Answer& staged = Stage(Number(1), 5);
  raft::Leadership led = shard_->leadership();
  led.term = led.term + 1;
  shard_->OnLeadership(led);
  registrar_.Answer(Status::Ok());
  Run(100);
  EXPECT_EQ(staged.reason(), Reason::kNotLeader);
  EXPECT_FALSE(HasStaged());
}

TEST_F(StagingTest, WhatIsStaged_IsThereAfterARestart_AndEndsOnce) {
  Stage(Number(1), 5);
  registrar_.Answer(Status::Ok());
  Run(100);
  Restart();
  EXPECT_TRUE(HasStaged());
  for (int i = 0; i < 2; ++i) {
    const Answer& ended = End(Number(1), /*is_committed=*/true);
    Run(100);
    EXPECT_TRUE(ended.is_ok());
    EXPECT_EQ(Committed(), 5);
  }
}

TEST_F(StagingTest, WhereTheClusterHasNoTransactionsYet_NothingIsStaged) {
  MakeImage(kCoordinatorLevel);
  const Answer& staged = Stage(Number(1), 5);
  Run(100);
  ASSERT_TRUE(staged.status.has_value());
  EXPECT_EQ(staged.status->code(), Code::kFailedPrecondition);
  EXPECT_TRUE(registrar_.asked.empty());
}

// And once it has ended the next owner has the partition, asked or not.
TEST_F(StagingTest, Rule78_APartitionWithStagedOffsets_IsGivenAwayOnceTheTransactionHasEnded) {
  Join("a", 1);
  ASSERT_TRUE(Has("a", 0));
  const Answer& staged = Stage(Number(1), 5, "a");
  registrar_.Answer(Status::Ok());
  Run(100);
  ASSERT_TRUE(staged.is_ok());
  Run(20'000);
  Join("b", 2);
  Run(15'000);
  ASSERT_EQ(Find("a"), nullptr) << "it was silent";
  EXPECT_TRUE(Has("b", 1));
  EXPECT_FALSE(Has("b", 0));
  Restart();
  EXPECT_FALSE(Has("b", 0)) << "whoever leads next knows no more";
  End(Number(1), /*is_committed=*/true);
  Run(100);
  EXPECT_TRUE(Has("b", 0));
  EXPECT_EQ(Committed(), 5);
}

TEST_F(StagingTest, TheProducerOfAMemberThatWasTakenOut_IsFenced_UntilItsIdHasAnswered) {
  Join("a", 3);
  Run(35'000);
  ASSERT_EQ(Find("a"), nullptr);
  ASSERT_EQ(fences_.size(), 1U);
  const InitTransactionsRequest asked = fences_[0].request;
  EXPECT_EQ(asked.transactional_id(), "payments");
  EXPECT_EQ(asked.expected().producer_id(), 7U);
  EXPECT_EQ(asked.expected().epoch(), 3U);
  EXPECT_NE(asked.request_id(), 0U);
  fences_[0].done(Unavailable("not now"));
  Run(1'100);
  ASSERT_EQ(fences_.size(), 2U);
  EXPECT_EQ(fences_[1].request.request_id(), asked.request_id()) << "it is the same request";
  Restart();
  ASSERT_EQ(fences_.size(), 3U) << "whoever leads next goes on";
  fences_[2].done(Aborted("another has it", Reason::kTransactionFenced));
  Run(100);
  EXPECT_TRUE(FindGroup()->to_be_fenced.empty());
  Restart();
  Run(2'000);
  EXPECT_EQ(fences_.size(), 3U);
}

}  // namespace
}  // namespace millrace::broker

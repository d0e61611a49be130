// The controller as a state machine: its snapshot holds all that it knows, its log's times do not
// go back, and what it cannot apply stops it there, and ends nothing.
#include "broker/controller/controller.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "proto/base/checksum.h"
#include "proto/base/mutants.h"
#include "raft/host/host.h"
#include "raft/runtime/random.h"
#include "tests/raft/host/group_tap.h"
#include "tests/raft/host/memory_log_store.h"
#include "tests/raft/host/state_machine_property.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {
namespace {

using internal::v1::ControllerImage;
using internal::v1::ControllerRecord;
using internal::v1::ControllerRecords;

const std::string kKey(kProducerIdKeyBytes, 'k');
constexpr Voter kSelf{BrokerId(1), Incarnation(11), ReplicaNumber(1)};

internal::v1::BrokerRegistered Broker(uint32_t id, const std::string& address) {
  internal::v1::BrokerRegistered broker;
  broker.set_broker_id(id);
  broker.set_incarnation(10 + id);
  auto& endpoint = *broker.add_endpoints();
  endpoint.set_protocol(internal::v1::BrokerRegistered::PROTOCOL_CLIENTS);
  endpoint.set_address(address);
  return broker;
}

v1::CreateTopicRequest Topic(const std::string& name, uint64_t request_id) {
  v1::CreateTopicRequest request;
  request.set_name(name);
  request.set_partition_count(3);
  request.set_replication_factor(1);
  request.set_request_id(request_id);
  return request;
}

v1::DeleteTopicRequest Deletion(const std::string& name, uint64_t request_id) {
  v1::DeleteTopicRequest request;
  request.set_name(name);
  request.set_request_id(request_id);
  return request;
}

Term LastTerm(RaftGroupId) { return Term(1); }

// The only controller, over a store that keeps everything.
class ControllerTest : public testing::Test {
 protected:
  void TearDown() override { active_mutant = Mutant::kNone; }
  void SetUp() override {
    FLAGS_minloglevel = google::GLOG_FATAL;
    Make();
    raft::ReplicaRecord record{.group = kControllerGroup, .number = kSelf.number};
    record.configuration.voters = {kSelf};
    host_->CreateReplica(record, /*campaign=*/true, *tap_);
    Settle();
    ASSERT_TRUE(
        Run([](const Image& image) { return DecideRegister(image, Broker(1, "a:1"), kKey); }).ok());
  }
  void Make() {
    host_.reset();
    host_ = std::make_unique<raft::Host>(
        raft::HostOptions{.self = kSelf.holder()},
        raft::HostEnvironment{process_.executor(), process_.clock(), transport_, store_},
        process_.Fork());
    controller_ = std::make_unique<Controller>(process_.clock());
    tap_ = std::make_unique<raft::GroupTap>(*controller_);
    controller_->SetListener([this](const ImageChange& change) { changes_.push_back(change); });
    host_->Start();
  }
  void Restart() {
    Make();
    changes_.clear();
    host_->AddReplica(store_.Recovered(kControllerGroup), *tap_);
    Settle();
  }
  void Settle() { world_.RunFor(std::chrono::milliseconds(100)); }

  Status Run(Controller::Decisions::Decide decide) {
    Status outcome = Internal("no answer");
    controller_->Execute(std::move(decide), [&outcome](Status status) { outcome = status; });
    Settle();
    return outcome;
  }
  Status Create(const std::string& name, uint64_t request_id = 0) {
    return Run([&](const Image& image) {
      return DecideCreateTopic(image, Topic(name, request_id), {.cluster_size = 1});
    });
  }
  Status Delete(const std::string& name, uint64_t request_id = 0) {
    return Run([&](const Image& image) {
      return DecideDeleteTopic(image, Deletion(name, request_id), LastTerm);
    });
  }
  // Puts records into the log that nobody decided on.
  void Propose(const ControllerRecords& records) {
    const std::string payload = records.SerializeAsString();
    Buffer frame = AllocateFrame(payload.size());
    std::memcpy(FramePayload(frame), payload.data(), payload.size());
    const FrameHeader draft{.type = FrameType::kControllerCommand,
                            .flags = kFrameControl,
                            .payload_size = static_cast<uint32_t>(payload.size()),
                            .append_time_ms = process_.clock().WallMs(),
                            .payload_crc = Crc32c(payload),
                            .stored_crc = Crc32c(payload)};
    ASSERT_TRUE(tap_->group().Propose(raft::ProposalClass::kBulk, draft, std::move(frame)).ok());
    Settle();
  }
  const Status& apply_fault() const { return host_->Find(kControllerGroup)->apply_fault(); }
  std::vector<int64_t> AppendTimes() const {
    std::vector<int64_t> times;
    for (const raft::core::Entry& entry : store_.groups.at(kControllerGroup).entries) {
      times.push_back(ParseFrameHeader(entry.frame.view()).value().append_time_ms);
    }
    return times;
  }

  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("broker");
  raft::MemoryTransport transport_;
  raft::MemoryLogStore store_{process_.executor()};
  std::unique_ptr<raft::Host> host_;
  std::unique_ptr<Controller> controller_;
  std::unique_ptr<raft::GroupTap> tap_;
  std::vector<ImageChange> changes_;
};

TEST_F(ControllerTest, AfterARoll_ARestartHoldsEverything_AndGivesNoNumberOutAgain) {
  store_.roll_every = 1;
  ASSERT_TRUE(Create("kept", 5).ok());
  ASSERT_TRUE(Create("gone", 6).ok());
  ASSERT_TRUE(Delete("gone", 7).ok());
  ASSERT_TRUE(Run(DecideAllocateProducerIds).ok());
  const Image before = controller_->image();
  Restart();
  const Image& after = controller_->image();
  ASSERT_NE(after.FindTopic("kept"), nullptr);
  EXPECT_EQ(after.FindTopic("gone"), nullptr);
  EXPECT_NE(after.FindBroker(BrokerId(1)), nullptr);
  EXPECT_EQ(after.next_topic_id(), before.next_topic_id());
  EXPECT_EQ(after.next_group_id(), before.next_group_id());
  EXPECT_EQ(after.next_producer_number(), before.next_producer_number());
  EXPECT_EQ(after.DeletedBy(7), before.DeletedBy(7));
  // It leads on: requests that were answered before are known, and new ones get new numbers.
  EXPECT_TRUE(Create("kept", 5).ok());
  EXPECT_EQ(Create("kept").code(), Code::kAlreadyExists);
  EXPECT_TRUE(Delete("gone", 7).ok());
  ASSERT_TRUE(Create("new").ok());
  EXPECT_EQ(controller_->image().FindTopic("new")->id, before.next_topic_id());
}

TEST_F(ControllerTest, ARestoredImage_IsTold_AndSoIsEachRecordAndEntryAfterIt) {
  store_.roll_every = 1;
  ASSERT_TRUE(Create("kept").ok());
  store_.roll_every = 100;
  ASSERT_TRUE(Create("gone").ok());
  ASSERT_TRUE(Delete("gone").ok());
  const std::vector<ImageChange> live = changes_;
  Restart();
  ASSERT_EQ(changes_.size(), 4U);
  EXPECT_TRUE(changes_[0].is_whole);
  EXPECT_EQ(changes_[1].topic, TopicId(2));
  EXPECT_EQ(changes_[2].topic, TopicId(2));
  EXPECT_EQ(changes_[2].removed, live.back().removed);
  EXPECT_EQ(changes_[2].removed.size(), 3U);
  EXPECT_EQ(changes_[3].topic, TopicId());  // the new leader's no-op
  EXPECT_FALSE(changes_[3].is_whole);
}

TEST_F(ControllerTest, WhoeverIsTold_SeesTheImageOfTheWholeEntry) {
  LogIndex seen;
  controller_->SetListener(
      [&](const ImageChange&) { seen = controller_->image().applied_index(); });
  ASSERT_TRUE(Create("t").ok());
  EXPECT_EQ(seen, host_->Find(kControllerGroup)->applied());
  store_.roll_every = 1;
  ASSERT_TRUE(Create("u").ok());
  Restart();
  EXPECT_EQ(controller_->image().applied_index(), host_->Find(kControllerGroup)->applied());
  EXPECT_GT(controller_->image().applied_index(), seen);
}

TEST_F(ControllerTest, Entries_AreWrittenAtTheClustersLevel) {
  const auto level_of_last = [this] {
    const auto& entries = store_.groups.at(kControllerGroup).entries;
    return ParseFrameHeader(entries.back().frame.view()).value().feature_level;
  };
  active_mutant = Mutant::kNextFeatureLevel;  // a build that knows more
  ASSERT_TRUE(Create("t").ok());
  EXPECT_EQ(level_of_last(), 1);
  internal::v1::BrokerRegistered broker = Broker(1, "a:1");
  broker.set_level_max(2);
  ASSERT_TRUE(Run([&](const Image& image) { return DecideRegister(image, broker, kKey); }).ok());
  EXPECT_EQ(level_of_last(), 1) << "the record that raises it is for everybody";
  ASSERT_TRUE(Create("u").ok());
  EXPECT_EQ(level_of_last(), 2);
}

TEST_F(ControllerTest, AppendTimes_NeverGoBack_ThoughTheClockDoes) {
  store_.roll_every = 3;
  for (const int64_t offset : {0, -60'000, 5'000, -3'600'000}) {
    process_.SetWallOffset(offset);
    // Two in flight at once.
    controller_->Execute(DecideAllocateProducerIds, [](const Status&) {});
    ASSERT_TRUE(Run(DecideAllocateProducerIds).ok());
    ASSERT_TRUE(Create("t" + std::to_string(offset)).ok());
    Restart();
  }
  const std::vector<int64_t> times = AppendTimes();
  EXPECT_GT(times.size(), 15U);
  EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
}

TEST_F(ControllerTest, ARecordThatThisVersionDoesNotKnow_StopsTheReplicaThere_AndEndsNothing) {
  ASSERT_TRUE(Create("t").ok());
  ControllerRecords records;
  // Field 9 of a later version, a message.
  ASSERT_TRUE(records.add_records()->ParseFromString(std::string("\x4A\x02\x08\x01", 4)));
  Propose(records);
  EXPECT_EQ(apply_fault().code(), Code::kUnimplemented);
  EXPECT_NE(apply_fault().message().find("cannot be applied"), std::string::npos) << apply_fault();
  EXPECT_NE(apply_fault().message().find("does not know"), std::string::npos) << apply_fault();
  EXPECT_FALSE(controller_->is_ready());
  EXPECT_EQ(Create("u").code(), Code::kUnavailable);
  Restart();
  EXPECT_EQ(apply_fault().code(), Code::kUnimplemented);
  EXPECT_NE(controller_->image().FindTopic("t"), nullptr);
}

TEST_F(ControllerTest,
       ATopicOfAKindThatThisVersionDoesNotKnow_StopsTheReplicaThere_AndEndsNothing) {
  ControllerRecords records;
  auto& created = *records.add_records()->mutable_topic_created();
  created.set_topic_id(1);
  created.set_name("q");
  created.set_kind(static_cast<internal::v1::TopicCreated::Kind>(7));
  created.set_leader_epoch_base(1);
  Propose(records);
  EXPECT_EQ(apply_fault().code(), Code::kUnimplemented);
  EXPECT_NE(apply_fault().message().find("kind 7"), std::string::npos) << apply_fault();
  EXPECT_EQ(controller_->image().FindTopic("q"), nullptr);
}

TEST_F(ControllerTest, ARecordThatDoesNotFollow_StopsTheReplicaThere_AndEndsNothing) {
  ControllerRecords records;
  records.add_records()->mutable_topic_deleted()->set_topic_id(77);
  Propose(records);
  EXPECT_EQ(apply_fault().code(), Code::kDataLoss);
  EXPECT_NE(apply_fault().message().find("topic 77"), std::string::npos) << apply_fault();
}

TEST_F(ControllerTest, AStateThatIsNotWhole_IsNotRestored) {
  ControllerImage later;
  later.set_version(3);
  EXPECT_EQ(controller_->Restore(Bytes::Own(later.SerializeAsString())).code(),
            Code::kUnimplemented);
  EXPECT_EQ(controller_->Restore(Bytes::Own("")).code(), Code::kDataLoss);
  EXPECT_EQ(controller_->Restore(Bytes::Own("\xFF\xFF")).code(), Code::kDataLoss);
  ASSERT_TRUE(Create("t").ok());
  ControllerImage saved;
  const Bytes state = controller_->TakeSnapshot()();
  ASSERT_TRUE(saved.ParseFromArray(state.data(), static_cast<int>(state.size())));
  saved.set_next_group_id(2);
  EXPECT_EQ(controller_->Restore(Bytes::Own(saved.SerializeAsString())).code(), Code::kDataLoss);
  EXPECT_NE(controller_->image().FindTopic("t"), nullptr);
}

// One decision, on an image as it would be.
Decision RandomDecision(const Image& image, Random& random) {
  const std::string name = "topic" + std::to_string(random.Below(6));
  const uint64_t request_id = random.Below(4);
  switch (random.Below(5)) {
    case 0:
      return DecideRegister(image,
                            Broker(static_cast<uint32_t>(random.Between(1, 3)),
                                   "host:" + std::to_string(random.Below(9))),
                            kKey);
    case 1:
      return DecideAllocateProducerIds(image);
    case 2:
      return DecideDeleteTopic(image, Deletion(name, request_id), LastTerm);
    default: {
      v1::CreateTopicRequest request = Topic(name, request_id);
      request.set_partition_count(static_cast<uint32_t>(random.Between(1, 4)));
      request.set_replication_factor(random.OneIn(2) ? 1 : 3);
      if (random.OneIn(2)) (*request.mutable_settings())["batch_bytes_max"] = "64KiB";
      return DecideCreateTopic(image, request, {.cluster_size = 3});
    }
  }
}

TEST_F(ControllerTest, Restored_ItGoesOnAsBefore_WhateverWasApplied) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed=" + std::to_string(seed));
    Random random(seed);
    raft::EntrySequence log(kControllerGroup);
    Image image;
    int64_t now_ms = 1000;
    while (log.entries().size() < 40) {
      now_ms += static_cast<int64_t>(random.Below(100));
      if (random.OneIn(8)) {
        log.BeginTerm();
        log.Add({.type = FrameType::kNoOp, .flags = kFrameControl, .append_time_ms = now_ms}, "");
      }
      const Decision decision = RandomDecision(image, random);
      if (!decision.ok() || decision->records().empty()) continue;
      for (const ControllerRecord& record : decision->records()) {
        ASSERT_TRUE(image.Apply(record).ok());
      }
      log.Add(
          {.type = FrameType::kControllerCommand, .flags = kFrameControl, .append_time_ms = now_ms},
          decision->SerializeAsString());
    }
    raft::ExpectRestoredGoesOnAsBefore(
        log.entries(), [this] { return std::make_unique<Controller>(process_.clock()); });
  }
}

}  // namespace
}  // namespace millrace::broker

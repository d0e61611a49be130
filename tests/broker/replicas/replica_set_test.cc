// Which replicas a broker holds: those that the controller's image places there, however it came to
// be what it is; and that a partition goes on from its snapshot.
#include "broker/replicas/replica_set.h"

#include <memory>
#include <string>
#include <utility>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "broker/controller/decide.h"
#include "millrace/internal/v1/partition_command.pb.h"
#include "millrace/v1/record.pb.h"
#include "proto/base/mutants.h"
#include "tests/broker/partition/hand_registrar.h"
#include "tests/broker/partition/sealed_segments.h"
#include "tests/raft/host/memory_log_store.h"
#include "tests/raft/host/state_machine_property.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {
namespace {

constexpr BrokerIncarnation kSelf{BrokerId(1), Incarnation(11)};
constexpr int64_t kNowMs = 1'735'776'000'000;  // when the base of leader epochs is 21600
constexpr RaftGroupId kGroup{9};               // of partitions that are in no set

void ApplyAll(const Decision& decision, Image* image) {
  ASSERT_TRUE(decision.ok()) << decision.status();
  for (const auto& record : decision->records()) ASSERT_TRUE(image->Apply(record).ok());
}

class ReplicaSetTest : public testing::Test {
 protected:
  void TearDown() override { active_mutant = Mutant::kNone; }
  void SetUp() override {
    FLAGS_minloglevel = google::GLOG_FATAL;
    Restart();
    internal::v1::BrokerRegistered broker;
    broker.set_broker_id(kSelf.broker.value());
    broker.set_incarnation(kSelf.incarnation.value());
    const std::string key(kProducerIdKeyBytes, 'k');
    ApplyAll(DecideRegister(image_, broker, key), &image_);
  }
  // A new process on the same store. It has recovered what is there, and no image yet.
  void Restart() {
    host_.reset();
    replicas_.reset();
    host_ = std::make_unique<raft::Host>(
        raft::HostOptions{.self = kSelf},
        raft::HostEnvironment{process_.executor(), process_.clock(), transport_, store_},
        process_.Fork());
    replicas_ =
        std::make_unique<ReplicaSet>(*host_, environment(), coordinator_memory_,
                                     process_.executor(), CompactorOptions{}, kSelf, Random(1));
    host_->Start();
    for (const auto& [group, kept] : store_.groups) {
      replicas_->AddRecovered(store_.Recovered(group));
    }
    Settle();
  }
  Partition::Environment environment() {
    return {store_, process_.clock(), batches_, lookups_, image_, producers_, registrar_};
  }
  void Settle() { world_.RunFor(std::chrono::milliseconds(100)); }

  // Into the image alone: nobody acts on it.
  TopicId Create(const std::string& name, const std::string& batch_bytes_max = "64KiB") {
    v1::CreateTopicRequest request;
    request.set_name(name);
    request.set_partition_count(2);
    request.set_replication_factor(1);
    (*request.mutable_settings())["batch_bytes_max"] = batch_bytes_max;
    ApplyAll(DecideCreateTopic(image_, request, {.cluster_size = 1, .now_ms = kNowMs}), &image_);
    return image_.FindTopic(name)->id;
  }
  // One partition more, into the image alone.
  void Grow(const std::string& name) {
    const TopicInfo& topic = *image_.FindTopic(name);
    internal::v1::ControllerRecord record;
    record.mutable_partitions_added()->set_topic_id(topic.id.value());
    auto& placement = *record.mutable_partitions_added()->add_partitions();
    placement.set_partition(static_cast<uint32_t>(topic.partitions.size()));
    placement.set_group_id(image_.next_group_id().value());
    placement.set_first_configuration_stands(true);
    auto& replica = *placement.add_replicas();
    replica.set_broker_id(kSelf.broker.value());
    replica.set_incarnation(kSelf.incarnation.value());
    replica.set_number(1);
    ASSERT_TRUE(image_.Apply(record).ok());
  }
  void Delete(const std::string& name) {
    v1::DeleteTopicRequest request;
    request.set_name(name);
    ApplyAll(DecideDeleteTopic(image_, request, [](RaftGroupId) { return Term(1); }), &image_);
  }
  Result<PartitionOffsets> OffsetsOf(RaftGroupId group) {
    Result<PartitionOffsets> offsets = Internal("no answer");
    replicas_->Find(group)->Offsets(
        {}, [&offsets](Result<PartitionOffsets> done) { offsets = std::move(done); });
    Settle();
    return offsets;
  }
  size_t CountOf(TopicId topic) const {
    size_t count = 0;
    for (const auto& [group, partition] : replicas_->partitions()) {
      if (partition->name().topic == topic) ++count;
    }
    return count;
  }

  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("broker");
  raft::MemoryTransport transport_;
  raft::MemoryLogStore store_{process_.executor()};
  BatchWorker batches_{process_.executor(), process_.executor()};
  Turns lookups_{1, 1};
  ProducerMemory producers_{ProducerLimits()};
  HandRegistrar registrar_;
  CoordinatorMemory coordinator_memory_{CoordinatorLimits()};
  std::unique_ptr<ReplicaSet> replicas_;
  std::unique_ptr<raft::Host> host_;
  Image image_;
};

TEST_F(ReplicaSetTest, ATopicsSettings_ReachItsReplicas_AndWhenTheyChange) {
  const TopicId topic = Create("t");
  replicas_->ReconcileAll(image_);
  const RaftGroupId group = image_.FindTopic("t")->partitions[0].group;
  EXPECT_EQ(store_.limits[group].bytes, 0U) << "the server's";
  EXPECT_EQ(store_.limits[group].age, std::chrono::hours(24));
  internal::v1::ControllerRecord altered;
  altered.mutable_topic_altered()->set_topic_id(topic.value());
  auto& settings = *altered.mutable_topic_altered()->mutable_settings();
  settings["segment_bytes"] = "1MiB";
  settings["segment_time"] = "2h";
  ASSERT_TRUE(image_.Apply(altered).ok());
  replicas_->Reconcile(image_, topic);
  EXPECT_EQ(store_.limits[group].bytes, uint64_t{1} << 20);
  EXPECT_EQ(store_.limits[group].age, std::chrono::hours(2));
}

TEST_F(ReplicaSetTest, RetentionMakesNoFileShorter_WhereNothingExpires) {
  const TopicId topic = Create("t");
  replicas_->ReconcileAll(image_);
  const RaftGroupId group = image_.FindTopic("t")->partitions[0].group;
  for (const auto& [cleanup, age] : {std::pair{"compact", std::chrono::seconds(86'400)},
                                     {"compact,delete", std::chrono::seconds(10)},
                                     {"delete", std::chrono::seconds(10)}}) {
    internal::v1::ControllerRecord altered;
    altered.mutable_topic_altered()->set_topic_id(topic.value());
    auto& settings = *altered.mutable_topic_altered()->mutable_settings();
    settings["cleanup"] = cleanup;
    settings["retention_time"] = "40s";
    ASSERT_TRUE(image_.Apply(altered).ok());
    replicas_->Reconcile(image_, topic);
    EXPECT_EQ(store_.limits[group].age, age) << cleanup;
  }
}

// A broker that died before a replica of a topic was durable, and whose next life begins with an
// image that holds the topic, hears of no record that creates it.
TEST_F(ReplicaSetTest, ATopicThatARestoredImageHolds_GetsItsReplicas) {
  const TopicId topic = Create("t");
  replicas_->ReconcileAll(image_);
  Settle();
  EXPECT_EQ(CountOf(topic), 2U);
  EXPECT_EQ(store_.groups.size(), 2U);
  replicas_->ReconcileAll(image_);  // as often as you like
  replicas_->Reconcile(image_, topic);
  EXPECT_EQ(store_.groups.size(), 2U);
}

TEST_F(ReplicaSetTest, APartitionThatATopicGets_IsMadeBesideItsOthers_AndGoesWithThem) {
  const TopicId topic = Create("t");
  const TopicId other = Create("other");
  replicas_->ReconcileAll(image_);
  Settle();
  Partition* const first = replicas_->Find(image_.FindTopic("t")->partitions[0].group);
  Grow("t");
  replicas_->Reconcile(image_, topic);
  Settle();
  EXPECT_EQ(CountOf(topic), 3U);
  EXPECT_EQ(CountOf(other), 2U);
  const PartitionInfo added = image_.FindTopic("t")->partitions[2];
  EXPECT_EQ(replicas_->Find(image_.FindTopic("t")->partitions[0].group), first) << "untouched";
  ASSERT_NE(replicas_->Find(added.group), nullptr);
  EXPECT_EQ(replicas_->Find(added.group)->name().partition, PartitionId(2));
  EXPECT_TRUE(OffsetsOf(added.group).ok()) << "it has a leader";
  Restart();
  EXPECT_EQ(CountOf(topic), 3U);
  replicas_->ReconcileAll(image_);
  EXPECT_EQ(store_.groups.size(), 5U);
  Delete("t");
  replicas_->Reconcile(image_, topic);
  Settle();
  EXPECT_EQ(CountOf(topic), 0U);
  EXPECT_EQ(store_.groups.size(), 2U);
}

// A broker that was away when a topic got a partition, and whose next life begins with an image
// that holds it.
TEST_F(ReplicaSetTest, APartitionThatARestoredImageHas_IsMadeBesideThoseThatAreHere) {
  const TopicId topic = Create("t");
  replicas_->ReconcileAll(image_);
  Settle();
  Grow("t");
  Restart();
  EXPECT_EQ(CountOf(topic), 2U);
  replicas_->ReconcileAll(image_);
  EXPECT_EQ(CountOf(topic), 3U);
}

TEST_F(ReplicaSetTest, ATopicThatARestoredImageHasNoMore_LosesItsReplicas) {
  const TopicId kept = Create("kept");
  const TopicId gone = Create("gone");
  replicas_->ReconcileAll(image_);
  Settle();
  Delete("gone");
  Restart();
  EXPECT_EQ(CountOf(gone), 2U);
  replicas_->ReconcileAll(image_);
  EXPECT_EQ(CountOf(gone), 0U);
  EXPECT_EQ(CountOf(kept), 2U);
  EXPECT_EQ(store_.removed.size(), 2U);
  replicas_->ReconcileAll(image_);
  EXPECT_EQ(store_.removed.size(), 2U);
}

// A replica is made when its record is applied; the snapshot that the next life begins with may be
// older than that.
TEST_F(ReplicaSetTest, ATopicThatAnImageIsTooOldToKnow_KeepsItsReplicas) {
  Create("a");
  const Image old = image_;
  const TopicId newer = Create("b");
  replicas_->ReconcileAll(image_);
  Settle();
  Restart();
  replicas_->ReconcileAll(old);
  EXPECT_EQ(CountOf(newer), 2U);
  EXPECT_TRUE(store_.removed.empty());
  replicas_->Reconcile(image_, newer);
  EXPECT_EQ(CountOf(newer), 2U);
}

// S8 of docs/formats.md: the snapshot that this life begins with is older than what the one before
// did, and whoever acts on it makes what is gone and removes what is new.
TEST_F(ReplicaSetTest, S8_ImageBelowTheFloor_NeitherMakesNorRemoves_UntilItIsAsNew) {
  const TopicId kept = Create("kept");
  ASSERT_TRUE(image_.NoteApplied(LogIndex(5)).ok());
  replicas_->ReconcileAll(image_);
  Settle();
  EXPECT_EQ(store_.groups.begin()->second.record.controller_index, LogIndex(5));
  const TopicId lost = Create("lost");
  const Image old = image_;
  Delete("kept");
  ASSERT_TRUE(image_.NoteApplied(LogIndex(9)).ok());
  store_.floor = LogIndex(9);  // of a topic that came and went
  Restart();
  Image behind = old;
  ASSERT_TRUE(behind.NoteApplied(LogIndex(8)).ok());
  replicas_->ReconcileAll(behind);
  replicas_->Reconcile(behind, lost);
  Settle();
  EXPECT_EQ(CountOf(lost), 0U);
  EXPECT_EQ(CountOf(kept), 2U);
  // The entry that makes it as new changes no topic itself.
  replicas_->Reconcile(image_, TopicId());
  Settle();
  EXPECT_EQ(CountOf(lost), 2U);
  EXPECT_EQ(CountOf(kept), 0U);
}

TEST_F(ReplicaSetTest, OneTopicsRecord_TouchesThatTopicAlone) {
  const TopicId a = Create("a");
  const TopicId b = Create("b");
  replicas_->Reconcile(image_, b);
  EXPECT_EQ(CountOf(a), 0U);
  EXPECT_EQ(CountOf(b), 2U);
}

// Once replicas have come or gone, the image tells today's, who are nobody's first configuration.
TEST_F(ReplicaSetTest, AReplicaOfAGroupThatHasChanged_IsNotBegunWithTodaysReplicas) {
  const TopicId topic = Create("t");
  internal::v1::ControllerImage saved;
  image_.SaveTo(&saved);
  for (auto& placement : *saved.mutable_topics(0)->mutable_partitions()) {
    placement.set_first_configuration_stands(placement.partition() == 0);
  }
  const Result<Image> changed = Image::LoadFrom(saved);
  ASSERT_TRUE(changed.ok()) << changed.status();
  replicas_->ReconcileAll(*changed);
  EXPECT_EQ(CountOf(topic), 1U);
  // What was begun while it stood is kept.
  replicas_->ReconcileAll(image_);
  Settle();
  replicas_->ReconcileAll(*changed);
  EXPECT_EQ(CountOf(topic), 2U);
  EXPECT_TRUE(store_.removed.empty());
}

// The log is applied again after a restart, from before the topic was deleted.
TEST_F(ReplicaSetTest, AReplicaWithATombstone_IsNotMadeAgain) {
  const TopicId topic = Create("t");
  const Image before = image_;
  replicas_->Reconcile(image_, topic);
  Settle();
  Delete("t");
  replicas_->Reconcile(image_, topic);
  Settle();
  Restart();
  replicas_->ReconcileAll(before);
  EXPECT_EQ(CountOf(topic), 0U);
}

TEST_F(ReplicaSetTest, ARecoveredReplica_GetsItsTopicsSettings) {
  const TopicId topic = Create("t", "1KiB");
  replicas_->Reconcile(image_, topic);
  Settle();
  Restart();
  replicas_->ReconcileAll(image_);
  Settle();
  Partition* partition = replicas_->Find(image_.FindTopic("t")->partitions[0].group);
  ASSERT_NE(partition, nullptr);
  Status outcome;
  partition->Produce({.bytes = Bytes::Own(std::string(2000, 'x'))},
                     [&outcome](const Result<ProduceOutcome>& done) { outcome = done.status(); });
  Settle();
  EXPECT_NE(outcome.message().find("larger than 1024"), std::string::npos) << outcome;
}

TEST_F(ReplicaSetTest, ALeadersEpoch_IsTheTopicsBaseAndItsTerm_AlsoBeforeThereIsAnImage) {
  const TopicId topic = Create("t");
  replicas_->Reconcile(image_, topic);
  Settle();
  const RaftGroupId group = image_.FindTopic("t")->partitions[0].group;
  LeaderEpoch before;
  for (int life = 0; life < 2; ++life) {
    const Result<PartitionOffsets> offsets = OffsetsOf(group);
    ASSERT_TRUE(offsets.ok()) << offsets.status();
    const Term term = replicas_->Find(group)->leadership().term;
    EXPECT_EQ(offsets->leader_epoch, LeaderEpochOf(21'600, term));
    EXPECT_GT(offsets->leader_epoch, before);
    before = offsets->leader_epoch;
    Restart();
  }
}

// An epoch without its base would go back.
TEST_F(ReplicaSetTest, AReplicaThatDoesNotKnowItsEpochs_ServesNobody_UntilTheImageTells) {
  const TopicId topic = Create("t");
  replicas_->Reconcile(image_, topic);
  Settle();
  for (auto& [id, kept] : store_.groups) kept.record.leader_epoch_base = 0;
  Restart();
  const RaftGroupId group = image_.FindTopic("t")->partitions[0].group;
  EXPECT_EQ(OffsetsOf(group).status().reason(), Reason::kNotInitialized);
  Partition* partition = replicas_->Find(group);
  Status produced;
  partition->Produce({.bytes = Bytes::Own("x")},
                     [&](const Result<ProduceOutcome>& done) { produced = done.status(); });
  EXPECT_EQ(produced.reason(), Reason::kNotInitialized);
  Status read;
  partition->Read({}, [&](const Result<ReadOutcome>& done) { read = done.status(); });
  EXPECT_EQ(read.reason(), Reason::kNotInitialized);
  replicas_->ReconcileAll(image_);
  EXPECT_TRUE(OffsetsOf(group).ok());
}

TEST_F(ReplicaSetTest, Batches_AreWrittenAtTheClustersLevel_NotAtTheBuilds) {
  active_mutant = Mutant::kNextFeatureLevel;
  const TopicId topic = Create("t");
  replicas_->Reconcile(image_, topic);
  Settle();
  const RaftGroupId group = image_.FindTopic("t")->partitions[0].group;
  v1::RecordBatch batch;
  batch.add_records()->set_value("v");
  const auto level_of_next = [&] {
    replicas_->Find(group)->Produce(
        {.bytes = Bytes::Own(batch.SerializeAsString())},
        [](const Result<ProduceOutcome>& done) { ASSERT_TRUE(done.ok()) << done.status(); });
    Settle();
    const raft::core::Entry& last = store_.groups.at(group).entries.back();
    return ParseFrameHeader(last.frame.view()).value().feature_level;
  };
  EXPECT_EQ(level_of_next(), 1);
  internal::v1::ControllerRecord raised;
  raised.mutable_level_raised()->set_level(2);
  ASSERT_TRUE(image_.Apply(raised).ok());
  EXPECT_EQ(level_of_next(), 2);
}

TEST_F(ReplicaSetTest, WhereAPassIsDone_TheNextReplicasBegins) {
  Create("t");
  replicas_->ReconcileAll(image_);
  Settle();
  internal::v1::PartitionCommand command;
  command.mutable_compact()->set_pass(1);
  for (const auto& [group, partition] : replicas_->partitions()) {
    EXPECT_FALSE(replicas_->ProgressOf(group).has_value());
    raft::EntrySequence log(group);
    log.Add({.type = FrameType::kPartitionCommand,
             .flags = kFrameControl,
             .append_time_ms = process_.clock().WallMs()},
            command.SerializeAsString());
    ASSERT_TRUE(partition->Apply(log.entries().back()).ok());
    store_.groups[group].sealed = Segments(1);
    store_.rewritable[group] = store_.groups[group].sealed.back().end.index;
    EXPECT_EQ(replicas_->ProgressOf(group)->pass_done, 0U);
    EXPECT_EQ(replicas_->ProgressOf(group)->pass_decided, 1U);
  }
  replicas_->Tend(std::nullopt);
  Settle();
  for (const auto& [group, partition] : replicas_->partitions()) {
    EXPECT_EQ(replicas_->ProgressOf(group)->pass_done, 1U) << group;
  }
}

TEST_F(ReplicaSetTest, APartitionsStateThatIsNotWhole_IsNotRestored) {
  Partition partition(kGroup, {TopicId(1), PartitionId(0)}, environment());
  internal::v1::PartitionState later;
  later.set_version(5);
  EXPECT_EQ(partition.Restore(Bytes::Own(later.SerializeAsString())).code(), Code::kUnimplemented);
  EXPECT_EQ(partition.Restore(Bytes::Own("")).code(), Code::kDataLoss);
  EXPECT_EQ(partition.Restore(Bytes::Own("\xFF\xFF")).code(), Code::kDataLoss);
}

// Some producers whose sequences go on, some batches without one, some entries without records.
void FillAtRandom(Random& random, raft::EntrySequence* log) {
  std::map<uint64_t, std::pair<uint32_t, uint32_t>> producers;  // epoch and next sequence
  Offset next_offset;
  int64_t now_ms = 1000;
  while (log->entries().size() < 60) {
    now_ms += static_cast<int64_t>(random.Below(50));
    if (random.OneIn(10)) {
      log->BeginTerm();
      log->Add({.type = FrameType::kNoOp,
                .flags = kFrameControl,
                .base_offset = next_offset,
                .append_time_ms = now_ms},
               "");
    }
    const auto count = static_cast<uint32_t>(random.Between(1, 5));
    FrameHeader batch{.type = FrameType::kRecordBatch,
                      .base_offset = next_offset,
                      .offset_span = count,
                      .record_count = count,
                      .append_time_ms = now_ms,
                      .max_timestamp_ms = now_ms - 5};
    if (!random.OneIn(4)) {
      const uint64_t id = random.Between(1, 3);
      auto& [epoch, sequence] = producers[id];
      if (random.OneIn(6)) {
        ++epoch;
        sequence = 0;
      }
      batch.producer_id = ProducerId(id);
      batch.producer_epoch = epoch;
      batch.first_sequence = sequence;
      sequence += count;
    }
    next_offset += count;
    log->Add(batch, "payload");
  }
}

TEST_F(ReplicaSetTest, APartitionThatIsRestored_GoesOnAsBefore_WhateverWasApplied) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed=" + std::to_string(seed));
    Random random(seed);
    raft::EntrySequence log(kGroup);
    FillAtRandom(random, &log);
    raft::ExpectRestoredGoesOnAsBefore(log.entries(), [this] {
      return std::make_unique<Partition>(kGroup, TopicPartition{TopicId(1), PartitionId(0)},
                                         environment());
    });
  }
}

}  // namespace
}  // namespace millrace::broker

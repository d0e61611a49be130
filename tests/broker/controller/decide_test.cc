// The controller's decisions, as tables of image and request.

#include "broker/controller/decide.h"

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "proto/base/mutants.h"
#include "proto/frame/frame.h"
#include "tests/broker/controller/records.h"

namespace millrace::broker {
namespace {

using internal::v1::BrokerRegistered;

Image ImageWithBrokers(uint32_t count) {
  Image image;
  for (uint32_t id = 1; id <= count; ++id) {
    ApplyAll(DecideRegister(image, Broker(id), kKey), &image);
  }
  return image;
}

Decision Create(const Image& image, const v1::CreateTopicRequest& request, size_t cluster_size,
                int64_t now_ms = kNowMs) {
  return DecideCreateTopic(image, request, {.cluster_size = cluster_size, .now_ms = now_ms});
}

Decision Delete(const Image& image, const v1::DeleteTopicRequest& request, Term last = Term(3)) {
  return DecideDeleteTopic(image, request, [last](RaftGroupId) { return last; });
}

v1::CreateTopicRequest Topic(const std::string& name, uint32_t partitions, uint32_t replicas) {
  v1::CreateTopicRequest request;
  request.set_name(name);
  request.set_partition_count(partitions);
  request.set_replication_factor(replicas);
  return request;
}

TEST(DecideCreateTopic, TheSameRequestAgain_Succeeds_AnotherIsToldThatTheTopicExists) {
  Image image = ImageWithBrokers(1);
  v1::CreateTopicRequest request = Topic("t", 1, 1);
  request.set_request_id(77);
  ApplyAll(Create(image, request, 1), &image);
  const Decision again = Create(image, request, 1);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->records().empty());
  request.set_request_id(78);
  EXPECT_EQ(Create(image, request, 1).status().code(), Code::kAlreadyExists);
  request.set_request_id(0);
  EXPECT_EQ(Create(image, request, 1).status().code(), Code::kAlreadyExists);
}

TEST(DecideCreateTopic, WithoutARequestId_NothingIsTheSameRequest) {
  Image image = ImageWithBrokers(1);
  ApplyAll(Create(image, Topic("t", 1, 1), 1), &image);
  EXPECT_EQ(Create(image, Topic("t", 1, 1), 1).status().code(), Code::kAlreadyExists);
}

TEST(TopicName, IsRefused_WhenItBreaksARule) {
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("a\nb"),
        std::string("a\0b", 3), std::string("\xC3\xA9"), std::string("a b"),
        std::string(250, 'x')}) {
    EXPECT_EQ(ValidateTopicName(name).code(), Code::kInvalidArgument) << name;
  }
  for (const std::string& name :
       {std::string("a"), std::string("A.b_c-9"), std::string("..."), std::string(249, 'x')}) {
    EXPECT_TRUE(ValidateTopicName(name).ok()) << name;
  }
}

TEST(TopicName, OfMillracesOwnTopics_IsReserved_AndOtherUnderscoresArePeoples) {
  for (const char* name : {"__coordinator", "__audit", "__millrace", "__millrace_anything"}) {
    const Status status = ValidateTopicName(name);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << name;
    EXPECT_NE(status.message().find("reserved"), std::string::npos) << status;
  }
  for (const char* name : {"__consumer_offsets", "__debezium-heartbeat.a", "__strimzi_store_topic",
                           "__coordinator2", "__audits", "_audit", "millrace"}) {
    EXPECT_TRUE(ValidateTopicName(name).ok()) << name;
  }
}

TEST(CreateTopic, IsRefused_WhenMoreReplicasThanBrokersAreAsked) {
  const Image image = ImageWithBrokers(1);
  const Decision decision = Create(image, Topic("t", 1, 3), 1);
  EXPECT_EQ(decision.status().code(), Code::kInvalidArgument);
  EXPECT_NE(decision.status().message().find("replication_factor 3"), std::string::npos);
}

TEST(CreateTopic, TakesAnEvenFactor) {
  const Image image = ImageWithBrokers(5);
  for (const uint32_t factor : {2u, 4u}) {
    const Decision decision = Create(image, Topic("t", 1, factor), 5);
    ASSERT_TRUE(decision.ok()) << decision.status();
    const auto& created = decision->records(0).topic_created();
    EXPECT_EQ(created.partitions(0).replicas_size(), static_cast<int>(factor));
  }
}

TEST(CreateTopic, IsRefused_WhenFactorOrPartitionsAreTooMany) {
  const Image image = ImageWithBrokers(6);
  EXPECT_EQ(Create(image, Topic("t", 1, 6), 6).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(Create(image, Topic("t", 10001, 3), 3).status().code(), Code::kInvalidArgument);
}

TEST(CreateTopic, IsRefused_WhenASettingIsUnknown) {
  v1::CreateTopicRequest request = Topic("t", 1, 3);
  (*request.mutable_settings())["no.such"] = "1";
  const Decision decision = Create(ImageWithBrokers(3), request, 3);
  EXPECT_EQ(decision.status().code(), Code::kInvalidArgument);
  EXPECT_NE(decision.status().message().find("no.such"), std::string::npos);
}

TEST(CreateTopic, WaitsForBrokers_WhenTheClusterHasThemButFewRegistered) {
  EXPECT_EQ(Create(ImageWithBrokers(2), Topic("t", 1, 3), 3).status().code(), Code::kUnavailable);
}

TEST(DeleteTopic, TriedAgain_Succeeds_AndLeavesTheNamesNextTopicAlone) {
  Image image = ImageWithBrokers(3);
  ApplyAll(Create(image, Topic("t", 1, 3), 3), &image);
  const TopicId first = image.FindTopic("t")->id;
  v1::DeleteTopicRequest deletion;
  deletion.set_name("t");
  deletion.set_request_id(77);
  ApplyAll(Delete(image, deletion), &image);
  EXPECT_EQ(image.DeletedBy(77), first);
  ApplyAll(Create(image, Topic("t", 1, 3), 3), &image);
  const Decision again = Delete(image, deletion);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->records().empty());
  EXPECT_NE(image.FindTopic("t"), nullptr);
  deletion.set_request_id(78);
  EXPECT_EQ(Delete(image, deletion)->records_size(), 1);
}

TEST(CreateTopic, IsRefused_WhenTheNameIsTaken_AndAllowedAgain_AfterDeletion) {
  Image image = ImageWithBrokers(3);
  ApplyAll(Create(image, Topic("t", 1, 3), 3), &image);
  const TopicId first = image.FindTopic("t")->id;
  EXPECT_EQ(Create(image, Topic("t", 1, 3), 3).status().code(), Code::kAlreadyExists);
  v1::DeleteTopicRequest deletion;
  deletion.set_name("t");
  ApplyAll(Delete(image, deletion), &image);
  EXPECT_EQ(Delete(image, deletion).status().reason(), Reason::kUnknownTopic);
  ApplyAll(Create(image, Topic("t", 1, 3), 3), &image);
  EXPECT_GT(image.FindTopic("t")->id, first) << "topic ids are never reused";
}

TEST(CreateTopic, SpreadsFirstReplicasEvenly_AndPutsEachReplicaOnAnotherBroker) {
  Image image = ImageWithBrokers(3);
  ApplyAll(Create(image, Topic("a", 6, 3), 3), &image);
  std::map<BrokerId, int> firsts;
  std::set<RaftGroupId> groups;
  for (const PartitionInfo& partition : image.FindTopic("a")->partitions) {
    ++firsts[partition.replicas.front().broker];
    groups.insert(partition.group);
    std::set<BrokerId> brokers;
    for (const Voter& replica : partition.replicas) {
      brokers.insert(replica.broker);
      EXPECT_EQ(replica.number, ReplicaNumber(static_cast<uint32_t>(brokers.size())));
    }
    EXPECT_EQ(brokers.size(), 3u);
    EXPECT_TRUE(partition.first_configuration_stands);
  }
  for (const auto& [broker, count] : firsts) EXPECT_EQ(count, 2) << broker;
  EXPECT_EQ(groups.size(), 6u);
  EXPECT_FALSE(groups.contains(kControllerGroup));
}

v1::DeleteTopicRequest Deletion(const std::string& name) {
  v1::DeleteTopicRequest request;
  request.set_name(name);
  return request;
}

uint32_t BaseOf(const Image& image, const std::string& name) {
  return image.FindTopic(name)->leader_epoch_base;
}

TEST(LeaderEpochs, BeginByTheClock_WithinWhatClientsCanHold) {
  EXPECT_EQ(LeaderEpochBaseAt(kNowMs), kBaseNow);
  EXPECT_EQ(LeaderEpochBaseAt(kNowMs + 3999), kBaseNow);
  EXPECT_EQ(LeaderEpochBaseAt(kNowMs + 4000), kBaseNow + 1);
  EXPECT_EQ(LeaderEpochBaseAt(0), 1U);
  EXPECT_EQ(LeaderEpochBaseAt(INT64_MAX), kLeaderEpochBaseMax);
  EXPECT_EQ(LeaderEpochOf(100, Term(7)), LeaderEpoch(107));
  EXPECT_EQ(LeaderEpochOf(100, Term(UINT64_MAX)), LeaderEpoch(kLeaderEpochMax));
}

TEST(LeaderEpochs,
     OfATopicThatIsMadeAgain_AreLarger_WhateverTheClockSays_AndHoweverMuchWasElected) {
  Image image = ImageWithBrokers(1);
  for (const Term last : {Term(1), Term(100'000), Term(0)}) {
    for (const int64_t now_ms : {kNowMs, int64_t{0}, kNowMs + 10'000'000, kNowMs}) {
      ApplyAll(Create(image, Topic("t", 2, 1), 1, now_ms), &image);
      const uint32_t base = BaseOf(image, "t");
      EXPECT_GE(base, LeaderEpochBaseAt(now_ms));
      ApplyAll(Delete(image, Deletion("t"), last), &image);
      // Also larger than what elections gave that nobody has reported.
      EXPECT_EQ(image.EpochEndOf("t"), base + last.value() + kUnreportedElections);
      ApplyAll(Create(image, Topic("t", 1, 1), 1, now_ms), &image);
      EXPECT_GT(BaseOf(image, "t"), base + last.value() + kUnreportedElections);
      ApplyAll(Delete(image, Deletion("t"), Term(1)), &image);
    }
  }
  ApplyAll(Create(image, Topic("other", 1, 1), 1), &image);
  EXPECT_EQ(BaseOf(image, "other"), kBaseNow) << "one name's haste is no other's";
}

class Alter : public ::testing::Test {
 protected:
  void SetUp() override {
    BrokerRegistered broker = Broker(1);
    broker.set_level_max(2);
    ApplyAll(DecideRegister(image_, broker, kKey), &image_);
    v1::CreateTopicRequest topic = Topic("t", 1, 1);
    (*topic.mutable_settings())["batch_bytes_max"] = "64KiB";
    ApplyAll(Create(image_, topic, 1), &image_);
  }
  static v1::AlterTopicRequest Request(const std::map<std::string, std::string>& set,
                                       const std::vector<std::string>& unset = {}) {
    v1::AlterTopicRequest request;
    request.set_name("t");
    request.mutable_set()->insert(set.begin(), set.end());
    *request.mutable_unset() = {unset.begin(), unset.end()};
    return request;
  }
  std::vector<std::string> ChangedBy(const v1::AlterTopicRequest& request) {
    const Result<TopicChange> change = ChangeOf(image_, request);
    EXPECT_TRUE(change.ok()) << change.status();
    ApplyAll(DecideAlteration(image_, request), &image_);
    return change.ok() ? change->changed : std::vector<std::string>();
  }
  Status Refusal(const v1::AlterTopicRequest& request) {
    return DecideAlteration(image_, request).status();
  }
  using Keys = std::vector<std::string>;
  using Settings = std::map<std::string, std::string>;
  const Settings& settings() const { return image_.FindTopic("t")->settings; }

  Image image_;
};

TEST_F(Alter, SetsAndUnsets_WhatIsNamed_AndLeavesTheRest) {
  EXPECT_EQ(ChangedBy(Request({{"protected", "true"}})), Keys{"protected"});
  EXPECT_EQ(settings(), (Settings{{"batch_bytes_max", "64KiB"}, {"protected", "true"}}));
  EXPECT_EQ(ChangedBy(Request({{"protected", "false"}}, {"batch_bytes_max"})),
            (Keys{"batch_bytes_max", "protected"}));
  EXPECT_EQ(settings(), (Settings{{"protected", "false"}}));
}

TEST_F(Alter, StoresWhatWasMeant_HoweverLongItWasWritten) {
  EXPECT_EQ(ChangedBy(Request({{"batch_bytes_max", std::string(100'000, '0') + "65536"}})), Keys());
  EXPECT_EQ(ChangedBy(Request({{"segment_bytes", std::string(100'000, '0') + "65536"}})),
            Keys{"segment_bytes"});
  EXPECT_EQ(settings().at("segment_bytes"), "64KiB");
  v1::CreateTopicRequest topic = Topic("u", 1, 1);
  (*topic.mutable_settings())["segment_bytes"] = std::string(100'000, '0') + "65536";
  ApplyAll(Create(image_, topic, 1), &image_);
  EXPECT_EQ(image_.FindTopic("u")->settings.at("segment_bytes"), "64KiB");
}

TEST_F(Alter, ToWhatItIs_WritesNothing) {
  EXPECT_EQ(ChangedBy(Request({{"batch_bytes_max", "64KiB"}}, {"protected"})), Keys());
  EXPECT_TRUE(DecideAlteration(image_, Request({{"batch_bytes_max", "64KiB"}}))->records().empty());
}

TEST_F(Alter, ADryRun_TellsWhatWouldChange_AndWritesNothing) {
  v1::AlterTopicRequest request = Request({{"protected", "true"}});
  request.set_is_dry_run(true);
  EXPECT_EQ(ChangedBy(request), Keys{"protected"});
  EXPECT_EQ(settings(), (Settings{{"batch_bytes_max", "64KiB"}}));
}

TEST_F(Alter, IsRefused_WhenOneOfItIsWrong) {
  for (const auto& [request, why] : {
           std::pair{Request({{"protected", "true"}, {"retention", "1"}}), "\"retention\""},
           {Request({{"protected", "maybe"}}), "\"maybe\" is not true or false"},
           {Request({{"batch_bytes_max", "1"}}), "topic setting batch_bytes_max"},
           {Request({{"protected", "true"}}, {"retention"}), "\"retention\""},
           {Request({{"protected", "true"}}, {"protected"}), "both set and unset"},
       }) {
    const Status refused = Refusal(request);
    EXPECT_EQ(refused.code(), Code::kInvalidArgument);
    EXPECT_NE(refused.message().find(why), std::string::npos) << refused;
  }
  v1::AlterTopicRequest absent = Request({{"protected", "true"}});
  absent.set_name("absent");
  EXPECT_EQ(Refusal(absent).reason(), Reason::kUnknownTopic);
}

TEST_F(Alter, IsRefused_WhileABrokerDoesNotKnowTheRecord) {
  Image image = ImageWithBrokers(1);
  ApplyAll(Create(image, Topic("t", 1, 1), 1), &image);
  const Status refused = DecideAlteration(image, Request({{"protected", "true"}})).status();
  EXPECT_EQ(refused.code(), Code::kFailedPrecondition) << refused;
}

TEST_F(Alter, AProtectedTopic_IsNotDeleted_UntilItIsUnset) {
  ChangedBy(Request({{"protected", "true"}}));
  v1::DeleteTopicRequest request;
  request.set_name("t");
  EXPECT_EQ(Delete(image_, request).status().code(), Code::kFailedPrecondition);
  ChangedBy(Request({}, {"protected"}));
  EXPECT_TRUE(Delete(image_, request).ok());
}

TEST(LeaderEpochs, CountFromTheLastTermOfAnyPartition) {
  Image image = ImageWithBrokers(1);
  ApplyAll(Create(image, Topic("t", 3, 1), 1), &image);
  const RaftGroupId second = image.FindTopic("t")->partitions[1].group;
  ApplyAll(DecideDeleteTopic(image, Deletion("t"),
                             [&](RaftGroupId group) { return Term(group == second ? 70 : 2); }),
           &image);
  EXPECT_EQ(image.EpochEndOf("t"), kBaseNow + 70 + kUnreportedElections);
}

TEST(LeaderEpochs, AreRefused_OnceANameHasUsedThemUp) {
  Image image = ImageWithBrokers(1);
  ApplyAll(Create(image, Topic("t", 1, 1), 1), &image);
  ApplyAll(Delete(image, Deletion("t"), Term(UINT64_MAX)), &image);
  EXPECT_EQ(Create(image, Topic("t", 1, 1), 1).status().code(), Code::kResourceExhausted);
  EXPECT_TRUE(Create(image, Topic("u", 1, 1), 1).ok());
}

TEST(Register, IsRefused_WhenAnotherIncarnationHoldsTheId) {
  const Image image = ImageWithBrokers(1);
  internal::v1::BrokerRegistered wiped;
  wiped.set_broker_id(1);
  wiped.set_incarnation(7);
  EXPECT_EQ(DecideRegister(image, wiped, kKey).status().code(), Code::kFailedPrecondition);
}

TEST(Register, WritesNothing_WhenNothingChanged) {
  const Image image = ImageWithBrokers(1);
  const Decision decision = DecideRegister(image, Broker(1), kKey);
  ASSERT_TRUE(decision.ok());
  EXPECT_EQ(decision->records_size(), 0);
}

TEST(Register, WritesARecord_WhenAnEndpointTheVersionOrTheLevelsChanged) {
  Image image = ImageWithBrokers(1);
  BrokerRegistered broker = Broker(1);
  for (const auto& change : std::initializer_list<void (*)(BrokerRegistered&)>{
           [](BrokerRegistered& it) { it.mutable_endpoints(0)->set_address("other:7440"); },
           [](BrokerRegistered& it) { it.add_endpoints()->set_protocol(it.PROTOCOL_INTERNAL); },
           [](BrokerRegistered& it) { it.set_software_version("1.1"); },
           [](BrokerRegistered& it) { it.set_level_min(0); },
           [](BrokerRegistered& it) { it.set_rack("east"); }}) {
    change(broker);
    const Decision decision = DecideRegister(image, broker, kKey);
    ASSERT_TRUE(decision.ok()) << decision.status();
    ASSERT_EQ(decision->records_size(), 1) << broker.ShortDebugString();
    ApplyAll(decision, &image);
    EXPECT_TRUE(DecideRegister(image, broker, kKey)->records().empty());
  }
}

TEST(Register, IsRefused_WhenItTellsWhatNobodyKnows_OrTooMuch) {
  const Image image;
  BrokerRegistered later = Broker(1);
  later.mutable_endpoints(0)->set_protocol(static_cast<BrokerRegistered::Protocol>(9));
  EXPECT_EQ(DecideRegister(image, later, kKey).status().code(), Code::kUnimplemented);
  BrokerRegistered large = Broker(1);
  large.set_rack(std::string(5000, 'r'));
  EXPECT_EQ(DecideRegister(image, large, kKey).status().code(), Code::kInvalidArgument);
  BrokerRegistered heir = Broker(1);
  heir.add_supersedes(7);
  EXPECT_EQ(DecideRegister(image, heir, kKey).status().code(), Code::kInvalidArgument);
}

// As a build of the next feature level decides.
class FeatureLevel : public ::testing::Test {
 protected:
  void SetUp() override { active_mutant = Mutant::kNextFeatureLevel; }
  void TearDown() override { active_mutant = Mutant::kNone; }
  static BrokerRegistered Knowing(uint32_t id, uint32_t level_max) {
    BrokerRegistered broker = Broker(id);
    broker.set_level_max(level_max);
    return broker;
  }
};

TEST_F(FeatureLevel, IsFounded_AtTheHighestOfTheFirstBroker) {
  for (const uint32_t level : {1u, 2u, 3u, 4u}) {
    Image image;
    EXPECT_EQ(image.level(), 0U);
    ApplyAll(DecideRegister(image, Knowing(1, level), kKey), &image);
    EXPECT_EQ(image.level(), std::min<uint32_t>(level, KnownFeatureLevel()))
        << "what decides must know it too";
  }
}

TEST_F(FeatureLevel, IsRaised_OnceEveryRegisteredBrokerKnowsMore) {
  Image image;
  for (const uint32_t id : {1u, 2u, 3u}) {
    ApplyAll(DecideRegister(image, Knowing(id, 1), kKey), &image);
  }
  for (const uint32_t id : {1u, 2u}) {
    ApplyAll(DecideRegister(image, Knowing(id, 2), kKey), &image);
    EXPECT_EQ(image.level(), 1U) << "broker 3 knows no more";
    EXPECT_EQ(image.entry_level(), 1);
  }
  ApplyAll(DecideRegister(image, Knowing(3, 2), kKey), &image);
  EXPECT_EQ(image.level(), 2U);
  EXPECT_EQ(image.entry_level(), 2);
}

TEST_F(FeatureLevel, IsRaised_AlsoByABrokerThatTellsNothingNew) {
  Image image;
  active_mutant = Mutant::kNone;  // what decides is older than the broker
  const uint32_t older = KnownFeatureLevel();
  ApplyAll(DecideRegister(image, Knowing(1, older + 1), kKey), &image);
  EXPECT_EQ(image.level(), older);
  active_mutant = Mutant::kNextFeatureLevel;
  ApplyAll(DecideRegister(image, Knowing(1, older + 1), kKey), &image);
  EXPECT_EQ(image.level(), older + 1);
}

TEST_F(FeatureLevel, ThatABrokerDoesNotKnow_RefusesIt_AndNamesBoth) {
  Image image;
  ApplyAll(DecideRegister(image, Knowing(1, 2), kKey), &image);
  const Status refused = DecideRegister(image, Knowing(2, 1), kKey).status();
  EXPECT_EQ(refused.code(), Code::kFailedPrecondition);
  EXPECT_EQ(refused.message(),
            "the cluster is of feature level 2, and broker 2 (version \"1.0\") knows 1 to 1");
  BrokerRegistered later = Knowing(2, 4);
  later.set_level_min(3);
  EXPECT_EQ(DecideRegister(image, later, kKey).status().code(), Code::kFailedPrecondition);
  later.set_level_min(5);
  EXPECT_EQ(DecideRegister(image, later, kKey).status().code(), Code::kInvalidArgument);
}

TEST(CreateCoordinator, IsMade_OnceThereAreEnoughBrokers_AllOfThemKnowingIt) {
  const Circumstances now{.cluster_size = 3, .now_ms = kNowMs};
  for (const uint32_t last : {2u, 3u}) {
    Image image;
    for (const uint32_t id : {1u, 2u, 3u}) {
      EXPECT_EQ(DecideCreateCoordinator(image, 16, now)->records_size(), 0) << id;
      BrokerRegistered broker = Broker(id);
      broker.set_level_max(id == 3 ? last : 3);
      if (id == 1) broker.set_level_max(last);  // what the cluster is founded at
      ApplyAll(DecideRegister(image, broker, kKey), &image);
    }
    ApplyAll(DecideCreateCoordinator(image, 16, now), &image);
    const TopicInfo* topic = image.FindTopic(kCoordinatorTopic);
    ASSERT_EQ(topic != nullptr, last == 3);
    if (topic == nullptr) continue;
    EXPECT_TRUE(topic->is_internal());
    EXPECT_EQ(topic->slot_count, kCoordinatorSlots);
    EXPECT_EQ(topic->partitions.size(), 16U);
    for (const PartitionInfo& shard : topic->partitions) EXPECT_EQ(shard.replicas.size(), 3U);
    EXPECT_EQ(DecideCreateCoordinator(image, 16, now)->records_size(), 0) << "once";
    const Image same = Reloaded(image);
    EXPECT_EQ(same.FindTopic(kCoordinatorTopic)->kind, TopicKind::kCoordinator);
    EXPECT_EQ(same.FindTopic(kCoordinatorTopic)->slot_count, kCoordinatorSlots);
  }
}

TEST(CreateCoordinator, NobodyChangesIt_OrTakesItsName) {
  Image image;
  BrokerRegistered broker = Broker(1);
  broker.set_level_max(3);
  ApplyAll(DecideRegister(image, broker, kKey), &image);
  ApplyAll(DecideCreateCoordinator(image, 2, {.cluster_size = 1, .now_ms = kNowMs}), &image);
  const std::string name(kCoordinatorTopic);
  v1::DeleteTopicRequest deletion;
  deletion.set_name(name);
  EXPECT_EQ(DecideDeleteTopic(image, deletion, [](RaftGroupId) { return Term(1); }).status().code(),
            Code::kInvalidArgument);
  v1::AlterTopicRequest alteration;
  alteration.set_name(name);
  alteration.set_partition_count(4);
  EXPECT_EQ(ChangeOf(image, alteration).status().code(), Code::kInvalidArgument);
  v1::CreateTopicRequest creation;
  creation.set_name(name);
  EXPECT_EQ(DecideCreateTopic(image, creation, {}).status().code(), Code::kInvalidArgument);
}

TEST(Register, TheFirstBroker_BringsTheKeyOfProducerIds_AndNobodyChangesIt) {
  Image image = ImageWithBrokers(1);
  EXPECT_EQ(image.producer_id_key(), kKey);
  internal::v1::BrokerRegistered second;
  second.set_broker_id(2);
  ApplyAll(DecideRegister(image, second, std::string(kProducerIdKeyBytes, 'x')), &image);
  EXPECT_EQ(image.producer_id_key(), kKey);
}

TEST(ProducerNumbers, AreGivenInBlocks_OfWhichTheFirstIsLeftOut_AndNeverTwice) {
  Image image;
  EXPECT_EQ(image.next_producer_number(), 1024u);
  ApplyAll(DecideAllocateProducerIds(image), &image);
  EXPECT_EQ(image.next_producer_number(), 2048u);
}

TEST(ProducerNumbers, AreRefused_OnceAllAreGiven) {
  Image image;
  internal::v1::ControllerRecord record;
  record.mutable_producer_ids_allocated()->set_end(kProducerNumberEnd - kProducerIdBlock);
  ASSERT_TRUE(image.Apply(record).ok());
  ApplyAll(DecideAllocateProducerIds(image), &image);
  EXPECT_EQ(DecideAllocateProducerIds(image).status().code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace millrace::broker

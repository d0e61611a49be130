// What an image takes, and what it remembers when it was saved and loaded: every answer that it
// gives.
#include "broker/controller/image.h"

#include <map>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "proto/frame/frame.h"
#include "tests/broker/controller/records.h"

namespace millrace::broker {
namespace {

using internal::v1::BrokerRegistered;
using internal::v1::ControllerImage;
using internal::v1::ControllerRecord;
using internal::v1::PartitionPlacement;
using internal::v1::TopicCreated;

void AddEndpoint(BrokerRegistered::Protocol protocol, const std::string& address,
                 BrokerRegistered* broker) {
  auto& endpoint = *broker->add_endpoints();
  endpoint.set_protocol(protocol);
  endpoint.set_address(address);
}

ControllerRecord Altered(uint64_t topic, const std::map<std::string, std::string>& settings) {
  ControllerRecord record;
  record.mutable_topic_altered()->set_topic_id(topic);
  record.mutable_topic_altered()->mutable_settings()->insert(settings.begin(), settings.end());
  return record;
}

TEST(Image, AnAlteredTopic_HasTheseSettings_AlsoOnceLoaded_AndACopyOfBeforeHasNot) {
  Image image;
  ASSERT_TRUE(image.Apply(Created(1, "t", 2, 1)).ok());
  const Image before = image;
  const std::map<std::string, std::string> settings{{"protected", "true"}};
  ASSERT_TRUE(image.Apply(Altered(1, settings)).ok());
  EXPECT_EQ(image.FindTopic("t")->settings, settings);
  EXPECT_EQ(Reloaded(image).FindTopic("t")->settings, settings);
  EXPECT_EQ(image.FindTopicOf(RaftGroupId(2))->settings, settings);
  EXPECT_EQ(before.FindTopic("t")->settings.count("batch_bytes_max"), 1U);
  EXPECT_EQ(image.Apply(Altered(7, settings)).code(), Code::kDataLoss);
}

TEST(Image, SavedAndLoaded_AnswersAsBefore) {
  Image image;
  ControllerRecord broker;
  broker.mutable_broker_registered()->set_broker_id(2);
  broker.mutable_broker_registered()->set_incarnation(22);
  AddEndpoint(BrokerRegistered::PROTOCOL_INTERNAL, "b:9", broker.mutable_broker_registered());
  AddEndpoint(BrokerRegistered::PROTOCOL_CLIENTS, "b:1", broker.mutable_broker_registered());
  broker.mutable_broker_registered()->set_rack("east");
  ASSERT_TRUE(image.Apply(broker).ok());
  ASSERT_TRUE(image.Apply(Created(1, "a", 2, 2)).ok());
  ASSERT_TRUE(image.Apply(Created(2, "b", 4, 3)).ok());
  ASSERT_TRUE(image.Apply(Deleted(2, 9)).ok());
  ControllerRecord ids;
  ids.mutable_producer_ids_allocated()->set_end(5001);
  ASSERT_TRUE(image.Apply(ids).ok());
  ControllerRecord key;
  key.mutable_producer_id_key_drawn()->set_key(std::string(kProducerIdKeyBytes, 'k'));
  ASSERT_TRUE(image.Apply(key).ok());
  EXPECT_EQ(image.Apply(key).code(), Code::kDataLoss) << "ids under the first are given out";
  const Image same = Reloaded(image);
  ASSERT_NE(same.FindBroker(BrokerId(2)), nullptr);
  EXPECT_EQ(ClientAddressOf(*same.FindBroker(BrokerId(2))), "b:1");
  EXPECT_EQ(same.FindBroker(BrokerId(2))->registration.DebugString(),
            broker.broker_registered().DebugString());
  EXPECT_EQ(same.FindBroker(BrokerId(2))->incarnation, Incarnation(22));
  const TopicInfo* topic = same.FindTopic("a");
  ASSERT_NE(topic, nullptr);
  EXPECT_EQ(topic->settings, image.FindTopic("a")->settings);
  EXPECT_EQ(topic->request_id, 101U);
  ASSERT_EQ(topic->partitions.size(), 2U);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(topic->partitions[i].group, image.FindTopic("a")->partitions[i].group);
    EXPECT_EQ(topic->partitions[i].replicas, image.FindTopic("a")->partitions[i].replicas);
  }
  EXPECT_EQ(same.DeletedBy(9), TopicId(2));
  EXPECT_EQ(same.next_topic_id(), TopicId(3));
  EXPECT_EQ(same.next_group_id(), RaftGroupId(7));
  EXPECT_EQ(same.next_producer_number(), 5001u);
  EXPECT_EQ(same.producer_id_key(), image.producer_id_key());
}

TEST(Image, SavedAndLoaded_RemembersDeletionsInTheirOrder) {
  Image image;
  for (uint64_t topic = 1; topic <= 1000; ++topic) {
    const auto epoch = static_cast<uint32_t>(topic);
    ASSERT_TRUE(image.Apply(Created(topic, "t", 2 * topic, 1, epoch)).ok());
    ASSERT_TRUE(image.Apply(Deleted(topic, topic, epoch)).ok());
  }
  Image same = Reloaded(image);
  EXPECT_EQ(same.FindTopicOf(RaftGroupId(2000)), nullptr);
  ASSERT_TRUE(same.Apply(Created(1001, "t", 5000, 1)).ok());
  EXPECT_EQ(same.FindTopicOf(RaftGroupId(5000)), same.FindTopic("t"));
  ASSERT_TRUE(same.Apply(Deleted(1001, 1001)).ok());
  EXPECT_EQ(same.DeletedBy(1), TopicId());  // the oldest made room
  EXPECT_EQ(same.DeletedBy(2), TopicId(2));
  EXPECT_EQ(same.DeletedBy(1001), TopicId(1001));
}

TEST(Image, Replicas_HaveNumbers_AndWhatComesNextIsLarger) {
  Image image;
  ControllerRecord record = Created(1, "a", 2, 1);
  auto& placement = *record.mutable_topic_created()->mutable_partitions(0);
  AddReplica(2, 2, &placement);
  placement.set_first_offset(40);
  ASSERT_TRUE(image.Apply(record).ok());
  const PartitionInfo& partition = image.FindTopic("a")->partitions[0];
  EXPECT_EQ(partition.replicas[1], (Voter{BrokerId(2), Incarnation(7), ReplicaNumber(2)}));
  EXPECT_EQ(partition.next_number, ReplicaNumber(3));
  EXPECT_TRUE(partition.first_configuration_stands);
  EXPECT_EQ(partition.FindReplica({BrokerId(2), Incarnation(7)}), &partition.replicas[1]);
  EXPECT_EQ(partition.FindReplica({BrokerId(2), Incarnation(8)}), nullptr) << "another disk";
  const Image same = Reloaded(image);
  EXPECT_EQ(same.FindTopic("a")->partitions[0].next_number, ReplicaNumber(3));
  EXPECT_EQ(same.FindTopic("a")->partitions[0].first_offset, Offset(40));
}

// As it will be once replicas come and go: 2 was there and went, and its number is not given again.
TEST(Image, SavedAndLoaded_RemembersNumbersOfReplicasThatWent) {
  ControllerImage saved;
  saved.set_version(1);
  saved.set_next_topic_id(2);
  saved.set_next_group_id(3);
  saved.set_next_producer_number(kProducerNumberMin);
  *saved.add_topics() = Created(1, "a", 2, 1).topic_created();
  auto& placement = *saved.mutable_topics(0)->mutable_partitions(0);
  placement.set_first_configuration_stands(false);
  placement.set_next_replica_number(3);
  const Result<Image> image = Image::LoadFrom(saved);
  ASSERT_TRUE(image.ok()) << image.status();
  const Image same = Reloaded(*image);
  EXPECT_EQ(same.FindTopic("a")->partitions[0].next_number, ReplicaNumber(3));
  EXPECT_FALSE(same.FindTopic("a")->partitions[0].first_configuration_stands);
}

TEST(Image, APlacementThatCannotBe_IsRefused) {
  Image image;
  const auto refused = [&image](void (*spoil)(PartitionPlacement&)) {
    ControllerRecord record = Created(1, "a", 2, 1);
    AddReplica(2, 2, record.mutable_topic_created()->mutable_partitions(0));
    spoil(*record.mutable_topic_created()->mutable_partitions(0));
    EXPECT_EQ(image.Apply(record).code(), Code::kDataLoss) << record.ShortDebugString();
  };
  refused([](PartitionPlacement& placement) { placement.mutable_replicas(1)->set_number(0); });
  refused([](PartitionPlacement& placement) { placement.mutable_replicas(1)->set_number(1); });
  refused([](PartitionPlacement& placement) {
    placement.mutable_replicas(1)->set_number(kReplicaNumberEnd);
  });
  refused([](PartitionPlacement& placement) { placement.mutable_replicas(1)->set_broker_id(3); });
  refused([](PartitionPlacement& placement) { placement.set_next_replica_number(2); });
}

TEST(Image, ABrokersNextIncarnation_NamesTheOneThatItSupersedes_AndAllAreRemembered) {
  const auto registered = [](uint64_t incarnation, std::optional<uint64_t> superseded) {
    ControllerRecord record;
    record.mutable_broker_registered()->set_broker_id(2);
    record.mutable_broker_registered()->set_incarnation(incarnation);
    if (superseded) record.mutable_broker_registered()->add_supersedes(*superseded);
    return record;
  };
  Image image;
  ASSERT_TRUE(image.Apply(registered(7, std::nullopt)).ok());
  EXPECT_EQ(image.Apply(registered(8, std::nullopt)).code(), Code::kDataLoss);
  EXPECT_EQ(image.Apply(registered(8, 6)).code(), Code::kDataLoss);
  ASSERT_TRUE(image.Apply(registered(8, 7)).ok());
  ASSERT_TRUE(image.Apply(registered(9, 8)).ok());
  ASSERT_TRUE(image.Apply(registered(9, std::nullopt)).ok());  // new addresses, say
  const Image same = Reloaded(image);
  const BrokerInfo& broker = *same.FindBroker(BrokerId(2));
  EXPECT_EQ(broker.incarnation, Incarnation(9));
  ASSERT_EQ(broker.registration.supersedes_size(), 2);
  EXPECT_EQ(broker.registration.supersedes(0), 7U);
  EXPECT_EQ(broker.registration.supersedes(1), 8U);
}

TEST(Image, AnEndpointOfAnUnknownProtocol_IsNotApplied) {
  ControllerRecord record;
  AddEndpoint(static_cast<BrokerRegistered::Protocol>(9), "k:1",
              record.mutable_broker_registered());
  Image image;
  const Status applied = image.Apply(record);
  EXPECT_EQ(applied.code(), Code::kUnimplemented);
  EXPECT_NE(applied.message().find("protocol 9"), std::string::npos) << applied;
  EXPECT_TRUE(image.brokers().empty());
}

TEST(Image, LeaderEpochsOfAName_NeverGoBack_AndAreSavedAndLoaded) {
  Image image;
  ASSERT_TRUE(image.Apply(Created(1, "a", 2, 1, 500)).ok());
  EXPECT_EQ(image.Apply(Deleted(1, 0, 499)).code(), Code::kDataLoss);
  ASSERT_TRUE(image.Apply(Deleted(1, 0, 900)).ok());
  EXPECT_EQ(image.Apply(Created(2, "a", 4, 1, 900)).code(), Code::kDataLoss);
  Image same = Reloaded(image);
  EXPECT_EQ(same.EpochEndOf("a"), 900U);
  EXPECT_EQ(same.EpochEndOf("b"), 0U);
  EXPECT_EQ(same.Apply(Created(2, "a", 4, 1, 900)).code(), Code::kDataLoss);
  EXPECT_EQ(same.Apply(Created(2, "b", 4, 1, 0)).code(), Code::kDataLoss);
  ASSERT_TRUE(same.Apply(Created(2, "b", 4, 1, 3)).ok());
  ASSERT_TRUE(same.Apply(Created(3, "a", 5, 1, 901)).ok());
  EXPECT_EQ(Reloaded(same).FindTopic("a")->leader_epoch_base, 901U);
  const TopicInfo& topic = *same.FindTopic("a");
  const PartitionInfo& partition = topic.partitions[0];
  EXPECT_EQ(RecordOf(topic, partition, partition.replicas[0]).leader_epoch_base, 901U);
}

// What is remembered has a bound: of the names that it has no room for, the largest end counts for
// every name.
TEST(Image, OfMoreDeletedNamesThanItRemembers_NoEpochGoesBack) {
  Image image;
  std::map<std::string, uint32_t> ends;
  for (uint32_t topic = 1; topic <= 1500; ++topic) {
    const std::string name = "t" + std::to_string(topic);
    const uint32_t base = image.EpochEndOf(name) + 1;
    ends[name] = base + topic;
    ASSERT_TRUE(image.Apply(Created(topic, name, 2 * topic, 1, base)).ok());
    ASSERT_TRUE(image.Apply(Deleted(topic, 0, ends[name])).ok());
  }
  ControllerImage saved;
  image.SaveTo(&saved);
  EXPECT_EQ(saved.deleted_names_size(), 1000);
  const Image same = Reloaded(image);
  for (const auto& [name, end] : ends) EXPECT_GE(same.EpochEndOf(name), end);
  EXPECT_EQ(same.EpochEndOf("never"), ends["t500"]) << "the largest of those that were forgotten";
}

TEST(Image, ATopicThatThisVersionDoesNotUnderstand_IsAsAnUnknownRecord) {
  Image image;
  ControllerImage before;
  image.SaveTo(&before);
  const auto refused = [&image](const ControllerRecord& record, const std::string& what) {
    const Status applied = image.Apply(record);
    EXPECT_EQ(applied.code(), Code::kUnimplemented) << applied;
    EXPECT_NE(applied.message().find(what), std::string::npos) << applied;
  };
  ControllerRecord queue = Created(1, "a", 2, 1);
  queue.mutable_topic_created()->set_kind(static_cast<TopicCreated::Kind>(7));
  refused(queue, "topic \"a\" is of kind 7");
  ControllerRecord without = Created(1, "a", 2, 1);
  without.mutable_topic_created()->clear_kind();
  refused(without, "kind 0");
  ControllerRecord slots = Created(1, "a", 2, 1);
  slots.mutable_topic_created()->set_slot_count(64);
  refused(slots, "64 slots");
  ControllerImage after;
  image.SaveTo(&after);
  EXPECT_EQ(before.DebugString(), after.DebugString());
  *before.add_topics() = queue.topic_created();
  EXPECT_EQ(Image::LoadFrom(before).status().code(), Code::kUnimplemented);
}

TEST(Image, ItsLevelRises_AndIsSavedAndLoaded_ButNotByABuildThatDoesNotKnowIt) {
  const auto raised = [](uint32_t level) {
    ControllerRecord record;
    record.mutable_level_raised()->set_level(level);
    return record;
  };
  Image image;
  EXPECT_EQ(image.entry_level(), 1) << "before the first broker, too";
  ASSERT_TRUE(image.Apply(raised(1)).ok());
  EXPECT_EQ(image.Apply(raised(1)).code(), Code::kDataLoss);
  EXPECT_EQ(Reloaded(image).level(), 1U);
  const uint32_t unknown = KnownFeatureLevel() + 1;
  const Status later = image.Apply(raised(unknown));
  EXPECT_EQ(later.code(), Code::kUnimplemented);
  EXPECT_NE(later.message().find("feature level " + std::to_string(unknown)), std::string::npos)
      << later;
  ControllerImage saved;
  image.SaveTo(&saved);
  saved.set_level(unknown);
  EXPECT_EQ(Image::LoadFrom(saved).status().code(), Code::kUnimplemented);
}

TEST(Image, KnowsHowNewItIs_AndNeverGetsOlder) {
  Image image;
  ASSERT_TRUE(image.NoteApplied(LogIndex(7)).ok());
  EXPECT_EQ(Reloaded(image).applied_index(), LogIndex(7));
  EXPECT_EQ(image.NoteApplied(LogIndex(7)).code(), Code::kDataLoss);
  EXPECT_EQ(image.applied_index(), LogIndex(7));
}

TEST(Image, KnowsWhatItIsTooOldToKnow) {
  Image image;
  EXPECT_FALSE(image.HasMade(TopicId(1)));
  ASSERT_TRUE(image.Apply(Created(1, "a", 2, 1)).ok());
  ASSERT_TRUE(image.Apply(Deleted(1, 0)).ok());
  EXPECT_TRUE(image.HasMade(TopicId(1)));
  EXPECT_TRUE(Reloaded(image).HasMade(TopicId(1)));
  EXPECT_FALSE(Reloaded(image).HasMade(TopicId(2)));
}

TEST(Image, WhatCannotFollow_IsRefused_AndChangesNothing) {
  Image image;
  ASSERT_TRUE(image.Apply(Created(3, "a", 5, 2)).ok());
  ControllerRecord ids;
  ids.mutable_producer_ids_allocated()->set_end(0);
  ControllerRecord gap = Created(4, "b", 7, 2);
  gap.mutable_topic_created()->mutable_partitions(1)->set_partition(2);
  ControllerRecord nowhere = Created(4, "b", 7, 1);
  nowhere.mutable_topic_created()->mutable_partitions(0)->clear_replicas();
  ControllerImage before;
  image.SaveTo(&before);
  for (const ControllerRecord& record : {Created(3, "b", 7, 1), Created(4, "a", 7, 1),
                                         Created(4, "b", 6, 1), Deleted(1, 0), ids, gap, nowhere}) {
    EXPECT_EQ(image.Apply(record).code(), Code::kDataLoss) << record.ShortDebugString();
  }
  EXPECT_EQ(image.Apply(ControllerRecord()).code(), Code::kUnimplemented);
  ControllerImage after;
  image.SaveTo(&after);
  EXPECT_EQ(before.DebugString(), after.DebugString());
}

TEST(Image, OneThatWouldGiveANumberOutTwice_IsNotLoaded) {
  Image image;
  ASSERT_TRUE(image.Apply(Created(3, "a", 5, 2)).ok());
  ControllerImage good;
  image.SaveTo(&good);
  for (const auto& spoil : std::initializer_list<void (*)(ControllerImage&)>{
           [](ControllerImage& saved) { saved.set_next_topic_id(3); },
           [](ControllerImage& saved) { saved.set_next_group_id(6); },
           [](ControllerImage& saved) { saved.set_next_producer_number(0); },
           [](ControllerImage& saved) { *saved.add_topics() = saved.topics(0); }}) {
    ControllerImage spoiled = good;
    spoil(spoiled);
    EXPECT_EQ(Image::LoadFrom(spoiled).status().code(), Code::kDataLoss)
        << spoiled.ShortDebugString();
  }
}

}  // namespace
}  // namespace millrace::broker

// A topic that gets more partitions: what is decided, and what an image makes of it, also once it
// was saved and loaded.

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "broker/controller/decide.h"
#include "broker/controller/image.h"
#include "tests/broker/controller/records.h"

namespace millrace::broker {
namespace {

using internal::v1::BrokerRegistered;
using internal::v1::ControllerImage;
using internal::v1::ControllerRecord;

// From partition `first` on, of groups from `first_group` on.
ControllerRecord Added(uint64_t topic, uint32_t first, uint64_t first_group, uint32_t partitions) {
  ControllerRecord record;
  auto& added = *record.mutable_partitions_added();
  added.set_topic_id(topic);
  added.set_request_id(200 + topic);
  for (uint32_t i = 0; i < partitions; ++i) {
    auto& placement = *added.add_partitions();
    placement.set_partition(first + i);
    placement.set_group_id(first_group + i);
    placement.set_first_configuration_stands(true);
    AddReplica(3, 1, &placement);
  }
  return record;
}

ControllerRecord LevelRaised(uint32_t level) {
  ControllerRecord record;
  record.mutable_level_raised()->set_level(level);
  return record;
}

// a: groups 2, 3, 6 and 9; b: 4, 5, 7 and 8, of which 7 and 8 came in two steps.
Image ImageOfTopicsThatGrew() {
  Image image;
  for (const ControllerRecord& record :
       {LevelRaised(2), Created(1, "a", 2, 2), Created(2, "b", 4, 2), Added(1, 2, 6, 1),
        Added(2, 2, 7, 1), Added(2, 3, 8, 1), Added(1, 3, 9, 1)}) {
    const Status applied = image.Apply(record);
    EXPECT_TRUE(applied.ok()) << applied;
  }
  return image;
}

std::vector<uint64_t> GroupsOf(const TopicInfo& topic) {
  std::vector<uint64_t> groups;
  for (const PartitionInfo& partition : topic.partitions) groups.push_back(partition.group.value());
  return groups;
}

// Where each group up to 12 belongs: 0 to no topic.
std::vector<uint64_t> TopicsByGroup(const Image& image) {
  std::vector<uint64_t> topics;
  for (uint64_t group = 1; group <= 12; ++group) {
    const TopicInfo* topic = image.FindTopicOf(RaftGroupId(group));
    topics.push_back(topic == nullptr ? 0 : topic->id.value());
  }
  return topics;
}

using Numbers = std::vector<uint64_t>;

TEST(GrownTopic, ATopicThatGotPartitions_HasThemAfterItsOwn_AndEachGroupIsFound) {
  const Image image = ImageOfTopicsThatGrew();
  EXPECT_EQ(GroupsOf(*image.FindTopic("a")), (Numbers{2, 3, 6, 9}));
  EXPECT_EQ(GroupsOf(*image.FindTopic("b")), (Numbers{4, 5, 7, 8}));
  for (uint32_t number = 0; number < 4; ++number) {
    EXPECT_EQ(image.FindTopic("a")->partitions[number].partition, PartitionId(number));
  }
  EXPECT_EQ(TopicsByGroup(image), (Numbers{0, 1, 1, 2, 2, 1, 2, 2, 1, 0, 0, 0}));
  EXPECT_EQ(image.next_group_id(), RaftGroupId(10));
  EXPECT_EQ(image.partition_count(), 8U);
  EXPECT_EQ(image.FindTopic("a")->grown_by, 201U);
  EXPECT_EQ(image.FindTopic("a")->settings.count("batch_bytes_max"), 1U) << "they stay";
}

TEST(GrownTopic, ACopyOfBefore_KnowsNothingOfAddedPartitions) {
  Image image;
  ASSERT_TRUE(image.Apply(Created(1, "a", 2, 2)).ok());
  const Image before = image;
  ASSERT_TRUE(image.Apply(Added(1, 2, 4, 1)).ok());
  EXPECT_EQ(GroupsOf(*before.FindTopic("a")), (Numbers{2, 3}));
  EXPECT_EQ(before.FindTopicOf(RaftGroupId(4)), nullptr);
}

TEST(GrownTopic, TopicsThatGotPartitions_AreSavedAndLoaded_AndGoOnAsBefore) {
  const Image image = ImageOfTopicsThatGrew();
  Image same = Reloaded(image);
  EXPECT_EQ(TopicsByGroup(same), TopicsByGroup(image));
  EXPECT_EQ(GroupsOf(*same.FindTopic("b")), GroupsOf(*image.FindTopic("b")));
  EXPECT_EQ(same.next_group_id(), image.next_group_id());
  EXPECT_EQ(same.FindTopic("b")->grown_by, 202U);
  ControllerImage saved;
  ControllerImage again;
  image.SaveTo(&saved);
  same.SaveTo(&again);
  EXPECT_EQ(saved.DebugString(), again.DebugString());
  ASSERT_TRUE(same.Apply(Added(2, 4, 10, 2)).ok());
  EXPECT_EQ(same.FindTopicOf(RaftGroupId(11)), same.FindTopic("b"));
}

TEST(GrownTopic, ATopicThatGotPartitions_IsDeletedWithAllOfThem_AndNoGroupIsGivenAgain) {
  Image image = Reloaded(ImageOfTopicsThatGrew());
  ASSERT_TRUE(image.Apply(Deleted(2, 0)).ok());
  EXPECT_EQ(TopicsByGroup(image), (Numbers{0, 1, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0}));
  EXPECT_EQ(Reloaded(image).next_group_id(), RaftGroupId(10));
  EXPECT_EQ(TopicsByGroup(Reloaded(image)), TopicsByGroup(image));
  EXPECT_EQ(image.Apply(Added(1, 4, 8, 1)).code(), Code::kDataLoss);
  EXPECT_EQ(image.Apply(Created(3, "b", 8, 1, 1'000'001)).code(), Code::kDataLoss);
}

TEST(GrownTopic, PartitionsThatCannotFollow_AreRefused_AndChangeNothing) {
  Image image = ImageOfTopicsThatGrew();
  ControllerImage before;
  image.SaveTo(&before);
  for (const ControllerRecord& record : {Added(7, 0, 10, 1), Added(1, 3, 10, 1), Added(1, 5, 10, 1),
                                         Added(1, 4, 9, 1), Added(1, 4, 10, 0)}) {
    EXPECT_EQ(image.Apply(record).code(), Code::kDataLoss) << record.ShortDebugString();
  }
  ControllerImage after;
  image.SaveTo(&after);
  EXPECT_EQ(before.DebugString(), after.DebugString());
}

// What a build of level 1 reads, should it come back before every broker knows level 2.
TEST(GrownTopic, IsWrittenAsItsLevelHasIt_AndEachFormIsLoaded) {
  Image image;
  ControllerImage saved;
  ASSERT_TRUE(image.Apply(LevelRaised(1)).ok());
  ASSERT_TRUE(image.Apply(Created(1, "a", 2, 2)).ok());
  image.SaveTo(&saved);
  EXPECT_EQ(saved.version(), 1U);
  EXPECT_EQ(GroupsOf(*Reloaded(image).FindTopic("a")), (Numbers{2, 3}));
  ASSERT_TRUE(image.Apply(LevelRaised(2)).ok());
  image.SaveTo(&saved);
  EXPECT_EQ(saved.version(), 2U);
  saved.set_version(3);
  EXPECT_EQ(Image::LoadFrom(saved).status().code(), Code::kUnimplemented);
}

TEST(GrownTopic, OneWhoseGroupIsOfTwoTopics_IsNotLoaded) {
  ControllerImage good;
  ImageOfTopicsThatGrew().SaveTo(&good);
  const auto loads_with = [&good](int topic, int partition, uint64_t group) {
    ControllerImage spoiled = good;
    spoiled.mutable_topics(topic)->mutable_partitions(partition)->set_group_id(group);
    const Status loaded = Image::LoadFrom(spoiled).status();
    EXPECT_TRUE(loaded.ok() || loaded.code() == Code::kDataLoss) << loaded;
    return loaded.ok();
  };
  EXPECT_TRUE(loads_with(0, 0, 2)) << "as it was";
  EXPECT_FALSE(loads_with(1, 2, 6)) << "the first of a run";
  EXPECT_FALSE(loads_with(0, 2, 5)) << "the last of a run";
  EXPECT_FALSE(loads_with(1, 0, 3)) << "of both, next to its own";
  EXPECT_FALSE(loads_with(0, 3, 6)) << "twice in one topic";
  EXPECT_FALSE(loads_with(0, 0, 1)) << "the controller's";
}

// Decided ----------------------------------------------------------------------------------------

Image ImageOfLevel(uint32_t level, uint32_t brokers) {
  Image image;
  for (uint32_t id = 1; id <= brokers; ++id) {
    BrokerRegistered broker = Broker(id);
    broker.set_level_max(level);
    ApplyAll(DecideRegister(image, broker, kKey), &image);
  }
  return image;
}

v1::CreateTopicRequest Topic(const std::string& name, uint32_t partitions, uint32_t replicas) {
  v1::CreateTopicRequest request;
  request.set_name(name);
  request.set_partition_count(partitions);
  request.set_replication_factor(replicas);
  return request;
}

Decision Create(const Image& image, const v1::CreateTopicRequest& request, size_t cluster_size) {
  return DecideCreateTopic(image, request, {.cluster_size = cluster_size, .now_ms = kNowMs});
}

class GrowthDecision : public ::testing::Test {
 protected:
  void SetUp() override {
    v1::CreateTopicRequest topic = Topic("t", 1, 1);
    (*topic.mutable_settings())["batch_bytes_max"] = "64KiB";
    ApplyAll(Create(image_, topic, 1), &image_);
  }
  Status Refusal(const v1::AlterTopicRequest& request) {
    return DecideAlteration(image_, request).status();
  }

  Image image_ = ImageOfLevel(2, 1);
};

v1::AlterTopicRequest Growth(const std::string& topic, uint32_t partitions,
                             uint64_t request_id = 0) {
  v1::AlterTopicRequest request;
  request.set_name(topic);
  request.set_partition_count(partitions);
  request.set_request_id(request_id);
  return request;
}

TEST_F(GrowthDecision, AddsPartitions_AndChangesSettings_InOne) {
  v1::AlterTopicRequest request = Growth("t", 3);
  (*request.mutable_set())["protected"] = "true";
  request.add_unset("batch_bytes_max");
  const Result<TopicChange> change = ChangeOf(image_, request);
  ASSERT_TRUE(change.ok()) << change.status();
  EXPECT_EQ(change->added.partitions_size(), 2);
  EXPECT_EQ(change->changed, (std::vector<std::string>{"batch_bytes_max", "protected"}));
  ApplyAll(DecideAlteration(image_, request), &image_);
  const TopicInfo& topic = *image_.FindTopic("t");
  EXPECT_EQ(topic.partitions.size(), 3U);
  EXPECT_EQ(topic.settings, (std::map<std::string, std::string>{{"protected", "true"}}));
  EXPECT_EQ(topic.partitions[2].replicas.front(),
            (Voter{BrokerId(1), Incarnation(101), ReplicaNumber(1)}));
  EXPECT_TRUE(topic.partitions[2].first_configuration_stands);
}

TEST_F(GrowthDecision, ADryRunOfMorePartitions_TellsWhereTheyWouldBe_AndWritesNothing) {
  v1::AlterTopicRequest request = Growth("t", 4);
  request.set_is_dry_run(true);
  const Result<TopicChange> change = ChangeOf(image_, request);
  ASSERT_TRUE(change.ok()) << change.status();
  ASSERT_EQ(change->added.partitions_size(), 3);
  EXPECT_EQ(change->added.partitions(0).partition(), 1U);
  EXPECT_EQ(change->added.partitions(2).replicas(0).broker_id(), 1U);
  EXPECT_TRUE(DecideAlteration(image_, request)->records().empty());
}

TEST_F(GrowthDecision, OfPartitions_IsRefused_WithTheTopicAndBothNumbers) {
  ApplyAll(DecideAlteration(image_, Growth("t", 4)), &image_);
  for (const auto& [count, why] :
       {std::pair{1U, "topic \"t\" has 4 partition(s), and partition_count is 1"},
        {4U, "topic \"t\" has 4 partition(s), and partition_count is 4"},
        {10'001U, "topic \"t\" has 4 partition(s), and partition_count is 10001, more than 10000"},
        {UINT32_MAX, "partition_count is 4294967295, more than 10000"}}) {
    v1::AlterTopicRequest request = Growth("t", count);
    (*request.mutable_set())["protected"] = "true";  // all or nothing
    const Status refused = Refusal(request);
    EXPECT_EQ(refused.code(), Code::kInvalidArgument);
    EXPECT_NE(refused.message().find(why), std::string::npos) << refused;
  }
  EXPECT_EQ(Refusal(Growth("absent", 4)).reason(), Reason::kUnknownTopic);
  v1::AlterTopicRequest wrong = Growth("t", 5);
  (*wrong.mutable_set())["retention"] = "1";
  EXPECT_EQ(Refusal(wrong).code(), Code::kInvalidArgument);
  EXPECT_TRUE(DecideAlteration(image_, Growth("t", 10'000)).ok());
}

TEST_F(GrowthDecision, OfPartitions_IsRefused_WhileABrokerDoesNotKnowTheRecord) {
  Image image = ImageOfLevel(1, 1);
  ApplyAll(Create(image, Topic("t", 1, 1), 1), &image);
  EXPECT_EQ(DecideAlteration(image, Growth("t", 2)).status().code(), Code::kFailedPrecondition);
}

TEST_F(GrowthDecision, OfPartitions_TheSameRequestAgain_Succeeds_AndAddsNoMore) {
  ApplyAll(DecideAlteration(image_, Growth("t", 3, 77)), &image_);
  const Decision again = DecideAlteration(image_, Growth("t", 3, 77));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->records().empty());
  EXPECT_EQ(Refusal(Growth("t", 3, 78)).code(), Code::kInvalidArgument);
  EXPECT_EQ(Refusal(Growth("t", 3)).code(), Code::kInvalidArgument);
  EXPECT_EQ(Refusal(Growth("t", 2, 77)).code(), Code::kInvalidArgument);
}

TEST_F(GrowthDecision, PartitionsThatWereAdded_AreOfGroupsThatNobodyHad_AndAreDeletedWithTheTopic) {
  const RaftGroupId first = image_.FindTopic("t")->partitions[0].group;
  ApplyAll(Create(image_, Topic("u", 2, 1), 1), &image_);
  ApplyAll(DecideAlteration(image_, Growth("t", 3)), &image_);
  const std::vector<PartitionInfo> partitions = image_.FindTopic("t")->partitions;
  EXPECT_EQ(partitions[1].group.value(), first.value() + 3);
  EXPECT_EQ(partitions[2].group.value(), first.value() + 4);
  // The last term of an added partition counts, too.
  v1::DeleteTopicRequest request;
  request.set_name("t");
  ApplyAll(DecideDeleteTopic(
               image_, request,
               [&](RaftGroupId group) { return Term(group == partitions[2].group ? 70 : 2); }),
           &image_);
  EXPECT_EQ(image_.EpochEndOf("t"), kBaseNow + 70 + kUnreportedElections);
  EXPECT_EQ(image_.FindTopicOf(partitions[2].group), nullptr);
  EXPECT_EQ(image_.partition_count(), 2U);
  ApplyAll(Create(image_, Topic("v", 1, 1), 1), &image_);
  EXPECT_EQ(image_.FindTopic("v")->partitions[0].group.value(), first.value() + 5);
}

// By how many each broker leads, and holds, of the topic.
std::map<uint32_t, std::pair<int, int>> SharesOf(const Image& image, const std::string& topic) {
  std::map<uint32_t, std::pair<int, int>> shares;
  for (const PartitionInfo& partition : image.FindTopic(topic)->partitions) {
    ++shares[partition.replicas.front().broker.value()].first;
    for (const Voter& replica : partition.replicas) ++shares[replica.broker.value()].second;
  }
  return shares;
}

TEST(Placement, GoOnWithTheRound_SoThatBrokersStayEven) {
  for (const uint32_t factor : {1U, 2U, 3U}) {
    for (const uint32_t before : {1U, 2U, 3U, 4U}) {
      Image image = ImageOfLevel(2, 3);
      ApplyAll(Create(image, Topic("t", before, factor), 3), &image);
      for (const uint32_t count : {before + 1, before + 2, uint32_t{9}}) {
        ApplyAll(DecideAlteration(image, Growth("t", count)), &image);
        for (const auto& [broker, share] : SharesOf(image, "t")) {
          const int low = static_cast<int>(count / 3);
          EXPECT_TRUE(share.first == low || share.first == low + 1) << broker << " of " << count;
          const int held = static_cast<int>(count * factor / 3);
          EXPECT_TRUE(share.second == held || share.second == held + 1)
              << broker << " of " << count;
        }
      }
      for (const auto& [broker, share] : SharesOf(image, "t")) {
        EXPECT_EQ(share, (std::pair<int, int>{3, static_cast<int>(3 * factor)})) << broker;
      }
    }
  }
}

TEST(Placement, GoToBrokersThatHoldLess_WithTheTopicsFactor) {
  Image image = ImageOfLevel(2, 3);
  ApplyAll(Create(image, Topic("t", 1, 2), 3), &image);     // brokers 1 and 2
  ApplyAll(Create(image, Topic("busy", 4, 1), 3), &image);  // 3, then in turn
  const std::map<uint32_t, std::pair<int, int>> busy = SharesOf(image, "busy");
  ApplyAll(DecideAlteration(image, Growth("t", 2)), &image);
  const PartitionInfo& added = image.FindTopic("t")->partitions[1];
  ASSERT_EQ(added.replicas.size(), 2U);
  EXPECT_EQ(added.next_number, ReplicaNumber(3));
  std::map<uint32_t, int> held;
  for (const auto& [broker, share] : busy) held[broker] += share.second;
  for (const auto& [broker, share] : SharesOf(image, "t")) held[broker] += share.second;
  for (const auto& [broker, count] : held) {
    EXPECT_TRUE(count == 2 || count == 3) << broker << " holds " << count;
  }
}

}  // namespace
}  // namespace millrace::broker

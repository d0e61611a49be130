// What MetadataService and AdminService tell clients, asked of a simulated cluster.

#include <algorithm>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/coordinator/slot.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {
namespace {

using ::testing::HasSubstr;

constexpr char kDescribe[] = "/millrace.v1.MetadataService/DescribeTopics";
constexpr char kList[] = "/millrace.v1.MetadataService/ListTopics";
constexpr char kCreate[] = "/millrace.v1.AdminService/CreateTopic";

TEST(Metadata, TopicsAreListedByAnyBroker_WithTheirCounts) {
  ServiceRig rig(1);
  rig.CreateTopic("b", 4);
  rig.CreateTopic("a", 1);
  for (size_t broker = 0; broker < 3; ++broker) {
    v1::ListTopicsRequest request;
    request.set_page_size(1);
    const auto first = rig.Call<v1::ListTopicsResponse>(broker, kList, request).value();
    ASSERT_EQ(first.topics_size(), 1);
    EXPECT_EQ(first.topics(0).name(), "a");
    request.set_page_token(first.next_page_token());
    const auto second = rig.Call<v1::ListTopicsResponse>(broker, kList, request).value();
    ASSERT_EQ(second.topics_size(), 1);
    EXPECT_EQ(second.topics(0).name(), "b");
    EXPECT_EQ(second.topics(0).partition_count(), 4U);
    EXPECT_EQ(second.topics(0).replication_factor(), 3U);
    EXPECT_EQ(second.topics(0).topic_id(), rig.TopicIdOf("b").value());
    EXPECT_EQ(second.next_page_token(), "");
  }
}

TEST(Metadata, DescriptionsOfNamedTopicsHavePages_TooAndNameWhatIsMissing) {
  ServiceRig rig(2);
  for (const char* name : {"a", "b", "c"}) rig.CreateTopic(name, 1);
  v1::DescribeTopicsRequest request;
  for (const char* name : {"c", "a", "c"}) request.add_names(name);
  request.set_page_size(1);
  const auto first = rig.Call<v1::DescribeTopicsResponse>(0, kDescribe, request).value();
  ASSERT_EQ(first.topics_size(), 1);
  EXPECT_EQ(first.topics(0).name(), "a");
  EXPECT_EQ(first.brokers_size(), 3);
  request.set_page_token(first.next_page_token());
  const auto second = rig.Call<v1::DescribeTopicsResponse>(0, kDescribe, request).value();
  ASSERT_EQ(second.topics_size(), 1);
  EXPECT_EQ(second.topics(0).name(), "c");
  EXPECT_EQ(second.next_page_token(), "");
  request.add_names("absent");
  EXPECT_THAT(rig.Call<v1::DescribeTopicsResponse>(0, kDescribe, request).status().message(),
              HasSubstr("absent"));
}

constexpr char kFindCoordinators[] = "/millrace.v1.MetadataService/FindCoordinators";

// Once each has a leader.
v1::FindCoordinatorsResponse FindCoordinators(ServiceRig* rig, size_t broker,
                                              const v1::FindCoordinatorsRequest& request) {
  for (int i = 0; i < 100; ++i) {
    const auto found = rig->Call<v1::FindCoordinatorsResponse>(broker, kFindCoordinators, request);
    const bool is_led =
        found.ok() && std::ranges::all_of(found->coordinators(), [](const v1::Coordinator& one) {
          return one.leader_id() != 0;
        });
    if (is_led) return *found;
    rig->world.RunFor(std::chrono::milliseconds(100));
  }
  ADD_FAILURE() << "broker " << broker << " does not know who keeps groups";
  return {};
}

TEST(Metadata, WhoKeepsAGroup_IsToldByEveryBroker_WithTheShardsLeader) {
  ServiceRig rig(5);
  v1::DescribeTopicsRequest describe;
  describe.add_names("__coordinator");
  v1::FindCoordinatorsRequest request;
  for (const char* id : {"billing", "shipping", "billing"}) request.add_ids(id);
  for (size_t broker = 0; broker < 3; ++broker) {
    const v1::FindCoordinatorsResponse found = FindCoordinators(&rig, broker, request);
    ASSERT_EQ(found.coordinators_size(), 3);
    EXPECT_EQ(found.brokers_size(), 3);
    const auto topic = rig.Call<v1::DescribeTopicsResponse>(broker, kDescribe, describe).value();
    for (const v1::Coordinator& one : found.coordinators()) {
      EXPECT_EQ(one.slot(), SlotOf(one.id()));
      const v1::Partition& shard = topic.topics(0).partitions(static_cast<int>(one.shard()));
      EXPECT_EQ(one.leader_id(), shard.leader_id());
      EXPECT_EQ(one.leader_epoch(), shard.leader_epoch());
    }
    EXPECT_EQ(found.coordinators(1).id(), "shipping");
    EXPECT_EQ(found.coordinators(2).shard(), found.coordinators(0).shard());
  }
}

TEST(Metadata, AnIdThatNoGroupCanHave_IsRefused) {
  ServiceRig rig(5);
  v1::FindCoordinatorsRequest request;
  request.add_ids("a");
  FindCoordinators(&rig, 0, request);
  request.add_ids("a\nb");
  EXPECT_EQ(rig.Call<v1::FindCoordinatorsResponse>(0, kFindCoordinators, request).status().code(),
            Code::kInvalidArgument);
}

TEST(Metadata, ACreationThatRunsOutOfTime_SaysWhatItWaitedFor) {
  ServiceRig rig(3);
  rig.CreateTopic("first", 1);  // all are up, and know each other
  rig.cluster.Kill(2, /*power_loss=*/false);
  v1::CreateTopicRequest request;
  request.set_name("t");
  request.set_partition_count(3);
  request.set_replication_factor(1);
  Status told = Unavailable("not asked yet");
  // The controllers may be electing still.
  for (int attempt = 0; attempt < 500 && told.code() == Code::kUnavailable; ++attempt) {
    rig.world.RunFor(std::chrono::milliseconds(20));
    told = rig.Call<v1::CreateTopicResponse>(0, kCreate, request, std::chrono::seconds(5)).status();
  }
  EXPECT_EQ(told.code(), Code::kDeadlineExceeded);
  EXPECT_THAT(told.message(),
              HasSubstr("\"t\" is created, but not every partition has a leader yet"));
}

}  // namespace
}  // namespace millrace::broker

// What groups commit, asked of any broker of a cluster, whoever leads their shard.

#include <map>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/v1/group_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {
namespace {

constexpr char kService[] = "/millrace.v1.GroupService/";

void Publish(ServiceRig& rig, const std::string& topic, uint32_t partition, int records) {
  v1::PublishRequest request;
  request.set_topic(topic);
  request.set_partition(partition);
  for (int i = 0; i < records; ++i) request.add_records()->set_timestamp_ms(1000 + i);
  const auto response =
      rig.Call<v1::PublishResponse>(0, "/millrace.v1.ProducerService/Publish", request);
  ASSERT_TRUE(response.ok()) << response.status();
  ASSERT_FALSE(response->results(0).has_error()) << response->ShortDebugString();
}

class GroupServiceTest : public testing::Test {
 protected:
  using Offsets = std::map<uint32_t, int64_t>;

  template <typename Response, typename Request>
  Result<Response> Call(const std::string& method, const Request& request, size_t broker = 0) {
    return rig_.Call<Response>(broker, kService + method, request);
  }
  // What is refused, by partition.
  std::map<uint32_t, v1::Error> Commit(const std::string& group, const Offsets& offsets,
                                       const std::string& topic = "t", size_t broker = 0) {
    v1::CommitOffsetsRequest request;
    request.set_group(group);
    auto& named = *request.add_topics();
    named.set_topic(topic);
    for (const auto& [partition, offset] : offsets) {
      auto& commit = *named.add_partitions();
      commit.set_partition(partition);
      commit.set_offset(offset);
      commit.set_leader_epoch(77);
      commit.set_metadata("at " + std::to_string(offset));
    }
    const auto response = Call<v1::CommitOffsetsResponse>("CommitOffsets", request, broker);
    EXPECT_TRUE(response.ok()) << response.status();
    std::map<uint32_t, v1::Error> refused;
    if (!response.ok()) return refused;
    for (const auto& one : response->refused()) {
      EXPECT_EQ(one.topic(), topic);
      refused[one.partition()] = one.error();
    }
    return refused;
  }
  // Those that are there.
  Offsets Fetch(const std::string& group, size_t broker = 0) {
    v1::FetchOffsetsRequest request;
    request.set_group(group);
    const auto response = Call<v1::FetchOffsetsResponse>("FetchOffsets", request, broker);
    EXPECT_TRUE(response.ok()) << response.status();
    Offsets offsets;
    if (!response.ok()) return offsets;
    for (const auto& topic : response->topics()) {
      for (const auto& one : topic.partitions()) offsets[one.partition()] = one.offset();
    }
    return offsets;
  }
  Result<v1::DescribeGroupResponse> Describe(const std::string& group) {
    v1::DescribeGroupRequest request;
    request.set_group(group);
    return Call<v1::DescribeGroupResponse>("DescribeGroup", request);
  }
  // The broker that leads the group's shard.
  size_t CoordinatorOf(const std::string& group) {
    const auto described = Describe(group);
    CHECK(described.ok()) << described.status();
    return described->coordinator_id() - 1;
  }

  ServiceRig rig_{1};
};

TEST_F(GroupServiceTest, WhatIsCommittedAtAnyBroker_IsFetchedAtAny) {
  rig_.CreateTopic("t", 3);
  for (uint32_t partition = 0; partition < 3; ++partition) Publish(rig_, "t", partition, 10);
  for (size_t broker = 0; broker < 3; ++broker) {
    const std::string group = "group-" + std::to_string(broker);
    EXPECT_EQ(Fetch(group, broker), Offsets{}) << "none is an answer";
    EXPECT_TRUE(Commit(group, {{0, 4}, {2, 10}}, "t", broker).empty());
    for (size_t other = 0; other < 3; ++other) {
      EXPECT_EQ(Fetch(group, other), (Offsets{{0, 4}, {2, 10}})) << "at " << other;
    }
  }
  v1::FetchOffsetsRequest request;
  request.set_group("group-1");
  request.add_topics()->set_topic("t");
  request.mutable_topics(0)->add_partitions(2);
  request.mutable_topics(0)->add_partitions(1);
  const auto named = Call<v1::FetchOffsetsResponse>("FetchOffsets", request);
  ASSERT_TRUE(named.ok()) << named.status();
  ASSERT_EQ(named->topics_size(), 1);
  EXPECT_EQ(named->topics(0).topic(), "t");
  const auto& rows = named->topics(0).partitions();
  ASSERT_EQ(rows.size(), 2);
  EXPECT_FALSE(rows[0].has_offset());
  EXPECT_EQ(rows[1].offset(), 10);
  EXPECT_EQ(rows[1].metadata(), "at 10");
  EXPECT_EQ(rows[1].leader_epoch(), 77U);
  EXPECT_GT(rows[1].commit_time_ms(), 0);
}

TEST_F(GroupServiceTest, WhatWasCommitted_OutlivesTheBrokerThatLeadsItsShard_AndAllOfThem) {
  rig_.CreateTopic("t", 1);
  Publish(rig_, "t", 0, 10);
  ASSERT_TRUE(Commit("g", {{0, 4}}).empty());
  const size_t leader = CoordinatorOf("g");
  rig_.cluster.Kill(leader, /*power_loss=*/true);
  const size_t other = leader == 0 ? 1 : 0;
  EXPECT_EQ(Fetch("g", other), (Offsets{{0, 4}})) << "a change of leader is a pause";
  EXPECT_TRUE(Commit("g", {{0, 5}}, "t", other).empty());
  for (size_t broker = 0; broker < 3; ++broker) {
    if (broker != leader) rig_.cluster.Kill(broker, /*power_loss=*/true);
  }
  rig_.cluster.StartAll();
  ASSERT_TRUE(rig_.world.RunUntil(
      [&] {
        return rig_.cluster.is_serving(0) && rig_.cluster.is_serving(1) &&
               rig_.cluster.is_serving(2);
      },
      kRigTimeMax));
  EXPECT_EQ(Fetch("g", 2), (Offsets{{0, 5}}));
}

// Rule 1: "What positions a reader is told after a read barrier of the shard's group". A leader
// that is cut off and does not know it must not tell of what was.
TEST_F(GroupServiceTest, Rule1_ALeaderThatIsCutOff_TellsNoOldOffset) {
  rig_.CreateTopic("t", 1);
  Publish(rig_, "t", 0, 10);
  ASSERT_TRUE(Commit("g", {{0, 4}}).empty());
  const size_t old_leader = CoordinatorOf("g");
  for (size_t broker = 0; broker < 3; ++broker) {
    if (broker == old_leader) continue;
    rig_.world.Partition(rig_.cluster.host(old_leader), rig_.cluster.host(broker));
  }
  const size_t other = old_leader == 0 ? 1 : 0;
  ASSERT_TRUE(Commit("g", {{0, 5}}, "t", other).empty());
  v1::FetchOffsetsRequest request;
  request.set_group("g");
  const auto told = rig_.Call<v1::FetchOffsetsResponse>(
      old_leader, std::string(kService) + "FetchOffsets", request, std::chrono::seconds(2));
  if (told.ok()) {
    EXPECT_EQ(told->topics(0).partitions(0).offset(), 5);
  } else {
    EXPECT_TRUE(told.status().code() == Code::kUnavailable ||
                told.status().code() == Code::kDeadlineExceeded)
        << told.status();
  }
}

// Rule 28: "Offsets are keyed by topic id; a name is resolved when the request arrives."
TEST_F(GroupServiceTest, Rule28_ATopicThatIsMadeAnewUnderAName_HasNoneOfTheOldOnesOffsets) {
  rig_.CreateTopic("t", 1);
  Publish(rig_, "t", 0, 10);
  ASSERT_TRUE(Commit("g", {{0, 7}}).empty());
  v1::DeleteTopicRequest deletion;
  deletion.set_name("t");
  ASSERT_TRUE(
      rig_.Call<v1::DeleteTopicResponse>(0, "/millrace.v1.AdminService/DeleteTopic", deletion)
          .ok());
  EXPECT_EQ(Fetch("g"), Offsets{}) << "what is not there has no offsets";
  rig_.CreateTopic("t", 1);
  EXPECT_EQ(Fetch("g"), Offsets{});
  // And the sweep forgets them.
  ASSERT_TRUE(rig_.world.RunUntil(
      [&] {
        const auto described = Describe("g");
        return described.ok() && described->group().offset_count() == 0;
      },
      kRigTimeMax));
}

TEST_F(GroupServiceTest, WhatCannotBeCommitted_IsNamed_AndTheRestIsTaken) {
  rig_.CreateTopic("t", 2);
  Publish(rig_, "t", 0, 10);
  const auto refused = Commit("g", {{0, 10}, {1, 1}, {2, 0}});
  ASSERT_EQ(refused.size(), 2U);
  EXPECT_EQ(refused.at(1).code(), static_cast<int>(Code::kOutOfRange)) << "past the end";
  EXPECT_EQ(refused.at(1).info().metadata().at("end_offset"), "0");
  EXPECT_EQ(refused.at(2).info().reason(), "UNKNOWN_PARTITION");
  EXPECT_EQ(Fetch("g"), (Offsets{{0, 10}}));
  const auto unknown = Commit("g", {{0, 1}}, "none");
  ASSERT_EQ(unknown.size(), 1U);
  EXPECT_EQ(unknown.at(0).info().reason(), "UNKNOWN_TOPIC");
  const auto internal = Commit("g", {{0, 0}}, "__coordinator");
  ASSERT_EQ(internal.size(), 1U);
  EXPECT_EQ(internal.at(0).code(), static_cast<int>(Code::kInvalidArgument));
  EXPECT_EQ(Fetch("g"), (Offsets{{0, 10}}));
  for (const std::string& id : {std::string(), std::string(250, 'g'), std::string("a\tb")}) {
    v1::CommitOffsetsRequest request;
    request.set_group(id);
    EXPECT_EQ(Call<v1::CommitOffsetsResponse>("CommitOffsets", request).status().code(),
              Code::kInvalidArgument);
  }
}

// A name of megabytes would be said again for each of ten thousand partitions.
TEST_F(GroupServiceTest, ACommitForANameThatNoTopicCanHave_IsRefusedInAFewWords) {
  v1::CommitOffsetsRequest request;
  request.set_group("g");
  auto& topic = *request.add_topics();
  topic.set_topic(std::string(3'000'000, 't'));
  for (uint32_t partition = 0; partition < 3; ++partition) {
    topic.add_partitions()->set_partition(partition);
  }
  const auto refused = Call<v1::CommitOffsetsResponse>("CommitOffsets", request);
  EXPECT_EQ(refused.status().code(), Code::kInvalidArgument);
  EXPECT_LT(refused.status().message().size(), 200U);
}

TEST_F(GroupServiceTest, EveryGroup_IsListedOnce_OverAllShards) {
  rig_.CreateTopic("t", 1);
  std::set<std::string> groups;
  for (int i = 0; i < 25; ++i) {
    groups.insert("group-" + std::to_string(i));
    ASSERT_TRUE(Commit("group-" + std::to_string(i), {{0, 0}}).empty());
  }
  for (const uint32_t page_size : {0U, 4U}) {
    std::set<std::string> listed;
    v1::ListGroupsRequest request;
    request.set_page_size(page_size);
    do {
      const auto response = Call<v1::ListGroupsResponse>("ListGroups", request, 1);
      ASSERT_TRUE(response.ok()) << response.status();
      EXPECT_LE(response->groups_size(), page_size == 0 ? 25 : 4);
      for (const auto& group : response->groups()) {
        EXPECT_TRUE(listed.insert(group.group()).second) << group.group() << " twice";
      }
      request.set_page_token(response->next_page_token());
    } while (!request.page_token().empty());
    EXPECT_EQ(listed, groups);
  }
  v1::ListGroupsRequest request;
  request.set_prefix("group-2");
  const auto some = Call<v1::ListGroupsResponse>("ListGroups", request);
  ASSERT_TRUE(some.ok());
  EXPECT_EQ(some->groups_size(), 6);
  request.set_page_token("9/0/");
  EXPECT_EQ(Call<v1::ListGroupsResponse>("ListGroups", request).status().code(),
            Code::kInvalidArgument);
}

TEST_F(GroupServiceTest, AReset_GoesWhereItIsSaid_AndADryRunChangesNothing) {
  rig_.CreateTopic("t", 2);
  Publish(rig_, "t", 0, 10);
  Publish(rig_, "t", 1, 5);
  ASSERT_TRUE(Commit("g", {{0, 7}}).empty());
  const auto reset = [&](v1::ResetOffsetsRequest request) {
    request.set_group("g");
    if (request.to_case() != v1::ResetOffsetsRequest::kOffsets) {
      request.add_topics()->set_topic("t");
    }
    const auto response = Call<v1::ResetOffsetsResponse>("ResetOffsets", request, 2);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? *response : v1::ResetOffsetsResponse();
  };
  v1::ResetOffsetsRequest request;
  request.set_latest(true);
  request.set_is_dry_run(true);
  const v1::ResetOffsetsResponse dry = reset(request);
  ASSERT_EQ(dry.offsets_size(), 2);
  EXPECT_EQ(dry.offsets(0).before(), 7);
  EXPECT_EQ(dry.offsets(0).after(), 10);
  EXPECT_FALSE(dry.offsets(1).has_before());
  EXPECT_EQ(dry.offsets(1).after(), 5);
  EXPECT_EQ(Fetch("g"), (Offsets{{0, 7}}));
  request.set_is_dry_run(false);
  reset(request);
  EXPECT_EQ(Fetch("g"), (Offsets{{0, 10}, {1, 5}}));
  request.set_shift_by(-3);
  reset(request);
  EXPECT_EQ(Fetch("g"), (Offsets{{0, 7}, {1, 2}}));
  request.set_shift_by(INT64_MAX);
  reset(request);
  EXPECT_EQ(Fetch("g"), (Offsets{{0, 10}, {1, 5}}));
  request.set_shift_by(INT64_MIN);
  reset(request);
  EXPECT_EQ(Fetch("g"), (Offsets{{0, 0}, {1, 0}}));
  request.set_timestamp_ms(1004);
  reset(request);
  EXPECT_EQ(Fetch("g"), (Offsets{{0, 4}, {1, 4}}));
  request.set_earliest(true);
  reset(request);
  EXPECT_EQ(Fetch("g"), (Offsets{{0, 0}, {1, 0}}));
  // All or nothing: 6 is past the end of partition 1.
  request.set_offset(6);
  const v1::ResetOffsetsResponse half = reset(request);
  EXPECT_FALSE(half.offsets(0).has_error());
  EXPECT_EQ(half.offsets(1).error().info().reason(), "OFFSET_OUT_OF_RANGE");
  EXPECT_EQ(Fetch("g"), (Offsets{{0, 0}, {1, 0}}));
  auto& topic = *request.mutable_offsets()->add_topics();
  topic.set_topic("t");
  topic.add_partitions()->set_partition(1);
  topic.mutable_partitions(0)->set_offset(3);
  topic.mutable_partitions(0)->set_leader_epoch(2);
  topic.mutable_partitions(0)->set_metadata("by hand");
  reset(request);
  EXPECT_EQ(Fetch("g"), (Offsets{{0, 0}, {1, 3}}));
  v1::FetchOffsetsRequest fetch;
  fetch.set_group("g");
  const auto fetched = Call<v1::FetchOffsetsResponse>("FetchOffsets", fetch);
  ASSERT_TRUE(fetched.ok()) << fetched.status();
  EXPECT_EQ(fetched->topics(0).partitions(1).leader_epoch(), 2U);
  EXPECT_EQ(fetched->topics(0).partitions(1).metadata(), "by hand");
  EXPECT_EQ(Call<v1::ResetOffsetsResponse>("ResetOffsets",
                                           [] {
                                             v1::ResetOffsetsRequest nowhere;
                                             nowhere.set_group("g");
                                             return nowhere;
                                           }())
                .status()
                .code(),
            Code::kInvalidArgument);
  EXPECT_GT(Describe("g")->epoch(), 5U) << "each move raises it";
}

TEST_F(GroupServiceTest, OffsetsAndGroups_AreDeleted) {
  rig_.CreateTopic("t", 2);
  ASSERT_TRUE(Commit("g", {{0, 0}, {1, 0}}).empty());
  v1::DeleteOffsetsRequest offsets;
  offsets.set_group("g");
  EXPECT_EQ(Call<v1::DeleteOffsetsResponse>("DeleteOffsets", offsets).status().code(),
            Code::kInvalidArgument);
  offsets.add_topics()->set_topic("t");
  offsets.mutable_topics(0)->add_partitions(1);
  const auto deleted = Call<v1::DeleteOffsetsResponse>("DeleteOffsets", offsets, 1);
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_EQ(deleted->deleted_count(), 1U);
  EXPECT_EQ(Fetch("g"), (Offsets{{0, 0}}));
  v1::DeleteGroupRequest group;
  group.set_group("g");
  ASSERT_TRUE(Call<v1::DeleteGroupResponse>("DeleteGroup", group, 2).ok());
  EXPECT_EQ(Describe("g").status().reason(), Reason::kUnknownGroup);
  EXPECT_EQ(Fetch("g"), Offsets{});
  EXPECT_EQ(Call<v1::DeleteGroupResponse>("DeleteGroup", group).status().reason(),
            Reason::kUnknownGroup);
}

// The coordinator's own topic: nobody writes to it, reads or changes it, and it can be looked at.
TEST_F(GroupServiceTest, TheCoordinatorsTopic_IsNoOnesButItsOwn) {
  rig_.CreateTopic("t", 1);
  v1::PublishRequest publish;
  publish.set_topic("__coordinator");
  publish.add_records()->set_value("x");
  EXPECT_EQ(rig_.Call<v1::PublishResponse>(0, "/millrace.v1.ProducerService/Publish", publish)
                .status()
                .code(),
            Code::kInvalidArgument);
  v1::DeleteTopicRequest deletion;
  deletion.set_name("__coordinator");
  EXPECT_EQ(rig_.Call<v1::DeleteTopicResponse>(0, "/millrace.v1.AdminService/DeleteTopic", deletion)
                .status()
                .code(),
            Code::kInvalidArgument);
  v1::AlterTopicRequest alteration;
  alteration.set_name("__coordinator");
  alteration.set_partition_count(50);
  EXPECT_EQ(rig_.Call<v1::AlterTopicResponse>(0, "/millrace.v1.AdminService/AlterTopic", alteration)
                .status()
                .code(),
            Code::kInvalidArgument);
  v1::ListTopicsRequest list;
  const auto visible =
      rig_.Call<v1::ListTopicsResponse>(0, "/millrace.v1.MetadataService/ListTopics", list);
  ASSERT_TRUE(visible.ok());
  EXPECT_EQ(visible->topics_size(), 1);
  list.set_include_internal(true);
  const auto all =
      rig_.Call<v1::ListTopicsResponse>(0, "/millrace.v1.MetadataService/ListTopics", list);
  ASSERT_TRUE(all.ok());
  ASSERT_EQ(all->topics_size(), 2);
  EXPECT_EQ(all->topics(0).name(), "__coordinator");
  EXPECT_EQ(all->topics(0).partition_count(), 2U);
  EXPECT_EQ(all->topics(0).replication_factor(), 3U);
  EXPECT_TRUE(all->topics(0).is_internal());
  v1::DescribeTopicsRequest described;
  described.add_names("__coordinator");
  EXPECT_TRUE(rig_.Call<v1::DescribeTopicsResponse>(
                      0, "/millrace.v1.MetadataService/DescribeTopics", described)
                  .ok());
}

}  // namespace
}  // namespace millrace::broker

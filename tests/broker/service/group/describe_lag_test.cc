// How far a group is behind and what is thought of it, asked of any broker of a cluster while a
// member reads, stands still and dies.
#include <cstdint>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "millrace/v1/group_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "tests/broker/service/group/member_rig.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {
namespace {

class DescribeLagTest : public testing::Test {
 protected:
  void SetUp() override { rig_.CreateTopic("t", 3); }

  void Publish(uint32_t partition, int records) {
    v1::PublishRequest request;
    request.set_topic("t");
    request.set_partition(partition);
    for (int i = 0; i < records; ++i) request.add_records()->set_timestamp_ms(1);
    const auto response =
        rig_.Call<v1::PublishResponse>(0, "/millrace.v1.ProducerService/Publish", request);
    ASSERT_TRUE(response.ok()) << response.status();
  }
  void Commit(uint32_t partition, int64_t offset) {
    const size_t results = member_->results.size();
    member_->Commit(++commit_id_, partition, offset);
    ASSERT_TRUE(member_->Await([&] { return member_->results.size() > results; }));
    ASSERT_TRUE(member_->results.back().refused().empty());
  }
  // A member that has all partitions, and has read all that is there.
  void Read() {
    member_ = std::make_unique<MemberStream>(rig_, 0, Init("g", "m-1"));
    ASSERT_TRUE(member_->Await([&] { return member_->owned().size() == 3; }));
    member_->KeepPinging();
    for (uint32_t partition = 0; partition < 3; ++partition) Commit(partition, 0);
  }
  v1::DescribeLagResponse Ask(size_t broker = 1) {
    v1::DescribeLagRequest request;
    request.set_group("g");
    const auto response = rig_.Call<v1::DescribeLagResponse>(
        broker, "/millrace.v1.GroupService/DescribeLag", request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? *response : v1::DescribeLagResponse();
  }
  v1::PartitionLag RowOf(uint32_t partition) {
    const v1::DescribeLagResponse response = Ask();
    EXPECT_EQ(response.topics_size(), 1);
    EXPECT_EQ(response.topics(0).topic(), "t");
    return response.topics(0).partitions(static_cast<int>(partition));
  }
  void Run(int64_t seconds) { rig_.world.RunFor(std::chrono::seconds(seconds)); }

  ServiceRig rig_{1};
  std::unique_ptr<MemberStream> member_;
  uint64_t commit_id_ = 0;
};

TEST_F(DescribeLagTest, WhoReadsAll_KeepsUp_AtWhicheverBrokerSomebodyAsks) {
  Read();
  Publish(1, 10);
  Commit(1, 10);
  for (size_t broker = 0; broker < 3; ++broker) {
    const v1::DescribeLagResponse response = Ask(broker);
    EXPECT_EQ(response.total().verdict(), v1::LAG_VERDICT_KEEPING_UP);
    EXPECT_EQ(response.total().grounds(), "nothing is left to read in its 3 partitions");
    EXPECT_EQ(response.topics(0).partitions(1).lag(), 0);
    EXPECT_EQ(response.topics(0).partitions(1).member_id(), "m-1");
  }
}

TEST_F(DescribeLagTest, WhoOwnsAPartition_AndCommitsNothing_IsStuck_AndThenDead) {
  Read();
  Publish(1, 10);
  Run(20);
  v1::PartitionLag row = RowOf(1);
  EXPECT_EQ(row.lag(), 10);
  EXPECT_GE(row.lag_ms_min(), 20'000);
  EXPECT_LT(row.lag_ms_max(), 25'000);
  EXPECT_NE(row.verdict(), v1::LAG_VERDICT_STUCK);
  Run(15);
  row = RowOf(1);
  EXPECT_EQ(row.verdict(), v1::LAG_VERDICT_STUCK);
  EXPECT_NE(row.grounds().find("member m-1 lives, and for "), std::string::npos) << row.grounds();
  EXPECT_EQ(RowOf(0).verdict(), v1::LAG_VERDICT_KEEPING_UP);
  EXPECT_EQ(Ask().total().verdict(), v1::LAG_VERDICT_STUCK);
  EXPECT_EQ(Ask().total().lag(), 10);
  // Its process is gone, and its session ends.
  member_->Cut();
  ASSERT_TRUE(member_->Await([this] { return MemberCount(rig_, "g") == 0; }));
  row = RowOf(1);
  EXPECT_EQ(row.verdict(), v1::LAG_VERDICT_DEAD);
  EXPECT_EQ(row.member_id(), "");
  EXPECT_NE(row.grounds().find("the group has no members"), std::string::npos) << row.grounds();
}

TEST_F(DescribeLagTest, WhoReadsLessThanComesIn_IsSlow_AndCatchesUpOnceNothingComes) {
  Read();
  int64_t committed = 0;
  for (int i = 1; i <= 50; ++i) {
    for (uint32_t partition = 0; partition < 3; ++partition) Publish(partition, 20);
    Commit(0, i * 20);
    Commit(1, committed += 10);
    Commit(2, i * 20);
    Run(1);
  }
  v1::PartitionLag row = RowOf(1);
  EXPECT_EQ(row.verdict(), v1::LAG_VERDICT_SLOW) << row.grounds();
  EXPECT_GE(row.measured_ms(), 30'000);
  EXPECT_NEAR(static_cast<double>(row.came_in()), 2.0 * static_cast<double>(row.read()), 40);
  EXPECT_EQ(RowOf(0).verdict(), v1::LAG_VERDICT_KEEPING_UP);
  for (int i = 0; i < 60 && row.verdict() == v1::LAG_VERDICT_SLOW; ++i) {
    Commit(1, committed += 5);
    Run(1);
    row = RowOf(1);
  }
  EXPECT_EQ(row.verdict(), v1::LAG_VERDICT_CATCHING_UP) << row.grounds();
}

TEST_F(DescribeLagTest, APartitionThatGetsFarMoreThanItsPeers_HasAHotKey) {
  Read();
  for (int i = 1; i <= 50; ++i) {
    Publish(0, 1);
    Commit(0, i);
    Publish(1, 20);
    Commit(1, i * 10);
    Run(1);
  }
  EXPECT_EQ(RowOf(1).verdict(), v1::LAG_VERDICT_HOT_KEY) << RowOf(1).grounds();
  EXPECT_EQ(Ask().total().verdict(), v1::LAG_VERDICT_HOT_KEY);
}

TEST_F(DescribeLagTest, AGroupThatIsNotThere_OrHasNoName_IsToldSo) {
  v1::DescribeLagRequest request;
  request.set_group("none");
  const std::string method = "/millrace.v1.GroupService/DescribeLag";
  EXPECT_EQ(rig_.Call<v1::DescribeLagResponse>(0, method, request).status().reason(),
            Reason::kUnknownGroup);
  request.clear_group();
  EXPECT_EQ(rig_.Call<v1::DescribeLagResponse>(0, method, request).status().code(),
            Code::kInvalidArgument);
}

// The one that leads next knows when records came, and when somebody committed last.
TEST_F(DescribeLagTest, ANewLeaderOfTheShard_SaysSinceWhenItMeasures_AndKnowsWhoIsStuck) {
  Read();
  Publish(1, 10);
  Run(40);
  EXPECT_GE(RowOf(1).measured_ms(), 30'000);
  v1::DescribeGroupRequest request;
  request.set_group("g");
  const auto group =
      rig_.Call<v1::DescribeGroupResponse>(0, "/millrace.v1.GroupService/DescribeGroup", request);
  ASSERT_TRUE(group.ok()) << group.status();
  const size_t leader = group->coordinator_id() - 1;
  // The member's own broker is another one than the shard's.
  ASSERT_NE(leader, 0U);
  rig_.cluster.Kill(leader, /*power_loss=*/true);
  const v1::DescribeLagResponse response = Ask(Other(leader));
  const v1::PartitionLag& row = response.topics(0).partitions(1);
  EXPECT_LT(row.measured_ms(), 10'000);
  EXPECT_EQ(row.verdict(), v1::LAG_VERDICT_STUCK) << row.grounds();
}

}  // namespace
}  // namespace millrace::broker

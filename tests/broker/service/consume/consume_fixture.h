// A topic of four partitions at three simulated brokers, and consumers of group g: what tests of
// Consume streams share.
//
// One per test; one thread.
//
//   const auto one = Owner(0);                 // a consumer that has all partitions
//   PublishToAll(0, 10);
//   ASSERT_TRUE(Until([&] { return one->is_settled(); }));
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/v1/admin_service.pb.h"
#include "millrace/v1/consumer_service.pb.h"
#include "millrace/v1/group_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "tests/broker/service/consume/consumer_rig.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {

using std::chrono::milliseconds;
using std::chrono::seconds;

inline constexpr uint32_t kPartitions = 4;

class ConsumeTest : public testing::Test {
 protected:
  void SetUp() override { rig_.CreateTopic("t", kPartitions); }

  bool Until(const std::function<bool()>& condition, Duration limit = kRigTimeMax) {
    return rig_.world.RunUntil(condition, limit);
  }
  // Records of one partition, their values "PARTITION.NUMBER" from `first` on.
  void Publish(uint32_t partition, int first, int count, size_t broker = 0) {
    v1::PublishRequest request;
    request.set_topic("t");
    request.set_partition(partition);
    for (int i = first; i < first + count; ++i) {
      request.add_records()->set_value(std::to_string(partition) + "." + std::to_string(i));
    }
    for (int attempt = 0; attempt < 200; ++attempt) {
      const auto response =
          rig_.Call<v1::PublishResponse>(broker, "/millrace.v1.ProducerService/Publish", request);
      if (response.ok() && !response->results(0).has_error()) return;
      rig_.world.RunFor(milliseconds(50));
    }
    FAIL() << "nothing can be published";
  }
  void PublishToAll(int first, int count) {
    for (uint32_t partition = 0; partition < kPartitions; ++partition) {
      Publish(partition, first, count);
    }
  }
  static std::vector<std::string> Values(uint32_t partition, int from, int to) {
    std::vector<std::string> values;
    for (int i = from; i < to; ++i) {
      values.push_back(std::to_string(partition) + "." + std::to_string(i));
    }
    return values;
  }
  // What the group has committed for a partition; of offset -1: nothing.
  v1::GroupOffset CommittedAs(uint32_t partition, size_t broker = 0) {
    v1::FetchOffsetsRequest request;
    request.set_group("g");
    const auto fetched = rig_.Call<v1::FetchOffsetsResponse>(
        broker, "/millrace.v1.GroupService/FetchOffsets", request);
    CHECK(fetched.ok()) << fetched.status();
    for (const v1::TopicOffsets& topic : fetched->topics()) {
      for (const v1::GroupOffset& offset : topic.partitions()) {
        if (offset.partition() == partition) return offset;
      }
    }
    v1::GroupOffset none;
    none.set_offset(-1);
    return none;
  }
  int64_t Committed(uint32_t partition, size_t broker = 0) {
    return CommittedAs(partition, broker).offset();
  }
  uint64_t LeaderEpochOf(uint32_t partition) {
    v1::ListOffsetsRequest request;
    request.set_topic("t");
    request.add_partitions(partition);
    const auto listed =
        rig_.Call<v1::ListOffsetsResponse>(0, "/millrace.v1.ConsumerService/ListOffsets", request);
    CHECK(listed.ok()) << listed.status();
    return listed->partitions(0).leader_epoch();
  }
  size_t MemberCount() { return broker::MemberCount(rig_, "g"); }
  std::unique_ptr<Consumer> Start(size_t broker, const v1::ConsumeInit& init) {
    return std::make_unique<Consumer>(rig_, broker, init);
  }
  // One that has all partitions.
  std::unique_ptr<Consumer> Owner(size_t broker, const v1::ConsumeInit& init = ConsumerInit("a")) {
    auto consumer = Start(broker, init);
    CHECK(Until([&] { return consumer->owned.size() == kPartitions; }));
    return consumer;
  }
  // Whether each partition is one of theirs, and each has as many as the others.
  static bool ShareAll(const std::vector<const Consumer*>& consumers) {
    std::set<uint32_t> all;
    for (const Consumer* consumer : consumers) {
      if (consumer->owned.size() != kPartitions / consumers.size()) return false;
      all.insert(consumer->owned.begin(), consumer->owned.end());
    }
    return all.size() == kPartitions;
  }
  void EndWell(Consumer* consumer) {
    consumer->Leave();
    ASSERT_TRUE(Until([&] { return consumer->status().has_value(); }));
    EXPECT_TRUE(consumer->status()->ok()) << *consumer->status();
  }
  void Grow(uint32_t partitions) {
    v1::AlterTopicRequest request;
    request.set_name("t");
    request.set_partition_count(partitions);
    const auto grown =
        rig_.Call<v1::AlterTopicResponse>(0, "/millrace.v1.AdminService/AlterTopic", request);
    ASSERT_TRUE(grown.ok()) << grown.status();
  }
  void DeleteRecords(uint32_t partition, int64_t before) {
    v1::DeleteRecordsRequest request;
    request.set_topic("t");
    request.add_partitions()->set_partition(partition);
    request.mutable_partitions(0)->set_before_offset(before);
    const auto deleted =
        rig_.Call<v1::DeleteRecordsResponse>(0, "/millrace.v1.AdminService/DeleteRecords", request);
    ASSERT_TRUE(deleted.ok() && !deleted->partitions(0).has_error());
  }

  ServiceRig rig_{1};
};

}  // namespace millrace::broker

#include "client/core/metadata.h"

#include <gtest/gtest.h>

#include "client/core/error.h"
#include "millrace/v1/error.pb.h"

namespace millrace::client {
namespace {

constexpr TopicPartition kPartition{TopicId(4), PartitionId(0)};

v1::DescribeTopicsResponse Described(uint32_t leader, uint64_t epoch) {
  v1::DescribeTopicsResponse response;
  v1::Topic* topic = response.add_topics();
  topic->set_name("flights");
  topic->set_topic_id(4);
  topic->add_partitions()->set_leader_id(leader);
  topic->mutable_partitions(0)->set_leader_epoch(epoch);
  v1::Broker* broker = response.add_brokers();
  broker->set_broker_id(1);
  broker->set_address("127.0.0.1:7440");
  return response;
}

TEST(MetadataCache, Update_NeverTakesAnOlderEpoch) {
  MetadataCache cache;
  cache.Update(Described(2, 5));
  cache.Update(Described(1, 4));
  EXPECT_EQ(cache.LeaderOf(kPartition).broker, BrokerId(2));
  cache.Update(Described(0, 5));
  EXPECT_EQ(cache.LeaderOf(kPartition).broker, BrokerId(2)) << "none known is no news";
  cache.Update(Described(0, 6));
  EXPECT_EQ(cache.LeaderOf(kPartition).broker, BrokerId());
}

// After news the next failure is another matter, and is asked about at once.
TEST(MetadataCache, Update_SaysWhetherItToldOfALeaderThatWasNotKnown) {
  MetadataCache cache;
  EXPECT_TRUE(cache.Update(Described(1, 1)));
  EXPECT_FALSE(cache.Update(Described(1, 1)));
  EXPECT_FALSE(cache.Update(Described(1, 2))) << "it leads on, in another epoch";
  EXPECT_FALSE(cache.Update(Described(0, 3)));
  EXPECT_TRUE(cache.Update(Described(2, 3)));
  EXPECT_FALSE(cache.Update(Described(1, 2))) << "an older epoch";
}

TEST(MetadataCache, Update_TakesNoPartitionAway_ButOfAnotherTopicOfTheName) {
  MetadataCache cache;
  v1::DescribeTopicsResponse response = Described(1, 1);
  response.mutable_topics(0)->add_partitions();
  cache.Update(response);
  cache.Update(Described(1, 1));
  EXPECT_EQ(cache.FindTopic("flights")->partition_count, 2U);
  v1::DescribeTopicsResponse anew = Described(1, 1);
  anew.mutable_topics(0)->set_topic_id(9);
  cache.Update(anew);
  EXPECT_EQ(cache.FindTopic("flights")->partition_count, 1U);
}

TEST(MetadataCache, Update_LearnsTopicsAndAddresses) {
  MetadataCache cache;
  cache.Update(Described(1, 1));
  ASSERT_NE(cache.FindTopic("flights"), nullptr);
  EXPECT_EQ(cache.FindTopic("flights")->partition_count, 1u);
  EXPECT_EQ(cache.FindTopic("trains"), nullptr);
  EXPECT_EQ(cache.AddressOf(BrokerId(1)), "127.0.0.1:7440");
  EXPECT_EQ(cache.AddressOf(BrokerId(2)), "");
}

TEST(LeaderHint, IsReadFromANotLeaderError_AndFromNoOther) {
  v1::Error error;
  error.set_code(14);
  error.mutable_info()->set_reason("NOT_LEADER");
  (*error.mutable_info()->mutable_metadata())["leader_id"] = "3";
  (*error.mutable_info()->mutable_metadata())["leader_epoch"] = "12";
  (*error.mutable_info()->mutable_metadata())["leader_address"] = "host:1";
  const auto hint = LeaderHintOf(FromError(error));
  ASSERT_TRUE(hint.has_value());
  EXPECT_EQ(hint->broker, BrokerId(3));
  EXPECT_EQ(hint->epoch, Term(12));
  EXPECT_EQ(hint->address, "host:1");
  error.mutable_info()->set_reason("THROTTLED");
  EXPECT_FALSE(LeaderHintOf(FromError(error)).has_value());
}

TEST(FromError, KeepsRetryDelay_AndCallsNoCodeAnError) {
  v1::Error error;
  error.mutable_retry()->mutable_retry_delay()->set_seconds(1);
  error.mutable_retry()->mutable_retry_delay()->set_nanos(500'000'000);
  const Status status = FromError(error);
  EXPECT_EQ(status.code(), Code::kUnknown);
  EXPECT_EQ(status.retry_after_ms(), 1500);
}

TEST(FromRpcStatus, TakesGarbageInTheTrailer_ForNoDetails) {
  const Status status = FromRpcStatus(5, "no such topic", "\xff\x01garbage");
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_EQ(status.message(), "no such topic");
  EXPECT_EQ(status.reason(), Reason::kNone);
}

}  // namespace
}  // namespace millrace::client

// A broker that starts with an image of before: a topic may have more partitions by now than that
// has. What it knows it says; how many there are it does not.

#include <memory>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "millrace/v1/consumer_service.pb.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {
namespace {

using std::chrono::seconds;

// Three brokers of which one starts alone: it has the controller's image as a segment's footer has
// it, with "t" of one partition, and nobody tells it more.
class StartingBrokerTest : public testing::Test {
 protected:
  static constexpr size_t kAlone = 0;

  void SetUp() override {
    rig_.CreateTopic("t", 1);
    for (int i = 0; i < 40; ++i) rig_.CreateTopic("t" + std::to_string(i), 1);
    for (size_t broker = 0; broker < rig_.cluster.size(); ++broker) {
      rig_.cluster.Kill(broker, /*power_loss=*/false);
    }
    rig_.cluster.Start(kAlone);
    rig_.world.RunFor(seconds(2));
    ASSERT_TRUE(rig_.cluster.is_serving(kAlone));
    ASSERT_FALSE(rig_.cluster.node(kAlone).is_ready());
    ASSERT_NE(rig_.cluster.node(kAlone).controller().image().FindTopic("t"), nullptr);
  }
  Status Published(const std::optional<std::string>& key) {
    v1::PublishRequest request;
    request.set_topic("t");
    if (key) request.mutable_records()->Add()->set_key(*key);
    if (!key) request.mutable_records()->Add()->set_value("x");
    return rig_
        .Call<v1::PublishResponse>(kAlone, "/millrace.v1.ProducerService/Publish", request,
                                   seconds(1))
        .status();
  }
  Status Listed(std::optional<uint32_t> partition) {
    v1::ListOffsetsRequest request;
    request.set_topic("t");
    if (partition) request.add_partitions(*partition);
    return rig_
        .Call<v1::ListOffsetsResponse>(kAlone, "/millrace.v1.ConsumerService/ListOffsets", request,
                                       seconds(1))
        .status();
  }
  // How a Subscribe call to all partitions is after a second.
  std::optional<Status> Subscribed(bool stops_at_end) {
    struct End final : client::RpcStreamHandler {
      void OnMessage(Bytes) override {}
      void OnClosed(const Status& why) override { status = why; }
      std::optional<Status> status;
    };
    End end;
    v1::SubscribeRequest request;
    request.set_topic("t");
    request.set_stop_at_end(stops_at_end);
    const auto stream = rig_.connector.OpenStream(rig_.cluster.addresses()[kAlone],
                                                  "/millrace.v1.ConsumerService/Subscribe", &end);
    stream->Write({Bytes::Own(request.SerializeAsString())});
    rig_.world.RunFor(seconds(1));
    return end.status;
  }

  ServiceRig rig_{1, {.controller_segment_bytes = 4 << 10}};
};

// A day after the topic grew it would go to the partition of before.
TEST_F(StartingBrokerTest, AKey_IsNotGivenAPartition) {
  EXPECT_EQ(Published("key").reason(), Reason::kNotInitialized);
  EXPECT_NE(Published(std::nullopt).reason(), Reason::kNotInitialized) << "any partition will do";
}

TEST_F(StartingBrokerTest, AllPartitions_AreNotListed_AndAPartitionMayBeThere) {
  EXPECT_EQ(Listed(std::nullopt).reason(), Reason::kNotInitialized);
  EXPECT_EQ(Listed(1).reason(), Reason::kNotInitialized);
  EXPECT_NE(Listed(0).reason(), Reason::kNotInitialized);
}

TEST_F(StartingBrokerTest, AReaderOfAll_IsServed_UnlessItWantsTheEnd) {
  const std::optional<Status> stopped = Subscribed(true);
  ASSERT_TRUE(stopped.has_value());
  EXPECT_EQ(stopped->reason(), Reason::kNotInitialized) << *stopped;
  EXPECT_FALSE(Subscribed(false).has_value());
}

}  // namespace
}  // namespace millrace::broker

// Leader epochs as clients are told them: wherever one stands, by whichever broker, it never goes
// back for a topic's name, also where the topic is deleted and made again.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/v1/consumer_service.pb.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {
namespace {

using Epochs = std::vector<uint64_t>;

constexpr char kDelete[] = "/millrace.v1.AdminService/DeleteTopic";
constexpr char kDescribe[] = "/millrace.v1.MetadataService/DescribeTopics";
constexpr char kListOffsets[] = "/millrace.v1.ConsumerService/ListOffsets";

void AddDescribed(ServiceRig& rig, size_t broker, Epochs* told) {
  v1::DescribeTopicsRequest request;
  request.add_names("t");
  const auto topics = rig.Call<v1::DescribeTopicsResponse>(broker, kDescribe, request);
  ASSERT_TRUE(topics.ok()) << topics.status();
  told->push_back(topics->topics(0).partitions(0).leader_epoch());
}

void AddListed(ServiceRig& rig, size_t broker, Epochs* told) {
  v1::ListOffsetsRequest request;
  request.set_topic("t");
  const auto offsets = rig.Call<v1::ListOffsetsResponse>(broker, kListOffsets, request);
  ASSERT_TRUE(offsets.ok()) << offsets.status();
  ASSERT_FALSE(offsets->partitions(0).has_error()) << offsets->ShortDebugString();
  told->push_back(offsets->partitions(0).leader_epoch());
}

void AddProduced(ServiceRig& rig, size_t broker, Epochs* told) {
  v1::RecordBatch batch;
  batch.add_records()->set_value("v");
  const v1::ProduceResult result = rig.Produce(broker, "t", Bytes::Own(batch.SerializeAsString()));
  ASSERT_FALSE(result.has_error()) << result.ShortDebugString();
  told->push_back(result.leader_epoch());
}

// Those of the answers and of the batches.
void AddFetched(ServiceRig& rig, size_t broker, Epochs* told) {
  struct Answers final : client::RpcStreamHandler {
    void OnMessage(Bytes message) override {
      v1::FetchResponse response;
      CHECK(response.ParseFromArray(message.data(), static_cast<int>(message.size())));
      for (const v1::FetchedPartition& part : response.partitions()) {
        CHECK(!part.has_error()) << part.ShortDebugString();
        epochs.push_back(part.leader_epoch());
        for (const v1::FetchedBatch& batch : part.batches()) {
          epochs.push_back(batch.leader_epoch());
          has_batch = true;
        }
      }
    }
    void OnClosed(const Status& why) override { LOG(FATAL) << why; }
    Epochs epochs;
    bool has_batch = false;
  };
  Answers answers;
  const auto stream = rig.connector.OpenStream(rig.cluster.addresses()[broker],
                                               "/millrace.v1.ConsumerService/Fetch", &answers);
  v1::FetchRequest request;
  request.mutable_init()->set_client_id("test");
  request.set_credit_bytes(1 << 20);
  v1::FetchPartition& partition = *request.add_add();
  partition.set_topic("t");
  partition.mutable_position()->set_earliest(true);
  stream->Write({Bytes::Own(request.SerializeAsString())});
  ASSERT_TRUE(rig.world.RunUntil([&] { return answers.has_batch; }, kRigTimeMax));
  told->insert(told->end(), answers.epochs.begin(), answers.epochs.end());
}

// All that is told of the topic's only partition, by every broker.
Epochs ToldBy(ServiceRig& rig) {
  Epochs told;
  for (size_t broker = 0; broker < rig.cluster.size(); ++broker) {
    AddProduced(rig, broker, &told);
    AddDescribed(rig, broker, &told);
    AddListed(rig, broker, &told);
    AddFetched(rig, broker, &told);
  }
  return told;
}

TEST(LeaderEpochs, OfATopicThatIsMadeAgain_AreLarger_WhereverTheyAreTold) {
  ServiceRig rig(1);
  uint64_t largest = 0;
  for (int life = 0; life < 3; ++life) {
    rig.CreateTopic("t", 1);
    Epochs told = ToldBy(rig);
    ASSERT_GT(told.size(), 20U);
    EXPECT_GT(*std::min_element(told.begin(), told.end()), largest) << "life=" << life;
    // One leader told all of it.
    EXPECT_EQ(*std::min_element(told.begin(), told.end()),
              *std::max_element(told.begin(), told.end()));
    const size_t leader = rig.LeaderOf("t", 0);
    rig.cluster.Kill(leader, /*power_loss=*/false);
    rig.LeaderOf("t", 0);
    rig.cluster.Start(leader);
    ASSERT_TRUE(rig.world.RunUntil(
        [&] { return rig.cluster.is_serving(leader) && rig.cluster.node(leader).is_ready(); },
        kRigTimeMax));
    rig.LeaderOf("t", 0);
    Epochs later = ToldBy(rig);
    EXPECT_GE(*std::min_element(later.begin(), later.end()),
              *std::max_element(told.begin(), told.end()));
    EXPECT_GT(*std::max_element(later.begin(), later.end()),
              *std::max_element(told.begin(), told.end()));
    largest = *std::max_element(later.begin(), later.end());
    v1::DeleteTopicRequest deletion;
    deletion.set_name("t");
    const auto deleted = rig.Call<v1::DeleteTopicResponse>(0, kDelete, deletion);
    ASSERT_TRUE(deleted.ok()) << deleted.status();
  }
}

TEST(LeaderEpochs, OfAnErrorThatNamesTheLeader_IsTheSame) {
  ServiceRig rig(2);
  rig.CreateTopic("t", 1);
  Epochs told;
  AddListed(rig, 0, &told);
  const size_t leader = rig.LeaderOf("t", 0);
  const size_t other = (leader + 1) % rig.cluster.size();
  const Node& node = rig.cluster.node(other);
  const RaftGroupId group = node.controller().image().FindTopic("t")->partitions[0].group;
  const Status error = node.view().NotLeader(group);
  const auto& metadata = error.metadata();
  const auto epoch = std::find_if(metadata.begin(), metadata.end(),
                                  [](const auto& pair) { return pair.first == "leader_epoch"; });
  ASSERT_NE(epoch, metadata.end()) << error;
  EXPECT_EQ(epoch->second, std::to_string(told[0]));
  // No epoch is told of a group whose topic this broker does not know.
  EXPECT_FALSE(node.view().EpochOf(RaftGroupId(999), Term(7)).has_value());
}

}  // namespace
}  // namespace millrace::broker

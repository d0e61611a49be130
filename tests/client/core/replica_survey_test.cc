// Every broker is asked about its own replicas, at its own address, and one that is silent, or
// down, takes nobody else's answer away.
#include "client/core/replica_survey.h"

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/client/core/unary_broker.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::client {
namespace {

using std::chrono::seconds;

constexpr Duration kTimeout = seconds(10);

// Brokers 1 to 3, at addresses of these numbers. The topic "t" has partition 0 on 1 and 2, and
// partition 1 on 2 and 3.
class Brokers final : public UnaryBrokers {
 public:
  using UnaryBrokers::UnaryBrokers;

  std::set<std::string> silent;             // these never answer
  std::map<std::string, Status> errors;     // what these answer about replicas
  std::set<std::string> nameless;           // of these no address is told
  std::map<std::string, uint32_t> strange;  // these say that they are another broker
  std::vector<uint32_t> next_partitions{};  // that broker 2 tells, one after the other; then 0
  std::vector<std::pair<std::string, v1::DescribeReplicasRequest>> asked;

 private:
  Duration DelayOf(const RpcRequest& request) const override {
    return silent.contains(request.address) ? request.timeout : Duration(0);
  }
  Result<Bytes> Answer(const RpcRequest& request) override {
    if (silent.contains(request.address)) return DeadlineExceeded("no answer");
    if (request.method == "/millrace.v1.MetadataService/DescribeTopics") return Topics();
    CHECK_EQ(request.method, "/millrace.v1.AdminService/DescribeReplicas");
    v1::DescribeReplicasRequest replicas;
    CHECK(replicas.ParseFromArray(request.body.data(), static_cast<int>(request.body.size())));
    asked.emplace_back(request.address, replicas);
    if (errors.contains(request.address)) return errors.at(request.address);
    return Replicas(request.address, replicas.first_partition());
  }
  Result<Bytes> Topics() const {
    v1::DescribeTopicsResponse response;
    v1::Topic& topic = *response.add_topics();
    topic.set_name("t");
    topic.set_topic_id(7);
    for (const uint32_t partition : {0, 1}) {
      v1::Partition& added = *topic.add_partitions();
      added.set_partition(partition);
      added.add_replica_ids(1 + partition);
      added.add_replica_ids(2 + partition);
    }
    for (const uint32_t id : {1, 2, 3}) {
      v1::Broker& broker = *response.add_brokers();
      broker.set_broker_id(id);
      if (!nameless.contains(std::to_string(id))) broker.set_address(std::to_string(id));
    }
    return Bytes::Own(response.SerializeAsString());
  }
  Result<Bytes> Replicas(const std::string& address, uint32_t first) {
    v1::DescribeReplicasResponse response;
    const auto other = strange.find(address);
    response.set_broker_id(other != strange.end() ? other->second
                                                  : static_cast<uint32_t>(std::stoul(address)));
    response.add_replicas()->set_partition(first);
    if (address == "2" && !next_partitions.empty()) {
      response.set_next_partition(next_partitions.front());
      next_partitions.erase(next_partitions.begin());
    }
    return Bytes::Own(response.SerializeAsString());
  }
};

class ReplicaSurveyTest : public testing::Test {
 protected:
  Result<ReplicaSurvey> Ask(std::optional<PartitionId> partition = {}) {
    Client client({process_.executor(), process_.clock(), brokers_, process_.Fork()},
                  {.bootstrap = {"1"}});
    std::optional<Result<ReplicaSurvey>> told;
    const MonotonicTime began = process_.clock().Now();
    SurveyReplicas(client, {.topic = "t", .partition = partition}, kTimeout,
                   [&](Result<ReplicaSurvey> survey) { told = std::move(survey); });
    CHECK(world_.RunUntil([&] { return told.has_value(); }, kTimeout));
    took_ = process_.clock().Now() - began;
    return *std::move(told);
  }
  std::set<std::string> Asked() const {
    std::set<std::string> addresses;
    for (const auto& [address, request] : brokers_.asked) addresses.insert(address);
    return addresses;
  }

  sim::SimWorld world_{1};
  sim::SimProcess& process_{world_.AddProcess("client")};
  Brokers brokers_{process_.executor()};
  Duration took_{};
};

TEST_F(ReplicaSurveyTest, EveryBrokerThatHasAReplica_IsAskedOnce) {
  const auto survey = Ask();
  ASSERT_TRUE(survey.ok()) << survey.status();
  EXPECT_EQ(Asked(), (std::set<std::string>{"1", "2", "3"}));
  EXPECT_EQ(brokers_.asked.size(), 3u);
  EXPECT_EQ(brokers_.asked[0].second.topic_id(), 7u) << "not another one of the same name";
  ASSERT_EQ(survey->brokers.size(), 3u);
  EXPECT_EQ(survey->brokers.at(BrokerId(3))->broker_id(), 3u);
}

TEST_F(ReplicaSurveyTest, OfOnePartition_ThoseThatHaveItAreAsked_AboutItAlone) {
  const auto survey = Ask(PartitionId(1));
  ASSERT_TRUE(survey.ok()) << survey.status();
  EXPECT_EQ(Asked(), (std::set<std::string>{"2", "3"}));
  EXPECT_EQ(brokers_.asked[0].second.first_partition(), 1u);
  EXPECT_EQ(brokers_.asked[0].second.partition_count_max(), 1u);
  ASSERT_EQ(survey->topic.partitions_size(), 1);
  EXPECT_EQ(survey->topic.partitions(0).partition(), 1u);
  const Status absent = Ask(PartitionId(2)).status();
  EXPECT_EQ(absent.code(), Code::kNotFound);
  EXPECT_EQ(absent.message(), "topic \"t\" has no partition 2");
}

TEST_F(ReplicaSurveyTest, ASilentBroker_IsGivenUp_AndTheOthersAreTold) {
  brokers_.silent = {"3"};
  const auto survey = Ask();
  ASSERT_TRUE(survey.ok()) << survey.status();
  EXPECT_EQ(survey->brokers.at(BrokerId(3)).status().code(), Code::kDeadlineExceeded);
  EXPECT_TRUE(survey->brokers.at(BrokerId(1)).ok() && survey->brokers.at(BrokerId(2)).ok());
  EXPECT_LE(took_, seconds(2) + std::chrono::milliseconds(10));
}

TEST_F(ReplicaSurveyTest, WhatABrokerRefuses_IsItsAnswer_AndNobodyElseIsAsked) {
  brokers_.errors["3"] = Unavailable("it starts");
  brokers_.nameless = {"1"};
  const auto survey = Ask();
  ASSERT_TRUE(survey.ok()) << survey.status();
  EXPECT_EQ(survey->brokers.at(BrokerId(3)).status().message(), "it starts");
  EXPECT_EQ(survey->brokers.at(BrokerId(1)).status().message(), "its address is not known");
  EXPECT_EQ(brokers_.asked.size(), 2u);
}

// As where several brokers advertise one address: replicas would be shown as another broker's.
TEST_F(ReplicaSurveyTest, WhoAnswersForAnotherBroker_IsNotBelieved) {
  brokers_.strange["3"] = 2;
  const auto survey = Ask();
  ASSERT_TRUE(survey.ok()) << survey.status();
  EXPECT_EQ(survey->brokers.at(BrokerId(3)).status().message(), "3 is broker 2");
  EXPECT_TRUE(survey->brokers.at(BrokerId(2)).ok());
}

TEST_F(ReplicaSurveyTest, AnAnswerThatGoesOn_IsPutTogether) {
  brokers_.next_partitions = {5, 9};
  const auto survey = Ask();
  ASSERT_TRUE(survey.ok()) << survey.status();
  const auto& answer = survey->brokers.at(BrokerId(2));
  ASSERT_TRUE(answer.ok()) << answer.status();
  ASSERT_EQ(answer->replicas_size(), 3);
  EXPECT_EQ(answer->replicas(1).partition(), 5u);
  EXPECT_EQ(answer->replicas(2).partition(), 9u);
}

TEST_F(ReplicaSurveyTest, AnAnswerThatDoesNotGoOn_EndsAllTheSame) {
  brokers_.next_partitions = {5, 5};
  const auto survey = Ask();
  ASSERT_TRUE(survey.ok()) << survey.status();
  EXPECT_EQ(survey->brokers.at(BrokerId(2)).status().code(), Code::kInternal);
}

}  // namespace
}  // namespace millrace::client

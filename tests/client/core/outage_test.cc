// What a client tells while nobody answers, and when it stops asking: an outage is told after a
// second, with address and reason; a foreign server is passed over; where nobody listens at all,
// Reach gives up early.

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/core/consumer_driver.h"
#include "client/core/producer_driver.h"
#include "client/core/transport_error.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

Status Refused(const std::string& address) {
  return Unavailable("cannot connect to " + address + ": Connection refused");
}

// One broker with a topic "t" of one partition that it leads, at an address that need not be where
// it is. Nobody accepts a stream.
class UnreachableBrokers final : public Connector {
 public:
  explicit UnreachableBrokers(Executor& executor) : executor_(executor) {}

  std::set<std::string> foreign;    // addresses of servers that know no method of ours
  std::set<std::string> answering;  // that answer calls; the others refuse the connection
  std::set<std::string> silent;     // that accept the connection and say nothing
  std::string advertised = "broker1";
  uint32_t leader = 1;  // 0: the partition has none

  void Call(RpcRequest request, RpcDone done) override {
    Result<Bytes> answer = Answer(request);
    const bool is_silent = silent.contains(request.address);
    executor_.RunAfter(is_silent ? request.timeout : Duration(0),
                       [done = std::move(done), answer = std::move(answer)]() mutable {
                         done(std::move(answer));
                       });
  }

  std::unique_ptr<RpcStream> OpenStream(const std::string& address, const std::string&,
                                        RpcStreamHandler* handler) override {
    return std::make_unique<RefusedStream>(executor_, address, handler);
  }

 private:
  class RefusedStream final : public RpcStream {
   public:
    RefusedStream(Executor& executor, const std::string& address, RpcStreamHandler* handler) {
      executor.Post([alive = is_alive_, address, handler] {
        if (*alive) handler->OnClosed(Refused(address));
      });
    }
    ~RefusedStream() override { *is_alive_ = false; }
    void Write(std::vector<Bytes>) override {}

   private:
    std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);  // shared with the task
  };

  Result<Bytes> Answer(const RpcRequest& request) const {
    if (foreign.contains(request.address)) {
      const RpcTarget target{.address = request.address, .method = request.method};
      return TransportError(static_cast<int>(Code::kUnimplemented), "Method not found!", target);
    }
    if (silent.contains(request.address)) return DeadlineExceeded(request.address + " is silent");
    if (!answering.contains(request.address)) return Refused(request.address);
    if (request.method.ends_with("/InitProducer")) {
      v1::InitProducerResponse response;
      response.set_producer_id(7);
      return Bytes::Own(response.SerializeAsString());
    }
    v1::DescribeTopicsResponse response;
    v1::Broker& broker = *response.add_brokers();
    broker.set_broker_id(1);
    broker.set_address(advertised);
    v1::Topic& topic = *response.add_topics();
    topic.set_name("t");
    topic.set_topic_id(5);
    v1::Partition& partition = *topic.add_partitions();
    partition.set_leader_id(leader);
    partition.set_leader_epoch(1);
    return Bytes::Own(response.SerializeAsString());
  }

  Executor& executor_;
};

class OutageTest : public testing::Test {
 protected:
  Duration RunUntilTold(Duration timeout = seconds(10)) {
    const MonotonicTime before = process_.clock().Now();
    EXPECT_TRUE(world_.RunUntil([&] { return !told_.empty(); }, timeout));
    return process_.clock().Now() - before;
  }

  sim::SimWorld world_{1};
  sim::SimProcess& process_{world_.AddProcess("client")};
  UnreachableBrokers brokers_{process_.executor()};
  std::vector<OutageReport> told_;
  Client client_{{process_.executor(), process_.clock(), brokers_, process_.Fork()},
                 {.bootstrap = {"one", "two"},
                  .on_outage = [this](const OutageReport& outage) { told_.push_back(outage); }}};
};

TEST_F(OutageTest, ACallThatNobodyAnswers_IsToldAfterASecond) {
  bool is_done = false;
  client_.GetServerInfo(seconds(20), [&](const Result<v1::GetServerInfoResponse>& answer) {
    is_done = true;
    EXPECT_THAT(std::string(answer.status().message()), HasSubstr("Connection refused"));
  });
  EXPECT_GE(RunUntilTold(), seconds(1));
  EXPECT_FALSE(is_done);
  EXPECT_THAT(std::string(told_[0].status.message()), HasSubstr(told_[0].address));
  EXPECT_GE(told_[0].lasts, seconds(1));
  ASSERT_TRUE(world_.RunUntil([&] { return is_done; }, seconds(30)));
  EXPECT_GE(told_.size(), 10u);
  EXPECT_LE(told_.size(), 40u) << "once a second for each of two addresses";
}

TEST_F(OutageTest, ACallThatIsAnswered_TellsNothing) {
  brokers_.answering = {"two"};
  bool is_done = false;
  client_.OpenTopic("t", seconds(20), [&](const Status& status) { is_done = status.ok(); });
  ASSERT_TRUE(world_.RunUntil([&] { return is_done; }, seconds(1)));
  EXPECT_TRUE(told_.empty());
}

TEST_F(OutageTest, AProducerWhoseLeaderIsAway_TellsItsAddressAndThePartition) {
  brokers_.answering = {"one"};
  brokers_.advertised = "nowhere";
  std::vector<DeliveryReport> reports;
  ProducerDriver producer(
      client_, "t", {.delivery_timeout = seconds(5)},
      {.on_report = [&](const DeliveryReport& report) { reports.push_back(report); },
       .on_room = {}});
  bool is_open = false;
  producer.Open(seconds(5), [&](const Status& status) { is_open = status.ok(); });
  ASSERT_TRUE(world_.RunUntil([&] { return is_open; }, seconds(5)));
  ASSERT_TRUE(producer.Send({.value = "x"}, process_.clock().Now()).ok());
  RunUntilTold();
  EXPECT_EQ(told_[0].address, "nowhere");
  EXPECT_THAT(std::string(told_[0].status.message()),
              HasSubstr("topic \"t\" partition 0 at broker 1: cannot connect to nowhere"));
  ASSERT_TRUE(world_.RunUntil([&] { return !reports.empty(); }, seconds(20)));
  EXPECT_THAT(std::string(reports[0].status.message()), HasSubstr("cannot connect to nowhere"));
}

TEST_F(OutageTest, AConsumerWhoseLeaderIsAway_TellsItsAddress_AsLongAsThatLasts) {
  brokers_.answering = {"one"};
  brokers_.advertised = "nowhere";
  ConsumerDriver consumer(client_, "t", {}, [] {});
  bool is_open = false;
  consumer.Open(seconds(5), [&](const Status& status) { is_open = status.ok(); });
  ASSERT_TRUE(world_.RunUntil([&] { return is_open; }, seconds(5)));
  ASSERT_TRUE(consumer.Assign(PartitionId(0), StartAt::Earliest()).ok());
  RunUntilTold();
  EXPECT_EQ(told_[0].address, "nowhere");
  EXPECT_EQ(told_[0].topic, "t");
  world_.RunFor(seconds(30));
  EXPECT_GE(told_.back().lasts, seconds(25));
}

TEST_F(OutageTest, APartitionWithoutALeader_IsTold_AlsoIfItNeverHadOne) {
  brokers_.answering = {"one", "broker1"};
  brokers_.leader = 0;
  ConsumerDriver consumer(client_, "t", {}, [] {});
  bool is_open = false;
  consumer.Open(seconds(5), [&](const Status& status) { is_open = status.ok(); });
  ASSERT_TRUE(world_.RunUntil([&] { return is_open; }, seconds(5)));
  ASSERT_TRUE(consumer.Assign(PartitionId(0), StartAt::Earliest()).ok());
  RunUntilTold();
  EXPECT_EQ(told_[0].status, Unavailable("topic \"t\" partition 0 has no leader"));
  EXPECT_EQ(told_[0].topic, "t");
}

TEST_F(OutageTest, AForeignServer_IsPassedOver) {
  brokers_.foreign = {"one"};
  brokers_.answering = {"two"};
  Status opened = Internal("not yet");
  client_.OpenTopic("t", seconds(20), [&](const Status& status) { opened = status; });
  EXPECT_TRUE(world_.RunUntil([&] { return opened.ok(); }, seconds(5))) << opened;
}

TEST_F(OutageTest, WhereAllServersAreForeign_ThatIsTheAnswer) {
  brokers_.foreign = {"one", "two"};
  Status opened;
  client_.OpenTopic("t", seconds(20), [&](const Status& status) { opened = status; });
  ASSERT_TRUE(world_.RunUntil([&] { return !opened.ok(); }, seconds(5)));
  EXPECT_EQ(opened.code(), Code::kUnimplemented);
}

TEST_F(OutageTest, Reach_GivesUpEarly_WhereNobodyListensAnywhere) {
  Status reached;
  client_.Reach(seconds(60), seconds(3), [&](const auto& answer) { reached = answer.status(); });
  world_.RunFor(milliseconds(2900));
  EXPECT_TRUE(reached.ok()) << "a broker may be about to start: " << reached;
  ASSERT_TRUE(world_.RunUntil([&] { return !reached.ok(); }, seconds(2)));
  EXPECT_THAT(std::string(reached.message()), HasSubstr("Connection refused"));
}

TEST_F(OutageTest, Reach_WaitsForABrokerThatIsThere) {
  brokers_.silent = {"two"};
  Status reached;
  client_.Reach(seconds(60), seconds(3), [&](const auto& answer) { reached = answer.status(); });
  world_.RunFor(seconds(55));
  EXPECT_TRUE(reached.ok()) << reached;
}

TEST(TransportError, NamesTheAddress_AndTheReasonAlone) {
  const RpcTarget target{.address = "127.0.0.1:7440",
                         .method = "/millrace.v1.AdminService/CreateTopic",
                         .timeout = seconds(5)};
  const Status refused = TransportError(
      14,
      "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:7440: Failed to "
      "connect to remote host: Connection refused",
      target);
  EXPECT_EQ(refused, Unavailable("cannot connect to 127.0.0.1:7440: Connection refused"));
  EXPECT_TRUE(IsConnectionRefused(refused));
  const Status unknown = TransportError(
      14,
      "DNS resolution failed for nosuch.invalid:1: C-ares status is not ARES_SUCCESS qtype=A "
      "name=nosuch.invalid is_balancer=0: Domain name not found",
      target);
  EXPECT_EQ(unknown, Unavailable("cannot connect to 127.0.0.1:7440: Domain name not found"));
  EXPECT_FALSE(IsConnectionRefused(unknown));
  EXPECT_EQ(TransportError(4, "Deadline Exceeded", target),
            DeadlineExceeded("127.0.0.1:7440 has not answered CreateTopic within 5000 ms"));
  EXPECT_EQ(TransportError(14, "Socket closed", target),
            Unavailable("127.0.0.1:7440: Socket closed"));
  const Status foreign = TransportError(12, "Method not found!", target);
  EXPECT_THAT(std::string(foreign.message()),
              HasSubstr("127.0.0.1:7440 does not know CreateTopic"));
  EXPECT_TRUE(IsForeign(foreign));
  EXPECT_FALSE(IsForeign(Unimplemented("field 9 is not known")));
}

}  // namespace
}  // namespace millrace::client

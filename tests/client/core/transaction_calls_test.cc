// What a producer with a transactional id asks brokers, and what it does while they do not answer:
// the driver against two brokers whose answers a test can take away.

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/core/producer_driver.h"
#include "raft/runtime/task.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::client {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

// Two brokers with a topic "t" of one partition. They store what is produced, unless told else.
class TransactionBrokers final : public Connector {
 public:
  explicit TransactionBrokers(Executor& executor) : executor_(executor) {}

  // From now on this is what calls of EndTransaction, InitProducer or Produce are answered with.
  void Answer(const std::string& method, const Status& error) { errors_[method] = error; }
  // What is answered to who names a producer that has the id.
  void AnswerInitsOfOthers(const Status& error) { errors_["InitProducer of another"] = error; }
  // What an address says, whatever it is asked of these.
  void AnswerAt(const std::string& address, const Status& error) { errors_[address] = error; }

  const std::vector<v1::InitProducerRequest>& inits() const { return inits_; }
  const std::vector<v1::EndTransactionRequest>& ends() const { return ends_; }
  const std::vector<v1::ProduceBatch>& produced() const { return produced_; }
  const std::vector<v1::CommitOffsetsRequest>& commits() const { return commits_; }

  void Call(RpcRequest request, RpcDone done) override {
    executor_.Post([done = std::move(done), answer = AnswerTo(request)]() mutable {
      done(std::move(answer));
    });
  }
  std::unique_ptr<RpcStream> OpenStream(const std::string&, const std::string&,
                                        RpcStreamHandler* handler) override {
    return std::make_unique<Stream>(*this, handler);
  }

 private:
  class Stream final : public RpcStream {
   public:
    Stream(TransactionBrokers& brokers, RpcStreamHandler* handler)
        : brokers_(brokers), handler_(handler) {}
    ~Stream() override { *is_alive_ = false; }
    void Write(std::vector<Bytes> pieces) override {
      std::string message;
      for (const Bytes& piece : pieces) message += piece.view();
      v1::ProduceRequest request;
      CHECK(request.ParseFromString(message));
      v1::ProduceResponse response;
      const Status& error = brokers_.errors_["Produce"];
      for (const v1::ProduceBatch& batch : request.batches()) {
        brokers_.produced_.push_back(batch);
        v1::ProduceResult& result = *response.add_results();
        result.set_batch_id(batch.batch_id());
        if (error.ok()) continue;
        result.mutable_error()->set_code(static_cast<int>(error.code()));
        result.mutable_error()->set_message(std::string(error.message()));
      }
      brokers_.executor_.Post([this, alive = is_alive_, response] {
        if (*alive) handler_->OnMessage(Bytes::Own(response.SerializeAsString()));
      });
    }

   private:
    TransactionBrokers& brokers_;
    RpcStreamHandler* const handler_;
    std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);  // shared with posted tasks
  };

  template <typename Request>
  static Request Parsed(const Bytes& body) {
    Request request;
    CHECK(request.ParseFromArray(body.data(), static_cast<int>(body.size())));
    return request;
  }
  Result<Bytes> AnswerTo(const RpcRequest& request) {
    if (request.method.ends_with("/EndTransaction")) {
      ends_.push_back(Parsed<v1::EndTransactionRequest>(request.body));
      RETURN_IF_ERROR(errors_[request.address]);
      RETURN_IF_ERROR(errors_["EndTransaction"]);
      return Bytes();
    }
    if (request.method.ends_with("/InitProducer")) {
      inits_.push_back(Parsed<v1::InitProducerRequest>(request.body));
      RETURN_IF_ERROR(errors_[request.address]);
      RETURN_IF_ERROR(errors_["InitProducer"]);
      if (inits_.back().producer_id() != 0) RETURN_IF_ERROR(errors_["InitProducer of another"]);
      v1::InitProducerResponse response;
      response.set_producer_id(7);
      response.set_producer_epoch(++epoch_);
      return Bytes::Own(response.SerializeAsString());
    }
    if (request.method.ends_with("/CommitOffsets")) {
      commits_.push_back(Parsed<v1::CommitOffsetsRequest>(request.body));
      RETURN_IF_ERROR(errors_["CommitOffsets"]);
      return Bytes();
    }
    return Bytes::Own(Describe().SerializeAsString());
  }
  static v1::DescribeTopicsResponse Describe() {
    v1::DescribeTopicsResponse response;
    for (uint32_t id = 1; id <= 2; ++id) {
      v1::Broker& broker = *response.add_brokers();
      broker.set_broker_id(id);
      broker.set_address("broker" + std::to_string(id));
    }
    v1::Topic& topic = *response.add_topics();
    topic.set_name("t");
    topic.set_topic_id(5);
    v1::Partition& partition = *topic.add_partitions();
    partition.set_leader_id(1);
    partition.set_leader_epoch(1);
    return response;
  }

  Executor& executor_;
  std::map<std::string, Status> errors_;  // by method, and by address
  std::vector<v1::InitProducerRequest> inits_;
  std::vector<v1::EndTransactionRequest> ends_;
  std::vector<v1::ProduceBatch> produced_;
  std::vector<v1::CommitOffsetsRequest> commits_;
  uint32_t epoch_ = 0;
};

class TransactionCallsTest : public testing::Test {
 protected:
  TransactionCallsTest() {
    ProducerTuning tuning;
    tuning.transactional_id = "orders";
    tuning.transaction_timeout = seconds(30);
    tuning.delivery_timeout = seconds(20);
    driver_ = std::make_unique<ProducerDriver>(
        client_, "t", tuning,
        ProducerDriver::Callbacks{.on_report = [](const DeliveryReport&) {}, .on_room = {}});
  }
  void Open() {
    bool is_open = false;
    driver_->Open(seconds(10), [&](const Status& status) { is_open = status.ok(); });
    ASSERT_TRUE(world_.RunUntil([&] { return is_open; }, seconds(10)));
  }
  // One of one record.
  void Run(bool is_commit) {
    ASSERT_TRUE(driver_->BeginTransaction().ok());
    ASSERT_TRUE(driver_->Send({.value = "v"}, process_.clock().Now()).ok());
    driver_->EndTransaction(is_commit, [this](const Status& status) { told_.push_back(status); });
  }
  void AwaitOutcomes(size_t count, Duration limit = seconds(5)) {
    ASSERT_TRUE(world_.RunUntil([&] { return told_.size() >= count; }, limit));
  }

  sim::SimWorld world_{1};
  sim::SimProcess& process_{world_.AddProcess("client")};
  TransactionBrokers brokers_{process_.executor()};
  Client client_{{process_.executor(), process_.clock(), brokers_, process_.Fork()},
                 {.bootstrap = {"broker1"}}};
  std::unique_ptr<ProducerDriver> driver_;
  std::vector<Status> told_;
  int told_partitions_ = 0;
};

TEST_F(TransactionCallsTest, Commit_NamesTheIdEpochAndNumber_AndSoDoBatches) {
  Open();
  ASSERT_EQ(brokers_.inits().size(), 1U);
  EXPECT_EQ(brokers_.inits()[0].transactional_id(), "orders");
  EXPECT_EQ(brokers_.inits()[0].transaction_timeout_ms(), 30'000U);
  EXPECT_NE(brokers_.inits()[0].request_id(), 0U);
  Run(true);
  AwaitOutcomes(1);
  EXPECT_TRUE(told_[0].ok()) << told_[0];
  ASSERT_EQ(brokers_.ends().size(), 1U);
  const v1::EndTransactionRequest& end = brokers_.ends()[0];
  EXPECT_EQ(end.transactional_id(), "orders");
  EXPECT_EQ(end.producer_id(), 7U);
  EXPECT_EQ(end.producer_epoch(), 1U);
  EXPECT_EQ(end.transaction_number(), 1U);
  EXPECT_EQ(end.result(), v1::TRANSACTION_RESULT_COMMIT);
  ASSERT_EQ(brokers_.produced().size(), 1U);
  EXPECT_EQ(brokers_.produced()[0].batch().transaction_number(), 1U);
}

TEST_F(TransactionCallsTest,
       Offsets_AreCommittedInTheTransaction_BeforeItsEnd_TheLastThatWereSaid) {
  Open();
  ASSERT_TRUE(driver_->BeginTransaction().ok());
  for (const int64_t offset : {5, 9}) {
    v1::CommitOffsetsRequest offsets;
    offsets.set_group("g");
    offsets.set_member_id("m");
    offsets.add_topics()->add_partitions()->set_offset(offset);
    ASSERT_TRUE(driver_->AddOffsets(offsets).ok());
  }
  driver_->EndTransaction(true, [this](const Status& status) { told_.push_back(status); });
  AwaitOutcomes(1);
  EXPECT_TRUE(told_[0].ok()) << told_[0];
  ASSERT_EQ(brokers_.commits().size(), 1U);
  const v1::CommitOffsetsRequest& commit = brokers_.commits()[0];
  EXPECT_EQ(commit.member_id(), "m");
  EXPECT_EQ(commit.topics(0).partitions(0).offset(), 9);
  EXPECT_EQ(commit.transaction().producer_id(), 7U);
  EXPECT_EQ(commit.transaction().producer_epoch(), 1U);
  EXPECT_EQ(commit.transaction().number(), 1U);
  EXPECT_EQ(driver_->member_producer().transactional_id(), "orders");
  Run(true);
  AwaitOutcomes(2);
  EXPECT_EQ(brokers_.commits().size(), 1U) << "the next one has none";
}

// Of one partition after the other, and once the member has got another epoch: each as it was said.
TEST_F(TransactionCallsTest, Offsets_ThatAreSaidOneAfterTheOther_AreAllCommitted) {
  Open();
  ASSERT_TRUE(driver_->BeginTransaction().ok());
  for (const int epoch : {1, 1, 2}) {
    v1::CommitOffsetsRequest offsets;
    offsets.set_group("g");
    offsets.set_member_epoch(epoch);
    auto& topic = *offsets.add_topics();
    topic.set_topic_id(5);
    const auto number = static_cast<uint32_t>(told_partitions_++);
    topic.add_partitions()->set_partition(number);
    ASSERT_TRUE(driver_->AddOffsets(offsets).ok());
  }
  driver_->EndTransaction(true, [this](const Status& status) { told_.push_back(status); });
  AwaitOutcomes(1);
  EXPECT_TRUE(told_[0].ok()) << told_[0];
  ASSERT_EQ(brokers_.commits().size(), 2U);
  EXPECT_EQ(brokers_.commits()[0].member_epoch(), 1);
  EXPECT_EQ(brokers_.commits()[0].topics(0).partitions_size(), 2);
  EXPECT_EQ(brokers_.commits()[1].member_epoch(), 2);
  EXPECT_EQ(brokers_.commits()[1].topics(0).partitions(0).partition(), 2U);
  ASSERT_EQ(brokers_.ends().size(), 1U);
  EXPECT_EQ(brokers_.ends()[0].result(), v1::TRANSACTION_RESULT_COMMIT);
}

TEST_F(TransactionCallsTest, OffsetsThatAreRefused_AbortTheTransaction) {
  Open();
  brokers_.Answer("CommitOffsets", Aborted("it is none any more", Reason::kMemberFenced));
  ASSERT_TRUE(driver_->BeginTransaction().ok());
  ASSERT_TRUE(driver_->AddOffsets({}).ok());
  driver_->EndTransaction(true, [this](const Status& status) { told_.push_back(status); });
  AwaitOutcomes(1);
  EXPECT_EQ(told_[0].reason(), Reason::kTransactionEnded);
  ASSERT_EQ(brokers_.ends().size(), 1U);
  EXPECT_EQ(brokers_.ends()[0].result(), v1::TRANSACTION_RESULT_ABORT);
}

TEST_F(TransactionCallsTest, Rule69_AnInitThatIsRepeated_HasTheSameRequestId_AndTheNextAnother) {
  brokers_.AnswerAt("broker1", Unavailable("away"));
  Open();
  ASSERT_GE(brokers_.inits().size(), 2U);
  for (const v1::InitProducerRequest& init : brokers_.inits()) {
    EXPECT_EQ(init.request_id(), brokers_.inits()[0].request_id());
  }
  const size_t before = brokers_.inits().size();
  Run(false);  // while its record is on its way
  AwaitOutcomes(1);
  world_.RunFor(seconds(1));
  ASSERT_GT(brokers_.inits().size(), before);
  EXPECT_NE(brokers_.inits().back().request_id(), brokers_.inits()[0].request_id());
}

// So that whoever was fenced and does not know it yet takes the id from nobody.
TEST_F(TransactionCallsTest, Rule70_AnInitForTheNextEpoch_NamesWhoHasTheId) {
  Open();
  EXPECT_EQ(brokers_.inits()[0].producer_id(), 0U);
  Run(false);  // while its record is on its way
  AwaitOutcomes(1);
  world_.RunFor(seconds(1));
  ASSERT_EQ(brokers_.inits().size(), 2U);
  EXPECT_EQ(brokers_.inits()[1].producer_id(), 7U);
  EXPECT_EQ(brokers_.inits()[1].producer_epoch(), 1U);
  brokers_.Answer("InitProducer", Aborted("another has it", Reason::kTransactionFenced));
  Run(false);
  AwaitOutcomes(2);
  world_.RunFor(seconds(1));
  EXPECT_EQ(driver_->BeginTransaction().reason(), Reason::kTransactionFenced);
}

TEST_F(TransactionCallsTest, WhereTheIdWasForgotten_ItIsTakenAnew) {
  Open();
  brokers_.AnswerInitsOfOthers(NotFound("nobody has it", Reason::kUnknownTransactionalId));
  Run(false);
  AwaitOutcomes(1);
  Run(true);
  AwaitOutcomes(2);
  EXPECT_TRUE(told_[1].ok()) << told_[1];
  EXPECT_EQ(brokers_.inits().back().producer_id(), 0U);
}

TEST_F(TransactionCallsTest, AnEnd_IsAskedOfAnotherBroker_WhereOneIsAway) {
  Open();
  brokers_.AnswerAt("broker1", Unavailable("away"));
  Run(true);
  AwaitOutcomes(1);
  EXPECT_TRUE(told_[0].ok()) << told_[0];
  EXPECT_GE(brokers_.ends().size(), 2U);
}

TEST_F(TransactionCallsTest, AnEndThatNobodyAnswers_IsToldAfterTheDeliveryTimeout_AndGoesOn) {
  Open();
  brokers_.Answer("EndTransaction", Unavailable("away"));
  Run(true);
  world_.RunFor(seconds(19));
  EXPECT_TRUE(told_.empty());
  AwaitOutcomes(1, seconds(5));
  EXPECT_EQ(told_[0].code(), Code::kUnavailable);
  EXPECT_THAT(told_[0].message(), HasSubstr("not known"));
  Run(true);
  world_.RunFor(seconds(5));
  EXPECT_EQ(brokers_.produced().size(), 1U) << "it is not settled how the first one ended";
  brokers_.Answer("EndTransaction", Status::Ok());
  AwaitOutcomes(2);
  EXPECT_TRUE(told_[1].ok()) << told_[1];
  EXPECT_EQ(brokers_.inits().size(), 2U);
  EXPECT_EQ(brokers_.ends().back().producer_epoch(), 2U);
  EXPECT_EQ(brokers_.ends().back().transaction_number(), 1U);
  ASSERT_EQ(brokers_.produced().size(), 2U);
  const v1::RecordBatch& batch = brokers_.produced()[1].batch();
  EXPECT_EQ(batch.producer_epoch(), 2U);
  EXPECT_EQ(batch.transaction_number(), 1U);
  EXPECT_EQ(batch.first_sequence(), 0U);
}

TEST_F(TransactionCallsTest, AnInitThatNobodyAnswers_IsAskedUntilSomebodyDoes) {
  Open();
  brokers_.Answer("Produce", InvalidArgument("bad record"));
  brokers_.Answer("InitProducer", Unavailable("away"));
  Run(true);
  AwaitOutcomes(1);
  EXPECT_EQ(told_[0].code(), Code::kAborted);
  EXPECT_EQ(brokers_.ends().back().result(), v1::TRANSACTION_RESULT_ABORT);
  world_.RunFor(seconds(60));
  brokers_.Answer("Produce", Status::Ok());
  brokers_.Answer("InitProducer", Status::Ok());
  Run(true);
  AwaitOutcomes(2);
  EXPECT_TRUE(told_[1].ok()) << told_[1];
}

TEST_F(TransactionCallsTest, AnInitThatIsRefused_EndsTheProducer) {
  Open();
  brokers_.Answer("Produce", InvalidArgument("bad record"));
  brokers_.Answer("InitProducer", Status(Code::kPermissionDenied, "not yours"));
  Run(true);
  AwaitOutcomes(1);
  world_.RunFor(seconds(1));
  EXPECT_EQ(driver_->BeginTransaction().code(), Code::kPermissionDenied);
}

TEST_F(TransactionCallsTest, EndsThatAreRefused_AreToldInTurn) {
  Open();
  Run(true);
  driver_->EndTransaction(true, [this](const Status& status) { told_.push_back(status); });
  AwaitOutcomes(2);
  EXPECT_TRUE(told_[0].ok()) << told_[0];
  EXPECT_EQ(told_[1].code(), Code::kFailedPrecondition);
}

TEST_F(TransactionCallsTest, Abandon_TellsThoseThatHaveNotEnded) {
  Open();
  Run(true);
  driver_->Abandon(Status(Code::kCancelled, "it is over"));
  ASSERT_EQ(told_.size(), 1U);
  EXPECT_EQ(told_[0].code(), Code::kCancelled);
}

}  // namespace
}  // namespace millrace::client

// A reader in a group against a broker that is a script: from where it reads what it gets, what it
// commits, and what it says when it is to give something up.
#include "client/core/group_consumer.h"

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/base/checksum.h"
#include "proto/record/record_batch_builder.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kTopic = 7;

// One broker. What is said to it on the Join stream and asked of it, in order, as text.
class ScriptedBroker final : public Connector {
 public:
  explicit ScriptedBroker(Executor& executor) : executor_(executor) {}

  void Call(RpcRequest request, RpcDone done) override {
    executor_.Post(
        [done = std::move(done), answer = Answer(request)]() mutable { done(std::move(answer)); });
  }
  std::unique_ptr<RpcStream> OpenStream(const std::string&, const std::string& method,
                                        RpcStreamHandler* handler) override {
    const bool is_join = method.ends_with("/Join");
    (is_join ? join_ : fetch_) = handler;
    return std::make_unique<Stream>(*this, is_join);
  }

  void Say(const v1::JoinResponse& response) {
    executor_.Post(
        [this, response] { join_->OnMessage(Bytes::Own(response.SerializeAsString())); });
  }
  void Close(const Status& why) {
    executor_.Post([this, why] { join_->OnClosed(why); });
  }
  // A batch of the partition, as far as it is read.
  void Send(uint32_t partition, int64_t offset, const std::string& value) {
    RecordBatchBuilder builder({});
    CHECK(builder.TryAppend({.value = value}));
    const Bytes bytes = std::move(builder).Finish(
        {.destination = {.topic = TopicId(kTopic), .partition = PartitionId(partition)}});
    v1::FetchResponse response;
    v1::FetchedPartition& fetched = *response.add_partitions();
    fetched.set_fetch_id(fetch_ids_.at(partition));
    fetched.set_next_offset(offset + 1);
    v1::FetchedBatch& batch = *fetched.add_batches();
    batch.set_base_offset(offset);
    batch.set_record_count(1);
    batch.set_end_offset(offset + 1);
    batch.set_leader_epoch(3);
    batch.set_batch_checksum(Crc32c(bytes.view()));
    CHECK(batch.mutable_batch()->ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
    Post(response);
  }
  void EndReading(uint32_t partition, Code code) {
    v1::FetchResponse response;
    response.add_partitions()->set_fetch_id(fetch_ids_.at(partition));
    response.mutable_partitions(0)->mutable_error()->set_code(static_cast<int>(code));
    Post(response);
  }

  bool has_offsets = true;  // whether it knows where partitions end
  std::vector<std::string> heard;

 private:
  struct Stream final : RpcStream {
    Stream(ScriptedBroker& of, bool is) : broker(of), is_join(is) {}
    void Write(std::vector<Bytes> pieces) override {
      std::string message;
      for (const Bytes& piece : pieces) message += piece.view();
      is_join ? broker.HearJoin(message) : broker.HearFetch(message);
    }
    ScriptedBroker& broker;
    const bool is_join;
  };

  void Post(const v1::FetchResponse& response) {
    executor_.Post(
        [this, response] { fetch_->OnMessage(Bytes::Own(response.SerializeAsString())); });
  }
  void HearJoin(const std::string& message) {
    v1::JoinRequest request;
    CHECK(request.ParseFromString(message));
    std::string text;
    if (request.has_commit()) {
      text = "commit";
      for (const v1::TopicCommit& topic : request.commit().topics()) {
        for (const v1::PartitionCommit& one : topic.partitions()) {
          text += " " + std::to_string(one.partition()) + "@" + std::to_string(one.offset());
        }
      }
      v1::JoinResponse response;
      response.mutable_commit()->set_commit_id(request.commit().commit_id());
      Say(response);
    } else if (request.has_done()) {
      text = "owns";
      for (const v1::OwnedPartitions& topic : request.done().owned()) {
        for (const uint32_t partition : topic.partitions()) text += " " + std::to_string(partition);
      }
    } else if (request.has_leave()) {
      text = "leaves";
      executor_.Post([this] { join_->OnClosed({}); });
    }
    if (!text.empty()) heard.push_back(text);
  }
  void HearFetch(const std::string& message) {
    v1::FetchRequest request;
    CHECK(request.ParseFromString(message));
    for (const uint32_t id : request.remove()) heard.push_back("stop " + NameOf(id));
    for (const v1::FetchPartition& added : request.add()) {
      fetch_ids_[added.partition()] = added.fetch_id();
      const v1::Position& at = added.position();
      heard.push_back("read " + std::to_string(added.partition()) + "@" +
                      (at.has_offset() ? std::to_string(at.offset()) : "earliest"));
    }
  }
  std::string NameOf(uint32_t fetch_id) const {
    for (const auto& [partition, id] : fetch_ids_) {
      if (id == fetch_id) return std::to_string(partition);
    }
    return "?";
  }
  Result<Bytes> Answer(const RpcRequest& request) {
    if (request.method.ends_with("/ListOffsets")) {
      v1::ListOffsetsRequest asked;
      CHECK(asked.ParseFromArray(request.body.data(), static_cast<int>(request.body.size())));
      if (!has_offsets) return FailedPrecondition("not now");
      v1::ListOffsetsResponse response;
      for (const uint32_t partition : asked.partitions()) {
        v1::PartitionOffsets& offsets = *response.add_partitions();
        offsets.set_partition(partition);
        offsets.set_end_offset(100 + partition);
        if (asked.has_timestamp_ms()) offsets.set_timestamp_offset(50 + partition);
      }
      return Bytes::Own(response.SerializeAsString());
    }
    v1::DescribeTopicsResponse response;
    v1::Broker& broker = *response.add_brokers();
    broker.set_broker_id(1);
    broker.set_address("b1:1");
    v1::Topic& topic = *response.add_topics();
    topic.set_name("t");
    topic.set_topic_id(kTopic);
    for (uint32_t number = 0; number < 4; ++number) {
      v1::Partition& partition = *topic.add_partitions();
      partition.set_partition(number);
      partition.set_leader_id(1);
      partition.set_leader_epoch(1);
    }
    return Bytes::Own(response.SerializeAsString());
  }

  Executor& executor_;
  RpcStreamHandler* join_ = nullptr;
  RpcStreamHandler* fetch_ = nullptr;
  std::map<uint32_t, uint32_t> fetch_ids_;
};

// A partition that the broker gives, with what is committed, if anything is.
struct Given {
  uint32_t partition = 0;
  std::optional<int64_t> committed = {};
  bool is_later = false;
  uint32_t token = 1;
};

class GroupConsumerTest : public testing::Test {
 protected:
  void Begin(const StartAt& start = StartAt::Earliest()) {
    GroupConsumerOptions options{
        .session = {.group = "g"}, .start = start, .commit_interval = seconds(2)};
    options.session.subscription.add_topics("t");
    reader_ = std::make_unique<GroupConsumer>(
        client_, options,
        GroupConsumer::Listener{
            .ready = [] {},
            .assigned = [](const auto&) {},
            .revoked = [this](const auto& partitions) { revoked_ = partitions; },
            .lost = [this](const auto& partitions, const Status&) { lost_ = partitions.size(); },
            .failed = [](const Status&) {}});
    process_.executor().Post([this] { reader_->Start(); });
    Settle();
    v1::JoinResponse response;
    response.mutable_joined()->set_member_epoch(1);
    response.mutable_joined()->set_interval_ms(60'000);
    broker_.Say(response);
    Settle();
  }
  void Assign(uint64_t version, const std::vector<Given>& given,
              const std::vector<uint32_t>& revoked = {}) {
    v1::JoinResponse response;
    v1::Assignment& assignment = *response.mutable_assignment();
    assignment.set_version(version);
    assignment.set_member_epoch(1);
    v1::AssignedTopic& topic = *assignment.add_topics();
    topic.set_topic("t");
    topic.set_topic_id(kTopic);
    for (const Given& one : given) {
      v1::AssignedPartition& added = *topic.add_partitions();
      added.set_partition(one.partition);
      added.set_fencing_token(one.token);
      added.set_is_later(one.is_later);
      if (one.committed) added.set_offset(*one.committed);
    }
    if (!revoked.empty()) {
      v1::OwnedPartitions& given_up = *assignment.add_revoked();
      given_up.set_topic_id(kTopic);
      given_up.mutable_partitions()->Assign(revoked.begin(), revoked.end());
    }
    broker_.Say(response);
    Settle();
  }
  // What is under way happens.
  void Settle(Duration time = milliseconds(50)) { world_.RunFor(time); }
  std::vector<std::string> Heard() { return std::exchange(broker_.heard, {}); }
  void Mark(uint32_t partition, int64_t next, uint32_t token = 1) {
    reader_->MarkDone({.partition = Owned(partition, token), .next = Offset(next)});
  }
  static TopicPartition Place(uint32_t partition) {
    return {.topic = TopicId(kTopic), .partition = PartitionId(partition)};
  }
  static OwnedPartition Owned(uint32_t partition, uint32_t token = 1) {
    return {.partition = Place(partition), .fencing_token = token};
  }

  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("client");
  ScriptedBroker broker_{process_.executor()};
  Client client_{{.executor = process_.executor(),
                  .clock = process_.clock(),
                  .connector = broker_,
                  .random = Random(1)},
                 {.bootstrap = {"b1:1"}}};
  std::vector<TopicPartition> revoked_;
  size_t lost_ = 0;
  std::unique_ptr<GroupConsumer> reader_;
};

TEST_F(GroupConsumerTest, ReadsFromWhatIsCommitted_AndElseFromWhereItIsToBegin) {
  Begin();
  Assign(1, {{.partition = 0, .committed = 12}, {.partition = 1}});
  EXPECT_THAT(Heard(), ElementsAre("read 0@12", "read 1@earliest"));
}

TEST_F(GroupConsumerTest, Rule24_WhatCameLater_IsReadFromItsFirstRecord_WhereverTheGroupBegins) {
  Begin(StartAt::Latest());
  Assign(1, {{.partition = 0, .committed = 12}, {.partition = 3, .is_later = true}});
  EXPECT_THAT(Heard(), ElementsAre("read 0@12", "read 3@earliest"));
}

TEST_F(GroupConsumerTest,
       TheLatest_IsCommittedBeforeAnythingIsRead_SoThatTheNextOwnerMissesNothing) {
  Begin(StartAt::Latest());
  Assign(1, {{.partition = 0}, {.partition = 2}});
  EXPECT_THAT(Heard(), ElementsAre("commit 0@100 2@102", "read 0@100", "read 2@102"));
}

TEST_F(GroupConsumerTest, ATime_IsCommittedAsTheOffsetThatItMeans) {
  Begin(StartAt::Time(1'000));
  Assign(1, {{.partition = 1}});
  EXPECT_THAT(Heard(), ElementsAre("commit 1@51", "read 1@51"));
}

TEST_F(GroupConsumerTest, Rule31_AnErrorIsNotNone_ItIsAskedAgainWhereAPartitionBegins) {
  broker_.has_offsets = false;
  Begin(StartAt::Latest());
  Assign(1, {{.partition = 0}});
  Settle(seconds(5));
  EXPECT_THAT(Heard(), IsEmpty());
  broker_.has_offsets = true;
  Settle(seconds(2));
  EXPECT_THAT(Heard(), ElementsAre("commit 0@100", "read 0@100"));
}

TEST_F(GroupConsumerTest, AStartThatIsSought_NeedsNoOther) {
  broker_.has_offsets = false;
  Begin(StartAt::Latest());
  Assign(1, {{.partition = 0}});
  reader_->Seek(Owned(0), StartAt::At(Offset(5)));
  broker_.has_offsets = true;
  Settle(seconds(2));
  EXPECT_THAT(Heard(), ElementsAre("read 0@5"));
}

TEST_F(GroupConsumerTest, Rule36_WhatIsFetchedIsNotCommitted_ButWhatIsMarked) {
  Begin();
  Assign(1, {{.partition = 0, .committed = 12}});
  broker_.Send(0, 12, "a");
  broker_.Send(0, 13, "b");
  Settle(seconds(3));
  EXPECT_THAT(Heard(), ElementsAre("read 0@12")) << "two records are there";
  ASSERT_TRUE(reader_->Next().has_value());
  ASSERT_TRUE(reader_->Next().has_value());
  Mark(0, 13);
  Settle(seconds(3));
  EXPECT_THAT(Heard(), ElementsAre("commit 0@13"));
  Settle(seconds(10));
  EXPECT_THAT(Heard(), IsEmpty()) << "once";
}

TEST_F(GroupConsumerTest, WhatItIsToGiveUp_IsReadNoMore_AndCommittedBeforeItIsGivenUp) {
  Begin();
  Assign(1, {{.partition = 0, .committed = 0}, {.partition = 1, .committed = 0}});
  broker_.Send(0, 0, "a");
  broker_.Send(1, 0, "b");
  Settle();
  Mark(0, 1);
  Mark(1, 1);
  Heard();
  Assign(2, {{.partition = 1, .committed = 0}}, {0});
  EXPECT_THAT(revoked_, ElementsAre(Place(0)));
  EXPECT_THAT(Heard(), ElementsAre("stop 0")) << "it is its own until it says so";
  ASSERT_TRUE(reader_->Next().has_value());
  EXPECT_FALSE(reader_->Next().has_value()) << "what came of partition 0 is nobody's";
  reader_->GaveUp(revoked_);
  Settle();
  EXPECT_THAT(Heard(), ElementsAre("commit 0@1", "owns 1"));
}

TEST_F(GroupConsumerTest, WhatWasReadBeforeItWasLost_SaysNothingOfItOnceItIsBack) {
  Begin();
  Assign(1, {{.partition = 0, .committed = 0}});
  broker_.Close(Aborted("fenced", Reason::kMemberFenced));
  Settle(seconds(1));
  EXPECT_EQ(lost_, 1U);
  v1::JoinResponse joined;
  joined.mutable_joined()->set_member_epoch(4);
  joined.mutable_joined()->set_interval_ms(60'000);
  broker_.Say(joined);
  Assign(9, {{.partition = 0, .committed = 200, .token = 2}});
  Heard();
  Mark(0, 100, 1);
  reader_->GaveUp({Place(0)});
  bool is_refused = false;
  reader_->Commit({{.partition = Owned(0, 1), .next = Offset(100)}},
                  [&](const Result<std::vector<RefusedCommit>>& refused) {
                    is_refused = refused.ok() && refused->size() == 1 &&
                                 refused->front().why.reason() == Reason::kMemberFenced;
                  });
  Settle(seconds(3));
  EXPECT_TRUE(is_refused);
  EXPECT_THAT(Heard(), IsEmpty());
  Mark(0, 201, 2);
  Settle(seconds(3));
  EXPECT_THAT(Heard(), ElementsAre("commit 0@201"));
}

TEST_F(GroupConsumerTest, ATopicThatABrokerDoesNotKnow_IsNoError_AndIsAskedForAgain) {
  Begin();
  Assign(1, {{.partition = 0, .committed = 12}});
  broker_.Send(0, 12, "a");
  Settle();
  Heard();
  broker_.EndReading(0, Code::kNotFound);
  Settle(seconds(4));
  broker_.EndReading(0, Code::kNotFound);
  Settle();
  EXPECT_FALSE(reader_->Next()->batch.empty());
  EXPECT_FALSE(reader_->Next().has_value());
  Settle(seconds(6));
  EXPECT_THAT(Heard(), testing::Contains("read 0@13"));
}

TEST_F(GroupConsumerTest, Leave_CommitsWhatIsMarked_AndReadsNothingMore) {
  Begin();
  Assign(1, {{.partition = 0, .committed = 0}});
  broker_.Send(0, 0, "a");
  Settle();
  Mark(0, 1);
  Heard();
  bool has_left = false;
  reader_->Leave(false, [&] { has_left = true; });
  Settle();
  EXPECT_TRUE(has_left);
  EXPECT_THAT(Heard(), testing::UnorderedElementsAre("stop 0", "commit 0@1", "leaves"));
  EXPECT_FALSE(reader_->Next().has_value());
}

TEST_F(GroupConsumerTest, Pause_BeforeItIsKnownWhereThePartitionBegins_Holds) {
  broker_.has_offsets = false;
  Begin(StartAt::Latest());
  Assign(1, {{.partition = 0}});
  reader_->Pause(Owned(0));
  broker_.has_offsets = true;
  Settle(seconds(2));
  EXPECT_THAT(Heard(), ElementsAre("commit 0@100"));
  reader_->Resume(Owned(0));
  Settle();
  EXPECT_THAT(Heard(), ElementsAre("read 0@100"));
}

}  // namespace
}  // namespace millrace::client

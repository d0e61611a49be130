// What creating and deleting topics waits for, and what it says when that does not come. The
// controller leads elsewhere and answers when the test says so, or leads here.
#include "broker/service/metadata/admin_service.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "broker/controller/decide.h"
#include "broker/routing/attached_bytes.h"
#include "broker/routing/partition_messages.h"
#include "tests/broker/api/fake_call.h"
#include "tests/broker/routing/linked_forwarders.h"
#include "tests/raft/host/fake_group.h"

namespace millrace::broker {
namespace {

constexpr char kCreate[] = "/millrace.v1.AdminService/CreateTopic";
constexpr char kAlter[] = "/millrace.v1.AdminService/AlterTopic";
constexpr char kDelete[] = "/millrace.v1.AdminService/DeleteTopic";
constexpr char kDeleteRecords[] = "/millrace.v1.AdminService/DeleteRecords";
constexpr BrokerId kSelf{1};
constexpr BrokerId kOther{2};

internal::v1::BrokerRegistered Registration(BrokerId id) {
  internal::v1::BrokerRegistered broker;
  broker.set_broker_id(id.value());
  broker.set_incarnation(10 + id.value());
  auto& endpoint = *broker.add_endpoints();
  endpoint.set_protocol(internal::v1::BrokerRegistered::PROTOCOL_CLIENTS);
  endpoint.set_address("broker" + std::to_string(id.value()) + ":7440");
  broker.set_level_max(2);
  return broker;
}

const std::string kKey(kProducerIdKeyBytes, 'k');

v1::CreateTopicRequest Creation(const std::string& name, uint32_t partitions,
                                uint32_t replication_factor = 1, uint64_t request_id = 0) {
  v1::CreateTopicRequest request;
  request.set_name(name);
  request.set_partition_count(partitions);
  request.set_replication_factor(replication_factor);
  request.set_request_id(request_id);
  return request;
}

v1::DeleteTopicRequest Deletion(const std::string& name, uint64_t request_id = 0) {
  v1::DeleteTopicRequest request;
  request.set_name(name);
  request.set_request_id(request_id);
  return request;
}

v1::AlterTopicRequest Alteration(const std::string& name, const std::string& batch_bytes_max) {
  v1::AlterTopicRequest request;
  request.set_name(name);
  (*request.mutable_set())["batch_bytes_max"] = batch_bytes_max;
  return request;
}

v1::AlterTopicRequest Growth(const std::string& name, uint32_t partitions) {
  v1::AlterTopicRequest request;
  request.set_name(name);
  request.set_partition_count(partitions);
  return request;
}

// As a later version of the client would write it.
template <typename Request>
Request WithUnknownField(Request request) {
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(999, 1);
  return request;
}

class AdminServiceTest : public testing::Test {
 protected:
  enum class Leader { kHere, kElsewhere };
  explicit AdminServiceTest(Leader leader)
      : view_(leader == Leader::kHere ? controller_.image() : image_, leaders_,
              {.is_current = [] { return true; }, .controller_health = [] { return Status(); }}) {
    service_.Register(&registry_);
  }
  template <typename Request>
  std::shared_ptr<FakeCall> Call(const char* method, const Request& request,
                                 Duration time = std::chrono::seconds(10)) {
    return FakeCall::Make(registry_, method, request, process_.clock().Now() + time);
  }
  void Lead(const std::string& topic, uint32_t partition, const Image& image) {
    leaders_.Report(image.FindTopic(topic)->partitions[partition].group,
                    {.leader = kSelf, .term = Term(1)});
  }

  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("broker");
  LinkedForwarders link_{process_.executor(), kSelf, kOther};
  Image image_;  // of a broker that does not lead the controller
  LeaderTable leaders_;
  Controller controller_{process_.clock()};
  ClusterView view_;
  ControllerServer server_{
      {.executor = process_.executor(),
       .clock = process_.clock(),
       .controller = controller_,
       .once_image_changed = [this](Task task) { view_.OnceImageChanged(std::move(task)); },
       .term_of = [](RaftGroupId) { return Term(1); },
       .cluster_size = 3,
       .producer_id_key = kKey}};
  ControllerClient controllers_{{.controller = controller_,
                                 .server = server_,
                                 .view = view_,
                                 .forwarder = link_.Of(kSelf),
                                 .self = kSelf}};
  PartitionClient partitions_{{.executor = process_.executor(),
                               .view = view_,
                               .find_replica = [](RaftGroupId) { return nullptr; },
                               .forwarder = link_.Of(kSelf),
                               .self = kSelf}};
  AdminService service_{{.executor = process_.executor(),
                         .clock = process_.clock(),
                         .view = view_,
                         .controllers = controllers_,
                         .partitions = partitions_}};
  ServiceRegistry registry_;
};

// The controller leads elsewhere -----------------------------------------------------------------

class AdminServiceAsksTest : public AdminServiceTest {
 protected:
  AdminServiceAsksTest() : AdminServiceTest(Leader::kElsewhere) {
    controller_.OnLeadership(
        {.term = Term(2), .leader = {kOther, Incarnation(12), ReplicaNumber(2)}});
    for (const ForwardMethod& method :
         {kForwardCreateTopic, kForwardAlterTopic, kForwardDeleteTopic}) {
      link_.Of(kOther).Serve(method, [this](const ForwardedRequest& asked, ForwardReplied done) {
        timeouts_.push_back(asked.timeout);
        waiting_.push_back(std::move(done));
      });
    }
    for (const BrokerId id : {kSelf, kOther, BrokerId(3)}) {
      Apply(DecideRegister(image_, Registration(id), kKey));
    }
  }
  // What the controller decided comes to this broker.
  void Apply(const Decision& decision) {
    ASSERT_TRUE(decision.ok()) << decision.status();
    for (const auto& record : decision->records()) ASSERT_TRUE(image_.Apply(record).ok());
    view_.NotifyImageChanged();
  }
  void ApplyDeletion(const std::string& name) {
    Apply(DecideDeleteTopic(image_, Deletion(name), [](RaftGroupId) { return Term(1); }));
  }
  void AnswerDeleted(TopicId id) {
    v1::DeleteTopicResponse response;
    response.set_topic_id(id.value());
    Answer(AttachBytes(response));
  }
  void ApplyCreation(const v1::CreateTopicRequest& request) {
    Apply(DecideCreateTopic(image_, request, {.cluster_size = 3, .now_ms = 1}));
  }
  // The controller answers the one call that waits.
  void Answer(Result<std::vector<Bytes>> answer = AttachBytes(v1::CreateTopicResponse())) {
    link_.Deliver();
    ASSERT_EQ(waiting_.size(), 1u);
    waiting_.back()(std::move(answer));
    waiting_.clear();
    link_.Deliver();
  }

  std::vector<Duration> timeouts_;
  std::vector<ForwardReplied> waiting_;
};

TEST_F(AdminServiceAsksTest, ACreation_IsAnswered_OnceTheTopicIsHere_AndEveryPartitionIsLed) {
  const v1::CreateTopicRequest request = Creation("t", 2);
  const auto call = Call(kCreate, request);
  Answer();
  EXPECT_FALSE(call->is_answered()) << "this broker does not know the topic yet";
  ApplyCreation(Creation("another", 1));
  Lead("another", 0, image_);
  EXPECT_FALSE(call->is_answered());
  ApplyCreation(request);
  EXPECT_FALSE(call->is_answered()) << "nobody leads";
  Lead("t", 1, image_);
  EXPECT_FALSE(call->is_answered()) << "nobody leads partition 0";
  Lead("t", 0, image_);
  ASSERT_TRUE(call->is_answered());
  const auto topic = call->response<v1::CreateTopicResponse>().topic();
  EXPECT_EQ(topic.name(), "t");
  EXPECT_EQ(topic.topic_id(), image_.FindTopic("t")->id.value());
  ASSERT_EQ(topic.partitions_size(), 2);
  EXPECT_EQ(topic.partitions(0).leader_id(), kSelf.value());
}

TEST_F(AdminServiceAsksTest, WhereEverythingIsKnownBefore_TheControllersAnswerIsEnough) {
  const v1::CreateTopicRequest request = Creation("t", 1);
  const auto call = Call(kCreate, request);
  ApplyCreation(request);
  Lead("t", 0, image_);
  EXPECT_FALSE(call->is_answered()) << "it may be a topic of before";
  Answer();
  EXPECT_TRUE(call->is_answered() && call->status().ok());
}

// Or who was answered could still produce to it here, and lose what was acknowledged.
TEST_F(AdminServiceAsksTest, ADeletion_IsAnswered_OnceThisBrokerKnowsOfIt) {
  ApplyCreation(Creation("t", 1));
  const TopicId id = image_.FindTopic("t")->id;
  const auto call = Call(kDelete, Deletion("t"));
  AnswerDeleted(id);
  EXPECT_FALSE(call->is_answered());
  ApplyCreation(Creation("another", 1));
  EXPECT_FALSE(call->is_answered());
  ApplyDeletion("t");
  ASSERT_TRUE(call->is_answered());
  EXPECT_EQ(call->response<v1::DeleteTopicResponse>().topic_id(), id.value());
}

TEST_F(AdminServiceAsksTest, AnAlteration_IsAnswered_OnceThisBrokersImageIsAsNew) {
  ApplyCreation(Creation("t", 1));
  const v1::AlterTopicRequest request = Alteration("t", "64KiB");
  const auto call = Call(kAlter, request);
  internal::v1::AlterTopicReply reply;
  (*reply.mutable_settings())["batch_bytes_max"] = "64KiB";
  reply.add_changed("batch_bytes_max");
  reply.set_image_index(7);
  Answer(AttachBytes(reply));
  EXPECT_FALSE(call->is_answered());
  Apply(DecideAlterTopic(image_, request, *ChangeOf(image_, request)));
  EXPECT_FALSE(call->is_answered()) << "the image is not as new as that";
  ASSERT_TRUE(image_.NoteApplied(LogIndex(7)).ok());
  view_.NotifyImageChanged();
  ASSERT_TRUE(call->is_answered() && call->status().ok());
  const auto response = call->response<v1::AlterTopicResponse>();
  EXPECT_EQ(response.topic().settings().at("batch_bytes_max"), "64KiB");
  EXPECT_EQ(response.topic().batch_bytes_max(), 64u << 10);
  EXPECT_EQ(response.changed_size(), 1);
}

v1::DeleteRecordsRequest RecordsOf(const std::string& topic,
                                   const std::vector<std::pair<uint32_t, int64_t>>& before) {
  v1::DeleteRecordsRequest request;
  request.set_topic(topic);
  for (const auto& [partition, offset] : before) {
    auto& records = *request.add_partitions();
    records.set_partition(partition);
    records.set_before_offset(offset);
  }
  return request;
}

TEST_F(AdminServiceAsksTest, DeletingRecords_IsRefusedWhole_WhereTheRequestIsWrong) {
  ApplyCreation(Creation("t", 2));
  const auto refused = [this](const v1::DeleteRecordsRequest& request) {
    return Call(kDeleteRecords, request)->status();
  };
  EXPECT_EQ(refused(RecordsOf("nosuch", {{0, 1}})).reason(), Reason::kUnknownTopic);
  EXPECT_EQ(refused(RecordsOf("t", {})).code(), Code::kInvalidArgument);
  EXPECT_EQ(refused(RecordsOf("t", {{0, 1}, {0, 2}})).code(), Code::kInvalidArgument);
  EXPECT_EQ(refused(RecordsOf("t", {{0, 1}, {2, 2}})).code(), Code::kNotFound);
  const Status negative = refused(RecordsOf("t", {{0, 1}, {1, -1}}));
  EXPECT_EQ(negative.code(), Code::kInvalidArgument);
  EXPECT_NE(negative.message().find("partition 1"), std::string::npos) << negative;
  EXPECT_EQ(refused(WithUnknownField(RecordsOf("t", {{0, 1}}))).code(), Code::kUnimplemented);
}

TEST_F(AdminServiceAsksTest, DeletingRecords_IsAnsweredOnce_WithAnErrorForEachPartitionThatHasOne) {
  ApplyCreation(Creation("t", 2));
  leaders_.Report(image_.FindTopic("t")->partitions[1].group, {.leader = kOther, .term = Term(1)});
  std::vector<ForwardReplied> asked;
  link_.Of(kOther).Serve(kForwardDelete, [&asked](const ForwardedRequest&, ForwardReplied done) {
    asked.push_back(std::move(done));
  });
  const auto call = Call(kDeleteRecords, RecordsOf("t", {{1, 7}, {0, 7}}));
  link_.Deliver();
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_FALSE(call->is_answered());
  asked[0](EncodeOffsetsReply({.log_start = Offset(7), .high_watermark = Offset(9)}));
  link_.Deliver();
  ASSERT_TRUE(call->is_answered() && call->status().ok());
  const auto response = call->response<v1::DeleteRecordsResponse>();
  ASSERT_EQ(response.partitions_size(), 2);
  EXPECT_EQ(response.partitions(0).partition(), 1u);
  EXPECT_FALSE(response.partitions(0).has_error());
  EXPECT_EQ(response.partitions(0).log_start_offset(), 7);
  EXPECT_EQ(response.partitions(0).high_watermark(), 9);
  EXPECT_EQ(response.partitions(1).partition(), 0u);
  EXPECT_TRUE(response.partitions(1).has_error()) << "nobody leads it";
}

TEST_F(AdminServiceAsksTest, AnAlteredTopicThatIsDeletedMeanwhile_IsToldToBeGone) {
  ApplyCreation(Creation("t", 1));
  const auto call = Call(kAlter, Alteration("t", "64KiB"));
  internal::v1::AlterTopicReply reply;
  reply.set_image_index(7);
  Answer(AttachBytes(reply));
  ApplyDeletion("t");
  ASSERT_TRUE(image_.NoteApplied(LogIndex(8)).ok());
  view_.NotifyImageChanged();
  ASSERT_TRUE(call->is_answered());
  EXPECT_EQ(call->status().code(), Code::kNotFound);
}

TEST_F(AdminServiceAsksTest, NewPartitions_AreAnswered_OnceEachOfThemIsLed) {
  ApplyCreation(Creation("t", 1));  // nobody leads partition 0, which is not new
  const v1::AlterTopicRequest request = Growth("t", 3);
  const auto call = Call(kAlter, request);
  internal::v1::AlterTopicReply reply;
  reply.set_image_index(7);
  *reply.mutable_added() = ChangeOf(image_, request)->added;
  Answer(AttachBytes(reply));
  EXPECT_FALSE(call->is_answered());
  Apply(DecideAlterTopic(image_, request, *ChangeOf(image_, request)));
  ASSERT_TRUE(image_.NoteApplied(LogIndex(7)).ok());
  view_.NotifyImageChanged();
  EXPECT_FALSE(call->is_answered()) << "nobody leads the new ones";
  Lead("t", 2, image_);
  EXPECT_FALSE(call->is_answered()) << "nobody leads partition 1";
  Lead("t", 1, image_);
  ASSERT_TRUE(call->is_answered() && call->status().ok());
  const auto response = call->response<v1::AlterTopicResponse>();
  EXPECT_EQ(response.partitions_added(), 2U);
  ASSERT_EQ(response.topic().partitions_size(), 3);
  EXPECT_EQ(response.topic().partitions(2).leader_id(), kSelf.value());
}

TEST_F(AdminServiceAsksTest, NewPartitionsThatGetNoLeader_AreToldSo) {
  ApplyCreation(Creation("t", 1));
  const v1::AlterTopicRequest request = Growth("t", 2);
  const auto call = Call(kAlter, request, std::chrono::seconds(10));
  internal::v1::AlterTopicReply reply;
  reply.set_image_index(7);
  *reply.mutable_added() = ChangeOf(image_, request)->added;
  Answer(AttachBytes(reply));
  Apply(DecideAlterTopic(image_, request, *ChangeOf(image_, request)));
  ASSERT_TRUE(image_.NoteApplied(LogIndex(7)).ok());
  view_.NotifyImageChanged();
  world_.RunFor(std::chrono::milliseconds(9'990));
  ASSERT_TRUE(call->is_answered());
  EXPECT_EQ(call->status().message(),
            "topic \"t\" is altered, but not every new partition has a leader yet");
}

TEST_F(AdminServiceAsksTest, ADryRunOfNewPartitions_TellsWhereTheyWouldBe_AndWaitsForNothing) {
  ApplyCreation(Creation("t", 1));
  ApplyCreation(Creation("another", 1));
  v1::AlterTopicRequest request = Growth("t", 2);
  request.set_is_dry_run(true);
  const auto call = Call(kAlter, request);
  internal::v1::AlterTopicReply reply;
  *reply.mutable_added() = ChangeOf(image_, request)->added;
  // Whose group it would be is another topic's by now.
  reply.mutable_added()->mutable_partitions(0)->set_group_id(
      image_.FindTopic("another")->partitions[0].group.value());
  Lead("another", 0, image_);
  Answer(AttachBytes(reply));
  ASSERT_TRUE(call->is_answered() && call->status().ok());
  const auto response = call->response<v1::AlterTopicResponse>();
  EXPECT_EQ(response.partitions_added(), 1U);
  ASSERT_EQ(response.topic().partitions_size(), 2);
  EXPECT_EQ(response.topic().partitions(1).leader_id(), 0U);
  EXPECT_EQ(response.topic().partitions(1).replica_ids_size(), 1);
}

TEST_F(AdminServiceAsksTest, ADeletionOfWhatIsNotHereYet_WaitsForBoth) {
  const auto call = Call(kDelete, Deletion("t"));
  AnswerDeleted(TopicId(1));
  EXPECT_FALSE(call->is_answered());
  ApplyCreation(Creation("t", 1));
  EXPECT_FALSE(call->is_answered());
  ApplyDeletion("t");
  EXPECT_TRUE(call->is_answered() && call->status().ok());
}

// The deletion was repeated, and another topic has the name meanwhile.
TEST_F(AdminServiceAsksTest, ADeletionThatIsKnown_IsAnsweredAtOnce) {
  ApplyCreation(Creation("t", 1));
  const TopicId id = image_.FindTopic("t")->id;
  ApplyDeletion("t");
  ApplyCreation(Creation("t", 1));
  const auto call = Call(kDelete, Deletion("t"));
  AnswerDeleted(id);
  EXPECT_TRUE(call->is_answered() && call->status().ok());
}

TEST_F(AdminServiceAsksTest, ADeletionThatWaitsInVain_SaysSo_BeforeItsClientGivesUp) {
  ApplyCreation(Creation("t", 1));
  const auto call = Call(kDelete, Deletion("t"), std::chrono::seconds(10));
  AnswerDeleted(image_.FindTopic("t")->id);
  world_.RunFor(std::chrono::milliseconds(9'990));
  ASSERT_TRUE(call->is_answered());
  EXPECT_EQ(call->status().message(),
            "topic \"t\" is deleted, but this broker does not know it yet");
}

// So that the client hears what was waited for, and not just that its time is up.
TEST_F(AdminServiceAsksTest, ACreationThatWaitsInVain_SaysForWhat_BeforeItsClientGivesUp) {
  const v1::CreateTopicRequest request = Creation("t", 1);
  const auto call = Call(kCreate, request, std::chrono::seconds(10));
  link_.Deliver();
  world_.RunFor(std::chrono::seconds(4));
  Answer();
  ApplyCreation(request);
  world_.RunFor(std::chrono::milliseconds(4'990));
  EXPECT_FALSE(call->is_answered());
  world_.RunFor(std::chrono::milliseconds(20));
  ASSERT_TRUE(call->is_answered());
  EXPECT_EQ(call->status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(call->status().message(),
            "topic \"t\" is created, but not every partition has a leader yet");
  Lead("t", 0, image_);  // too late, and nothing happens
}

TEST_F(AdminServiceAsksTest, TheController_IsGivenLessTimeThanTheClientGave_AndNotForEver) {
  Call(kCreate, Creation("t", 1), std::chrono::seconds(10));
  FakeCall::Make(registry_, kCreate, Creation("u", 1));  // without a deadline
  Call(kDelete, Deletion("t"), std::chrono::seconds(10));
  link_.Deliver();
  const Duration less = std::chrono::seconds(9);
  EXPECT_EQ(timeouts_, (std::vector<Duration>{less, std::chrono::seconds(30), less}));
}

TEST_F(AdminServiceAsksTest, WhatIsNotUnderstood_IsRefused_AndNobodyIsAsked) {
  const auto created = Call(kCreate, WithUnknownField(Creation("t", 1)));
  const auto deleted = Call(kDelete, WithUnknownField(Deletion("t")));
  for (const auto& call : {created, deleted}) {
    ASSERT_TRUE(call->is_answered());
    EXPECT_EQ(call->status().code(), Code::kUnimplemented);
    EXPECT_NE(call->status().message().find("999"), std::string::npos) << call->status();
  }
  for (const char* method : {kCreate, kDelete}) {
    const auto call = std::make_shared<FakeCall>(Bytes::Own("\xFF\xFF"));
    (*registry_.FindCall(method))(call);
    EXPECT_EQ(call->status().code(), Code::kInvalidArgument) << method;
  }
  link_.Deliver();
  EXPECT_TRUE(timeouts_.empty());
}

TEST_F(AdminServiceAsksTest, AControllerThatLeadsNoMore_IsToldWithWhoDoes) {
  leaders_.Report(kControllerGroup, {.leader = BrokerId(3), .term = Term(3)});
  for (const char* method : {kCreate, kDelete}) {
    const auto call = Call(method, Deletion("t"));
    Answer(Unavailable("not me", Reason::kNotLeader));
    ASSERT_TRUE(call->is_answered());
    const Status told = call->status();
    EXPECT_EQ(told.reason(), Reason::kNotLeader);
    const std::pair<std::string, std::string> address("leader_address", "broker3:7440");
    EXPECT_EQ(std::ranges::count(told.metadata(), address), 1) << method;
  }
}

TEST_F(AdminServiceAsksTest, AnEvenNumberOfReplicas_IsMade_WithANoteOnWhatItIsWorth) {
  for (const uint32_t replicas : {1u, 2u, 3u}) {
    const std::string name = "t" + std::to_string(replicas);
    const v1::CreateTopicRequest request = Creation(name, 1, replicas);
    const auto call = Call(kCreate, request);
    Answer();
    ApplyCreation(request);
    Lead(name, 0, image_);
    ASSERT_TRUE(call->is_answered());
    const auto notes = call->response<v1::CreateTopicResponse>().notes();
    ASSERT_EQ(notes.size(), replicas == 2 ? 1 : 0) << replicas;
    if (replicas != 2) continue;
    EXPECT_NE(notes[0].find("survives the failure of 0 of them"), std::string::npos) << notes[0];
  }
}

// The controller leads here
// ------------------------------------------------------------------------

class AdminServiceDecidesTest : public AdminServiceTest {
 protected:
  AdminServiceDecidesTest() : AdminServiceTest(Leader::kHere) {
    group_.Lead(Term(1));
    controller_.Execute(
        [](const Image& image) { return DecideRegister(image, Registration(kSelf), kKey); },
        [](const Status& status) { ASSERT_TRUE(status.ok()); });
    group_.CommitAll();
  }
  // Everything that was decided is applied, and led.
  template <typename Request>
  std::shared_ptr<FakeCall> Do(const char* method, const Request& request) {
    auto call = Call(method, request);
    Commit();
    return call;
  }
  void Commit() {
    group_.CommitAll();
    group_.AnswerBarriers(Status::Ok());
    for (const auto& [id, topic] : controller_.image().topics()) {
      for (const PartitionInfo& partition : topic->partitions) {
        leaders_.Report(partition.group, {.leader = kSelf, .term = Term(1)});
      }
    }
    view_.NotifyImageChanged();
  }

  raft::FakeGroup group_{kControllerGroup, controller_};
};

// The answer to the first was lost on its way.
TEST_F(AdminServiceDecidesTest, ARepeatedCreation_IsAnsweredAsTheFirst) {
  const auto first = Do(kCreate, Creation("t", 1, 1, 5));
  ASSERT_TRUE(first->is_answered());
  const auto again = Do(kCreate, Creation("t", 1, 1, 5));
  ASSERT_TRUE(again->is_answered());
  EXPECT_EQ(again->response<v1::CreateTopicResponse>().topic().topic_id(),
            first->response<v1::CreateTopicResponse>().topic().topic_id());
  EXPECT_EQ(Do(kCreate, Creation("t", 1, 1, 6))->status().code(), Code::kAlreadyExists);
}

TEST_F(AdminServiceDecidesTest, ARepeatedDeletion_IsAnsweredAsTheFirst_AndDeletesNothingNew) {
  const auto created = Do(kCreate, Creation("t", 1));
  const uint64_t id = created->response<v1::CreateTopicResponse>().topic().topic_id();
  const auto first = Do(kDelete, Deletion("t", 7));
  EXPECT_EQ(first->response<v1::DeleteTopicResponse>().topic_id(), id);
  EXPECT_EQ(controller_.image().FindTopic("t"), nullptr);
  // Somebody else makes one of that name meanwhile.
  Do(kCreate, Creation("t", 1));
  const auto again = Do(kDelete, Deletion("t", 7));
  EXPECT_EQ(again->response<v1::DeleteTopicResponse>().topic_id(), id);
  EXPECT_NE(controller_.image().FindTopic("t"), nullptr);
  Do(kDelete, Deletion("t", 8));
  EXPECT_EQ(controller_.image().FindTopic("t"), nullptr);
  EXPECT_EQ(Do(kDelete, Deletion("t", 9))->status().reason(), Reason::kUnknownTopic);
}

TEST_F(AdminServiceDecidesTest, ADeletion_IsAnswered_OnceItIsApplied) {
  Do(kCreate, Creation("t", 1));
  const auto call = Call(kDelete, Deletion("t"));
  EXPECT_FALSE(call->is_answered());
  Commit();
  EXPECT_TRUE(call->is_answered() && call->status().ok());
}

TEST_F(AdminServiceDecidesTest, AStoppedService_AnswersNothingThatWaits) {
  const auto call = Call(kCreate, Creation("t", 1));
  group_.CommitAll();
  service_.Stop();
  Commit();
  world_.RunFor(std::chrono::minutes(1));
  EXPECT_FALSE(call->is_answered());
}

}  // namespace
}  // namespace millrace::broker

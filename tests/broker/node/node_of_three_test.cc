// A broker whose controller leads elsewhere: what it asks of that, what it tells the others, and
// that it asks and tells nothing any more once it has stopped.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "broker/controller/decide.h"
#include "broker/node/node.h"
#include "broker/routing/attached_bytes.h"
#include "tests/broker/node/node_rig.h"
#include "tests/raft/host/state_machine_property.h"

namespace millrace::broker {
namespace {

internal::v1::BrokerRegistered RegistrationOf(const Voter& voter) {
  internal::v1::BrokerRegistered broker;
  broker.set_broker_id(voter.broker.value());
  broker.set_incarnation(voter.incarnation.value());
  return broker;
}

class NodeOfThreeTest : public NodeRig {
 protected:
  void SetUp() override {
    NodeRig::SetUp();
    transport_.listener = [this](const PeerMessage& message) { DeliverToLeader(message); };
    leader_.Serve(kForwardRegister, [this](const ForwardedRequest& request, ForwardReplied done) {
      internal::v1::RegisterRequest parsed;
      ASSERT_TRUE(DetachBytes(request.body, &parsed).ok());
      registrations_.push_back(parsed.broker());
      if (!registered_.has_value()) return unanswered_.push_back(std::move(done));
      if (!registered_->ok()) return done(registered_->status());
      done(AttachBytes(**registered_));
    });
    leader_.Serve(kForwardCreateTopic, [this](const ForwardedRequest&, ForwardReplied done) {
      unanswered_.push_back(std::move(done));
    });
    for (const Voter& voter : kThree) {
      Decide(DecideRegister(image_, RegistrationOf(voter), std::string(kProducerIdKeyBytes, 'k')));
    }
    identity_.Initialize(kCluster, kThree);
    Make(kThree);
    Start();
    world_.RunFor(std::chrono::milliseconds(50));
    Connect(kLeader);
  }
  void TearDown() override { transport_.listener = nullptr; }

  // What the leader's log goes on with.
  void Decide(const Decision& decision) {
    ASSERT_TRUE(decision.ok()) << decision.status();
    for (const auto& record : decision->records()) ASSERT_TRUE(image_.Apply(record).ok());
    log_.Add({.type = FrameType::kControllerCommand, .flags = kFrameControl},
             decision->SerializeAsString());
  }
  // The leader's log up to there comes, and is committed.
  void Replicate(size_t end) {
    const auto& entries = log_.entries();
    FromLeader(
        raft::core::AppendRequest{.term = Term(1),
                                  .prev_index = LogIndex(replicated_),
                                  .prev_term = replicated_ == 0 ? Term() : Term(1),
                                  .commit_index = LogIndex(end),
                                  .entries = {entries.begin() + static_cast<ptrdiff_t>(replicated_),
                                              entries.begin() + static_cast<ptrdiff_t>(end)}});
    replicated_ = end;
  }
  void ReplicateAll() { Replicate(log_.entries().size()); }
  // The leader stays it meanwhile.
  void LeaderStays(Duration span) {
    constexpr Duration kBetween = std::chrono::milliseconds(50);
    for (Duration passed{0}; passed < span; passed += kBetween) {
      FromLeader(raft::core::Heartbeat{
          .term = Term(1), .commit_index = LogIndex(replicated_), .round = ++round_});
      world_.RunFor(kBetween);
    }
  }
  void FromLeader(raft::core::Message message) {
    node_->OnRaftMessage(kLeader, kControllerGroup, kSelf.number, std::move(message));
  }
  void AnswerRegistration(uint64_t image_index) {
    internal::v1::RegisterReply reply;
    reply.set_image_index(image_index);
    registered_ = reply;
  }
  void BecomeReady() {
    AnswerRegistration(1);
    ReplicateAll();
    LeaderStays(kWhile);
    ASSERT_TRUE(node_->is_ready());
  }
  // The partitions of a topic that are here, each a group of its own.
  std::vector<RaftGroupId> GroupsHere(const std::string& topic) const {
    std::vector<RaftGroupId> here;
    for (const PartitionInfo& partition : image_.FindTopic(topic)->partitions) {
      if (partition.FindReplica(kSelf.holder()) != nullptr) here.push_back(partition.group);
    }
    return here;
  }
  using Reports = std::vector<std::vector<RaftGroupId>>;
  // The groups in each report since the last time, of all that went to `to`.
  Reports TakeReports(const Voter& to) {
    Reports reports;
    for (const PeerMessage& message : transport_.sent) {
      if (message.kind != raft::PeerKind::kLeaderReport || message.to != to.broker) continue;
      internal::v1::LeaderReport report;
      CHECK(report.ParseFromArray(message.body.data(), static_cast<int>(message.body.size())));
      auto& groups = reports.emplace_back();
      for (const auto& one : report.leaders()) {
        const RaftGroupId group(one.group_id());
        EXPECT_EQ(Term(one.term()), node_->host().Find(group)->leadership().term);
        groups.push_back(group);
      }
    }
    transport_.sent.clear();
    return reports;
  }

  // The other broker's side of what is forwarded to it. Nothing arrives from within a call.
  struct LeadersTransport final : raft::Transport {
    explicit LeadersTransport(NodeOfThreeTest& to) : test(&to) {}
    void SendRaft(const raft::RaftRoute&, raft::core::Message, bool) override {}
    void SendPeer(BrokerId, raft::Lane, raft::PeerKind kind, std::vector<Bytes> body) override {
      std::string whole;
      for (const Bytes& piece : body) whole += piece.view();
      test->world_.After(Duration(0), [test = test, kind, whole] {
        test->node_->OnPeerMessage(kLeader.holder(), kind, Bytes::CopyOf(whole));
      });
    }
    bool IsDiskFull(BrokerId) const override { return false; }
    bool IsConnected(BrokerId) const override { return true; }
    std::vector<int64_t> PeerWallClocksMs() const override { return {}; }
    NodeOfThreeTest* test;
  };
  void DeliverToLeader(const PeerMessage& message) {
    if (message.to != kLeader.broker || message.kind != raft::PeerKind::kForwardRequest) return;
    world_.After(Duration(0),
                 [this, body = message.body] { leader_.OnRequest(kSelf.broker, body); });
  }

  LeadersTransport leaders_transport_{*this};
  Forwarder leader_{process_.executor(), leaders_transport_, BootEpoch(1)};
  Image image_;
  raft::EntrySequence log_{kControllerGroup};
  size_t replicated_ = 0;
  uint64_t round_ = 0;
  std::optional<Result<internal::v1::RegisterReply>> registered_;
  std::vector<internal::v1::BrokerRegistered> registrations_;
  std::vector<ForwardReplied> unanswered_;
};

// Until then a topic may exist that others were told of, and this broker does not know.
TEST_F(NodeOfThreeTest, IsNotReady_BeforeItsImageIsAsNewAsTheControllerSaid) {
  Decide(DecideCreateTopic(image_, Topic("t"), {.cluster_size = 3, .now_ms = 1}));
  AnswerRegistration(log_.entries().size());
  Replicate(log_.entries().size() - 1);
  LeaderStays(kWhile);
  ASSERT_EQ(registrations_.size(), 1u);
  EXPECT_EQ(registrations_[0].broker_id(), kSelf.broker.value());
  EXPECT_EQ(registrations_[0].incarnation(), kSelf.incarnation.value());
  EXPECT_FALSE(node_->is_ready());
  EXPECT_EQ(Described("t").reason(), Reason::kNotInitialized);
  ReplicateAll();
  LeaderStays(std::chrono::milliseconds(50));
  EXPECT_TRUE(node_->is_ready());
  EXPECT_TRUE(Described("t").ok());
}

TEST_F(NodeOfThreeTest, ARegistrationThatFailsForNow_IsTriedAgain) {
  registered_ = Result<internal::v1::RegisterReply>(Unavailable("electing", Reason::kNotLeader));
  ReplicateAll();
  LeaderStays(std::chrono::milliseconds(100));
  EXPECT_GT(registrations_.size(), 1u);
  EXPECT_FALSE(node_->is_ready());
  BecomeReady();
  EXPECT_TRUE(fatal_.empty());
}

TEST_F(NodeOfThreeTest, ARefusedRegistration_SaysFatalOnce_AndWhy) {
  registered_ = Result<internal::v1::RegisterReply>(FailedPrecondition("broker 1 is another"));
  ReplicateAll();
  LeaderStays(kWhile);
  ASSERT_EQ(fatal_.size(), 1u);
  EXPECT_EQ(fatal_[0].message(), "broker 1 is another");
  EXPECT_FALSE(node_->is_ready());
}

TEST_F(NodeOfThreeTest, LeaderReports_HaveWhatIsLedHere_OnConnection_OnChange_AndRegularly) {
  Decide(DecideCreateTopic(image_, Topic("t", 3), {.cluster_size = 3, .now_ms = 1}));
  const std::vector<RaftGroupId> first = GroupsHere("t");
  ASSERT_EQ(first.size(), 1u) << "the other two are elsewhere";
  BecomeReady();
  ASSERT_TRUE(Leads(first[0]));
  TakeReports(kThird);
  Connect(kThird);
  EXPECT_EQ(TakeReports(kThird), (Reports{first}));

  Decide(DecideCreateTopic(image_, Topic("u", 3), {.cluster_size = 3, .now_ms = 1}));
  const std::vector<RaftGroupId> second = GroupsHere("u");
  ASSERT_EQ(second.size(), 1u);
  ReplicateAll();
  ASSERT_TRUE(world_.RunUntil([&] { return Leads(second[0]); }, std::chrono::milliseconds(200)));
  const auto changed = TakeReports(kThird);
  EXPECT_EQ(std::ranges::count(changed, second), 1) << "what changed, and that alone";

  LeaderStays(std::chrono::milliseconds(1050));
  const std::vector<RaftGroupId> both{first[0], second[0]};
  EXPECT_EQ(TakeReports(kThird), (Reports{both}));
  Disconnect(kThird);
  LeaderStays(kWhile);
  EXPECT_TRUE(TakeReports(kThird).empty());
}

TEST_F(NodeOfThreeTest, AReportOfAnothers_IsTaken_UntilThatOneIsGone) {
  internal::v1::LeaderReport report;
  report.add_leaders()->set_group_id(9);
  report.mutable_leaders(0)->set_term(4);
  const auto tell = [this](Bytes body) {
    node_->OnPeerMessage(kThird.holder(), raft::PeerKind::kLeaderReport, std::move(body));
  };
  Connect(kThird);
  tell(Bytes::Own(report.SerializeAsString()));
  const LeaderHint told{.leader = kThird.broker, .term = Term(4)};
  EXPECT_EQ(node_->leaders().Find(RaftGroupId(9)), told);
  tell(Bytes::Own("\xFF"));
  EXPECT_EQ(node_->leaders().Find(RaftGroupId(9)), told);
  Disconnect(kThird);
  EXPECT_EQ(node_->leaders().Find(RaftGroupId(9)).leader, BrokerId());
}

TEST_F(NodeOfThreeTest, AfterStop_NothingIsCalledBackOrSent_ThatWaitedForOthers) {
  bool is_told = false;
  node_->OnceReady([&is_told] { is_told = true; });
  ReplicateAll();
  LeaderStays(std::chrono::milliseconds(100));
  const auto created = Call(kCreateTopic, Topic("t"));
  world_.RunFor(std::chrono::milliseconds(1));
  ASSERT_EQ(unanswered_.size(), 2u) << "the registration, and the client's";
  node_->Stop();
  transport_.sent.clear();
  transport_.raft_messages = 0;
  internal::v1::RegisterReply reply;
  reply.set_image_index(1);
  unanswered_[0](AttachBytes(reply));
  world_.RunFor(std::chrono::minutes(1));
  EXPECT_FALSE(is_told);
  EXPECT_FALSE(node_->is_ready());
  EXPECT_FALSE(created->is_answered());
  EXPECT_TRUE(fatal_.empty());
  EXPECT_TRUE(transport_.sent.empty());
  EXPECT_EQ(transport_.raft_messages, 0u);
}

}  // namespace
}  // namespace millrace::broker

// A Node whose peers, disk and data directory are the test's: what tests of it share.
//
// One thread.
//
//   class NodeTest : public NodeRig {};
//   Make(kAlone);
//   Start();
//   world_.RunFor(kWhile);
//   EXPECT_TRUE(node_->is_ready());
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "broker/node/node.h"
#include "millrace/v1/admin_service.pb.h"
#include "millrace/v1/metadata_service.pb.h"
#include "tests/broker/api/fake_call.h"
#include "tests/broker/node/fake_environment.h"
#include "tests/raft/host/memory_log_store.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {

inline constexpr char kCluster[] = "c";
inline constexpr char kPublish[] = "/millrace.v1.ProducerService/Publish";
inline constexpr char kCreateTopic[] = "/millrace.v1.AdminService/CreateTopic";
inline constexpr char kDescribeTopics[] = "/millrace.v1.MetadataService/DescribeTopics";
inline constexpr char kDescribeCluster[] = "/millrace.v1.MetadataService/DescribeCluster";

// As founders are numbered.
inline constexpr Voter kSelf{BrokerId(1), Incarnation(11), ReplicaNumber(1)};
inline constexpr Voter kLeader{BrokerId(2), Incarnation(12),
                               ReplicaNumber(2)};  // of the controller
inline constexpr Voter kThird{BrokerId(3), Incarnation(13), ReplicaNumber(3)};
inline const std::vector<Voter> kAlone{kSelf};
inline const std::vector<Voter> kThree{kSelf, kLeader, kThird};

// Longer than any election and any retry of the node's.
inline constexpr Duration kWhile = std::chrono::seconds(3);

inline raft::PeerIdentity PeerOf(const Voter& voter) {
  raft::PeerIdentity peer;
  peer.who = voter.holder();
  peer.boot_epoch = BootEpoch(1);
  return peer;
}

inline v1::CreateTopicRequest Topic(const std::string& name, uint32_t partitions = 1) {
  v1::CreateTopicRequest request;
  request.set_name(name);
  request.set_partition_count(partitions);
  request.set_replication_factor(1);
  return request;
}

class NodeRig : public testing::Test {
 protected:
  void SetUp() override { FLAGS_minloglevel = google::GLOG_FATAL; }

  void Make(const std::vector<Voter>& controllers,
            std::vector<raft::RecoveredReplica> recovered = {}) {
    node_.reset();
    NodeOptions options;
    options.cluster_name = kCluster;
    options.client_address = "one:7440";
    for (const Voter& voter : controllers) options.members.push_back(voter.broker);
    options.producer_id_key = std::string(kProducerIdKeyBytes, 'k');
    options.coordinator_shards = coordinator_shards_;
    node_ =
        std::make_unique<Node>(options,
                               Node::Environment{process_.executor(), process_.clock(), transport_,
                                                 store_, identity_, process_.executor()},
                               std::move(recovered), process_.Fork());
  }
  void Start() {
    node_->Start([this](Status why) { fatal_.push_back(std::move(why)); });
  }
  void Connect(const Voter& peer) {
    transport_.connected.insert(peer.broker);
    node_->OnPeerConnected(PeerOf(peer));
  }
  void Disconnect(const Voter& peer) {
    transport_.connected.erase(peer.broker);
    node_->OnPeerDisconnected(peer.broker, Unavailable("the cable is pulled"));
  }
  void Tell(const Voter& from, const internal::v1::BootstrapState& state) {
    node_->OnPeerMessage(from.holder(), raft::PeerKind::kBootstrap,
                         Bytes::Own(state.SerializeAsString()));
  }
  // The only broker of its cluster, up.
  void StartAlone() {
    Make(kAlone);
    Start();
    ASSERT_TRUE(world_.RunUntil([this] { return node_->is_ready(); }, kWhile));
  }
  // Ready and with the topic "t", one partition; then stopped.
  void LiveAlone() {
    StartAlone();
    Call(kCreateTopic, Topic("t"));
    world_.RunFor(kWhile);
    partition_ = node_->controller().image().FindTopic("t")->partitions[0].group;
    node_->Stop();
  }
  template <typename Request>
  std::shared_ptr<FakeCall> Call(std::string_view method, const Request& request) {
    return FakeCall::Make(node_->registry(), method, request);
  }
  Status Described(const std::string& topic) {
    v1::DescribeTopicsRequest request;
    request.add_names(topic);
    return Call(kDescribeTopics, request)->status();
  }
  bool Leads(RaftGroupId group) const {
    const raft::Replica* replica = node_->host().Find(group);
    return replica != nullptr && replica->leadership().is_ready;
  }

  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("broker");
  FakeTransport transport_;
  raft::MemoryLogStore store_{process_.executor()};
  FakeIdentity identity_{process_.executor(), kSelf.holder()};
  uint32_t coordinator_shards_ = 0;
  RaftGroupId partition_;
  std::vector<Status> fatal_;
  std::unique_ptr<Node> node_;
};

}  // namespace millrace::broker

// A member's end of a Join stream at one broker of a simulated cluster: the handler itself, with
// the transport in the test's hands. What the broker tells is kept; assignments are answered as an
// honest client does, unless the test says otherwise.
//
// One thread. The broker outlives it, or Cut comes before.
//
//   MemberStream one(rig, 0, Init("g", "m-1", {"t"}));
//   one.Await([&] { return one.owned().size() == 4; });
//   one.Ping();
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "broker/api/stream.h"
#include "broker/coordinator/shard.h"
#include "broker/coordinator/slot.h"
#include "millrace/v1/group_service.pb.h"
#include "raft/runtime/lifetime.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {

inline constexpr char kJoin[] = "/millrace.v1.GroupService/Join";

inline v1::JoinInit Init(const std::string& group, const std::string& member_id,
                         const std::vector<std::string>& topics = {"t"}) {
  v1::JoinInit init;
  init.set_group(group);
  init.set_member_id(member_id);
  init.set_session(1);
  for (const std::string& topic : topics) init.mutable_subscription()->add_topics(topic);
  return init;
}

// The transport: takes everything at once, unless it is stuck.
class HandledStream final : public Stream {
 public:
  const Principal& principal() const override { return principal_; }
  void Write(std::vector<Bytes> pieces) override {
    std::string message;
    for (const Bytes& piece : pieces) message.append(piece.view());
    if (is_stuck) pending_ += message.size();
    on_message(message);
  }
  uint64_t pending_bytes() const override { return pending_; }
  void SetReading(bool on) override { is_reading = on; }
  void Finish(const Status& why) override {
    EXPECT_FALSE(status.has_value()) << "finished twice";
    status = why;
  }
  void TakeAll() { pending_ = 0; }

  std::function<void(const std::string&)> on_message;
  bool is_stuck = false;
  bool is_reading = true;
  std::optional<Status> status;

 private:
  const Principal principal_{.peer_address = "10.0.0.7:1234"};
  uint64_t pending_ = 0;
};

class MemberStream {
 public:
  // By topic id and partition.
  using Partitions = std::set<std::pair<uint64_t, uint32_t>>;

  // Says nothing.
  MemberStream(ServiceRig& rig, size_t broker)
      : rig_(&rig), stream_(std::make_shared<HandledStream>()) {
    stream_->on_message = [this](const std::string& message) { Take(message); };
    StreamFactory* factory = rig.cluster.node(broker).registry().FindStream(kJoin);
    CHECK(factory != nullptr);
    handler_ = (*factory)(stream_);
  }
  MemberStream(ServiceRig& rig, size_t broker, const v1::JoinInit& init)
      : MemberStream(rig, broker) {
    v1::JoinRequest request;
    *request.mutable_init() = init;
    for (const v1::OwnedPartitions& topic : init.owned()) AddAll(topic, &owned_);
    Say(request);
  }
  ~MemberStream() { Cut(); }
  MemberStream(const MemberStream&) = delete;
  MemberStream& operator=(const MemberStream&) = delete;

  // The connection breaks, unless the stream has ended.
  void Cut() {
    if (!handler_) return;
    handler_->OnClosed();
    handler_.reset();
  }
  void HalfClose() { handler_->OnHalfClose(); }
  void Say(const v1::JoinRequest& request) { SayBytes(request.SerializeAsString()); }
  void SayBytes(std::string bytes) { handler_->OnMessage(Bytes::Own(std::move(bytes))); }
  void Ping() {
    v1::JoinRequest request;
    request.mutable_ping();
    Say(request);
  }
  // Pings whenever it has to, as long as it is there.
  void KeepPinging(Duration interval = std::chrono::seconds(3)) {
    Ping();
    rig_->world.After(interval, lifetime_.Guard([this, interval] {
      if (handler_ && !status().has_value()) KeepPinging(interval);
    }));
  }
  void Leave(bool will_be_back = false) {
    v1::JoinRequest request;
    request.mutable_leave()->set_will_be_back(will_be_back);
    Say(request);
  }
  void Subscribe(const v1::Subscription& subscription) {
    v1::JoinRequest request;
    *request.mutable_subscription() = subscription;
    Say(request);
  }
  // The topic is named.
  void Commit(uint64_t commit_id, uint32_t partition, int64_t offset,
              const std::string& topic = "t") {
    v1::JoinRequest request;
    request.mutable_commit()->set_commit_id(commit_id);
    auto& named = *request.mutable_commit()->add_topics();
    named.set_topic(topic);
    named.add_partitions()->set_partition(partition);
    named.mutable_partitions(0)->set_offset(offset);
    Say(request);
  }
  void Done(uint64_t version, const Partitions& owned) {
    v1::JoinRequest request;
    request.mutable_done()->set_version(version);
    for (const auto& [topic, partition] : owned) {
      auto& named = *request.mutable_done()->add_owned();
      named.set_topic_id(topic);
      named.add_partitions(partition);
    }
    Say(request);
  }
  // Answers the last assignment: it has given up what it was to.
  void Done() {
    owned_ = assigned();
    Done(assignments.back().version(), owned_);
  }

  // The client takes what the transport holds.
  void Take() {
    stream_->TakeAll();
    handler_->OnWritable();
  }
  HandledStream& stream() { return *stream_; }
  const std::optional<Status>& status() const { return stream_->status; }
  // What it works on: what it was assigned, and what it was told to give up and has not yet.
  const Partitions& owned() const { return owned_; }
  Partitions assigned() const {
    Partitions all;
    if (assignments.empty()) return all;
    for (const v1::AssignedTopic& topic : assignments.back().topics()) {
      for (const auto& partition : topic.partitions()) {
        all.emplace(topic.topic_id(), partition.partition());
      }
    }
    return all;
  }
  Partitions revoked() const {
    Partitions all;
    for (const auto& topic : assignments.back().revoked()) AddAll(topic, &all);
    return all;
  }
  bool Await(const std::function<bool()>& condition, Duration limit = kRigTimeMax) {
    return rig_->world.RunUntil(condition, limit);
  }

  bool does_answer = true;
  std::vector<v1::Joined> joined;
  std::vector<v1::Assignment> assignments;
  std::vector<v1::CommitResult> results;
  size_t pongs = 0;
  // What it worked on and was told to give up, in all.
  Partitions given_up;

 private:
  static void AddAll(const v1::OwnedPartitions& topic, Partitions* out) {
    for (const uint32_t partition : topic.partitions()) out->emplace(topic.topic_id(), partition);
  }
  void Take(const std::string& message) {
    v1::JoinResponse response;
    CHECK(response.ParseFromString(message));
    if (response.has_joined()) joined.push_back(response.joined());
    if (response.has_commit()) results.push_back(response.commit());
    if (response.has_pong()) ++pongs;
    if (!response.has_assignment()) return;
    EXPECT_EQ(joined.size(), 1U) << "it is told first that it joined";
    assignments.push_back(response.assignment());
    for (const auto& partition : assigned()) owned_.insert(partition);
    const Partitions revoked_now = revoked();
    given_up.insert(revoked_now.begin(), revoked_now.end());
    if (!does_answer) return;
    // Not from within what tells it.
    rig_->world.After(std::chrono::milliseconds(1), lifetime_.Guard([this] {
      if (handler_ && !status().has_value()) Done();
    }));
  }

  ServiceRig* rig_;
  std::shared_ptr<HandledStream> stream_;
  std::unique_ptr<StreamHandler> handler_;
  Partitions owned_;
  Lifetime lifetime_;
};

// The broker that leads the shard of the group, which comes into being by a commit.
inline size_t CoordinatorOf(ServiceRig& rig, const std::string& group) {
  v1::CommitOffsetsRequest commit;
  commit.set_group(group);
  commit.add_topics()->set_topic("t");
  commit.mutable_topics(0)->add_partitions();
  CHECK(rig.Call<v1::CommitOffsetsResponse>(0, "/millrace.v1.GroupService/CommitOffsets", commit)
            .ok());
  v1::DescribeGroupRequest request;
  request.set_group(group);
  const auto described =
      rig.Call<v1::DescribeGroupResponse>(0, "/millrace.v1.GroupService/DescribeGroup", request);
  CHECK(described.ok()) << described.status();
  return described->coordinator_id() - 1;
}

// How many members the group has, as its shard's leader has applied it.
inline size_t MemberCount(ServiceRig& rig, const std::string& group) {
  for (size_t broker = 0; broker < rig.cluster.size(); ++broker) {
    if (!rig.cluster.is_serving(broker)) continue;
    const Node& node = rig.cluster.node(broker);
    const TopicInfo* topic = node.controller().image().FindTopic(kCoordinatorTopic);
    if (topic == nullptr) continue;
    const CoordinatorShard* shard = node.replicas().FindShard(ShardOf(*topic, SlotOf(group)).group);
    if (shard == nullptr || !shard->is_ready()) continue;
    const Group* found = shard->state().Find(group);
    return found == nullptr ? 0 : found->membership->members().size();
  }
  LOG(FATAL) << "nobody leads the shard of group " << group;
}

// A broker of three that is not this one.
inline size_t Other(size_t broker) { return (broker + 1) % 3; }

}  // namespace millrace::broker

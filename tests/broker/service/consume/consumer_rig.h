// A small client's end of a Consume stream at one broker of a simulated cluster: the handler
// itself, with the transport in the test's hands. It handles what comes, then commits up to its
// number, as the loop in group_service.proto does, unless the test says otherwise.
//
// One thread. The broker outlives it, or Cut comes before.
//
//   Consumer one(rig, 0, ConsumerInit("a"));
//   one.Await([&] { return one.records.size() == 10; });
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/v1/group_service.pb.h"
#include "raft/runtime/lifetime.h"
#include "tests/broker/service/group/member_rig.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {

inline constexpr char kConsume[] = "/millrace.v1.GroupService/Consume";

inline v1::ConsumeInit ConsumerInit(const std::string& member_id, const std::string& topic = "t") {
  v1::ConsumeInit init;
  init.set_group("g");
  init.set_member_id(member_id);
  init.mutable_subscription()->add_topics(topic);
  return init;
}

class Consumer {
 public:
  struct Record {
    uint32_t partition = 0;
    int64_t offset = 0;
    std::string value;
    std::string topic;
    uint32_t fencing_token = 0;
    uint64_t number = 0;  // of its message
  };
  using Partitions = std::set<uint32_t>;

  // Says nothing.
  Consumer(ServiceRig& rig, size_t broker)
      : rig_(&rig), stream_(std::make_shared<HandledStream>()) {
    stream_->on_message = [this](const std::string& message) { Take(message); };
    StreamFactory* factory = rig.cluster.node(broker).registry().FindStream(kConsume);
    CHECK(factory != nullptr);
    handler_ = (*factory)(stream_);
  }
  Consumer(ServiceRig& rig, size_t broker, const v1::ConsumeInit& init) : Consumer(rig, broker) {
    v1::ConsumeRequest request;
    *request.mutable_init() = init;
    Say(request);
  }
  ~Consumer() { Cut(); }
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;

  // The connection breaks, unless the stream has ended.
  void Cut() {
    if (!handler_) return;
    handler_->OnClosed();
    handler_.reset();
  }
  // Its broker dies, and tells nobody.
  void Vanish() { handler_.reset(); }
  bool is_connected() const { return handler_ != nullptr && !status().has_value(); }
  void HalfClose() { handler_->OnHalfClose(); }
  void Say(const v1::ConsumeRequest& request) { SayBytes(request.SerializeAsString()); }
  void SayBytes(std::string bytes) {
    if (handler_ && !status().has_value()) handler_->OnMessage(Bytes::Own(std::move(bytes)));
  }
  void CommitUpTo(uint64_t number, uint64_t commit_id = 0) {
    if (on_commit) on_commit(number);
    v1::ConsumeRequest request;
    request.mutable_commit()->set_up_to(number);
    request.mutable_commit()->set_commit_id(commit_id);
    Say(request);
  }
  void CommitAll() { CommitUpTo(last_number, last_number); }
  void CommitOffset(uint32_t partition, int64_t offset, uint64_t commit_id) {
    v1::ConsumeRequest request;
    request.mutable_commit()->set_commit_id(commit_id);
    auto& topic = *request.mutable_commit()->mutable_offsets()->add_topics();
    topic.set_topic("t");
    topic.add_partitions()->set_partition(partition);
    topic.mutable_partitions(0)->set_offset(offset);
    Say(request);
  }
  void DoneWith(uint64_t number) {
    v1::ConsumeRequest request;
    request.mutable_done()->set_up_to(number);
    Say(request);
  }
  void Ping() {
    v1::ConsumeRequest request;
    request.mutable_ping();
    Say(request);
  }
  void KeepPinging(Duration interval) {
    Ping();
    rig_->world.After(interval, lifetime_.Guard([this, interval] {
      if (handler_ && !status().has_value()) KeepPinging(interval);
    }));
  }
  void Leave(bool will_be_back = false) {
    v1::ConsumeRequest request;
    request.mutable_leave()->set_will_be_back(will_be_back);
    Say(request);
  }

  // The client takes what the transport holds.
  void Take() {
    stream_->TakeAll();
    handler_->OnWritable();
  }
  HandledStream& stream() { return *stream_; }
  const std::optional<Status>& status() const { return stream_->status; }
  bool Await(const std::function<bool()>& condition, Duration limit = kRigTimeMax) {
    return rig_->world.RunUntil(condition, limit);
  }
  // Whether all that it was told is committed, and it knows. Pre: each commit has its number.
  bool is_settled() const { return !results.empty() && results.back().commit_id() == last_number; }
  // Of one partition, as they came.
  std::vector<std::string> ValuesOf(uint32_t partition) const {
    std::vector<std::string> values;
    for (const Record& record : records) {
      if (record.partition == partition) values.push_back(record.value);
    }
    return values;
  }
  // Where it was told last that a partition begins; -1: it was not.
  int64_t StartOf(uint32_t partition) const {
    int64_t start = -1;
    for (const v1::ConsumedPartition& told : assigned) {
      if (told.partition() == partition) start = told.offset();
    }
    return start;
  }

  // Commits what it is told, up to its number, which is the commit's, too.
  bool commits = true;
  // Called before a commit is said, after a result came, and after it was told where something
  // begins.
  std::function<void(uint64_t number)> on_commit;
  std::function<void(const v1::CommitResult&)> on_result;
  std::function<void(const v1::ConsumedPartition&)> on_assigned;
  std::vector<v1::ConsumeJoined> joined;
  std::vector<Record> records;
  std::vector<v1::ConsumedPartition> assigned;
  std::vector<v1::ConsumedPartition> revoked;
  std::vector<v1::ConsumedPartition> lost;
  std::vector<v1::CommitResult> results;
  // What it has of topic t, as far as it was told.
  Partitions owned;
  uint64_t last_number = 0;
  size_t empty_messages = 0;
  // Of messages that have a number.
  uint64_t numbered_bytes = 0;
  uint64_t largest_message = 0;

 private:
  void Take(const std::string& message) {
    v1::ConsumeResponse response;
    CHECK(response.ParseFromString(message));
    if (response.has_joined()) joined.push_back(response.joined());
    EXPECT_EQ(joined.size(), 1U) << "it is told first that it joined";
    if (response.has_commit()) {
      results.push_back(response.commit());
      if (on_result) on_result(response.commit());
    }
    for (const v1::SubscribedRecord& record : response.records()) {
      EXPECT_TRUE(owned.contains(record.partition())) << "it has none of " << record.partition();
      EXPECT_GT(record.append_time_ms(), 0);
      records.push_back({.partition = record.partition(),
                         .offset = record.offset(),
                         .value = record.record().value(),
                         .topic = response.topic(),
                         .fencing_token = response.fencing_token(),
                         .number = response.number()});
    }
    TakeChange(response);
    if (response.number() == 0) return;
    EXPECT_EQ(response.number(), last_number + 1);
    last_number = response.number();
    numbered_bytes += message.size();
    largest_message = std::max<uint64_t>(largest_message, message.size());
    const bool is_empty = response.records().empty() && response.assigned().empty() &&
                          response.revoked().empty() && response.lost().empty();
    if (is_empty) ++empty_messages;
    if (!commits) return;
    // Not from within what tells it.
    rig_->world.After(std::chrono::milliseconds(1),
                      lifetime_.Guard([this, number = response.number()] {
                        if (commits) CommitUpTo(number, number);
                      }));
  }
  void TakeChange(const v1::ConsumeResponse& response) {
    for (const v1::ConsumedPartition& told : response.assigned()) {
      assigned.push_back(told);
      if (on_assigned) on_assigned(told);
      if (told.topic() == "t") owned.insert(told.partition());
    }
    for (const v1::ConsumedPartition& told : response.revoked()) {
      revoked.push_back(told);
      if (told.topic() != "t") continue;
      EXPECT_EQ(owned.erase(told.partition()), 1U);
    }
    for (const v1::ConsumedPartition& told : response.lost()) {
      lost.push_back(told);
      if (told.topic() == "t") owned.erase(told.partition());
    }
  }

  ServiceRig* rig_;
  std::shared_ptr<HandledStream> stream_;
  std::unique_ptr<StreamHandler> handler_;
  Lifetime lifetime_;
};

}  // namespace millrace::broker

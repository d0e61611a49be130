// The only replica of a shard over a store that keeps everything, and its TransactionServer: what
// is asked of it, and what becomes of that when the broker dies or no longer leads.
//
//   auto& end = Ask(EndOf("a", name, kCommit));
//   Run(100);
//   EXPECT_TRUE(end.has_come());
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "broker/coordinator/transaction_server.h"
#include "proto/base/mutants.h"
#include "raft/host/host.h"
#include "tests/broker/controller/records.h"
#include "tests/broker/coordinator/transaction_rig.h"
#include "tests/raft/host/group_tap.h"
#include "tests/raft/host/memory_log_store.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {

// Gives one block after the other, at once or when it is told to.
class FakeProducers final : public SlotProducers {
 public:
  void Take(uint32_t slot, Done done) override {
    asked.push_back(slot);
    if (!holds) return done(Next(slot));
    held.emplace_back(slot, std::move(done));
  }
  void LetGo(const Status& status = {}) {
    for (auto& [slot, done] : std::exchange(held, {})) {
      if (status.ok()) {
        done(Next(slot));
      } else {
        done(status);
      }
    }
  }

  std::vector<uint32_t> asked;
  bool holds = false;
  std::vector<std::pair<uint32_t, Done>> held;

 private:
  ProducerId Next(uint32_t slot) { return ProducerId(++blocks_ * kProducerIdBlock + slot); }
  uint64_t blocks_ = 0;
};

class FakeMarkerSender final : public MarkerSender {
 public:
  void Wake(RaftGroupId) override { ++woken; }
  void Send(RaftGroupId, std::vector<Marker> markers) override {
    for (Marker& marker : markers) sent.push_back(std::move(marker));
  }
  int woken = 0;
  std::vector<Marker> sent;
};

class TransactionServerTest : public testing::Test {
 protected:
  static constexpr RaftGroupId kShard{9};
  static constexpr Voter kSelf{BrokerId(1), Incarnation(11), ReplicaNumber(1)};

  struct Answer {
    std::optional<Status> status;  // none: it waits
    TransactionName granted;       // of an Init
    bool has_come() const { return status.has_value(); }
    bool is_ok() const { return has_come() && status->ok(); }
    Reason reason() const { return has_come() ? status->reason() : Reason::kNone; }
    Code code() const { return has_come() ? status->code() : Code::kUnknown; }
  };

  void SetUp() override {
    FLAGS_minloglevel = google::GLOG_FATAL;
    auto created = Created(1, std::string(kCoordinatorTopic), kShard.value(), 1);
    created.mutable_topic_created()->set_kind(internal::v1::TopicCreated::KIND_COORDINATOR);
    created.mutable_topic_created()->set_slot_count(kCoordinatorSlots);
    ASSERT_TRUE(image_.Apply(created).ok());
    RaiseTo(kTransactionLevel);
    Make();
    raft::ReplicaRecord record{
        .group = kShard, .number = kSelf.number, .kind = raft::ReplicaKind::kCoordinator};
    record.configuration.voters = {kSelf};
    host_->CreateReplica(record, /*campaign=*/true, *tap_);
    Run(100);
    ASSERT_TRUE(shard_->is_ready());
  }
  void TearDown() override {
    active_mutant = Mutant::kNone;
    server_->Stop();
  }
  void RaiseTo(uint32_t level) {
    internal::v1::ControllerRecord raised;
    raised.mutable_level_raised()->set_level(level);
    ASSERT_TRUE(image_.Apply(raised).ok());
  }
  void Make() {
    host_.reset();
    host_ = std::make_unique<raft::Host>(
        raft::HostOptions{.self = kSelf.holder()},
        raft::HostEnvironment{process_.executor(), process_.clock(), transport_, store_},
        process_.Fork());
    shard_ = std::make_unique<CoordinatorShard>(
        kShard,
        CoordinatorShard::Environment{process_.executor(), process_.clock(), image_, memory_});
    tap_ = std::make_unique<raft::GroupTap>(*shard_);
    server_ = std::make_unique<TransactionServer>(TransactionServer::Environment{
        .executor = process_.executor(),
        .clock = process_.clock(),
        .image = image_,
        .memory = memory_,
        .producers = producers_,
        .markers = sender_,
        .find_shard = [this](RaftGroupId) { return shard_.get(); },
        .not_leader = [](RaftGroupId) { return Unavailable("it leads not", Reason::kNotLeader); }});
    shard_->SetLeadershipListener(
        [this](const raft::Leadership& leadership) { server_->OnLeadership(kShard, leadership); });
    shard_->SetChangeListener([this](const CoordinatorShard::Changes& changes) {
      server_->OnChanged(kShard, changes.transactional_ids);
    });
    host_->Start();
  }
  // kill -9, and another start.
  void Restart() {
    server_->Stop();
    Make();
    host_->AddReplica(store_.Recovered(kShard), *tap_);
    Run(100);
    ASSERT_TRUE(shard_->is_ready());
  }
  void LoseLeadership() { shard_->OnLeadership({.term = Term(99), .leader = {}}); }
  void Run(int64_t ms) { world_.RunFor(std::chrono::milliseconds(ms)); }
  size_t entries() const { return store_.groups.at(kShard).entries.size(); }

  template <typename Request>
  static Asked<Request> Shared(const Request& request) {
    return std::make_shared<const Request>(request);
  }
  static auto Into(Answer* answer) {
    return [answer](const auto& reply) {
      EXPECT_FALSE(answer->has_come()) << "answered twice";
      answer->status = reply.status();
    };
  }

  Answer& Ask(const internal::v1::InitTransactionsRequest& request) {
    Answer& answer = answers_.emplace_back();
    server_->Init(kShard, Shared(request),
                  [&answer](const Result<internal::v1::InitTransactionsReply>& reply) {
                    answer.status = reply.status();
                    if (!reply.ok()) return;
                    answer.granted = {.producer = ProducerId(reply->producer_id()),
                                      .epoch = reply->epoch()};
                  });
    return answer;
  }
  Answer& Ask(const internal::v1::RegisterTransactionRequest& request) {
    Answer& answer = answers_.emplace_back();
    server_->Register(kShard, Shared(request), Into(&answer));
    return answer;
  }
  Answer& Ask(const internal::v1::EndTransactionRequest& request) {
    Answer& answer = answers_.emplace_back();
    server_->End(kShard, Shared(request), Into(&answer));
    return answer;
  }
  Answer& Ask(const internal::v1::AbortTransactionRequest& request) {
    Answer& answer = answers_.emplace_back();
    server_->Abort(kShard, Shared(request), Into(&answer));
    return answer;
  }
  Answer& Tell(const std::vector<internal::v1::ParticipantsEnded>& ended) {
    Answer& answer = answers_.emplace_back();
    internal::v1::ParticipantsEndedRequest request;
    for (const auto& one : ended) *request.add_ended() = one;
    server_->Ended(kShard, Shared(request), Into(&answer));
    return answer;
  }
  // An id whose first transaction is open in these groups.
  void Open(const std::string& id, const std::vector<uint64_t>& groups) {
    const Answer& init = Ask(InitOf(id, ++requests_));
    Run(20);
    ASSERT_TRUE(init.is_ok());
    names_[id] = {.producer = init.granted.producer, .epoch = init.granted.epoch};
    const Answer& registered = Ask(RegisterOf(Name(id, 1), groups));
    Run(20);
    ASSERT_TRUE(registered.is_ok());
  }
  TransactionName Name(const std::string& id, uint64_t number) const {
    TransactionName name = names_.at(id);
    name.number = number;
    return name;
  }
  const TransactionalId& Id(const std::string& id) const {
    return *shard_->state().transactions().Find(id);
  }
  std::vector<Marker> Markers(size_t max = 100) {
    TransactionTable::Completing::Cursor cursor;
    return server_->Markers(kShard, max, &cursor);
  }

  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("broker");
  raft::MemoryTransport transport_;
  raft::MemoryLogStore store_{process_.executor()};
  Image image_;
  CoordinatorMemory memory_{CoordinatorLimits{}};
  FakeProducers producers_;
  FakeMarkerSender sender_;
  std::unique_ptr<raft::Host> host_;
  std::unique_ptr<CoordinatorShard> shard_;
  std::unique_ptr<raft::GroupTap> tap_;
  std::unique_ptr<TransactionServer> server_;
  std::deque<Answer> answers_;
  std::map<std::string, TransactionName> names_;
  uint64_t requests_ = 0;
};

}  // namespace millrace::broker

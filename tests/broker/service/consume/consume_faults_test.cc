// Consumers of a group that come, go, break off, hang and lose their brokers: each record is
// handled by somebody before it is committed, and nobody begins before what is committed.

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/v1/group_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "raft/runtime/random.h"
#include "tests/broker/service/consume/consumer_rig.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint32_t kPartitions = 6;
constexpr uint32_t kSeeds = 20;
constexpr int kRounds = 60;
constexpr size_t kConsumersMax = 4;

class FaultyRun {
 public:
  explicit FaultyRun(uint64_t seed) : rig_(seed), random_(seed) {
    rig_.CreateTopic("t", kPartitions);
  }

  void Run() {
    for (int round = 0; round < kRounds; ++round) {
      Publish();
      Disturb();
      rig_.world.RunFor(milliseconds(random_.Between(10, 800)));
    }
    Heal();
    for (int i = 0; i < 120 && !IsAllCommitted(); ++i) rig_.world.RunFor(seconds(1));
    ASSERT_TRUE(IsAllCommitted());
    for (const auto& [partition, known] : known_) ExpectHandled(partition, known.end);
  }

 private:
  struct Living {
    std::unique_ptr<Consumer> consumer;
    std::string id;
    uint64_t session = 1;
    size_t broker = 0;
    bool is_leaving = false;
  };
  // What is known of a partition.
  struct Known {
    int64_t end = 0;             // records that were stored
    std::set<int64_t> handled;   // offsets that somebody was done with
    int64_t committed = 0;       // that was acknowledged
    uint32_t fencing_token = 0;  // the largest that was told
  };

  size_t AServingBroker() {
    for (;;) {
      const size_t broker = random_.Below(rig_.cluster.size());
      if (rig_.cluster.is_serving(broker)) return broker;
    }
  }

  // Once: what may be stored twice would be more, which does not matter.
  void Publish() {
    v1::PublishRequest request;
    request.set_topic("t");
    const auto partition = static_cast<uint32_t>(random_.Below(kPartitions));
    request.set_partition(partition);
    for (uint64_t i = random_.Between(1, 20); i > 0; --i) request.add_records()->set_value("v");
    const auto response = rig_.Call<v1::PublishResponse>(
        AServingBroker(), "/millrace.v1.ProducerService/Publish", request);
    if (!response.ok() || response->results(0).has_error()) return;
    const v1::PublishResult& last = *response->results().rbegin();
    known_[partition].end = std::max(known_[partition].end, last.offset() + 1);
  }

  void Disturb() {
    // Whoever was told that its stream is over goes on with the next one.
    for (Living& living : living_) {
      const bool is_over = !living.consumer->is_connected();
      if (is_over && !living.is_leaving) StartAnew(&living);
    }
    std::erase_if(living_, [](const Living& living) {
      return living.is_leaving && !living.consumer->is_connected();
    });
    switch (random_.Below(8)) {
      case 0:
      case 1:
        return StartOne();
      case 2:
        return WithOne([this](Living* living) {
          living->consumer->Cut();
          StartAnew(living);
        });
      case 3:
        return WithOne([](Living* living) {
          living->is_leaving = true;
          living->consumer->Leave();
        });
      case 4:
        return WithOne([this](Living* living) { Slow(living->consumer.get()); });
      case 5:
        return KillOrStart();
      default:
        return WithOne([](Living* living) {
          living->consumer->commits = true;
          living->consumer->CommitAll();
        });
    }
  }

  // It works on what it was sent some time ago.
  void Slow(Consumer* consumer) {
    consumer->commits = false;
    const uint64_t number = random_.Between(0, consumer->last_number);
    consumer->CommitUpTo(number, number);
  }

  void WithOne(const std::function<void(Living*)>& act) {
    if (living_.empty()) return;
    Living& living = living_[random_.Below(living_.size())];
    if (living.consumer->is_connected() && !living.is_leaving) act(&living);
  }

  void StartOne() {
    if (living_.size() >= kConsumersMax) return;
    Living living;
    living.id = "m-" + std::to_string(++ids_);
    living_.push_back(std::move(living));
    Connect(&living_.back());
  }
  void StartAnew(Living* living) {
    ++living->session;
    Connect(living);
  }

  void Connect(Living* living) {
    v1::ConsumeInit init = ConsumerInit(living->id);
    init.set_session(living->session);
    init.set_session_timeout_ms(5'000);
    init.set_revoke_timeout_ms(8'000);
    init.set_window_bytes(static_cast<uint32_t>(random_.Between(100, 5'000)));
    living->broker = AServingBroker();
    if (living->consumer) living->consumer->Cut();
    living->consumer = std::make_unique<Consumer>(rig_, living->broker, init);
    Consumer* consumer = living->consumer.get();
    committed_[consumer] = 0;
    consumer->on_commit = [this, consumer](uint64_t number) { OnCommit(*consumer, number); };
    consumer->on_result = [this, consumer](const auto& result) { OnResult(*consumer, result); };
    consumer->on_assigned = [this](const auto& told) { OnAssigned(told); };
  }

  void KillOrStart() {
    for (size_t broker = 0; broker < rig_.cluster.size(); ++broker) {
      if (!rig_.cluster.is_serving(broker)) return StartBroker(broker);
    }
    const size_t broker = random_.Below(rig_.cluster.size());
    for (Living& living : living_) {
      if (living.broker == broker) living.consumer->Vanish();
    }
    rig_.cluster.Kill(broker, /*power_loss=*/random_.OneIn(2));
  }
  void StartBroker(size_t broker) {
    rig_.cluster.Start(broker);
    ASSERT_TRUE(rig_.world.RunUntil([&] { return rig_.cluster.is_serving(broker); }, kRigTimeMax));
  }

  void Heal() {
    for (size_t broker = 0; broker < rig_.cluster.size(); ++broker) {
      if (!rig_.cluster.is_serving(broker)) StartBroker(broker);
    }
    StartOne();
    for (Living& living : living_) {
      if (living.is_leaving) continue;
      if (!living.consumer->is_connected()) StartAnew(&living);
      living.consumer->commits = true;
      living.consumer->CommitAll();
    }
  }

  // Not until then is a record handled.
  void OnCommit(const Consumer& consumer, uint64_t number) {
    for (const Consumer::Record& record : consumer.records) {
      if (record.number <= number) known_[record.partition].handled.insert(record.offset);
    }
  }
  void OnResult(const Consumer& consumer, const v1::CommitResult& result) {
    if (result.has_error()) return;
    std::set<uint32_t> refused;
    for (const v1::RefusedOffset& one : result.refused()) refused.insert(one.partition());
    uint64_t& before = committed_[&consumer];
    const uint64_t from = std::exchange(before, std::max(before, result.commit_id()));
    for (const Consumer::Record& record : consumer.records) {
      if (record.number <= from || record.number > before) continue;
      if (refused.contains(record.partition)) continue;
      Known& known = known_[record.partition];
      known.committed = std::max(known.committed, record.offset + 1);
    }
    for (const auto& [partition, known] : known_) ExpectHandled(partition, known.committed);
  }
  // What lies before `end` was handled.
  void ExpectHandled(uint32_t partition, int64_t end) {
    for (int64_t offset = 0; offset < end; ++offset) {
      ASSERT_TRUE(known_[partition].handled.contains(offset))
          << offset << " of partition " << partition << " was handled by nobody";
    }
  }
  void OnAssigned(const v1::ConsumedPartition& told) {
    Known& known = known_[told.partition()];
    // One that is told late is an older owner's.
    if (told.fencing_token() < known.fencing_token) return;
    known.fencing_token = told.fencing_token();
    EXPECT_GE(told.offset(), known.committed) << "partition " << told.partition();
    ExpectHandled(told.partition(), told.offset());
  }

  // A commit may have come though its answer did not.
  bool IsAllCommitted() {
    // Whoever hung for too long is told now.
    for (Living& living : living_) {
      if (!living.consumer->is_connected() && !living.is_leaving) StartAnew(&living);
    }
    v1::FetchOffsetsRequest request;
    request.set_group("g");
    const auto fetched =
        rig_.Call<v1::FetchOffsetsResponse>(0, "/millrace.v1.GroupService/FetchOffsets", request);
    if (!fetched.ok() || fetched->topics().empty()) return false;
    std::map<uint32_t, int64_t> committed;
    for (const v1::GroupOffset& one : fetched->topics(0).partitions()) {
      committed[one.partition()] = one.offset();
    }
    return std::all_of(known_.begin(), known_.end(), [&](const auto& known) {
      return committed[known.first] >= known.second.end;
    });
  }

  ServiceRig rig_;
  Random random_;
  std::map<uint32_t, Known> known_;
  std::vector<Living> living_;
  std::map<const Consumer*, uint64_t> committed_;  // up to this message, as it was told
  uint64_t ids_ = 0;
};

TEST(ConsumeFaults, EachRecordIsHandledByAMember_BeforeItIsCommitted_WhateverBreaks) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed=" + std::to_string(seed));
    FaultyRun(seed).Run();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace millrace::broker

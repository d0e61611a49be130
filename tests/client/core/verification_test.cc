// Replicas are the same, or the first record that is not is named; whatever happens meanwhile to
// brokers, log starts and compaction.
#include "client/core/verification.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "raft/runtime/random.h"
#include "tests/client/core/unary_broker.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::client {
namespace {

using std::chrono::seconds;

constexpr Duration kPatience = seconds(10);

// A replica: records by offset, as numbers.
struct Replica {
  std::map<int64_t, uint64_t> records;
  int64_t log_start = 0;
  int64_t high_watermark = 0;
  uint32_t pass = 0;
  bool is_compacting = false;
  std::string fault;            // it takes no part
  std::optional<Status> error;  // what it answers when it is asked for a digest
  uint64_t asked = 0;
};

// Brokers 1 to 3, at addresses of these numbers, with a replica each of the topic's one partition.
class Brokers final : public UnaryBrokers {
 public:
  using UnaryBrokers::UnaryBrokers;

  std::map<std::string, Replica> replicas;
  std::set<std::string> away;
  std::map<std::string, uint32_t> strange;  // these say that they are another broker
  int64_t offsets_per_answer = 100;
  std::function<void(const std::string& address)> on_digest = [](const std::string&) {};

 private:
  Result<Bytes> Answer(const RpcRequest& request) override {
    if (away.contains(request.address)) return Unavailable("nobody listens");
    if (request.method == "/millrace.v1.MetadataService/DescribeTopics") return Topics();
    if (request.method == "/millrace.v1.AdminService/DescribeReplicas") {
      return Described(request.address);
    }
    CHECK_EQ(request.method, "/millrace.v1.AdminService/DigestReplica");
    v1::DigestReplicaRequest stretch;
    CHECK(stretch.ParseFromArray(request.body.data(), static_cast<int>(request.body.size())));
    CHECK_EQ(stretch.topic_id(), 7u);
    on_digest(request.address);
    return Digest(request.address, stretch);
  }
  Result<Bytes> Topics() const {
    v1::DescribeTopicsResponse response;
    v1::Topic& topic = *response.add_topics();
    topic.set_name("t");
    topic.set_topic_id(7);
    v1::Partition& partition = *topic.add_partitions();
    for (const uint32_t id : {2, 3, 1}) {
      partition.add_replica_ids(id);
      v1::Broker& broker = *response.add_brokers();
      broker.set_broker_id(id);
      broker.set_address(std::to_string(id));
    }
    return Bytes::Own(response.SerializeAsString());
  }
  Result<Bytes> Described(const std::string& address) {
    v1::DescribeReplicasResponse response;
    response.set_broker_id(static_cast<uint32_t>(std::stoul(address)));
    if (const auto found = replicas.find(address); found != replicas.end()) {
      const Replica& replica = found->second;
      v1::Replica& told = *response.add_replicas();
      told.set_log_start_offset(replica.log_start);
      told.set_high_watermark(replica.high_watermark);
      told.set_fault(replica.fault);
      if (replica.fault.empty()) told.set_last_index(9);
    }
    return Bytes::Own(response.SerializeAsString());
  }
  Result<Bytes> Digest(const std::string& address, const v1::DigestReplicaRequest& stretch) {
    Replica& replica = replicas.at(address);
    ++replica.asked;
    if (replica.error.has_value()) return *replica.error;
    if (stretch.begin_offset() < replica.log_start) {
      return OutOfRange("below the log", Reason::kOffsetOutOfRange)
          .AddMetadata("log_start_offset", std::to_string(replica.log_start))
          .AddMetadata("end_offset", std::to_string(replica.high_watermark));
    }
    const int64_t reached = std::min({stretch.end_offset(), replica.high_watermark,
                                      stretch.begin_offset() + offsets_per_answer});
    v1::DigestReplicaResponse response;
    const auto other = strange.find(address);
    response.set_broker_id(other != strange.end() ? other->second
                                                  : static_cast<uint32_t>(std::stoul(address)));
    response.set_reached_offset(reached);
    for (const auto& [offset, number] : replica.records) {
      if (offset < stretch.begin_offset() || offset >= reached) continue;
      Random hash(number * 1'000'003 + static_cast<uint64_t>(offset));
      const uint64_t low = hash.Next();
      response.set_digest_low(response.digest_low() + low);
      response.set_digest_high(response.digest_high() + hash.Next() +
                               (response.digest_low() < low ? 1 : 0));
      response.set_record_count(response.record_count() + 1);
      response.set_bytes(response.bytes() + 100);
    }
    response.set_high_watermark(replica.high_watermark);
    response.set_log_start_offset(replica.log_start);
    response.set_compaction_pass(replica.pass);
    response.set_is_compacting(replica.is_compacting);
    return Bytes::Own(response.SerializeAsString());
  }
};

class VerificationTest : public testing::Test {
 protected:
  VerificationTest() { Fill(5'000); }

  void Fill(int64_t end) {
    for (const char* address : {"1", "2", "3"}) {
      Replica& replica = brokers_.replicas[address];
      for (int64_t at = 0; at < end; ++at) replica.records[at] = static_cast<uint64_t>(at);
      replica.high_watermark = end;
    }
  }
  Replica& replica(const char* address) { return brokers_.replicas.at(address); }

  Result<Verification> Verify() {
    Client client({process_.executor(), process_.clock(), brokers_, process_.Fork()},
                  {.bootstrap = {"1", "2", "3"}});
    std::optional<Result<Verification>> told;
    VerifyPartition(client, {.topic = "t", .partition = PartitionId(0), .patience = kPatience},
                    [&](Result<Verification> verified) { told = std::move(verified); });
    CHECK(world_.RunUntil([&] { return told.has_value(); }, 20 * kPatience));
    return *std::move(told);
  }
  Verification Verified() {
    Result<Verification> verified = Verify();
    CHECK(verified.ok()) << verified.status();
    return *std::move(verified);
  }
  static std::vector<uint32_t> Compared(const Verification& verified) {
    std::vector<uint32_t> compared;
    for (const VerifiedMember& member : verified.members) {
      if (member.status.ok()) compared.push_back(member.broker.value());
    }
    return compared;
  }

  sim::SimWorld world_{1};
  sim::SimProcess& process_{world_.AddProcess("client")};
  Brokers brokers_{process_.executor()};
};

using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(VerificationTest, WhereAllHoldTheSame_AllOfItIsCompared) {
  const Verification verified = Verified();
  EXPECT_EQ(verified.begin, Offset(0));
  EXPECT_EQ(verified.end, Offset(5'000));
  EXPECT_EQ(verified.records, 5'000u);
  EXPECT_EQ(verified.bytes, 500'000u);
  EXPECT_FALSE(verified.first_difference.has_value());
  EXPECT_THAT(Compared(verified), ElementsAre(2, 3, 1)) << "in the replicas' order";
  EXPECT_EQ(verified.members[0].compared_to, Offset(5'000));
}

// Whichever replica it is, and wherever: the first one that differs, and what each has there.
TEST_F(VerificationTest, TheFirstDifference_IsFound) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed=" + std::to_string(seed));
    Random random(seed);
    brokers_.replicas.clear();
    Fill(static_cast<int64_t>(random.Between(1, 3'000)));
    brokers_.offsets_per_answer = static_cast<int64_t>(random.Between(1, 2'000));
    Replica& other = replica(std::vector{"1", "2", "3"}[random.Below(3)]);
    const auto end = static_cast<uint64_t>(other.high_watermark);
    auto first = static_cast<int64_t>(end);
    for (uint64_t i = random.Between(1, 3); i > 0; --i) {
      const auto at = static_cast<int64_t>(random.Below(end));
      first = std::min(first, at);
      if (random.OneIn(2)) {
        other.records.erase(at);
      } else {
        other.records[at] = 77'777;
      }
    }
    const Verification verified = Verified();
    EXPECT_EQ(verified.first_difference, Offset(first));
    EXPECT_EQ(verified.end, Offset(first)) << "below it all is the same";
    EXPECT_EQ(verified.records, static_cast<uint64_t>(first));
    for (const VerifiedMember& member : verified.members) {
      const Replica& its = brokers_.replicas.at(std::to_string(member.broker.value()));
      EXPECT_EQ(member.has_record, its.records.contains(first));
      const auto same = std::count_if(
          verified.members.begin(), verified.members.end(),
          [&](const VerifiedMember& one) { return one.digest_low == member.digest_low; });
      EXPECT_EQ(same, &its == &other ? 1 : 2);
    }
  }
}

TEST_F(VerificationTest, ItGoesFromWhereAllStart_ToWhatAllHaveApplied) {
  replica("2").log_start = 300;
  replica("3").high_watermark = 4'000;
  const Verification verified = Verified();
  EXPECT_EQ(verified.begin, Offset(300));
  EXPECT_EQ(verified.end, Offset(4'000));
  EXPECT_EQ(verified.records, 3'700u);
}

TEST_F(VerificationTest, WhereALogStartMoves_ItGoesOnBehind) {
  brokers_.on_digest = [&](const std::string&) {
    if (replica("1").asked == 4) replica("3").log_start = 4'500;
  };
  const Verification verified = Verified();
  EXPECT_EQ(verified.end, Offset(5'000));
  EXPECT_FALSE(verified.first_difference.has_value());
  EXPECT_LT(verified.records, 5'000u);
  EXPECT_THAT(Compared(verified), ElementsAre(2, 3, 1));
}

TEST_F(VerificationTest, ALogThatIsAllGoneMeanwhile_IsTheSame) {
  brokers_.on_digest = [&](const std::string&) { replica("3").log_start = 6'000; };
  const Verification verified = Verified();
  EXPECT_EQ(verified.end, Offset(5'000));
  EXPECT_EQ(verified.records, 0u);
}

TEST_F(VerificationTest, ABrokerThatIsAway_IsLeftOut_AndSaysWhy) {
  brokers_.away = {"3"};
  const Verification verified = Verified();
  EXPECT_THAT(Compared(verified), ElementsAre(2, 1));
  EXPECT_EQ(verified.records, 5'000u);
  EXPECT_THAT(verified.members[1].status.message(), HasSubstr("nobody listens"));
  EXPECT_EQ(verified.members[1].compared_to, Offset(0));
}

TEST_F(VerificationTest, OneThatGoesAwayMeanwhile_IsComparedSoFar) {
  brokers_.on_digest = [&](const std::string&) {
    if (replica("3").asked == 20) brokers_.away = {"3"};
  };
  const Verification verified = Verified();
  EXPECT_THAT(Compared(verified), ElementsAre(2, 1));
  EXPECT_EQ(verified.records, 5'000u);
  EXPECT_GT(verified.members[1].compared_to, Offset(0));
  EXPECT_LT(verified.members[1].compared_to, Offset(5'000));
}

TEST_F(VerificationTest, OneThatComesBackInTime_IsComparedToTheEnd) {
  brokers_.on_digest = [&](const std::string&) {
    if (replica("3").asked != 20 || brokers_.away.contains("3")) return;
    brokers_.away = {"3"};
    process_.executor().RunAfter(seconds(5), [this] { brokers_.away.clear(); });
  };
  EXPECT_THAT(Compared(Verified()), ElementsAre(2, 3, 1));
}

TEST_F(VerificationTest, DamageIsNotWaitedFor) {
  replica("1").error = DataLoss("segment 4 is damaged");
  const Verification verified = Verified();
  EXPECT_THAT(Compared(verified), ElementsAre(2, 3));
  EXPECT_EQ(verified.members[2].status.message(), "segment 4 is damaged");
  EXPECT_EQ(replica("1").asked, 1u);
}

TEST_F(VerificationTest, WhoTakesNoPart_IsNotAsked) {
  replica("1").fault = "its journal was damaged";
  brokers_.replicas.erase("2");
  const Verification verified = Verified();
  EXPECT_THAT(Compared(verified), ElementsAre(3));
  EXPECT_THAT(verified.members[2].status.message(), HasSubstr("its journal was damaged"));
  EXPECT_EQ(verified.members[0].status.code(), Code::kNotFound);
  EXPECT_EQ(replica("1").asked, 0u);
}

TEST_F(VerificationTest, WhereNobodyCanBeAsked_EachOnesReasonIsTold) {
  brokers_.replicas.clear();
  const Status status = Verify().status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("broker 3: NOT_FOUND"));
}

TEST_F(VerificationTest, AStrangerAtAnAddress_IsNotBelieved) {
  brokers_.strange["3"] = 9;
  const Verification verified = Verified();
  EXPECT_THAT(Compared(verified), ElementsAre(2, 1));
  EXPECT_EQ(verified.members[1].status.message(), "3 is broker 9");
}

TEST_F(VerificationTest, OneThatHasNotSoMuchYet_IsWaitedFor) {
  brokers_.on_digest = [&](const std::string&) {
    if (replica("3").asked != 2) return;
    replica("3").high_watermark = 200;  // it was started again, and hears of the end soon
    process_.executor().RunAfter(seconds(5), [this] { replica("3").high_watermark = 5'000; });
  };
  const Verification verified = Verified();
  EXPECT_THAT(Compared(verified), ElementsAre(2, 3, 1));
  EXPECT_EQ(verified.records, 5'000u);
}

// One has done a pass that the others have not.
TEST_F(VerificationTest, WhatACompactionMayHaveDone_IsWaitedFor) {
  const auto compact = [this](const char* address) {
    for (int64_t at = 0; at < 4'000; at += 3) replica(address).records.erase(at);
    replica(address).pass = 1;
    replica(address).is_compacting = false;
  };
  compact("2");
  replica("1").is_compacting = true;
  process_.executor().RunAfter(seconds(3), [=] { compact("3"); });
  process_.executor().RunAfter(seconds(6), [=] { compact("1"); });
  const Verification verified = Verified();
  EXPECT_FALSE(verified.first_difference.has_value());
  EXPECT_EQ(verified.end, Offset(5'000));
  EXPECT_EQ(verified.records, 5'000u - 1'334u);
}

TEST_F(VerificationTest, ButNotForEver_AndThatIsNoDifference) {
  for (const char* address : {"2", "3"}) {
    replica(address).records.erase(1'700);
    replica(address).pass = 1;
  }
  const Verification verified = Verified();
  EXPECT_THAT(Compared(verified), ElementsAre(2, 3)) << "the other one lags behind";
  EXPECT_EQ(verified.end, Offset(5'000));
  EXPECT_FALSE(verified.first_difference.has_value());
  EXPECT_THAT(verified.members[2].status.message(), HasSubstr("has not done pass 1"));
  EXPECT_LE(verified.members[2].compared_to, Offset(1'700));
}

TEST_F(VerificationTest, WhereAllAreBetweenTwoPasses_NoneIsCompared) {
  for (const char* address : {"1", "2", "3"}) replica(address).is_compacting = true;
  replica("2").records.erase(1'700);
  const Verification verified = Verified();
  EXPECT_THAT(Compared(verified), ElementsAre());
  EXPECT_LE(verified.end, Offset(1'700));
}

TEST_F(VerificationTest, WhatIsTheSame_NeedsNoEndOfACompaction) {
  for (const char* address : {"1", "2", "3"}) replica(address).is_compacting = true;
  EXPECT_EQ(Verified().records, 5'000u);
}

TEST_F(VerificationTest, AnEmptyPartition_IsTheSame) {
  brokers_.replicas.clear();
  Fill(0);
  const Verification verified = Verified();
  EXPECT_EQ(verified.end, Offset(0));
  EXPECT_THAT(Compared(verified), ElementsAre(2, 3, 1));
}

}  // namespace
}  // namespace millrace::client

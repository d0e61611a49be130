// The offsets of all partitions, some of which have no leader for a while, or no answer ever.

#include <map>
#include <optional>
#include <utility>

#include <gtest/gtest.h>

#include "client/core/client.h"
#include "tests/client/core/unary_broker.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::client {
namespace {

constexpr Duration kTimeout = std::chrono::seconds(2);
constexpr Duration kTimeMax = std::chrono::seconds(20);

// A broker of one topic with two partitions, one of which may lack an answer.
class OffsetsBroker final : public UnaryBroker {
 public:
  OffsetsBroker(Executor& executor, const Clock& clock)
      : UnaryBroker(executor, "/millrace.v1.ConsumerService/ListOffsets"), clock_(clock) {}

  // Until then this partition has an error of this code.
  void Fail(uint32_t partition, Code code, MonotonicTime until) {
    faults_[partition] = {.code = code, .until = until};
  }

 private:
  struct Fault {
    Code code = Code::kOk;
    MonotonicTime until;
  };

  Result<Bytes> Answer(const Bytes&) override {
    v1::ListOffsetsResponse response;
    for (uint32_t partition = 0; partition < 2; ++partition) {
      v1::PartitionOffsets& offsets = *response.add_partitions();
      offsets.set_partition(partition);
      const auto fault = faults_.find(partition);
      if (fault != faults_.end() && clock_.Now() < fault->second.until) {
        offsets.mutable_error()->set_code(static_cast<int>(fault->second.code));
      } else {
        offsets.set_end_offset(5);
      }
    }
    return Bytes::Own(response.SerializeAsString());
  }

  const Clock& clock_;
  std::map<uint32_t, Fault> faults_;
};

class OffsetsTest : public testing::Test {
 protected:
  v1::ListOffsetsResponse List() {
    Client client({process_.executor(), process_.clock(), broker_, process_.Fork()},
                  {.bootstrap = {"broker"}});
    std::optional<Result<v1::ListOffsetsResponse>> told;
    client.ListAllOffsets(
        v1::ListOffsetsRequest(), kTimeout,
        [&](Result<v1::ListOffsetsResponse> listed) { told = std::move(listed); });
    CHECK(world_.RunUntil([&] { return told.has_value(); }, kTimeMax));
    CHECK(told->ok()) << told->status();
    return **std::move(told);
  }
  MonotonicTime Now() { return process_.clock().Now(); }

  sim::SimWorld world_{1};
  sim::SimProcess& process_{world_.AddProcess("client")};
  OffsetsBroker broker_{process_.executor(), process_.clock()};
};

TEST_F(OffsetsTest, APartitionWithoutALeader_IsAskedForUntilItHasOne) {
  const MonotonicTime led_at = Now() + std::chrono::seconds(1);
  broker_.Fail(1, Code::kUnavailable, led_at);
  const v1::ListOffsetsResponse offsets = List();
  EXPECT_GE(Now(), led_at);
  EXPECT_FALSE(offsets.partitions(1).has_error());
  EXPECT_GT(broker_.calls(), 2);
}

TEST_F(OffsetsTest, WhereItHasNone_TheOthersAreToldInTheEnd) {
  broker_.Fail(0, Code::kUnavailable, Now() + kTimeMax);
  const MonotonicTime began = Now();
  const v1::ListOffsetsResponse offsets = List();
  EXPECT_LE(Now() - began, kTimeout);
  EXPECT_GE(Now() - began, kTimeout - std::chrono::milliseconds(200));
  EXPECT_TRUE(offsets.partitions(0).has_error());
  EXPECT_EQ(offsets.partitions(1).end_offset(), 5);
}

TEST_F(OffsetsTest, WhatDoesNotHeal_IsToldAtOnce) {
  broker_.Fail(0, Code::kUnavailable, Now() + kTimeMax);
  broker_.Fail(1, Code::kNotFound, Now() + kTimeMax);
  const v1::ListOffsetsResponse offsets = List();
  EXPECT_TRUE(offsets.partitions(1).has_error());
  EXPECT_EQ(broker_.calls(), 1);
}

}  // namespace
}  // namespace millrace::client

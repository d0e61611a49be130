#include "raft/core/configuration_log.h"

#include <utility>

#include <gtest/gtest.h>

namespace millrace::raft::core {
namespace {

constexpr Voter Member(uint32_t broker, uint32_t number = 1) {
  return {BrokerId(broker), Incarnation(broker + 10), ReplicaNumber(number)};
}

Configuration Of(std::vector<Voter> voters) {
  Configuration configuration;
  configuration.voters = std::move(voters);
  return configuration;
}

class ConfigurationLogTest : public testing::Test {
 protected:
  const Configuration first_ = Of({Member(1), Member(2), Member(3)});
  const Configuration grown_ = Of({Member(1), Member(2), Member(3), Member(4)});
  ConfigurationLog log_{first_, Log()};
};

TEST_F(ConfigurationLogTest, TheLatest_IsInForce_AndATruncationBringsBackTheOneBefore) {
  log_.Append(LogIndex(5), grown_);
  EXPECT_EQ(log_.latest(), grown_);
  log_.TruncateFrom(LogIndex(6));
  EXPECT_EQ(log_.latest(), grown_);
  log_.TruncateFrom(LogIndex(5));
  EXPECT_EQ(log_.latest(), first_);
}

TEST_F(ConfigurationLogTest, WhatTheTailNoLongerHolds_StaysInForce) {
  log_.Append(LogIndex(5), grown_);
  log_.TrimTo(LogIndex(9));
  EXPECT_EQ(log_.latest(), grown_);
  EXPECT_EQ(log_.latest_index(), LogIndex(5));
  log_.CheckInvariants(LogIndex(9));
}

TEST_F(ConfigurationLogTest, OneChangeAtATime) {
  EXPECT_TRUE(log_.CheckMayAppend(grown_, LogIndex(0)).ok());
  log_.Append(LogIndex(5), grown_);
  EXPECT_EQ(log_.CheckMayAppend(first_, LogIndex(4)).code(), Code::kFailedPrecondition);
  EXPECT_TRUE(log_.CheckMayAppend(first_, LogIndex(5)).ok());
}

TEST_F(ConfigurationLogTest, AFormerReplica_IsSuperseded_OnceALaterOneSpoke) {
  EXPECT_FALSE(log_.IsSuperseded(Member(2)));
  EXPECT_FALSE(log_.IsSuperseded(Member(2, 3)));
  EXPECT_TRUE(log_.IsSuperseded(Member(2)));
  EXPECT_TRUE(log_.IsSuperseded(Member(2, 2)));
  EXPECT_FALSE(log_.IsSuperseded(Member(3))) << "another broker's";
}

// A configuration that is cut off was never in force.
TEST_F(ConfigurationLogTest, AReplicaThatAConfigurationNames_SupersedesWhileThatStands) {
  log_.Append(LogIndex(5), Of({Member(1), Member(2, 4), Member(3)}));
  EXPECT_TRUE(log_.IsSuperseded(Member(2)));
  log_.TruncateFrom(LogIndex(5));
  EXPECT_FALSE(log_.IsSuperseded(Member(2)));
}

}  // namespace
}  // namespace millrace::raft::core

// Topics' names, from what simulated brokers leave behind: the controller's log as far as it is
// certainly committed.
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "broker/inspect/controller_image.h"
#include "storage/segment/format.h"
#include "tests/broker/inspect/inspect_rig.h"
#include "tests/broker/service/service_rig.h"
#include "tests/storage/segment/segment_rig.h"

namespace millrace::broker {
namespace {

Report Inspect(ServiceRig& rig, size_t broker) {
  Result<Report> report = InspectDisk(rig.world, rig.cluster.disk(broker), {.verify = true});
  CHECK(report.ok()) << report.status();
  EXPECT_TRUE(report->damage.empty()) << report->damage.front().what;
  EXPECT_TRUE(report->unreadable.empty()) << report->unreadable.front().what;
  return std::move(*report);
}

// How many partitions of each topic are there; the controller's group has no name.
std::map<std::string, size_t> Names(const Report& report) {
  std::map<std::string, size_t> names;
  for (const GroupReport& group : report.groups) {
    if (group.record.kind == raft::ReplicaKind::kPartition) ++names[group.topic];
  }
  return names;
}

constexpr Voter kSelf{BrokerId(1), Incarnation(11), ReplicaNumber(1)};
constexpr Voter kOther{BrokerId(2), Incarnation(22), ReplicaNumber(2)};

// Synced in segments up to entry 10, and five more in the journal.
struct ControllerGroup {
  explicit ControllerGroup(std::vector<Voter> voters) {
    ledger.record = {.group = kControllerGroup, .number = kSelf.number};
    ledger.log.end.index = LogIndex(10);
    ledger.log.configuration.voters = std::move(voters);
    maker.ResetTo(ledger.log.end);
    for (int i = 0; i < 5; ++i) above.push_back(maker.NoOp());
  }
  LogIndex CommittedEnd(uint64_t floor) const {
    return broker::CommittedEnd(ledger, above, LogIndex(floor));
  }

  storage::journal::GroupLedger ledger;
  storage::EntryMaker maker{kControllerGroup};
  std::vector<raft::core::Entry> above;
};

TEST(InspectNames, EntriesAreCommitted_InSegments_UpToTheFloor_OrWhereNobodyElseVotes) {
  EXPECT_EQ(ControllerGroup({kSelf}).CommittedEnd(0), LogIndex(15));
  const ControllerGroup one_of_two({kSelf, kOther});
  EXPECT_EQ(one_of_two.CommittedEnd(0), LogIndex(10));
  EXPECT_EQ(one_of_two.CommittedEnd(12), LogIndex(12));
  EXPECT_EQ(one_of_two.CommittedEnd(99), LogIndex(15));
  EXPECT_EQ(ControllerGroup({kOther}).CommittedEnd(0), LogIndex(10));
}

// Whoever is added there votes from then on.
TEST(InspectNames, ConfigurationThatMayNotBeCommitted_EndsWhatOneVoterProves) {
  ControllerGroup group({kSelf});
  group.above.push_back(
      group.maker.Configure({.voters = {kSelf, kOther}, .outgoing = {}, .learners = {}}));
  EXPECT_EQ(group.CommittedEnd(0), LogIndex(10));
}

TEST(InspectNames, AreKnownOnEveryBroker_RightAfterACrash) {
  ServiceRig rig(1);
  rig.CreateTopic("flights", 3);
  rig.CreateTopic("gates", 1);
  for (size_t broker = 0; broker < 3; ++broker) {
    rig.cluster.Kill(broker, /*power_loss=*/broker == 2);
    const std::map<std::string, size_t> expected{{"flights", 3}, {"gates", 1}};
    EXPECT_EQ(Names(Inspect(rig, broker)), expected) << "broker " << broker + 1;
  }
}

TEST(InspectNames, OfTheOnlyController_AreThoseOfItsWholeLog) {
  ServiceRig rig(2, 1);
  rig.CreateTopic("flights", 2);
  rig.cluster.Kill(0, /*power_loss=*/false);
  const Report report = Inspect(rig, 0);
  EXPECT_EQ(Names(report).at("flights"), 2U);
  ASSERT_TRUE(report.names_as_of.has_value());
  EXPECT_EQ(*report.names_as_of, report.groups.front().end.index);
}

TEST(InspectNames, AreReadFromSegmentsAndTheirStates) {
  ServiceRig rig(3, {.brokers = 3, .controller_segment_bytes = 4 << 10});
  for (int i = 0; i < 25; ++i) rig.CreateTopic("topic" + std::to_string(i), 1);
  rig.world.RunFor(std::chrono::seconds(3));
  rig.cluster.Kill(0, /*power_loss=*/true);
  const Report report = Inspect(rig, 0);
  EXPECT_EQ(Names(report).size(), 25U);
  EXPECT_GT(report.groups.front().segment_files, 1U);
}

}  // namespace
}  // namespace millrace::broker

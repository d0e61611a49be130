// The way to the coordinator, in a cluster that has none yet.
#include "broker/routing/coordinator_client.h"

#include <chrono>
#include <memory>
#include <optional>

#include <gtest/gtest.h>

#include "tests/broker/partition/hand_registrar.h"
#include "tests/broker/routing/linked_forwarders.h"

namespace millrace::broker {
namespace {

using std::chrono::seconds;

class CoordinatorClientTest : public testing::Test {
 protected:
  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("broker");
  LinkedForwarders link_{process_.executor(), BrokerId(1), BrokerId(2)};
  Image image_;
  LeaderTable leaders_;
  ClusterView view_{
      image_,
      leaders_,
      {.is_current = [] { return true; }, .controller_health = [] { return Status(); }}};
  CoordinatorMemory memory_{CoordinatorLimits{}};
  PartitionEnds ends_{{.applied_here = [](RaftGroupId) { return std::optional<Offset>(); },
                       .ask = [](RaftGroupId, PartitionEnds::Done) {}}};
  MemberServer members_{{.executor = process_.executor(),
                         .clock = process_.clock(),
                         .image = image_,
                         .memory = memory_,
                         .find_shard = [](RaftGroupId) { return nullptr; },
                         .not_leader = [](RaftGroupId) { return Unavailable("none"); },
                         .aside = [](auto, auto) {}}};
  LagServer lags_{{.executor = process_.executor(),
                   .clock = process_.clock(),
                   .image = image_,
                   .find_shard = [](RaftGroupId) { return nullptr; },
                   .not_leader = [](RaftGroupId) { return Unavailable("none"); },
                   .groups_with_members = [](RaftGroupId) { return std::vector<std::string>(); },
                   .ask = [](std::vector<UnreadQuestion>, UnreadDone) {}}};
  HandRegistrar registrar_;
  CoordinatorServer server_{{.image = image_,
                             .memory = memory_,
                             .ends = ends_,
                             .members = members_,
                             .lags = lags_,
                             .registrar = registrar_,
                             .find_shard = [](RaftGroupId) { return nullptr; },
                             .not_leader = [](RaftGroupId) { return Unavailable("none"); }}};
  struct NoProducers final : SlotProducers {
    void Take(uint32_t, Done) override {}
  };
  struct NoMarkers final : MarkerSender {
    void Wake(RaftGroupId) override {}
    void Send(RaftGroupId, std::vector<Marker>) override {}
  };
  NoProducers producers_;
  NoMarkers markers_;
  TransactionServer transactions_{{.executor = process_.executor(),
                                   .clock = process_.clock(),
                                   .image = image_,
                                   .memory = memory_,
                                   .producers = producers_,
                                   .markers = markers_,
                                   .find_shard = [](RaftGroupId) { return nullptr; },
                                   .not_leader = [](RaftGroupId) { return Unavailable("none"); }}};
  CoordinatorClient client_{{.executor = process_.executor(),
                             .clock = process_.clock(),
                             .view = view_,
                             .server = server_,
                             .transactions = transactions_,
                             .find_shard = [](RaftGroupId) { return nullptr; },
                             .forwarder = link_.Of(BrokerId(1)),
                             .self = BrokerId(1)}};
};

// The next change of who leads what may be days away: requests of megabytes that were answered
// long ago must not wait for it.
TEST_F(CoordinatorClientTest, ARequestWhoseTimeIsUp_IsKeptNoLonger) {
  auto kept = std::make_shared<int>();
  const std::weak_ptr<int> watch = kept;
  std::optional<Status> answered;
  v1::FetchOffsetsRequest request;
  request.set_group("g");
  client_.FetchOffsets({.principal = {}, .timeout = seconds(2)}, request,
                       [&answered, kept](const Result<v1::FetchOffsetsResponse>& reply) {
                         answered = reply.status();
                       });
  kept.reset();
  world_.RunFor(seconds(1));
  EXPECT_FALSE(answered.has_value()) << "it waits for the coordinator";
  EXPECT_FALSE(watch.expired());
  world_.RunFor(seconds(2));
  ASSERT_TRUE(answered.has_value());
  EXPECT_EQ(answered->reason(), Reason::kNotInitialized);
  EXPECT_TRUE(watch.expired());
}

TEST_F(CoordinatorClientTest, ChangesOfLeadersWhileRequestsWait_AnswerNoneTwice) {
  int answered = 0;
  for (int i = 0; i < 3; ++i) {
    client_.FetchOffsets({.principal = {}, .timeout = seconds(2)}, {},
                         [&answered](const auto&) { ++answered; });
  }
  // Each is asked again, and none twice over when its own time comes.
  for (int i = 1; i <= 50; ++i) {
    leaders_.Report(RaftGroupId(5), {.leader = BrokerId(1), .term = Term(i)});
    world_.RunFor(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(answered, 0);
  world_.RunFor(seconds(2));
  EXPECT_EQ(answered, 3);
}

}  // namespace
}  // namespace millrace::broker

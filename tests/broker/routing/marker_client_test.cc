// How transactions ended, told to participants here and elsewhere, until each has it.
#include "broker/routing/marker_client.h"

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/broker/partition/lone_partition.h"
#include "tests/broker/routing/linked_forwarders.h"

namespace millrace::broker {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr RaftGroupId kShard{9};
constexpr RaftGroupId kGroup{2};
constexpr RaftGroupId kGone{3};
constexpr BrokerId kLeader{1};
constexpr BrokerId kOther{2};
constexpr TransactionName kName{.producer = ProducerId(7), .epoch = 1, .number = 4};

// A shard, as far as markers go: what it has to tell, and what it took as told.
struct Shard {
  std::map<std::string, Marker> markers;
  std::vector<internal::v1::ParticipantsEndedRequest> ended;
  Status ended_status;
  int looks = 0;

  std::vector<Marker> Behind(size_t max, MarkerClient::Cursor* cursor) {
    ++looks;
    std::vector<Marker> found;
    for (auto at = markers.upper_bound(cursor->name); at != markers.end(); ++at) {
      if (found.size() == max) break;
      cursor->name = at->first;
      found.push_back(at->second);
    }
    return found;
  }
  void Take(const internal::v1::ParticipantsEndedRequest& request) {
    ended.push_back(request);
    if (!ended_status.ok()) return;
    for (const auto& one : request.ended()) {
      Participants& rest = markers.at(one.transactional_id()).participants;
      rest = Difference(rest, ParticipantsFrom(one.participants()));
      if (rest.empty()) markers.erase(one.transactional_id());
    }
  }
};

struct Side {
  Side(BrokerId self, LinkedForwarders& link, const Image& image, Executor& executor,
       Partition* partition)
      : view(image, leaders,
             {.is_current = [this] { return is_current; },
              .controller_health = [] { return Status::Ok(); }}),
        client({.executor = executor,
                .view = view,
                .end =
                    [this, partition](RaftGroupId group, const TransactionEnd& end, auto done) {
                      const bool is_here = group == kGroup && partition != nullptr;
                      if (!is_here) return done(view.NotLeader(group));
                      partition->EndTransaction(end, std::move(done));
                    },
                .forwarder = link.Of(self),
                .self = self,
                .markers = [this](RaftGroupId, size_t max,
                                  auto* cursor) { return shard.Behind(max, cursor); },
                .ended =
                    [this](RaftGroupId, const auto& request, auto done) {
                      shard.Take(request);
                      done(shard.ended_status);
                    }}) {
    leaders.Report(kGroup, {.leader = kLeader, .term = Term(3)});
  }

  bool is_current = false;
  Shard shard;
  LeaderTable leaders;
  ClusterView view;
  MarkerClient client;
};

class MarkerClientTest : public testing::Test, protected LonePartition {
 protected:
  MarkerClientTest() : LonePartition(kGroup) {
    internal::v1::ControllerRecord record;
    record.mutable_level_raised()->set_level(kTransactionLevel);
    CHECK(image_.Apply(record).ok());
    store_.groups[kGroup];
    partition_.set_leader_epoch_base(100);
    group_.Lead(Term(3));
  }

  static Marker MarkerFor(Participants participants) {
    return {.transactional_id = "payments",
            .name = kName,
            .outcome = internal::v1::TRANSACTION_OUTCOME_COMMITTED,
            .reason = internal::v1::TRANSACTION_END_REASON_ASKED,
            .participants = std::move(participants)};
  }
  void Tell(Side& side, Participants participants) {
    side.shard.markers["payments"] = MarkerFor(std::move(participants));
    side.client.Wake(kShard);
    Run(1);
  }
  void Run(int64_t ms) {
    world_.RunFor(std::chrono::milliseconds(ms));
    link_.Deliver();
    world_.RunFor(std::chrono::milliseconds(0));
  }
  uint64_t markers_written() { return group_.log().last_index().value(); }

  LinkedForwarders link_{process_.executor(), kLeader, kOther};
  Side here_{kLeader, link_, image_, process_.executor(), &partition_};
  Side away_{kOther, link_, image_, process_.executor(), nullptr};
};

TEST_F(MarkerClientTest, AParticipant_IsTold_HereAndAtAnotherBroker_AndTheShardOnceItHasIt) {
  uint64_t written = 0;
  for (Side* side : {&here_, &away_}) {
    Tell(*side, {kGroup});
    EXPECT_EQ(markers_written(), ++written);
    EXPECT_THAT(side->shard.ended, IsEmpty()) << "it is not applied yet";
    side->client.Wake(kShard);
    Run(1);
    EXPECT_EQ(markers_written(), written) << "it is being told";
    group_.CommitAll();
    Run(1);
    ASSERT_EQ(side->shard.ended.size(), 1U);
    const auto& ended = side->shard.ended[0].ended(0);
    EXPECT_EQ(ended.transactional_id(), "payments");
    EXPECT_EQ(NameFrom(ended.name()), kName);
    EXPECT_THAT(ended.participants(), ElementsAre(kGroup.value()));
    EXPECT_TRUE(side->shard.markers.empty());
  }
}

// A partition without a leader may hold thousands of them up: what is decided meanwhile costs no
// look at those.
TEST_F(MarkerClientTest, WhatIsGiven_IsTold_WithoutALookAtAllThatTheShardHas) {
  Tell(here_, {kGone});
  const int looks = here_.shard.looks;
  Marker given = MarkerFor({kGroup});
  given.transactional_id = "orders";
  here_.shard.markers["orders"] = given;
  here_.client.Send(kShard, {given});
  here_.client.Send(kShard, {given});
  Run(1);
  EXPECT_EQ(markers_written(), 1U);
  EXPECT_EQ(here_.shard.looks, looks);
  group_.CommitAll();
  Run(1);
  EXPECT_FALSE(here_.shard.markers.contains("orders"));
  EXPECT_TRUE(here_.shard.markers.contains("payments"));
}

TEST_F(MarkerClientTest, Rule65_WhereTheLeaderChanged_TheNextOneIsTold) {
  group_.Follow(Term(4));
  away_.leaders.Report(kGroup, {.leader = kLeader, .term = Term(3)});
  Tell(away_, {kGroup});
  EXPECT_EQ(markers_written(), 0U);
  EXPECT_THAT(away_.shard.ended, IsEmpty());
  group_.Lead(Term(5));
  away_.leaders.Report(kGroup, {.leader = kLeader, .term = Term(5)});
  Run(1);
  EXPECT_EQ(markers_written(), 1U) << "once a leader is known";
}

TEST_F(MarkerClientTest, WhatCannotBeTold_IsToldAgain_AfterAWhile) {
  group_.refusal = ResourceExhausted("no room");
  Tell(here_, {kGroup});
  Run(100);
  EXPECT_EQ(markers_written(), 0U);
  group_.refusal = Status();
  Run(200);
  EXPECT_EQ(markers_written(), 1U);
}

TEST_F(MarkerClientTest, ABrokerThatDoesNotAnswer_IsAskedAgain) {
  away_.shard.markers["payments"] = MarkerFor({kGroup});
  away_.client.Wake(kShard);
  world_.RunFor(std::chrono::milliseconds(1));
  link_.Of(kOther).OnPeerDisconnected(kLeader);
  Run(300);
  group_.CommitAll();
  Run(1);
  EXPECT_TRUE(away_.shard.markers.empty());
}

TEST_F(MarkerClientTest, Rule65_OfATopicThatIsGone_NobodyIsTold_OnceTheImageIsKnown) {
  Tell(here_, {kGone});
  EXPECT_THAT(here_.shard.ended, IsEmpty()) << "this broker may not know the topic yet";
  here_.is_current = true;
  Run(300);
  ASSERT_EQ(here_.shard.ended.size(), 1U);
  EXPECT_TRUE(here_.shard.markers.empty());
}

TEST_F(MarkerClientTest, WhatTheShardDidNotTake_IsToldAgain_AndChangesNothing) {
  here_.shard.ended_status = Unavailable("not the leader", Reason::kNotLeader);
  Tell(here_, {kGroup});
  group_.CommitAll();
  Run(1);
  EXPECT_EQ(here_.shard.ended.size(), 1U);
  here_.shard.ended_status = Status();
  Run(300);
  group_.CommitAll();
  Run(1);
  EXPECT_EQ(here_.shard.ended.size(), 2U);
  EXPECT_TRUE(here_.shard.markers.empty());
}

TEST_F(MarkerClientTest, ManyOfALeader_AreToldAThousandAtATime) {
  for (uint64_t i = 0; i < 2'500; ++i) {
    Marker marker = MarkerFor({kGroup});
    marker.transactional_id = "id " + std::to_string(i);
    marker.name.producer = ProducerId(100 + i);
    away_.shard.markers[marker.transactional_id] = marker;
  }
  away_.client.Wake(kShard);
  Run(1);
  EXPECT_EQ(link_.delivered(), 3);
  group_.CommitAll();
  link_.Deliver();
  EXPECT_EQ(link_.delivered(), 6);
  EXPECT_TRUE(away_.shard.markers.empty());
}

}  // namespace
}  // namespace millrace::broker

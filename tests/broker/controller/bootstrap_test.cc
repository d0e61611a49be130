// Controllers agreeing on their first configuration, with every message and every durable step in
// the hands of the test.

#include "broker/controller/bootstrap.h"

#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

using Stage = Bootstrap::Stage;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// As founders are numbered that are called 1, 2, 3 …
Voter V(uint32_t broker, uint64_t incarnation) {
  return {BrokerId(broker), Incarnation(incarnation), ReplicaNumber(broker)};
}

// Some controllers whose messages arrive at once and whose disks are instant, unless told
// otherwise.
class Group {
 public:
  explicit Group(std::vector<Voter> voters) : voters_(std::move(voters)) {
    for (const Voter& voter : voters_) members_.push_back(voter.broker);
    for (const Voter& voter : voters_) Add(voter, Stage::kFresh, {});
  }
  void Add(Voter voter, Stage stage, std::vector<Voter> list) {
    AddWithMembers(voter, stage, std::move(list), members_);
  }
  // One that was started with a --controllers of its own.
  void AddWithMembers(Voter voter, Stage stage, std::vector<Voter> list,
                      std::vector<BrokerId> members) {
    nodes_[voter.broker] = std::make_unique<Bootstrap>("c", voter.holder(), members, stage, list);
    identities_[voter.broker] = voter.holder();
    nodes_[voter.broker]->Start();
  }
  Bootstrap& at(uint32_t broker) { return *nodes_[BrokerId(broker)]; }
  void Connect(uint32_t a, uint32_t b) {
    at(a).OnPeerConnected(identities_[BrokerId(b)]);
    at(b).OnPeerConnected(identities_[BrokerId(a)]);
  }
  void ConnectAll() {
    for (size_t i = 0; i < members_.size(); ++i) {
      for (size_t j = i + 1; j < members_.size(); ++j) {
        Connect(members_[i].value(), members_[j].value());
      }
    }
  }
  // Until nobody has anything left to do.
  void Settle() {
    for (bool progressed = true; progressed;) {
      progressed = false;
      for (auto& [id, node] : nodes_) {
        Bootstrap::Actions actions = node->TakeActions();
        if (!actions.refused.ok()) refused_[id] = actions.refused;
        for (auto& [to, message] : actions.messages) {
          if (nodes_.contains(to)) nodes_[to]->OnMessage(identities_[id], message);
          progressed = true;
        }
        if (actions.store_list.has_value() || actions.store_cluster_uuid.has_value()) {
          if (actions.store_cluster_uuid.has_value()) uuids_[id] = *actions.store_cluster_uuid;
          node->OnStored();
          progressed = true;
        }
      }
    }
  }
  // What the broker said when it was refused; "" if it was not.
  std::string RefusalOf(uint32_t broker) {
    return refused_.contains(BrokerId(broker)) ? std::string(refused_[BrokerId(broker)].message())
                                               : "";
  }
  std::map<BrokerId, Status> refused_;
  std::map<BrokerId, uint64_t> uuids_;

 private:
  std::vector<Voter> voters_;
  std::vector<BrokerId> members_;
  std::map<BrokerId, std::unique_ptr<Bootstrap>> nodes_;
  std::map<BrokerId, BrokerIncarnation> identities_;
};

TEST(Bootstrap, ASingleController_InitializesAlone) {
  Group group({V(1, 11)});
  group.Settle();
  EXPECT_EQ(group.at(1).stage(), Stage::kInitialized);
}

TEST(Bootstrap, ThreeControllers_AgreeOnOneListAndUuid) {
  Group group({V(1, 11), V(2, 22), V(3, 33)});
  group.ConnectAll();
  group.Settle();
  for (uint32_t id = 1; id <= 3; ++id) {
    EXPECT_EQ(group.at(id).stage(), Stage::kInitialized);
    EXPECT_EQ(group.at(id).controllers(), (std::vector<Voter>{V(1, 11), V(2, 22), V(3, 33)}));
    EXPECT_EQ(group.uuids_[BrokerId(id)], group.uuids_[BrokerId(1)]);
  }
  EXPECT_TRUE(group.refused_.empty());
}

TEST(Bootstrap, NobodyInitializes_WhileOneControllerIsMissing) {
  Group group({V(1, 11), V(2, 22), V(3, 33)});
  group.Connect(1, 2);
  group.Settle();
  EXPECT_EQ(group.at(1).stage(), Stage::kFresh);
  EXPECT_EQ(group.at(2).stage(), Stage::kFresh);
}

TEST(Bootstrap, AnInitializedController_CompletesOneThatOnlyStoredTheList) {
  const std::vector<Voter> list{V(1, 11), V(2, 22), V(3, 33)};
  Group group(list);
  group.Add(V(1, 11), Stage::kInitialized, list);
  group.Add(V(2, 22), Stage::kListed, list);
  group.Connect(1, 2);
  group.Settle();
  EXPECT_EQ(group.at(2).stage(), Stage::kInitialized);
}

TEST(Bootstrap, AWipedController_IsRefusedByName_AndTheOthersGoOn) {
  const std::vector<Voter> list{V(1, 11), V(2, 22), V(3, 33)};
  Group group(list);
  group.Add(V(1, 11), Stage::kInitialized, list);
  group.Add(V(2, 22), Stage::kInitialized, list);
  group.Add(V(3, 99), Stage::kFresh, {});
  group.ConnectAll();
  group.Settle();
  ASSERT_TRUE(group.refused_.contains(BrokerId(3)));
  EXPECT_NE(group.refused_[BrokerId(3)].message().find("broker 3"), std::string::npos);
  EXPECT_FALSE(group.refused_.contains(BrokerId(1)));
  EXPECT_FALSE(group.refused_.contains(BrokerId(2)));
  EXPECT_EQ(group.at(3).stage(), Stage::kFresh);
}

TEST(Bootstrap, AWipeInBetween_IsAnError_ThatAsksToWipeAll) {
  Group group({V(1, 11), V(2, 22), V(3, 33)});
  group.Add(V(1, 11), Stage::kListed, {V(1, 11), V(2, 22), V(3, 33)});
  group.Add(V(2, 98), Stage::kFresh, {});
  group.Connect(1, 2);
  group.Settle();
  ASSERT_TRUE(group.refused_.contains(BrokerId(2)));
  EXPECT_NE(group.refused_[BrokerId(2)].message().find("wipe"), std::string::npos);
}

std::vector<BrokerId> Ids(std::initializer_list<uint32_t> values) {
  std::vector<BrokerId> ids;
  for (const uint32_t value : values) ids.emplace_back(value);
  return ids;
}

TEST(Bootstrap, AnotherListThanTheDataDirectorys_IsRefusedAtOnce_NamingBoth) {
  for (const Stage stage : {Stage::kListed, Stage::kInitialized}) {
    Group group({V(1, 11), V(2, 22), V(3, 33)});
    group.Add(V(1, 11), stage, {V(1, 11)});
    group.Settle();
    EXPECT_THAT(group.RefusalOf(1),
                AllOf(HasSubstr("names the brokers {1, 2, 3}"),
                      HasSubstr("has the controllers {1}"), Not(HasSubstr("wipe"))));
    EXPECT_EQ(group.at(1).controllers(), (std::vector<Voter>{V(1, 11)}));
  }
}

TEST(Bootstrap, TheOrderOfTheList_DoesNotMatter) {
  Group group({V(1, 11), V(2, 22), V(3, 33)});
  group.AddWithMembers(V(2, 22), Stage::kFresh, {}, Ids({3, 1, 2}));
  group.ConnectAll();
  group.Settle();
  EXPECT_EQ(group.at(2).stage(), Stage::kInitialized);
}

TEST(Bootstrap, FreshControllers_OfWhichOneHasAnotherList_FormNoCluster) {
  Group group({V(1, 11), V(2, 22), V(3, 33)});
  group.AddWithMembers(V(3, 33), Stage::kFresh, {}, Ids({1, 2, 3, 4, 5}));
  group.ConnectAll();
  group.Settle();
  for (uint32_t id = 1; id <= 3; ++id) {
    EXPECT_THAT(group.RefusalOf(id),
                AllOf(HasSubstr("{1, 2, 3}"), HasSubstr("{1, 2, 3, 4, 5}"), HasSubstr("broker 3")));
    EXPECT_EQ(group.at(id).stage(), Stage::kFresh);
  }
}

TEST(Bootstrap, AListOfOthers_IsRefusedByThoseThatStoredOne_WhichGoOn) {
  const std::vector<Voter> list{V(1, 11), V(2, 22), V(3, 33)};
  for (const Stage stage : {Stage::kListed, Stage::kInitialized}) {
    Group group(list);
    group.Add(V(1, 11), stage, list);
    group.AddWithMembers(V(2, 22), Stage::kFresh, {}, Ids({1, 2, 4}));
    group.Connect(1, 2);
    group.Settle();
    EXPECT_THAT(group.RefusalOf(2), AllOf(HasSubstr("{1, 2, 3}"), HasSubstr("{1, 2, 4}")));
    EXPECT_EQ(group.RefusalOf(1), "");
    EXPECT_EQ(group.at(2).stage(), Stage::kFresh);
  }
}

TEST(Bootstrap, WhoeverIsNotInTheClustersList_IsNotToldToWipeTheOthers) {
  const std::vector<Voter> list{V(1, 11), V(2, 22), V(3, 33)};
  Group group(list);
  group.Add(V(1, 11), Stage::kInitialized, list);
  group.Add(V(2, 99), Stage::kFresh, {});
  group.at(2).OnPeerConnected(V(1, 11).holder());
  group.at(1).OnPeerConnected(V(2, 99).holder());
  group.Settle();
  EXPECT_THAT(group.RefusalOf(2), AllOf(HasSubstr("wiped"), Not(HasSubstr("of all controllers"))));
}

TEST(Bootstrap, DifferentStoredLists_AreAnError) {
  Group group({V(1, 11), V(2, 22), V(3, 33)});
  group.Add(V(1, 11), Stage::kListed, {V(1, 11), V(2, 22), V(3, 33)});
  group.Add(V(2, 22), Stage::kListed, {V(1, 11), V(2, 22), V(3, 77)});
  group.Connect(1, 2);
  group.Settle();
  EXPECT_FALSE(group.refused_.empty());
}

}  // namespace
}  // namespace millrace::broker

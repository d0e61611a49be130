// Who is to have what, as members subscribe and topics are, and when that is another target than
// before.
#include "broker/coordinator/target.h"

#include <string>

#include <gtest/gtest.h>

#include "tests/broker/controller/records.h"
#include "tests/broker/coordinator/member_rig.h"

namespace millrace::broker {
namespace {

using internal::v1::TargetComputed;

class TargetTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(image_.Apply(Created(1, "t", 2, 4)).ok());
    ASSERT_TRUE(image_.Apply(Created(2, "u", 10, 2)).ok());
  }
  // The group's epoch is raised by it.
  void Join(const std::string& id, const std::string& topic = "t",
            const std::string& assignor = "") {
    internal::v1::MemberChanged changed = Comes(id, ++epoch_);
    *changed.mutable_member() = InfoOf(id, "", topic);
    changed.mutable_member()->set_assignor(assignor);
    ASSERT_TRUE(membership_.Apply(changed, {.index = LogIndex(epoch_)}).ok());
  }
  TargetComputed Compute() { return ComputeTarget(epoch_, membership_, image_); }
  TargetComputed ComputeAndApply() {
    TargetComputed target = Compute();
    EXPECT_TRUE(membership_.Apply(target, epoch_, {.index = LogIndex(100)}).ok());
    epoch_ = target.epoch();
    return target;
  }

  Image image_;
  Membership membership_;
  uint32_t epoch_ = 0;
};

TEST_F(TargetTest, IsForTheGroupsEpoch_AndThereIsNoneWhereNothingChanged) {
  Join("a");
  Join("b");
  const TargetComputed target = ComputeAndApply();
  EXPECT_EQ(target.epoch(), 2U);
  EXPECT_EQ(target.assignor(), "uniform");
  EXPECT_EQ(target.members_size(), 2);
  EXPECT_EQ(PartitionCountOf(membership_.Find("a")->target), 2U);
  EXPECT_EQ(PartitionCountOf(membership_.Find("b")->target), 2U);
  EXPECT_EQ(Compute().epoch(), 0U);
}

TEST_F(TargetTest, WhereTopicsAloneChanged_HasAnEpochOfItsOwn_AndNamesWhoseItChanges) {
  Join("a");
  Join("b", "later");
  EXPECT_EQ(ComputeAndApply().topics_size(), 1) << "a topic that is not there is no matter";
  ASSERT_TRUE(image_.Apply(Created(3, "other", 20, 2)).ok());
  EXPECT_EQ(Compute().epoch(), 0U) << "nobody reads it";
  ASSERT_TRUE(image_.Apply(Created(4, "later", 30, 2)).ok());
  const TargetComputed target = ComputeAndApply();
  EXPECT_EQ(target.epoch(), 3U);
  ASSERT_EQ(target.members_size(), 1);
  EXPECT_EQ(target.members(0).member_id(), "b");
  ASSERT_TRUE(image_.Apply(Deleted(4, 0)).ok());
  EXPECT_EQ(ComputeAndApply().epoch(), 4U);
  EXPECT_TRUE(membership_.Find("b")->target.empty());
}

TEST_F(TargetTest, APattern_MeansTheTopicsThatItMatches_AlsoThoseThatCome) {
  internal::v1::MemberChanged changed = Comes("a", ++epoch_);
  changed.mutable_member()->mutable_subscription()->clear_topics();
  changed.mutable_member()->mutable_subscription()->set_pattern("[t-z].*");
  ASSERT_TRUE(membership_.Apply(changed, {.index = LogIndex(1)}).ok());
  EXPECT_EQ(ComputeAndApply().topics_size(), 2);
  ASSERT_TRUE(image_.Apply(Created(3, "zoo", 20, 2)).ok());
  ASSERT_TRUE(image_.Apply(Created(4, "abc", 30, 2)).ok());
  const TargetComputed target = ComputeAndApply();
  EXPECT_EQ(target.topics_size(), 3);
  EXPECT_EQ(target.epoch(), 2U);
}

TEST_F(TargetTest, TheAssignorIsWhatMostAskFor_OfThoseThatThisVersionKnows) {
  Join("a", "t", "range");
  Join("b", "t", "of a later version");
  Join("c", "t", "of a later version");
  Join("d");
  EXPECT_EQ(Compute().assignor(), "range");
  Join("e", "t", "uniform");
  EXPECT_EQ(Compute().assignor(), "range") << "of as many the first by name";
  Join("f", "t", "uniform");
  EXPECT_EQ(Compute().assignor(), "uniform");
}

TEST_F(TargetTest, WhoHasAPartitionKeepsIt_IfBalanceAllows) {
  Join("b");
  Join("c");
  ComputeAndApply();
  Join("a");
  const Assignment of_b = membership_.Find("b")->target;
  const Assignment of_c = membership_.Find("c")->target;
  ComputeAndApply();
  EXPECT_TRUE(Difference(membership_.Find("b")->target, of_b).empty());
  EXPECT_TRUE(Difference(membership_.Find("c")->target, of_c).empty());
  EXPECT_EQ(PartitionCountOf(membership_.Find("a")->target), 1U);
}

TEST_F(TargetTest, ASubscriptionOfNothing_OrTooMuch_IsNobodys) {
  v1::Subscription subscription;
  EXPECT_EQ(CheckSubscription(subscription).code(), Code::kInvalidArgument);
  subscription.set_pattern(".*");
  EXPECT_TRUE(CheckSubscription(subscription).ok());
  subscription.set_pattern("(");
  EXPECT_EQ(CheckSubscription(subscription).code(), Code::kInvalidArgument);
  subscription.clear_pattern();
  v1::TopicSet& set = *subscription.add_topic_sets();
  for (int i = 0; i < 1000; ++i) set.add_topics("t" + std::to_string(i));
  EXPECT_TRUE(CheckSubscription(subscription).ok());
  subscription.add_topics("one more");
  EXPECT_EQ(CheckSubscription(subscription).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace millrace::broker

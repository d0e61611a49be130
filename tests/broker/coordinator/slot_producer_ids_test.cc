// Producer ids by slot, out of blocks that the controller gives.
#include "broker/coordinator/slot_producer_ids.h"

#include <deque>
#include <optional>
#include <set>
#include <utility>

#include <gtest/gtest.h>

#include "broker/coordinator/slot.h"

namespace millrace::broker {
namespace {

using internal::v1::AllocateProducerIdsReply;

class SlotProducerIdsTest : public testing::Test {
 protected:
  void SetUp() override {
    internal::v1::ControllerRecord record;
    record.mutable_producer_id_key_drawn()->set_key(std::string(kProducerIdKeyBytes, 'k'));
    ASSERT_TRUE(image_.Apply(record).ok());
  }
  std::optional<Result<ProducerId>>& Take(uint32_t slot) {
    auto& answer = answers_.emplace_back();
    ids_.Take(slot, [&answer](Result<ProducerId> producer) { answer = std::move(producer); });
    return answer;
  }
  void Allocate(uint64_t first, uint64_t count = kProducerIdBlock) {
    ASSERT_FALSE(asked_.empty());
    AllocateProducerIdsReply block;
    block.set_first(first);
    block.set_end(first + count);
    std::exchange(asked_, {}).front()(std::move(block));
  }
  static uint64_t NumberOf(const std::optional<Result<ProducerId>>& answer) {
    return answer.has_value() && answer->ok() ? ProducerNumber(**answer) : 0;
  }

  Image image_;
  std::deque<SlotProducerIds::Allocated> asked_;
  SlotProducerIds ids_{{.image = image_, .allocate = [this](SlotProducerIds::Allocated done) {
                          asked_.push_back(std::move(done));
                        }}};
  std::deque<std::optional<Result<ProducerId>>> answers_;
};

TEST_F(SlotProducerIdsTest, AnId_IsOfItsSlot_AndMarkedAsTheClusters) {
  auto& answer = Take(7);
  EXPECT_FALSE(answer.has_value());
  Allocate(2048);
  EXPECT_EQ(NumberOf(answer), 2048U + 7);
  EXPECT_EQ(SlotOf(**answer), 7U);
  EXPECT_TRUE(HasMark(image_.producer_id_key(), **answer));
}

TEST_F(SlotProducerIdsTest, ABlock_HasOneForEachSlot) {
  Take(0);
  Allocate(1024);
  std::set<uint64_t> numbers{NumberOf(answers_.front())};
  for (uint32_t slot = 1; slot < kCoordinatorSlots; ++slot) numbers.insert(NumberOf(Take(slot)));
  EXPECT_EQ(numbers.size(), 1024U);
  EXPECT_EQ(*numbers.begin(), 1024U);
  EXPECT_EQ(*numbers.rbegin(), 2047U);
  EXPECT_TRUE(asked_.empty());
  EXPECT_FALSE(Take(5).has_value());
  EXPECT_EQ(asked_.size(), 1U);
}

TEST_F(SlotProducerIdsTest, WhoeverWaits_WaitsForOneBlock_AndOfOneSlotForOneEach) {
  auto& first = Take(3);
  auto& second = Take(3);
  auto& other = Take(4);
  EXPECT_EQ(asked_.size(), 1U);
  Allocate(1024);
  EXPECT_EQ(NumberOf(first), 1024U + 3);
  EXPECT_EQ(NumberOf(other), 1024U + 4);
  EXPECT_FALSE(second.has_value());
  Allocate(4096);
  EXPECT_EQ(NumberOf(second), 4096U + 3);
  EXPECT_EQ(NumberOf(Take(4)), 4096U + 4);
}

TEST_F(SlotProducerIdsTest, WhereThereIsNone_AllWhoWaitAreTold_AndItIsAskedAnew) {
  auto& first = Take(3);
  auto& second = Take(3);
  std::exchange(asked_, {}).front()(Unavailable("nobody leads"));
  EXPECT_EQ(first->status().code(), Code::kUnavailable);
  EXPECT_EQ(second->status().code(), Code::kUnavailable);
  auto& third = Take(3);
  Allocate(1024);
  EXPECT_EQ(NumberOf(third), 1024U + 3);
}

TEST_F(SlotProducerIdsTest, ABlockThatBeginsElsewhere_OrIsShort_GivesWhatItHas) {
  auto& in_it = Take(1000);
  auto& wraps = Take(2);
  Allocate(2000, 500);  // slots 976 to 1023, and 0 to 451
  EXPECT_EQ(NumberOf(in_it), 2024U);
  EXPECT_EQ(NumberOf(wraps), 2050U);
  EXPECT_EQ(SlotOf(**wraps), 2U);
  auto& lacks = Take(500);
  EXPECT_FALSE(lacks.has_value());
  Allocate(3072);
  EXPECT_EQ(NumberOf(lacks), 3072U + 500);
}

TEST_F(SlotProducerIdsTest, HowManyWait_IsBounded) {
  for (int i = 0; i < 10'000; ++i) EXPECT_FALSE(Take(3).has_value());
  auto& refused = Take(3);
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->status().reason(), Reason::kThrottled);
}

TEST_F(SlotProducerIdsTest, BeforeTheKeyIsKnown_NoIdIsGiven) {
  image_ = Image();
  auto& answer = Take(3);
  Allocate(1024);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->status().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace millrace::broker

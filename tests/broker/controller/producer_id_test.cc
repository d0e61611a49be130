// Producer ids: what a cluster's brokers made passes, everything else does not.

#include "broker/controller/producer_id.h"

#include <limits>
#include <set>

#include <gtest/gtest.h>

#include "raft/runtime/random.h"

namespace millrace::broker {
namespace {

const std::string kKey(kProducerIdKeyBytes, 'k');

TEST(ProducerId, IsPositive_AndTellsItsNumber) {
  for (const uint64_t number :
       {kProducerNumberMin, uint64_t{123'456'789}, kProducerNumberEnd - 1}) {
    const ProducerId id = MarkProducer(kKey, number);
    EXPECT_LE(id.value(), static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
    EXPECT_EQ(ProducerNumber(id), number);
    EXPECT_TRUE(HasMark(kKey, id)) << id;
  }
}

// The mark of a number is for ever: ids are in clients' hands and in logs.
TEST(ProducerId, OfAKeyAndANumber_IsAlwaysTheSame) {
  EXPECT_EQ(MarkProducer(kKey, 1024).value(), 2448212172824642560u);
}

TEST(ProducerId, ThatNobodyGave_HasNoMark) {
  const uint64_t given = MarkProducer(kKey, 5000).value();
  for (const uint64_t made_up :
       {uint64_t{0}, uint64_t{1}, uint64_t{7}, uint64_t{1023}, uint64_t{5000}, given + 1, given - 1,
        given | uint64_t{1} << 63, given ^ uint64_t{1} << 62, given ^ uint64_t{1} << 40,
        std::numeric_limits<uint64_t>::max()}) {
    EXPECT_FALSE(HasMark(kKey, ProducerId(made_up))) << made_up;
  }
}

TEST(ProducerId, OfAnotherClustersKey_HasNoMark) {
  EXPECT_FALSE(HasMark(std::string(kProducerIdKeyBytes, 'x'), MarkProducer(kKey, 5000)));
}

TEST(ProducerId, IsHardToGuess_EvenNextToAGivenOne) {
  Random random(1);
  int hits = 0;
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t mark = random.Below(uint64_t{1} << kProducerMarkBits);
    hits += HasMark(kKey, ProducerId(mark << kProducerNumberBits | 5001)) ? 1 : 0;
  }
  EXPECT_LE(hits, 2);
  std::set<uint64_t> marks;
  for (uint64_t number = 2048; number < 3048; ++number) {
    marks.insert(MarkProducer(kKey, number).value() >> kProducerNumberBits);
  }
  EXPECT_GE(marks.size(), 998u);
}

TEST(ProducerId, IsRefusedByName_OrLaterWhileTheKeyIsNotKnown) {
  EXPECT_TRUE(CheckProducerId(kKey, MarkProducer(kKey, 5000)).ok());
  const Status refused = CheckProducerId(kKey, ProducerId(7));
  EXPECT_EQ(refused.code(), Code::kNotFound);
  EXPECT_EQ(refused.reason(), Reason::kUnknownProducer);
  EXPECT_NE(refused.message().find("producer_id 7 "), std::string::npos) << refused;
  EXPECT_EQ(CheckProducerId("", MarkProducer(kKey, 5000)).code(), Code::kUnavailable);
}

TEST(ProducerIdKey, IsMadeOfAllThatIsDrawn) {
  uint64_t drawn = 0;
  const std::string key = DrawProducerIdKey([&drawn] {
    ++drawn;
    return drawn << 56 | drawn;
  });
  EXPECT_EQ(key.size(), kProducerIdKeyBytes);
  EXPECT_EQ(drawn, kProducerIdKeyBytes / sizeof(uint64_t));
  EXPECT_EQ(key.substr(24), std::string("\4\0\0\0\0\0\0\4", 8));
}

}  // namespace
}  // namespace millrace::broker

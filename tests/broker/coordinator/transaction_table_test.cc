// Transactional ids as records make them, and what is found of them.
#include "broker/coordinator/transaction_table.h"

#include <string>

#include <gtest/gtest.h>

#include "tests/broker/coordinator/transaction_rig.h"

namespace millrace::broker {
namespace {

using internal::v1::CoordinatorState;
using internal::v1::TransactionalIdChanged;
using internal::v1::TransactionalIdRemoved;
using internal::v1::TransactionChanged;

TransactionalIdChanged Has(const std::string& id, ProducerId producer, uint32_t epoch) {
  TransactionalIdChanged changed;
  changed.set_transactional_id(id);
  changed.set_producer_id(producer.value());
  changed.set_epoch(epoch);
  changed.set_time_limit_ms(1'000);
  changed.set_request_id(epoch);
  return changed;
}

TransactionChanged Begins(const std::string& id, const TransactionName& name, uint64_t group) {
  TransactionChanged changed;
  changed.set_transactional_id(id);
  Fill(name, changed.mutable_name());
  changed.add_participants(group);
  return changed;
}

TransactionChanged Ends(const std::string& id, const TransactionName& name) {
  TransactionChanged changed;
  changed.set_transactional_id(id);
  Fill(name, changed.mutable_name());
  changed.set_outcome(kCommit);
  changed.set_reason(internal::v1::TRANSACTION_END_REASON_ASKED);
  return changed;
}

TransactionalIdRemoved Gone(const std::string& id) {
  TransactionalIdRemoved removed;
  removed.set_transactional_id(id);
  return removed;
}

std::string Saved(const TransactionTable& table) {
  CoordinatorState saved;
  table.SaveTo(&saved);
  return saved.SerializeAsString();
}

class TransactionTableTest : public testing::Test {
 protected:
  template <typename Record>
  Status Apply(const Record& record) {
    place_.index = place_.index + 1;
    place_.time_ms += 10;
    return table_.Apply(record, place_);
  }
  const std::string* NameOf(ProducerId producer) { return table_.FindByProducer(producer); }

  TransactionTable table_;
  TransactionTable::Place place_;
};

TEST_F(TransactionTableTest, AnId_IsFoundByItsProducerId_AndByTheOneOfWhatIsCompleting) {
  ASSERT_TRUE(Apply(Has("a", ProducerOf("a"), 1)).ok());
  EXPECT_EQ(*NameOf(ProducerOf("a")), "a");
  ASSERT_TRUE(Apply(Begins("a", TransactionOf("a", 1, 1), 5)).ok());
  ASSERT_TRUE(Apply(Ends("a", TransactionOf("a", 1, 1))).ok());
  ASSERT_TRUE(Apply(Has("a", ProducerOf("a", 2), 1)).ok());
  EXPECT_EQ(*NameOf(ProducerOf("a", 2)), "a");
  EXPECT_EQ(*NameOf(ProducerOf("a")), "a") << "partitions may ask what became of it";
  ASSERT_TRUE(Apply(ToldOf("a", TransactionOf("a", 1, 1), {5})).ok());
  EXPECT_EQ(NameOf(ProducerOf("a")), nullptr);
  ASSERT_TRUE(table_.Apply(Gone("a")).ok());
  EXPECT_EQ(NameOf(ProducerOf("a", 2)), nullptr);
}

TEST_F(TransactionTableTest, WhatIsOpenOrCompleting_IsFoundWithoutLookingAtAll) {
  ASSERT_TRUE(Apply(Has("a", ProducerOf("a"), 1)).ok());
  EXPECT_EQ(table_.ongoing().size() + table_.completing().size(), 0U);
  ASSERT_TRUE(Apply(Begins("a", TransactionOf("a", 1, 1), 5)).ok());
  ASSERT_NE(table_.ongoing().Find(std::string("a")), nullptr);
  EXPECT_EQ(*table_.ongoing().Find(std::string("a")), 1U);
  ASSERT_TRUE(Apply(Begins("a", TransactionOf("a", 1, 1), 6)).ok());
  EXPECT_EQ(*table_.ongoing().Find(std::string("a")), 1U);
  ASSERT_TRUE(Apply(Ends("a", TransactionOf("a", 1, 1))).ok());
  EXPECT_EQ(table_.ongoing().size(), 0U);
  EXPECT_EQ(*table_.completing().Find(std::string("a")), 1U);
  ASSERT_TRUE(Apply(ToldOf("a", TransactionOf("a", 1, 1), {5, 6})).ok());
  EXPECT_EQ(table_.completing().size(), 0U);
}

TEST_F(TransactionTableTest, WhatCannotHaveBeenDecided_ChangesNothing) {
  ASSERT_TRUE(Apply(Has("a", ProducerOf("a"), 2)).ok());
  ASSERT_TRUE(Apply(Begins("a", TransactionOf("a", 2, 3), 5)).ok());
  const std::string before = Saved(table_);
  const auto lost = [&](const auto& record) {
    EXPECT_EQ(Apply(record).code(), Code::kDataLoss) << record.ShortDebugString();
    EXPECT_EQ(Saved(table_), before);
  };
  lost(Has("a", ProducerOf("a"), 3));                          // beside an open one
  lost(Has("b", ProducerOf("a"), 1));                          // another one's producer id
  lost(Has("c", ProducerId(ProducerOf("c").value() + 1), 1));  // of another slot
  lost(Begins("nobody", TransactionOf("nobody", 1, 1), 5));
  lost(Begins("a", TransactionOf("a", 1, 4), 5));
  lost(Begins("a", TransactionOf("a", 2, 4), 5));
  lost(Begins("a", TransactionOf("a", 2, 2), 5));
  lost(Begins("a", TransactionOf("a", 2, 3, 7), 5));
  lost(Ends("a", TransactionOf("a", 2, 4)));
  EXPECT_EQ(table_.Apply(Gone("a")).code(), Code::kDataLoss);
  EXPECT_EQ(table_.Apply(Gone("nobody")).code(), Code::kDataLoss);
  TransactionChanged later = Ends("a", TransactionOf("a", 2, 3));
  later.set_outcome(static_cast<TransactionOutcome>(3));
  EXPECT_EQ(Apply(later).code(), Code::kUnimplemented);
  EXPECT_EQ(Saved(table_), before);
}

TEST_F(TransactionTableTest, WhatFollowsOnlyOnceTheOneBefore_IsDecidedOrCompleted_WaitsForThat) {
  ASSERT_TRUE(Apply(Has("a", ProducerOf("a"), 1)).ok());
  EXPECT_EQ(Apply(Has("a", ProducerOf("a"), 1)).code(), Code::kDataLoss);
  ASSERT_TRUE(Apply(Begins("a", TransactionOf("a", 1, 1), 5)).ok());
  ASSERT_TRUE(Apply(Ends("a", TransactionOf("a", 1, 1))).ok());
  EXPECT_EQ(Apply(Ends("a", TransactionOf("a", 1, 1))).code(), Code::kDataLoss);
  EXPECT_EQ(table_.Apply(Gone("a")).code(), Code::kDataLoss);
  ASSERT_TRUE(Apply(Begins("a", TransactionOf("a", 1, 2), 5)).ok());
  EXPECT_EQ(Apply(Ends("a", TransactionOf("a", 1, 2))).code(), Code::kDataLoss);
  ASSERT_TRUE(Apply(ToldOf("a", TransactionOf("a", 1, 1), {5})).ok());
  EXPECT_TRUE(Apply(Ends("a", TransactionOf("a", 1, 2))).ok());
}

TEST_F(TransactionTableTest, WhoWasToldAgain_OrOfAnother_ChangesNothing) {
  ASSERT_TRUE(Apply(Has("a", ProducerOf("a"), 1)).ok());
  ASSERT_TRUE(Apply(Begins("a", TransactionOf("a", 1, 1), 5)).ok());
  ASSERT_TRUE(Apply(Ends("a", TransactionOf("a", 1, 1))).ok());
  const std::string before = Saved(table_);
  EXPECT_TRUE(Apply(ToldOf("nobody", TransactionOf("nobody", 1, 1), {5})).ok());
  EXPECT_TRUE(Apply(ToldOf("a", TransactionOf("a", 1, 2), {5})).ok());
  EXPECT_EQ(Saved(table_), before);
  EXPECT_TRUE(Apply(ToldOf("a", TransactionOf("a", 1, 1), {7, 5})).ok());
  EXPECT_TRUE(table_.Find("a")->is_idle());
}

TEST_F(TransactionTableTest, WhatIsGone_HoldsNoMemory) {
  ASSERT_TRUE(Apply(Has("a", ProducerOf("a"), 1)).ok());
  const uint64_t idle = table_.bytes();
  EXPECT_GT(idle, 0U);
  ASSERT_TRUE(Apply(Begins("a", TransactionOf("a", 1, 1), 5)).ok());
  EXPECT_GT(table_.bytes(), idle);
  ASSERT_TRUE(Apply(Ends("a", TransactionOf("a", 1, 1))).ok());
  ASSERT_TRUE(Apply(ToldOf("a", TransactionOf("a", 1, 1), {5})).ok());
  EXPECT_EQ(table_.bytes(), idle);
  ASSERT_TRUE(table_.Apply(Gone("a")).ok());
  EXPECT_EQ(table_.bytes(), 0U);
  EXPECT_EQ(table_.size(), 0U);
}

TEST_F(TransactionTableTest, AStateWithAnIdOrAProducerIdTwice_IsNotLoaded) {
  ASSERT_TRUE(Apply(Has("a", ProducerOf("a"), 1)).ok());
  CoordinatorState saved;
  table_.SaveTo(&saved);
  ASSERT_TRUE(TransactionTable::LoadFrom(saved).ok());
  *saved.add_transactional_ids() = saved.transactional_ids(0);
  EXPECT_EQ(TransactionTable::LoadFrom(saved).status().code(), Code::kDataLoss);
  saved.mutable_transactional_ids(1)->set_transactional_id("b");
  EXPECT_EQ(TransactionTable::LoadFrom(saved).status().code(), Code::kDataLoss);
}

}  // namespace
}  // namespace millrace::broker

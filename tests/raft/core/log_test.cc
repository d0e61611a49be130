#include "raft/core/log.h"

#include <iostream>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "raft/runtime/random.h"
#include "tests/raft/core/lab.h"

namespace millrace::raft::core {
namespace {

Log LogOfTerms(const std::vector<uint64_t>& terms) {
  Log log;
  for (uint64_t term : terms) {
    log.Append(SealedEntry(log.last_chain(), Term(term), log.last_index() + 1));
  }
  return log;
}

TEST(LogTest, EmptyLog_EndsAtZero) {
  const Log log;
  EXPECT_EQ(log.last_index(), LogIndex(0));
  EXPECT_EQ(log.TermAt(LogIndex(0)), Term(0));
  EXPECT_EQ(log.TermAt(LogIndex(1)), std::nullopt);
}

TEST(LogTest, TermsOfTrimmedEntries_StayKnown) {
  Log log = LogOfTerms({1, 1, 2, 5, 5});
  log.TrimTo(LogIndex(4));
  EXPECT_EQ(log.prefix().index, LogIndex(4));
  EXPECT_FALSE(log.InTail(LogIndex(4)));
  EXPECT_EQ(log.TermAt(LogIndex(2)), Term(1));
  EXPECT_EQ(log.TermAt(LogIndex(3)), Term(2));
  EXPECT_EQ(log.TermAt(LogIndex(4)), Term(5));
  EXPECT_EQ(log.tail_bytes(), kFrameHeaderSize);
}

TEST(LogTest, TruncatedTerms_AreForgotten) {
  Log log = LogOfTerms({1, 1, 3, 3});
  log.TruncateFrom(LogIndex(3));
  EXPECT_EQ(log.last_term(), Term(1));
  log.Append(SealedEntry(log.last_chain(), Term(2), LogIndex(3)));
  EXPECT_EQ(log.TermAt(LogIndex(3)), Term(2));
  EXPECT_EQ(log.TermAt(LogIndex(4)), std::nullopt);
}

TEST(LogTest, Slice_StopsAtItsBytes_ButGivesTheFirstEntry) {
  const Log log = LogOfTerms({1, 1, 1, 1});
  EXPECT_EQ(log.Slice(LogIndex(2), LogIndex(4), 2 * kFrameHeaderSize + 1).size(), 2u);
  EXPECT_EQ(log.Slice(LogIndex(2), LogIndex(4), 1).size(), 1u);
  EXPECT_EQ(log.Slice(LogIndex(2), LogIndex(3), 1 << 20).size(), 2u);
  EXPECT_TRUE(log.Slice(LogIndex(5), LogIndex(9), 1 << 20).empty());
}

TEST(LogTest, LastIndexWithTermAtMost_SkipsNewerTerms) {
  const Log log = LogOfTerms({1, 1, 3, 3, 4});
  EXPECT_EQ(log.LastIndexWithTermAtMost(Term(2), LogIndex(5)), LogIndex(2));
  EXPECT_EQ(log.LastIndexWithTermAtMost(Term(3), LogIndex(5)), LogIndex(4));
  EXPECT_EQ(log.LastIndexWithTermAtMost(Term(9), LogIndex(9)), LogIndex(5));
  EXPECT_EQ(log.LastIndexWithTermAtMost(Term(0), LogIndex(5)), LogIndex(0));
}

TEST(LogTest, TermOfTheBegin_IsKnown_AndNothingBelowIt) {
  Log log = LogOfTerms({1, 1, 2, 2, 5});
  log.TrimTo(LogIndex(4));
  log.MoveBeginTo({.index = LogIndex(3), .term = Term(2), .chain = 7, .next_offset = Offset(30)});
  EXPECT_EQ(log.first_index(), LogIndex(4));
  EXPECT_EQ(log.begin().next_offset, Offset(30));
  EXPECT_EQ(log.TermAt(LogIndex(2)), std::nullopt);
  EXPECT_EQ(log.TermAt(LogIndex(3)), Term(2));
  EXPECT_EQ(log.TermAt(LogIndex(4)), Term(2));
  EXPECT_EQ(log.LastIndexWithTermAtMost(Term(2), LogIndex(5)), LogIndex(4));
  EXPECT_EQ(log.LastIndexWithTermAtMost(Term(1), LogIndex(5)), LogIndex(3));
}

TEST(LogTest, LogThatWasDroppedWhole_GoesOn) {
  for (const uint64_t next : {2, 3}) {
    Log log = LogOfTerms({1, 2});
    const uint32_t chain = log.last_chain();
    log.TrimTo(LogIndex(2));
    log.MoveBeginTo({.index = LogIndex(2), .term = Term(2), .chain = chain});
    EXPECT_EQ(log.last_index(), LogIndex(2));
    EXPECT_EQ(log.last_term(), Term(2));
    log.Append(SealedEntry(log.last_chain(), Term(next), LogIndex(3)));
    EXPECT_EQ(log.TermAt(LogIndex(2)), Term(2));
    EXPECT_EQ(log.TermAt(LogIndex(3)), Term(next));
    EXPECT_EQ(log.LastIndexWithTermAtMost(Term(2), LogIndex(3)), LogIndex(next == 2 ? 3 : 2));
  }
}

// Against a plain vector of terms, under appends, truncations, trims and moved begins.
TEST(LogTest, EqualsNaiveModel_UnderRandomOperations) {
  constexpr uint64_t kSeed = 7;
  std::cout << "seed=" << kSeed << "\n";
  Random random(kSeed);
  Log log;
  std::vector<uint64_t> terms;
  for (int step = 0; step < 20'000; ++step) {
    const uint64_t prefix = log.prefix().index.value();
    if (random.OneIn(10) && terms.size() > prefix) {
      const uint64_t from = random.Between(prefix + 1, terms.size());
      log.TruncateFrom(LogIndex(from));
      terms.resize(from - 1);
    } else if (random.OneIn(30)) {
      log.TrimTo(LogIndex(random.Between(prefix, terms.size())));
    } else if (random.OneIn(30)) {
      const LogIndex index(random.Between(log.begin().index.value(), prefix));
      log.MoveBeginTo({.index = index, .term = log.TermAt(index).value()});
    } else {
      terms.push_back((terms.empty() ? 1 : terms.back()) + (random.OneIn(4) ? 1 : 0));
      log.Append(SealedEntry(log.last_chain(), Term(terms.back()), LogIndex(terms.size())));
    }
    ASSERT_EQ(log.last_index(), LogIndex(terms.size()));
    if (terms.empty()) continue;
    const uint64_t at = random.Between(1, terms.size());
    const std::optional<Term> expected =
        LogIndex(at) < log.begin().index ? std::nullopt : std::optional(Term(terms[at - 1]));
    ASSERT_EQ(log.TermAt(LogIndex(at)), expected) << "step=" << step;
  }
}

}  // namespace
}  // namespace millrace::raft::core

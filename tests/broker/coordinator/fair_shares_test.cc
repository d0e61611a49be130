// Shares are as even as any can be, and move no more than that takes.
#include "broker/coordinator/fair_shares.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "raft/runtime/random.h"
#include "tests/support/seeds/seeds.h"

namespace millrace::broker {
namespace {

using Shares = std::vector<std::vector<size_t>>;

ShareClass Class(std::vector<size_t> members, std::vector<size_t> held, size_t unowned) {
  ShareClass of{
      .members = std::move(members), .held = std::move(held), .unowned = unowned, .preference = {}};
  of.preference.resize(of.members.size());
  std::iota(of.preference.begin(), of.preference.end(), size_t{0});
  return of;
}

TEST(FairShares, OfNothing_AreNothing) {
  EXPECT_EQ(FairShares(2, {}), Shares());
  EXPECT_EQ(FairShares(2, {Class({1}, {0}, 0)}), (Shares{{0}}));
}

TEST(FairShares, GiveWhatIsLeftOver_InOrderOfPreference) {
  ShareClass of = Class({0, 1, 2}, {0, 0, 0}, 4);
  of.preference = {2, 0, 1};
  EXPECT_EQ(FairShares(3, {of}), (Shares{{1, 1, 2}}));
}

TEST(FairShares, TakeFromWhoHasMost_AndNoMore) {
  EXPECT_EQ(FairShares(3, {Class({0, 1, 2}, {4, 3, 0}, 0)}), (Shares{{3, 2, 2}}));
  EXPECT_EQ(FairShares(3, {Class({0, 1, 2}, {2, 3, 2}, 0)}), (Shares{{2, 3, 2}})) << "even already";
}

// 0 may only pass on to 1, and 1 to 2.
TEST(FairShares, ArePassedOn_ByWayOfOthers) {
  const Shares shares = FairShares(3, {Class({0, 1}, {4, 0}, 0), Class({1, 2}, {2, 0}, 0)});
  EXPECT_EQ(shares, (Shares{{2, 2}, {0, 2}}));
}

TEST(FairShares, OfWhomNobodyElseCanRelieve_AreLeftAlone) {
  EXPECT_EQ(FairShares(3, {Class({0}, {9}, 0), Class({1, 2}, {2, 0}, 0)}), (Shares{{9}, {1, 1}}));
}

// Tries all ways to share out.
class Brute {
 public:
  Brute(size_t member_count, const std::vector<ShareClass>& classes)
      : classes_(classes), loads_(member_count) {}

  size_t LeastSquares() {
    Try(0, 0, classes_.empty() ? 0 : All(0));
    return least_;
  }

 private:
  size_t All(size_t which) const {
    return std::accumulate(classes_[which].held.begin(), classes_[which].held.end(),
                           classes_[which].unowned);
  }
  void Try(size_t which, size_t place, size_t left) {
    if (which == classes_.size()) {
      size_t squares = 0;
      for (const size_t load : loads_) squares += load * load;
      least_ = std::min(least_, squares);
      return;
    }
    const bool is_last = place + 1 == classes_[which].members.size();
    for (size_t share = is_last ? left : 0; share <= left; ++share) {
      size_t& load = loads_[classes_[which].members[place]];
      load += share;
      if (!is_last) {
        Try(which, place + 1, left - share);
      } else {
        Try(which + 1, 0, which + 1 < classes_.size() ? All(which + 1) : 0);
      }
      load -= share;
    }
  }

  const std::vector<ShareClass>& classes_;
  std::vector<size_t> loads_;
  size_t least_ = std::numeric_limits<size_t>::max();
};

std::string Play(uint64_t seed) {
  Random random(seed);
  const size_t members = random.Between(1, 4);
  std::vector<ShareClass> classes;
  for (uint64_t left = random.Between(1, 3); left > 0; --left) {
    std::vector<size_t> of;
    for (size_t member = 0; member < members; ++member) {
      if (!random.OneIn(3)) of.push_back(member);
    }
    if (of.empty()) continue;
    std::vector<size_t> held;
    for (size_t i = 0; i < of.size(); ++i) held.push_back(random.OneIn(2) ? random.Below(4) : 0);
    classes.push_back(Class(of, held, random.Below(5)));
  }
  const Shares shares = FairShares(members, classes);
  std::vector<size_t> loads(members);
  for (size_t which = 0; which < classes.size(); ++which) {
    const ShareClass& of = classes[which];
    const size_t all = std::accumulate(of.held.begin(), of.held.end(), of.unowned);
    if (std::accumulate(shares[which].begin(), shares[which].end(), size_t{0}) != all) {
      return "shares do not add up";
    }
    for (size_t i = 0; i < of.members.size(); ++i) loads[of.members[i]] += shares[which][i];
  }
  size_t squares = 0;
  for (const size_t load : loads) squares += load * load;
  return squares == Brute(members, classes).LeastSquares() ? "" : "it could be more even";
}

TEST(FairSharesProperty, NoneAreMoreEven) {
  sim::ExpectHolds({.count = 1000, .count_long = 50'000}, Play);
}

}  // namespace
}  // namespace millrace::broker

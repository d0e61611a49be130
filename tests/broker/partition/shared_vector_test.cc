// A shared vector changes, its views stay.

#include "broker/partition/shared_vector.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "raft/runtime/random.h"

namespace millrace::broker {
namespace {

using Shared = SharedVector<std::string>;

std::vector<std::string> ValuesOf(const Shared& shared) {
  std::vector<std::string> values;
  shared.ForEach([&values](const std::string& value) { values.push_back(value); });
  EXPECT_EQ(values.size(), shared.size());
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], shared[i]);
  return values;
}

TEST(SharedVector, AViewOutlivesIt) {
  Shared view;
  {
    Shared shared;
    shared.PushBack("value");
    view = shared;
    shared.Clear();
    EXPECT_EQ(shared.size(), 0U);
  }
  EXPECT_EQ(ValuesOf(view), std::vector<std::string>{"value"});
}

TEST(SharedVector, AViewOfNothing_IsEmpty) {
  Shared shared;
  EXPECT_EQ(ValuesOf(Shared(shared)), std::vector<std::string>());
}

// Over several pieces, with views taken and dropped in any order.
TEST(SharedVectorProperty, AViewHoldsWhatWasHeldThen) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    Shared shared;
    std::vector<std::string> model;
    std::vector<std::pair<Shared, std::vector<std::string>>> views;
    uint64_t grows_of_ten = 6;
    for (uint64_t step = 0; step < 3000; ++step) {
      if (random.OneIn(200)) grows_of_ten = random.Between(2, 8);
      if (model.empty() || random.OneIn(2)) {
        if (model.empty() || random.Below(10) < grows_of_ten) {
          shared.PushBack(std::to_string(step));
          model.push_back(std::to_string(step));
        } else {
          ASSERT_EQ(shared.TakeBack(), model.back());
          model.pop_back();
        }
      } else {
        const size_t changed = random.Below(model.size());
        shared.Change(changed) += '*';
        model[changed] += '*';
      }
      if (random.OneIn(50)) views.emplace_back(shared, model);
      if (!views.empty() && random.OneIn(50)) {
        const auto checked = views.begin() + static_cast<ptrdiff_t>(random.Below(views.size()));
        ASSERT_EQ(ValuesOf(checked->first), checked->second);
        views.erase(checked);
      }
      if (random.OneIn(20)) {
        ASSERT_EQ(ValuesOf(shared), model);
      }
    }
    for (const auto& [view, held] : views) EXPECT_EQ(ValuesOf(view), held);
  }
}

}  // namespace
}  // namespace millrace::broker

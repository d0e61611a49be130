#include "client/cli/spelling.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace millrace::client::cli {
namespace {

// No name is longer; what is, is not compared with any.
constexpr size_t kNameBytesMax = 256;

size_t SlipsMax(std::string_view word) {
  if (word.size() < 3 || word.size() > kNameBytesMax) return 0;
  return word.size() < 6 ? 1 : 2;
}

}  // namespace

size_t EditDistance(std::string_view a, std::string_view b) {
  // Distances from the first i - 2, i - 1 and i characters of `a` to the first j of `b`.
  std::vector<size_t> before(b.size() + 1);
  std::vector<size_t> above(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(before, above);
    std::swap(above, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({changed, above[j] + 1, row[j - 1] + 1});
      const bool is_swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (is_swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row.back();
}

std::optional<std::string> NearestName(std::string_view word,
                                       const std::vector<std::string>& names) {
  std::optional<std::string> nearest;
  size_t slips = SlipsMax(word) + 1;
  if (slips == 1) return nearest;
  for (const std::string& name : names) {
    if (name.size() > kNameBytesMax) continue;
    const size_t distance = EditDistance(word, name);
    if (distance >= slips) continue;
    slips = distance;
    nearest = name;
  }
  return nearest;
}

std::string DidYouMean(std::string_view word, const std::vector<std::string>& names) {
  const std::optional<std::string> nearest = NearestName(word, names);
  // One that was not there a moment ago.
  if (nearest == word) return "";
  return nearest ? "; did you mean " + *nearest + "?" : "";
}

}  // namespace millrace::client::cli

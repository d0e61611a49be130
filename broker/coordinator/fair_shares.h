// How much of what each member of a group is to have, so that it is balanced: counts alone, not
// which. Classes are what the same members may have.
//
// Balanced: nobody has two more than somebody to whom, directly or by way of others, one could be
// passed on. That is as even as it can be: the most that one has is as little as possible, and so
// on down (Harvey, Ladner, Lovász, Tamir: Semi-matchings for bipartite graphs and load balancing,
// 2003).
//
// Pure; any thread.
//
//   std::vector<std::vector<size_t>> shares = FairShares(members.size(), classes);
#pragma once

#include <cstddef>
#include <vector>

namespace millrace::broker {

struct ShareClass {
  std::vector<size_t> members;  // who may have of it, by number, in order; at least one
  std::vector<size_t> held;     // what each of `members` has of it
  size_t unowned = 0;           // what nobody has
  // Places in `members`, each once: who of several that have as much gets of what nobody has first.
  std::vector<size_t> preference;
};

// By class, and as its `members`: the shares, which add up to all that there is of the class. What
// members have they keep as far as balance allows: where all may have the same, no more is passed
// on than must be.
std::vector<std::vector<size_t>> FairShares(size_t member_count,
                                            const std::vector<ShareClass>& classes);

}  // namespace millrace::broker

#include "broker/coordinator/fair_shares.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <queue>
#include <set>
#include <utility>

#include <glog/logging.h>

namespace millrace::broker {
namespace {

class Balancing {
 public:
  Balancing(size_t member_count, const std::vector<ShareClass>& classes)
      : classes_(classes), members_(member_count), reached_by_(classes.size()) {
    for (size_t which = 0; which < classes.size(); ++which) {
      const ShareClass& shared = classes[which];
      CHECK_EQ(shared.held.size(), shared.members.size());
      CHECK_EQ(shared.preference.size(), shared.members.size());
      shares_.push_back(shared.held);
      for (size_t place = 0; place < shared.members.size(); ++place) {
        Member& member = members_[shared.members[place]];
        member.load += shared.held[place];
        member.places.push_back({.which = which, .place = place});
      }
    }
  }

  std::vector<std::vector<size_t>> Run() && {
    for (size_t which = 0; which < classes_.size(); ++which) GiveUnowned(which);
    Even();
    return std::move(shares_);
  }

 private:
  // A member's place in a class.
  struct Place {
    size_t which;
    size_t place;
  };
  struct Member {
    size_t load = 0;  // of all classes
    std::vector<Place> places;
    // Nothing that it could pass on makes anything more even, now or later.
    bool is_done = false;
    size_t search = 0;            // the last one that came by
    std::optional<Place> before;  // in that: whose, and of which class, would be passed on to it
  };

  // One after the other to whoever has least by then.
  void GiveUnowned(size_t which) {
    const ShareClass& shared = classes_[which];
    using Turn = std::pair<size_t, size_t>;  // load, place in `preference`
    std::priority_queue<Turn, std::vector<Turn>, std::greater<>> turns;
    if (shared.unowned == 0) return;
    for (size_t i = 0; i < shared.preference.size(); ++i) {
      turns.emplace(members_[shared.members[shared.preference[i]]].load, i);
    }
    for (size_t left = shared.unowned; left > 0; --left) {
      const auto [load, i] = turns.top();
      turns.pop();
      const size_t place = shared.preference[i];
      ++shares_[which][place];
      ++members_[shared.members[place]].load;
      turns.emplace(load + 1, i);
    }
  }

  // From whoever has most. If nothing that can be reached from there has two less, all that was
  // reached is done: it reaches nothing else, and has no two less than anybody who is left.
  void Even() {
    std::set<std::pair<size_t, size_t>> by_load;
    for (size_t i = 0; i < members_.size(); ++i) by_load.emplace(members_[i].load, i);
    while (!by_load.empty()) {
      const size_t from = by_load.rbegin()->second;
      if (const std::optional<Way> way = FindLess(from)) {
        by_load.erase({members_[from].load, from});
        by_load.erase({members_[way->to].load, way->to});
        members_[from].load -= way->count;
        members_[way->to].load += way->count;
        PassOn(*way);
        by_load.emplace(members_[from].load, from);
        by_load.emplace(members_[way->to].load, way->to);
      } else {
        for (const size_t reached : reached_) {
          members_[reached].is_done = true;
          by_load.erase({members_[reached].load, reached});
        }
      }
    }
  }

  struct Way {
    size_t to;
    size_t count;
  };

  // To the one that has least of the nearest that have two less than `from`: so the fewest are
  // passed on.
  std::optional<Way> FindLess(size_t from) {
    ++search_;
    members_[from].search = search_;
    members_[from].before = std::nullopt;
    reached_.assign(1, from);
    const size_t limit = members_[from].load;
    for (size_t level = 0; level < reached_.size();) {
      const size_t level_end = reached_.size();
      for (; level < level_end; ++level) Reach(reached_[level]);
      const auto least = std::min_element(
          reached_.begin() + static_cast<ptrdiff_t>(level_end), reached_.end(),
          [this](size_t a, size_t b) { return members_[a].load < members_[b].load; });
      if (least == reached_.end() || members_[*least].load + 2 > limit) continue;
      return Way{.to = *least, .count = level_end == 1 ? CountToGive(from, *least) : 1};
    }
    return std::nullopt;
  }

  // How many `from` may pass on to `to` at once. With one at a time the order in which that is done
  // sees to it that nobody gives what it should have kept; so it is more only as long as `to` has
  // no more than all that were reached have on average, and `from` more than that.
  size_t CountToGive(size_t from, size_t to) const {
    const Place& at = *members_[to].before;
    size_t all = 0;
    for (const size_t reached : reached_) all += members_[reached].load;
    const size_t level = all / reached_.size();
    const size_t above = members_[from].load - std::min(members_[from].load, level + 1);
    const size_t below = level - std::min(level, members_[to].load);
    return std::max<size_t>(1, std::min({shares_[at.which][at.place], above, below}));
  }

  // All to whom the member could pass on something.
  void Reach(size_t member) {
    for (const Place& at : members_[member].places) {
      if (shares_[at.which][at.place] == 0 || reached_by_[at.which] == search_) continue;
      reached_by_[at.which] = search_;
      for (const size_t other : classes_[at.which].members) {
        Member& reached = members_[other];
        if (reached.search == search_ || reached.is_done) continue;
        reached.search = search_;
        reached.before = at;
        reached_.push_back(other);
      }
    }
  }

  void PassOn(const Way& way) {
    size_t to = way.to;
    while (const std::optional<Place> before = members_[to].before) {
      const ShareClass& shared = classes_[before->which];
      const auto place = std::lower_bound(shared.members.begin(), shared.members.end(), to);
      CHECK(place != shared.members.end());
      CHECK_GE(shares_[before->which][before->place], way.count);
      shares_[before->which][before->place] -= way.count;
      shares_[before->which][static_cast<size_t>(place - shared.members.begin())] += way.count;
      to = shared.members[before->place];
    }
  }

  const std::vector<ShareClass>& classes_;
  std::vector<std::vector<size_t>> shares_;
  std::vector<Member> members_;
  size_t search_ = 0;
  std::vector<size_t> reached_by_;  // by class: the last search that came by
  std::vector<size_t> reached_;     // by the last search, in turn
};

}  // namespace

std::vector<std::vector<size_t>> FairShares(size_t member_count,
                                            const std::vector<ShareClass>& classes) {
  return Balancing(member_count, classes).Run();
}

}  // namespace millrace::broker

#include "broker/coordinator/unit_placement.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include <glog/logging.h>

namespace millrace::broker {
namespace {

// Units of one lane that go to one member.
struct Piece {
  std::vector<size_t> units;
  std::vector<RackNumber> racks;  // those with more of it first
};

// What members may still get: who has the most room, and who of a rack.
class Rooms {
 public:
  explicit Rooms(const std::vector<PlacedMember>& members)
      : members_(members), rooms_(members.size()) {
    for (const PlacedMember& member : members) {
      if (member.rack && *member.rack >= by_rack_.size()) by_rack_.resize(*member.rack + 1);
    }
  }

  size_t Of(size_t member) const { return rooms_[member]; }
  std::optional<RackNumber> RackOf(size_t member) const { return members_[member].rack; }
  // Above the numbers of all racks in which there are members.
  size_t rack_count() const { return by_rack_.size(); }

  void Add(size_t member, size_t units) { Set(member, rooms_[member] + units); }
  void Take(size_t member, size_t units) {
    CHECK_GE(rooms_[member], units);
    Set(member, rooms_[member] - units);
  }

  // The member that has most. Pre: one has room.
  size_t Largest() const {
    CHECK(!all_.empty());
    return all_.begin()->second;
  }
  // The member of the rack that has most, if that is enough.
  std::optional<size_t> FindIn(RackNumber rack, size_t units) const {
    if (by_rack_[rack].empty()) return std::nullopt;
    const size_t member = by_rack_[rack].begin()->second;
    return rooms_[member] >= units ? std::optional(member) : std::nullopt;
  }

 private:
  using MostFirst = std::set<std::pair<size_t, size_t>>;  // ~units, member

  void Set(size_t member, size_t room) {
    const std::optional<RackNumber> rack = members_[member].rack;
    all_.erase({~rooms_[member], member});
    if (rack) by_rack_[*rack].erase({~rooms_[member], member});
    rooms_[member] = room;
    if (room == 0) return;
    all_.emplace(~room, member);
    if (rack) by_rack_[*rack].emplace(~room, member);
  }

  const std::vector<PlacedMember>& members_;
  std::vector<size_t> rooms_;  // by member
  MostFirst all_;              // who has room
  std::vector<MostFirst> by_rack_;
};

// Pieces of one size and the racks with room for them: a matching that grows along augmenting
// paths, on which each piece passes its place on and takes one in another rack of its replicas.
// Pieces of the same racks are of one kind: one of them stands for all in a search.
class RackMatching {
 public:
  RackMatching(size_t size, const std::vector<Piece>& pieces, Rooms* rooms)
      : size_(size),
        pieces_(pieces),
        rooms_(*rooms),
        places_(pieces.size()),
        racks_(rooms->rack_count()) {
    std::map<std::vector<RackNumber>, size_t> kinds;
    for (const Piece& piece : pieces) {
      kinds_.push_back(kinds.emplace(piece.racks, kinds.size()).first->second);
    }
  }

  // The place that a piece has; nullopt: none in its racks.
  std::optional<size_t> PlaceOf(size_t piece) const { return places_[piece]; }

  // Finds the piece a place, if there is one. If not, no later one opens a way to one.
  void Match(size_t piece) {
    ++search_;
    reached_.clear();
    std::optional<RackNumber> free = Reach(piece);
    for (size_t i = 0; i < reached_.size() && !free; ++i) {
      for (const auto& [kind, placed] : racks_[reached_[i]].placed) {
        if (!free) free = Reach(placed.back());
      }
    }
    if (free) {
      Shift(piece, *free);
    } else {
      for (const RackNumber rack : reached_) racks_[rack].is_full = true;
    }
  }

 private:
  struct Rack {
    bool is_full = false;                          // for good: no piece in it can go anywhere else
    size_t search = 0;                             // the last one that came by
    size_t reached_by = 0;                         // in that: the piece that would go into it
    std::map<size_t, std::vector<size_t>> placed;  // by kind: the pieces that have a place there
  };

  // Racks that the piece could go to; the first one with room for it.
  std::optional<RackNumber> Reach(size_t piece) {
    for (const RackNumber number : pieces_[piece].racks) {
      Rack& rack = racks_[number];
      if (rack.is_full || rack.search == search_) continue;
      rack.search = search_;
      rack.reached_by = piece;
      reached_.push_back(number);
      if (rooms_.FindIn(number, size_)) return number;
    }
    return std::nullopt;
  }

  // Along the way back from the rack that has room: the piece that reached a rack goes there, and
  // leaves its place to the one that reached the rack which it was in.
  void Shift(size_t piece, RackNumber rack) {
    size_t member = *rooms_.FindIn(rack, size_);
    for (size_t by = racks_[rack].reached_by; by != piece; by = racks_[rack].reached_by) {
      const size_t left = *places_[by];
      Enter(by, rack, member);
      rack = *rooms_.RackOf(left);
      std::vector<size_t>& of_kind = racks_[rack].placed[kinds_[by]];
      CHECK_EQ(of_kind.back(), by);
      of_kind.pop_back();
      if (of_kind.empty()) racks_[rack].placed.erase(kinds_[by]);
      rooms_.Add(left, size_);
      member = left;
    }
    Enter(piece, rack, member);
  }

  void Enter(size_t piece, RackNumber rack, size_t member) {
    rooms_.Take(member, size_);
    places_[piece] = member;
    racks_[rack].placed[kinds_[piece]].push_back(piece);
  }

  const size_t size_;
  const std::vector<Piece>& pieces_;
  Rooms& rooms_;
  std::vector<size_t> kinds_;                  // by piece
  std::vector<std::optional<size_t>> places_;  // by piece: the member
  std::vector<Rack> racks_;
  size_t search_ = 0;
  std::vector<RackNumber> reached_;  // by this search, in turn
};

class Placement {
 public:
  Placement(const std::vector<PlacedMember>& members, std::vector<PlacedUnit>* units)
      : members_(members), units_(*units), rooms_(members) {
    std::vector<size_t> in_lanes(units_.size());
    for (size_t unit = 0; unit < units_.size(); ++unit) in_lanes[unit] = unit;
    std::stable_sort(in_lanes.begin(), in_lanes.end(),
                     [this](size_t a, size_t b) { return LaneOf(a) < LaneOf(b); });
    for (const size_t unit : in_lanes) {
      if (lanes_.empty() || LaneOf(lanes_.back().front()) != LaneOf(unit)) lanes_.emplace_back();
      lanes_.back().push_back(unit);
    }
  }

  void Run() {
    GiveUp();
    for (const std::vector<size_t>& lane : lanes_) JoinLane(lane);
    for (const std::vector<size_t>& lane : lanes_) AddPiece(UnownedOf(lane));
    // The largest first: smaller ones find room where they do not.
    while (!pieces_.empty()) {
      auto largest = pieces_.extract(std::prev(pieces_.end()));
      PlaceOfSize(largest.key(), largest.mapped());
    }
  }

 private:
  std::pair<uint32_t, uint32_t> LaneOf(size_t unit) const {
    return {units_[unit].width, units_[unit].number};
  }

  bool IsInRackOf(size_t unit, size_t member) const {
    const std::vector<RackNumber>& racks = units_[unit].racks;
    const std::optional<RackNumber>& rack = members_[member].rack;
    return rack && std::find(racks.begin(), racks.end(), *rack) != racks.end();
  }

  std::vector<size_t> UnownedOf(const std::vector<size_t>& lane) const {
    std::vector<size_t> unowned;
    for (const size_t unit : lane) {
      if (!units_[unit].owner) unowned.push_back(unit);
    }
    return unowned;
  }

  // What members have above their shares is nobody's, and what they lack is their room.
  void GiveUp() {
    std::vector<std::vector<Piece>> held(members_.size());  // by member, a piece a lane
    std::vector<size_t> counts(members_.size());
    std::vector<const std::vector<size_t>*> last_lane(members_.size());
    for (const std::vector<size_t>& lane : lanes_) {
      for (const size_t unit : lane) {
        if (!units_[unit].owner) continue;
        const size_t owner = *units_[unit].owner;
        if (std::exchange(last_lane[owner], &lane) != &lane) held[owner].emplace_back();
        held[owner].back().units.push_back(unit);
        ++counts[owner];
      }
    }
    for (size_t member = 0; member < members_.size(); ++member) {
      const size_t share = members_[member].share;
      if (counts[member] > share) GiveUpSome(member, counts[member] - share, held[member]);
      rooms_.Add(member, share - std::min(share, counts[member]));
    }
  }

  // Of lanes that are split already first, then what is in none of its racks; whole pieces while
  // there are small enough ones.
  void GiveUpSome(size_t member, size_t count, const std::vector<Piece>& held) {
    const auto rank = [&](const Piece& piece) {
      const PlacedUnit& first = units_[piece.units.front()];
      const bool is_whole = piece.units.size() == LaneSizeOf(piece.units.front());
      size_t near = 0;
      for (const size_t unit : piece.units) near += IsInRackOf(unit, member) ? 1 : 0;
      return std::tuple(is_whole, near, ~first.number, first.width);
    };
    using Ranked = std::pair<std::tuple<bool, size_t, uint32_t, uint32_t>, const Piece*>;
    std::vector<Ranked> ranked;
    ranked.reserve(held.size());
    for (const Piece& piece : held) ranked.emplace_back(rank(piece), &piece);
    std::sort(ranked.begin(), ranked.end());
    const Piece* too_large = nullptr;
    for (const auto& [of_piece, piece] : ranked) {
      if (piece->units.size() <= count) {
        count -= piece->units.size();
        for (const size_t unit : piece->units) units_[unit].owner.reset();
      } else if (too_large == nullptr) {
        too_large = piece;
      }
    }
    if (count == 0) return;
    CHECK(too_large != nullptr);
    for (size_t i = 0; i < count; ++i) units_[too_large->units[i]].owner.reset();
  }

  size_t LaneSizeOf(size_t unit) const {
    const auto lane = std::lower_bound(
        lanes_.begin(), lanes_.end(), LaneOf(unit),
        [this](const std::vector<size_t>& a, const auto& b) { return LaneOf(a.front()) < b; });
    return lane->size();
  }

  // What nobody has of the lane goes to those who have more of it first.
  void JoinLane(const std::vector<size_t>& lane) {
    const std::vector<size_t> unowned = UnownedOf(lane);
    if (unowned.empty() || unowned.size() == lane.size()) return;
    std::map<size_t, size_t> counts;  // by owner
    for (const size_t unit : lane) {
      if (units_[unit].owner) ++counts[*units_[unit].owner];
    }
    std::vector<std::pair<size_t, size_t>> owners;  // with more first
    owners.reserve(counts.size());
    for (const auto& [owner, count] : counts) owners.emplace_back(~count, owner);
    std::sort(owners.begin(), owners.end());
    auto next = unowned.begin();
    for (const auto& [count, owner] : owners) {
      for (; next != unowned.end() && rooms_.Of(owner) > 0; ++next) {
        rooms_.Take(owner, 1);
        units_[*next].owner = owner;
      }
    }
  }

  void AddPiece(std::vector<size_t> units) {
    if (units.empty()) return;
    std::map<RackNumber, size_t> counts;
    for (const size_t unit : units) {
      for (const RackNumber rack : units_[unit].racks) {
        if (rack < rooms_.rack_count()) ++counts[rack];  // else no member is there
      }
    }
    std::vector<std::pair<size_t, RackNumber>> racks;
    racks.reserve(counts.size());
    for (const auto& [rack, count] : counts) racks.emplace_back(~count, rack);
    std::sort(racks.begin(), racks.end());
    const size_t size = units.size();
    Piece piece{.units = std::move(units), .racks = {}};
    for (const auto& [count, rack] : racks) piece.racks.push_back(rack);
    pieces_[size].push_back(std::move(piece));
  }

  // As many of the pieces as can be into one of their racks, the others where there is room, and
  // what fits nowhere in two.
  void PlaceOfSize(size_t size, const std::vector<Piece>& pieces) {
    RackMatching matching(size, pieces, &rooms_);
    for (size_t i = 0; i < pieces.size(); ++i) matching.Match(i);
    for (size_t i = 0; i < pieces.size(); ++i) {
      const std::vector<size_t>& units = pieces[i].units;
      if (const std::optional<size_t> member = matching.PlaceOf(i)) {
        Own(units, *member);
      } else if (const size_t largest = rooms_.Largest(); rooms_.Of(largest) >= size) {
        rooms_.Take(largest, size);
        Own(units, largest);
      } else {
        const auto middle = units.begin() + static_cast<ptrdiff_t>(rooms_.Of(largest));
        AddPiece({units.begin(), middle});
        AddPiece({middle, units.end()});
      }
    }
  }

  void Own(const std::vector<size_t>& units, size_t member) {
    for (const size_t unit : units) units_[unit].owner = member;
  }

  const std::vector<PlacedMember>& members_;
  std::vector<PlacedUnit>& units_;
  std::vector<std::vector<size_t>> lanes_;  // of units, in the lanes' order
  Rooms rooms_;
  std::map<size_t, std::vector<Piece>> pieces_;  // by size: not placed yet
};

}  // namespace

void PlaceUnits(const std::vector<PlacedMember>& members, std::vector<PlacedUnit>* units) {
  Placement(members, units).Run();
  for (const PlacedUnit& unit : *units) CHECK(unit.owner.has_value());
}

}  // namespace millrace::broker

// Values by their names, slot by slot, as a shard of the coordinator keeps what belongs to it.
// Copies share the slots that neither changes: a copy of millions takes microseconds.
//
// A value; its copies may be read on other threads.
//
//   SlotMap<CopyOnWrite<Group>> groups;
//   groups.Make("billing").first.Mutable().epoch = 3;
//   if (const CopyOnWrite<Group>* group = groups.Find("billing")) ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "broker/coordinator/slot.h"
#include "proto/base/copy_on_write.h"

namespace millrace::broker {

// Behind the one of that name in its slot. Before all: slot 0 and an empty name.
template <typename Name = std::string>
struct SlotCursor {
  uint32_t slot = 0;
  Name name{};
  bool operator==(const SlotCursor&) const = default;
};

// `Name` is what SlotOf takes.
template <typename Value, typename Name = std::string>
class SlotMap {
 public:
  using Cursor = SlotCursor<Name>;

  size_t size() const { return size_; }
  // Null if there is none.
  template <typename Key>
  const Value* Find(const Key& name) const {
    const auto slot = slots_.find(SlotOf(name));
    if (slot == slots_.end()) return nullptr;
    const auto found = slot->second->find(name);
    return found == slot->second->end() ? nullptr : &found->second;
  }
  // The one behind the cursor, which moves to it, or the first of the next slot that has any: null
  // at the end.
  const Value* Next(Cursor* cursor) const {
    for (auto slot = slots_.lower_bound(cursor->slot); slot != slots_.end(); ++slot) {
      const Values& values = *slot->second;
      const auto next =
          slot->first == cursor->slot ? values.upper_bound(cursor->name) : values.begin();
      if (next == values.end()) continue;
      *cursor = {.slot = slot->first, .name = next->first};
      return &next->second;
    }
    return nullptr;
  }
  // Calls `visit(name, value)` for all, by slot, then by name.
  template <typename Visit>
  void ForEach(Visit visit) const {
    for (const auto& [slot, values] : slots_) {
      for (const auto& [name, value] : *values) visit(name, value);
    }
  }

  // To be changed, and whether it is new.
  std::pair<Value&, bool> Make(const Name& name) {
    const auto [found, is_new] = slots_[SlotOf(name)].Mutable().try_emplace(name);
    if (is_new) ++size_;
    return {found->second, is_new};
  }
  // Nothing if there is none.
  template <typename Key>
  void Erase(const Key& name) {
    const auto slot = slots_.find(SlotOf(name));
    if (slot == slots_.end()) return;
    Values& values = slot->second.Mutable();
    const auto found = values.find(name);
    if (found == values.end()) return;
    values.erase(found);
    --size_;
    if (values.empty()) slots_.erase(slot);
  }

 private:
  using Values = std::map<Name, Value, std::less<>>;

  std::map<uint32_t, CopyOnWrite<Values>> slots_;  // none of them empty
  size_t size_ = 0;
};

}  // namespace millrace::broker

// A value whose copies share it until one of them changes it: a copy costs nothing, and may be read
// on another thread while the original is changed on its own.
//
//   CopyOnWrite<std::map<Id, Topic>> topics;
//   const auto view = topics;                // shared
//   topics.Mutable().emplace(id, topic);     // copies the map once; `view` is as it was
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace millrace {

// One object is used on one thread at a time, as any value; its copies on any.
template <typename T>
class CopyOnWrite {
 public:
  CopyOnWrite() : node_(new Node) {}
  CopyOnWrite(const CopyOnWrite& other) : node_(other.node_) {
    node_->owners.fetch_add(1, std::memory_order_relaxed);
  }
  CopyOnWrite& operator=(const CopyOnWrite& other) {
    CopyOnWrite copy(other);
    std::swap(node_, copy.node_);
    return *this;
  }
  ~CopyOnWrite() {
    if (node_->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) delete node_;
  }

  const T& operator*() const { return node_->value; }
  const T* operator->() const { return &node_->value; }
  // The value, for this one alone: copied first if others share it.
  T& Mutable() {
    // Acquire: what others read of it before they let go comes before what is changed now.
    if (node_->owners.load(std::memory_order_acquire) != 1) {
      CopyOnWrite own(node_->value);
      std::swap(node_, own.node_);
    }
    return node_->value;
  }

 private:
  struct Node {
    std::atomic<uint32_t> owners{1};
    T value;
  };

  explicit CopyOnWrite(const T& value) : node_(new Node{.owners = {1}, .value = value}) {}

  Node* node_;
};

}  // namespace millrace

// A vector whose copies cost next to nothing: its values lie in pieces, copies share them, and
// whoever changes a value that a copy has copies its piece first (CopyOnWrite). One is used on one
// thread at a time; its copies on any.
//
//   SharedVector<Value> values;
//   values.PushBack(value);
//   const SharedVector<Value> then = values;
//   values.Change(0) = other;      // `then` has the value as before
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "proto/base/copy_on_write.h"

namespace millrace::broker {

template <typename Value>
class SharedVector {
 public:
  size_t size() const { return size_; }
  const Value& operator[](size_t at) const { return (*pieces_[at / kPieceSize])[at % kPieceSize]; }
  // Calls `visit(value)` for every value, from the first on.
  template <typename Visit>
  void ForEach(Visit visit) const {
    for (const Piece& piece : pieces_) {
      for (const Value& value : *piece) visit(value);
    }
  }

  // To be changed before the next copy is made.
  Value& Change(size_t at) { return pieces_[at / kPieceSize].Mutable()[at % kPieceSize]; }
  void PushBack(Value value) {
    if (size_ % kPieceSize == 0) pieces_.emplace_back();
    pieces_.back().Mutable().push_back(std::move(value));
    ++size_;
  }
  // The last value, which is not in it any more.
  Value TakeBack() {
    std::vector<Value>& values = pieces_.back().Mutable();
    Value value = std::move(values.back());
    values.pop_back();
    --size_;
    if (values.empty()) pieces_.pop_back();
    return value;
  }
  void Clear() {
    pieces_.clear();
    size_ = 0;
  }

 private:
  static constexpr size_t kPieceSize = 64;  // of all pieces but the last
  using Piece = CopyOnWrite<std::vector<Value>>;

  std::vector<Piece> pieces_;
  size_t size_ = 0;
};

}  // namespace millrace::broker

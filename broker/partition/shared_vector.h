// A vector that can be frozen in no time: its values lie in pieces, a frozen view shares the
// pieces, and whoever changes a value that a view has copies its piece first, once for each view.
// (Copy on write, as of a persistent vector with one level.)
//
// A view may be read and destroyed on any thread, the vector is used on one.
//
//   SharedVector<Value> values;
//   values.PushBack(value);
//   SharedVector<Value>::View then = values.Freeze();
//   values.Change(0) = other;      // `then` has the value as before
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace millrace::broker {

template <typename Value>
class SharedVector {
  static constexpr size_t kPieceSize = 64;  // of all pieces but the last
  struct Piece {
    uint64_t view_count = 0;  // of the vector when this was made: views up to then do not have it
    std::vector<Value> values;
  };

 public:
  class View {
   public:
    // Calls `visit(value)` for every value, from the first on.
    template <typename Visit>
    void ForEach(Visit visit) const {
      for (const auto& piece : pieces_) {
        for (const Value& value : piece->values) visit(value);
      }
    }
    size_t size() const { return size_; }

   private:
    friend class SharedVector;
    std::vector<std::shared_ptr<const Piece>> pieces_;
    size_t size_ = 0;
  };

  SharedVector() = default;
  SharedVector(const SharedVector&) = delete;
  SharedVector& operator=(const SharedVector&) = delete;

  size_t size() const { return size_; }
  const Value& operator[](size_t at) const {
    return pieces_[at / kPieceSize]->values[at % kPieceSize];
  }
  // To be changed before the next view is made.
  Value& Change(size_t at) { return Own(at / kPieceSize).values[at % kPieceSize]; }

  void PushBack(Value value) {
    if (size_ % kPieceSize == 0) {
      pieces_.push_back(std::make_shared<Piece>());
      pieces_.back()->view_count = view_count_;
    }
    Own(pieces_.size() - 1).values.push_back(std::move(value));
    ++size_;
  }
  // The last value, which is not in it any more.
  Value TakeBack() {
    std::vector<Value>& values = Own(pieces_.size() - 1).values;
    Value value = std::move(values.back());
    values.pop_back();
    --size_;
    if (size_ % kPieceSize == 0) pieces_.pop_back();
    return value;
  }
  void Clear() {
    pieces_.clear();
    size_ = 0;
  }

  // All values as they are now; a pointer for every piece is copied.
  View Freeze() const {
    ++view_count_;
    View view;
    view.pieces_.assign(pieces_.begin(), pieces_.end());
    view.size_ = size_;
    return view;
  }

 private:
  // The piece, which no view has.
  Piece& Own(size_t number) {
    std::shared_ptr<Piece>& piece = pieces_[number];
    if (piece->view_count != view_count_) {
      piece = std::make_shared<Piece>(*piece);
      piece->view_count = view_count_;
    }
    return *piece;
  }

  std::vector<std::shared_ptr<Piece>> pieces_;
  size_t size_ = 0;
  mutable uint64_t view_count_ = 0;  // made so far
};

}  // namespace millrace::broker

// Answers to many questions that come one by one, for whoever wants all of them. Shared by those
// who answer, on the shard's thread.
//
//   auto gathering = std::make_shared<Gathering<Answer>>(std::vector<Answer>(n), std::move(done));
//   for (size_t place = 0; place < n; ++place) ask([gathering, place](Answer a) {
//     gathering->Take(place, std::move(a));
//   });
//   gathering->Release();   // all are asked
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "raft/runtime/task.h"

namespace millrace::broker {

template <typename Answer>
class Gathering {
 public:
  using Done = MoveFunction<void(std::vector<Answer>)>;

  // As many answers as `answers` has, and Release.
  Gathering(std::vector<Answer> answers, Done done)
      : answers_(std::move(answers)), missing_(answers_.size() + 1), done_(std::move(done)) {}

  size_t size() const { return answers_.size(); }
  void Take(size_t place, Answer answer) {
    answers_[place] = std::move(answer);
    Release();
  }
  void Release() {
    if (--missing_ == 0) done_(std::move(answers_));
  }

 private:
  std::vector<Answer> answers_;
  size_t missing_;
  Done done_;
};

}  // namespace millrace::broker

// "Run there, answer here": work on another executor, and its result on the caller's own.
//
//   files_executor.Post([files, on_open = RunOn(shard, lifetime_.Guard([this](Result<File> file) {
//     Take(std::move(file));
//   }))]() mutable { files->Open(path, std::move(on_open)); });
//
//   CallOn<Result<Batch>>(worker, shard, [bytes] { return Unpack(bytes); },
//                         lifetime_.Guard([this](Result<Batch> batch) { ... }));
#pragma once

#include <tuple>
#include <type_traits>
#include <utility>

#include "raft/runtime/executor.h"
#include "raft/runtime/task.h"

namespace millrace {

// A function that may be called once, on any thread, and runs `function` with its arguments on
// `executor`, which outlives it.
template <typename F>
auto RunOn(Executor& executor, F function) {
  return [executor = &executor,
          function = std::move(function)]<typename... Args>(Args&&... args) mutable {
    executor->Post([function = std::move(function), values = std::tuple<std::decay_t<Args>...>(
                                                        std::forward<Args>(args)...)]() mutable {
      std::apply(function, std::move(values));
    });
  };
}

// Runs `work` on `there`, then `done` with its result on `here`; neither inline. Both executors
// outlive the work.
template <typename T>
void CallOn(Executor& there, Executor& here, MoveFunction<T()> work, MoveFunction<void(T)> done) {
  there.Post([work = std::move(work), answer = RunOn(here, std::move(done))]() mutable {
    answer(work());
  });
}

}  // namespace millrace

// "Run there, answer here": work on another executor, and its result on the caller's own.
//
//   files_executor.Post([files, on_open = RunOn(shard, lifetime_.Guard([this](Result<File> file) {
//     Take(std::move(file));
//   }))]() mutable { files->Open(path, std::move(on_open)); });
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

}  // namespace millrace

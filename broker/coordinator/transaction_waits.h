// Requests about transactions that wait for their transactional id to change: of each id in the
// order in which they came, which they keep where they have to wait once more.
//
// Part of TransactionServer, for one term of a shard.
//
//   waits.Add(id, {.place = place, .again = ..., .fail = ...});
//   shard.Execute(waits.TakeRequests(id));
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>

#include "broker/coordinator/shard.h"
#include "proto/base/status.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

class TransactionWaits {
 public:
  struct One {
    uint64_t place = 0;  // in the order of all
    // What to ask the shard once more.
    MoveFunction<CoordinatorShard::Request()> again;
    MoveFunction<void(Status)> fail;
  };

  // RESOURCE_EXHAUSTED (THROTTLED), by `fail`, where too many wait.
  void Add(const std::string& id, One one);
  // What all that wait for the id ask once more: they wait no longer.
  std::deque<CoordinatorShard::Request> TakeRequests(const std::string& id);
  // The one that has waited long enough, if it still does.
  void TimeOut(const std::string& id, uint64_t place, const Status& why);
  void FailAll(const Status& why);

 private:
  std::map<std::pair<std::string, uint64_t>, One> waiting_;
  std::map<std::string, size_t> counts_;  // by id; none is 0
};

}  // namespace millrace::broker

#include "raft/host/read_barriers.h"

#include <utility>

#include <glog/logging.h>

namespace millrace::raft {

void ReadBarriers::Add(uint64_t id, Done done) {
  CHECK_LT(id, next_id_);
  const bool is_new = waiting_.emplace(id, Waiting{.done = std::move(done), .index = {}}).second;
  CHECK(is_new) << "read " << id << " waits already";
}

void ReadBarriers::OnConfirmed(uint64_t id, LogIndex index) {
  const auto found = waiting_.find(id);
  if (found != waiting_.end()) found->second.index = index;
}

void ReadBarriers::Complete(LogIndex applied) { Answer(applied, /*is_lost=*/false); }

void ReadBarriers::CompleteOrFail(LogIndex applied) { Answer(applied, /*is_lost=*/true); }

void ReadBarriers::Answer(LogIndex applied, bool is_lost) {
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    const bool is_reached = at->second.index.has_value() && applied >= *at->second.index;
    if (!is_reached && !is_lost) {
      ++at;
      continue;
    }
    Done done = std::move(at->second.done);
    at = waiting_.erase(at);
    done(is_reached ? Status::Ok()
                    : Unavailable("leadership was lost while a read waited", Reason::kNotLeader));
  }
}

}  // namespace millrace::raft

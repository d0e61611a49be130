#include "broker/partition/batch_worker.h"

#include <glog/logging.h>

#include "raft/runtime/run_on.h"

namespace millrace::broker {
namespace {

constexpr int64_t kRetryAfterMs = 50;

}  // namespace

Status BatchWorker::Admit(uint64_t produced_bytes) const {
  if (produced_bytes_ == 0 || produced_bytes_ + produced_bytes <= kProducedBytesMax) return {};
  return ResourceExhausted("too many compressed batches wait to be checked", Reason::kThrottled)
      .RetryAfterMs(kRetryAfterMs);
}

void BatchWorker::Start(Job job) {
  if (job.load.kind == Kind::kFetched && is_fetching_) {
    fetched_.push_back(std::move(job));
  } else {
    Post(std::move(job));
  }
}

void BatchWorker::Post(Job job) {
  if (job.load.kind == Kind::kFetched) is_fetching_ = true;
  produced_bytes_ += job.load.bytes;
  Task work = std::move(job.work);
  running_.push_back(std::move(job));
  worker_->Post([work = std::move(work),
                 done = RunOn(*shard_, lifetime_.Guard([this] { OnDone(); }))]() mutable {
    work();
    done();
  });
}

void BatchWorker::OnDone() {
  CHECK(!running_.empty());
  Job job = std::move(running_.front());
  running_.pop_front();
  produced_bytes_ -= job.load.bytes;
  if (job.load.kind == Kind::kFetched) is_fetching_ = false;
  if (!is_fetching_ && !fetched_.empty()) {
    Job next = std::move(fetched_.front());
    fetched_.pop_front();
    Post(std::move(next));
  }
  job.done();
}

}  // namespace millrace::broker

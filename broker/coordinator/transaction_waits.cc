#include "broker/coordinator/transaction_waits.h"

namespace millrace::broker {
namespace {

// Of one id: every broker may ask for its partitions of the next transaction, some more than once.
constexpr size_t kWaitingPerIdMax = 1'000;
constexpr size_t kWaitingMax = 10'000;
constexpr int64_t kThrottledRetryMs = 50;

}  // namespace

void TransactionWaits::Add(const std::string& id, One one) {
  size_t& count = counts_[id];
  if (count >= kWaitingPerIdMax || waiting_.size() >= kWaitingMax) {
    if (count == 0) counts_.erase(id);
    return one.fail(ResourceExhausted("too many requests wait for what is open of transactional "
                                      "ids, among them \"" +
                                          id + "\"",
                                      Reason::kThrottled)
                        .RetryAfterMs(kThrottledRetryMs));
  }
  ++count;
  const uint64_t place = one.place;
  waiting_.emplace(std::pair(id, place), std::move(one));
}

std::deque<CoordinatorShard::Request> TransactionWaits::TakeRequests(const std::string& id) {
  std::deque<CoordinatorShard::Request> taken;
  const auto count = counts_.find(id);
  if (count == counts_.end()) return taken;
  auto next = waiting_.lower_bound({id, 0});
  while (next != waiting_.end() && next->first.first == id) {
    taken.push_back(next->second.again());
    next = waiting_.erase(next);
  }
  counts_.erase(count);
  return taken;
}

void TransactionWaits::TimeOut(const std::string& id, uint64_t place, const Status& why) {
  auto found = waiting_.extract({id, place});
  if (found.empty()) return;
  const auto count = counts_.find(id);
  if (--count->second == 0) counts_.erase(count);
  found.mapped().fail(why);
}

void TransactionWaits::FailAll(const Status& why) {
  auto failed = std::exchange(waiting_, {});
  counts_.clear();
  for (auto& [where, one] : failed) one.fail(why);
}

}  // namespace millrace::broker

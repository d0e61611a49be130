#include "broker/partition/held_batches.h"

#include <iterator>
#include <string>
#include <utility>

namespace millrace::broker {
namespace {

constexpr int64_t kThrottledRetryMs = 50;

void Append(std::vector<HeldBatch> from, std::vector<HeldBatch>* to) {
  std::move(from.begin(), from.end(), std::back_inserter(*to));
}

}  // namespace

void HeldBatches::Hold(HeldBatch batch, MonotonicTime until) {
  const ProducerId id = batch.view.producer_id;
  Producer& producer =
      producers_.try_emplace(id, Producer{.batches = {}, .until = until, .registering = {}})
          .first->second;
  if (producer.batches.size() >= kHeldMax) {
    return batch.done(ResourceExhausted("too many batches of producer " +
                                            std::to_string(id.value()) +
                                            " wait for its transaction to begin",
                                        Reason::kThrottled)
                          .RetryAfterMs(kThrottledRetryMs));
  }
  producer.batches.push_back(std::move(batch));
}

HeldBatches::Registration HeldBatches::AwaitRegistration(const TransactionName& name) {
  const Registration asked{.name = name, .attempt = ++last_attempt_};
  producers_.at(name.producer).registering = asked;
  return asked;
}

std::optional<HeldBatches::Registration> HeldBatches::registering(ProducerId producer) const {
  const auto found = producers_.find(producer);
  return found == producers_.end() ? std::nullopt : found->second.registering;
}

std::vector<HeldBatch> HeldBatches::Take(ProducerId producer) {
  auto taken = producers_.extract(producer);
  if (taken.empty()) return {};
  return std::move(taken.mapped().batches);
}

std::vector<HeldBatch> HeldBatches::TakeExpired(MonotonicTime now) {
  std::vector<HeldBatch> expired;
  for (auto at = producers_.begin(); at != producers_.end();) {
    const auto producer = at++;
    if (producer->second.until <= now) Append(Take(ProducerId(producer->first)), &expired);
  }
  return expired;
}

std::vector<HeldBatch> HeldBatches::TakeAll() {
  std::vector<HeldBatch> all;
  for (auto& [id, producer] : std::exchange(producers_, {})) {
    Append(std::move(producer.batches), &all);
  }
  return all;
}

}  // namespace millrace::broker

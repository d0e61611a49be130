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

TransactionName NameOf(const RecordBatchView& view) {
  return {.producer = view.producer_id,
          .epoch = view.producer_epoch,
          .number = view.transaction_number};
}

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

TransactionName HeldBatches::front(ProducerId producer) const {
  return NameOf(producers_.at(producer).batches.front().view);
}

HeldBatches::Registration HeldBatches::AwaitRegistration(const TransactionName& name) {
  const Registration asked{.name = name, .attempt = ++last_attempt_};
  Producer& producer = producers_.at(name.producer);
  producer.registering = asked;
  producer.is_registered = false;
  return asked;
}

void HeldBatches::SetRegistered(ProducerId producer) {
  producers_.at(producer).is_registered = true;
}

void HeldBatches::ForgetRegistration(ProducerId producer) {
  producers_.at(producer).registering.reset();
}

bool HeldBatches::is_registered(ProducerId producer) const {
  const auto found = producers_.find(producer);
  return found != producers_.end() && found->second.is_registered;
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

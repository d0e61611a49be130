#include "client/core/consumer_driver.h"

#include <utility>

#include <glog/logging.h>

namespace millrace::client {

ConsumerDriver::ConsumerDriver(Client& client, std::string topic, const ConsumerTuning& tuning,
                               std::function<void()> on_ready,
                               std::function<void(PartitionId)> on_grown)
    : topic_(std::move(topic)),
      fetcher_(client, tuning,
               {.ready = std::move(on_ready),
                .grown = [on_grown = std::move(on_grown)](const TopicPartition& first) {
                  if (on_grown) on_grown(first.partition);
                }}) {}

void ConsumerDriver::Open(Duration timeout, MoveFunction<void(Status)> done) {
  fetcher_.Find(topic_, timeout,
                [this, done = std::move(done)](const Result<TopicId>& found) mutable {
                  if (found.ok()) topic_id_ = *found;
                  done(found.status());
                });
}

Status ConsumerDriver::Assign(PartitionId partition, const StartAt& start,
                              std::optional<Offset> stop_at) {
  CHECK(topic_id_ != TopicId()) << "Assign before Open";
  RETURN_IF_ERROR(fetcher_.topic(topic_id_).CheckPartition(partition));
  fetcher_.Assign(At(partition), start, stop_at);
  return {};
}

}  // namespace millrace::client

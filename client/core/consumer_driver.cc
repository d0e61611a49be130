#include "client/core/consumer_driver.h"

#include <utility>

#include <glog/logging.h>

#include "proto/record/compression.h"

namespace millrace::client {

ConsumerDriver::ConsumerDriver(Client& client, std::string topic, const ConsumerTuning& tuning,
                               std::function<void()> on_ready,
                               std::function<void(PartitionId)> on_grown)
    : TopicDriver(client, std::move(topic), tuning.unknown_topic_grace),
      on_ready_(std::move(on_ready)),
      on_grown_(std::move(on_grown)),
      consumer_(tuning, client.ForkRandom()) {}

void ConsumerDriver::Open(Duration timeout, MoveFunction<void(Status)> done) {
  FindTopic(timeout, [this, done = std::move(done)](Status status) mutable {
    if (status.ok()) {
      v1::FetchRequest first;
      first.mutable_init()->set_client_id(client().options().client_id);
      for (const BatchCompression known : kBatchCompressions) {
        first.mutable_init()->add_accepted_compressions(static_cast<v1::Compression>(known));
      }
      Start("/millrace.v1.ConsumerService/Fetch", first);
    }
    done(std::move(status));
  });
}

Status ConsumerDriver::Assign(PartitionId partition, const StartAt& start,
                              std::optional<Offset> stop_at) {
  CHECK(is_started()) << "Assign before Open";
  CHECK(!IsAssigned(partition)) << partition;
  if (partition.value() >= partition_count()) return NoSuchPartition(partition);
  const uint32_t handle = consumer_.Assign({topic_id(), partition}, start, stop_at);
  handles_[partition] = handle;
  consumer_.OnLeader(handle, LeaderOf(partition));
  PostPump();
  return {};
}

uint32_t ConsumerDriver::HandleOf(PartitionId partition) const {
  const auto found = handles_.find(partition);
  CHECK(found != handles_.end()) << "partition " << partition << " is not assigned";
  return found->second;
}

void ConsumerDriver::Seek(PartitionId partition, const StartAt& start) {
  consumer_.Seek(HandleOf(partition), start);
  PostPump();
}

void ConsumerDriver::Pause(PartitionId partition) {
  consumer_.Pause(HandleOf(partition));
  PostPump();
}

void ConsumerDriver::Resume(PartitionId partition) {
  consumer_.Resume(HandleOf(partition));
  PostPump();
}

void ConsumerDriver::Fail(PartitionId partition, const Status& status) {
  consumer_.Fail(HandleOf(partition), status);
  PostPump();
}

std::optional<FetchedChunk> ConsumerDriver::Next() {
  std::optional<FetchedChunk> chunk = consumer_.Next();
  if (chunk) {
    PostPump();
  } else {
    is_drained_ = true;
  }
  return chunk;
}

Status ConsumerDriver::OnMessage(BrokerId broker, const Bytes& message, MonotonicTime now) {
  return consumer_.OnMessage(broker, message, now);
}

void ConsumerDriver::OnStreamClosed(BrokerId broker, const Status& why, MonotonicTime now) {
  consumer_.OnStreamClosed(broker, why, now);
}

void ConsumerDriver::OnLeaders() {
  for (const auto& [partition, handle] : handles_) {
    consumer_.OnLeader(handle, LeaderOf(partition));
  }
}

void ConsumerDriver::OnGrown(PartitionId first) {
  if (on_grown_) on_grown_(first);
}

void ConsumerDriver::OnTopicLost(const Status& status) { consumer_.FailAll(status); }

void ConsumerDriver::Pump(MonotonicTime now) {
  ConsumerOutput output;
  consumer_.Poll(now, &output);
  for (ConsumerOutput::Message& message : output.messages) {
    TopicDriver::Send(message.to, {std::move(message.bytes)});
  }
  PlanNext(now, output.wants_metadata, output.wake_at);
  Tell(output.trouble);
  if (is_drained_ && consumer_.has_queued()) {
    is_drained_ = false;
    if (on_ready_) on_ready_();  // last, for it may destroy this
  }
}

}  // namespace millrace::client

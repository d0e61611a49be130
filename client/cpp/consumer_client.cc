#include "client/cpp/consumer_client.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

namespace millrace::client {

ConsumerClient::ConsumerClient(Client& client, std::string topic, const ConsumerOptions& options,
                               std::function<void()> on_ready)
    : client_(client),
      topic_(std::move(topic)),
      options_(options),
      on_ready_(std::move(on_ready)),
      consumer_(options, client.ForkRandom()) {}

ConsumerClient::~ConsumerClient() {
  *is_alive_ = false;
  client_.executor().Cancel(timer_);
  client_.Unwatch(watch_);
}

void ConsumerClient::Open(Duration timeout, MoveFunction<void(Status)> done) {
  client_.OpenTopic(topic_, timeout,
                    [this, done = std::move(done), alive = is_alive_](Status status) mutable {
                      if (!*alive) return;
                      if (status.ok()) OnOpened();
                      done(std::move(status));
                    });
}

void ConsumerClient::OnOpened() {
  const TopicDetails* topic = client_.metadata().FindTopic(topic_);
  CHECK(topic != nullptr) << topic_;
  topic_id_ = topic->id;
  partition_count_ = topic->partition_count;
  v1::FetchRequest first;
  first.mutable_init()->set_client_id(client_.options().client_id);
  streams_ = std::make_unique<StreamPool>(
      client_.connector(), "/millrace.v1.ConsumerService/Fetch",
      Bytes::Own(first.SerializeAsString()),
      [this](BrokerId broker, const Bytes& message) { OnMessage(broker, message); },
      [this](BrokerId broker, const Status&) {
        consumer_.OnStreamClosed(broker, client_.clock().Now());
        PostPump();
      });
  watch_ = client_.Watch(topic_, [this](const Status& status) { OnMetadata(status); });
}

Status ConsumerClient::Assign(PartitionId partition, const StartAt& start) {
  CHECK(streams_ != nullptr) << "Assign before Open";
  CHECK(std::find(assigned_.begin(), assigned_.end(), partition) == assigned_.end()) << partition;
  if (partition.value() >= partition_count_) {
    return NotFound(
        "topic \"" + topic_ + "\" has no partition " + std::to_string(partition.value()),
        Reason::kUnknownPartition);
  }
  const TopicPartition name{topic_id_, partition};
  const uint32_t handle = consumer_.Assign(name, start);
  assigned_.push_back(partition);
  consumer_.OnLeader(handle, client_.metadata().LeaderOf(name));
  PostPump();
  return {};
}

std::optional<FetchedChunk> ConsumerClient::Next() {
  std::optional<FetchedChunk> chunk = consumer_.Next();
  if (chunk) {
    PostPump();
  } else {
    is_drained_ = true;
  }
  return chunk;
}

void ConsumerClient::OnMessage(BrokerId broker, const Bytes& message) {
  const MonotonicTime now = client_.clock().Now();
  if (!consumer_.OnMessage(broker, message, now).ok()) {
    streams_->Close(broker);
    consumer_.OnStreamClosed(broker, now);
  }
  PostPump();
}

// Takes over what the cache says now; `status` is that of the refresh.
void ConsumerClient::OnMetadata(const Status& status) {
  const MonotonicTime now = client_.clock().Now();
  const TopicDetails* topic = client_.metadata().FindTopic(topic_);
  const bool is_gone = status.code() == Code::kNotFound || topic == nullptr;
  if (!is_gone) topic_missing_since_.reset();
  if (is_gone && !topic_missing_since_) topic_missing_since_ = now;
  if (is_gone && now - *topic_missing_since_ >= options_.unknown_topic_grace) {
    consumer_.FailAll(status.ok() ? NotFound("topic \"" + topic_ + "\" is gone") : status);
  } else if (!is_gone && topic->id != topic_id_) {
    consumer_.FailAll(
        NotFound("topic \"" + topic_ + "\" was deleted and created again", Reason::kTopicDeleted));
  }
  for (uint32_t handle = 0; handle < assigned_.size(); ++handle) {
    consumer_.OnLeader(handle, client_.metadata().LeaderOf({topic_id_, assigned_[handle]}));
  }
  PostPump();
}

void ConsumerClient::PostPump() {
  if (is_pump_posted_) return;
  is_pump_posted_ = true;
  client_.executor().Post([this, alive = is_alive_] {
    if (!*alive) return;
    is_pump_posted_ = false;
    Pump();
  });
}

void ConsumerClient::Pump() {
  const MonotonicTime now = client_.clock().Now();
  ConsumerOutput output;
  consumer_.Poll(now, &output);
  for (ConsumerOutput::Message& message : output.messages) {
    streams_->Send(message.to, client_.metadata().AddressOf(message.to),
                   {std::move(message.bytes)});
  }
  if (output.wants_metadata) client_.RefreshMetadata();
  client_.executor().Cancel(timer_);
  timer_ = {};
  if (output.wake_at) {
    timer_ = client_.executor().RunAfter(*output.wake_at - now, [this, alive = is_alive_] {
      if (*alive) Pump();
    });
  }
  if (is_drained_ && consumer_.has_queued()) {
    is_drained_ = false;
    if (on_ready_) on_ready_();  // last, for it may destroy this
  }
}

}  // namespace millrace::client

#include "client/cpp/producer_client.h"

#include <utility>

#include <glog/logging.h>

namespace millrace::client {

ProducerClient::ProducerClient(Client& client, std::string topic, const ProducerOptions& options,
                               Callbacks callbacks)
    : client_(client),
      topic_(std::move(topic)),
      options_(options),
      callbacks_(std::move(callbacks)) {}

ProducerClient::~ProducerClient() {
  *is_alive_ = false;
  client_.executor().Cancel(timer_);
  client_.Unwatch(watch_);
}

void ProducerClient::Open(Duration timeout, MoveFunction<void(Status)> done) {
  client_.OpenTopic(
      topic_, timeout,
      [this, timeout, done = std::move(done), alive = is_alive_](Status status) mutable {
        if (!*alive) return;
        if (!status.ok()) return done(std::move(status));
        client_.InitProducer({}, timeout,
                             [this, done = std::move(done),
                              alive](Result<v1::InitProducerResponse> response) mutable {
                               if (!*alive) return;
                               if (response.ok()) OnOpened(*response);
                               done(response.status());
                             });
      });
}

void ProducerClient::OnOpened(const v1::InitProducerResponse& response) {
  const TopicDetails* topic = client_.metadata().FindTopic(topic_);
  CHECK(topic != nullptr) << topic_;
  topic_id_ = topic->id;
  partition_count_ = topic->partition_count;
  CHECK_GT(partition_count_, 0u) << topic_;
  producer_ = std::make_unique<Producer>(
      options_,
      ProducerIdentity{.id = ProducerId(response.producer_id()),
                       .epoch = response.producer_epoch(),
                       .inflight_batches_max = response.inflight_batches_max()},
      client_.ForkRandom());
  partitioner_.emplace(partition_count_, client_.ForkRandom());
  for (uint32_t i = 0; i < partition_count_; ++i) {
    CHECK_EQ(producer_->AddPartition({topic_id_, PartitionId(i)}), i);
  }
  v1::ProduceRequest first;
  first.mutable_init()->set_client_id(client_.options().client_id);
  streams_ = std::make_unique<StreamPool>(
      client_.connector(), "/millrace.v1.ProducerService/Produce",
      Bytes::Own(first.SerializeAsString()),
      [this](BrokerId broker, const Bytes& message) { OnMessage(broker, message); },
      [this](BrokerId broker, const Status&) {
        producer_->OnStreamClosed(broker, client_.clock().Now());
        PostPump();
      });
  watch_ = client_.Watch(topic_, [this](const Status& status) { OnMetadata(status); });
  OnMetadata(Status::Ok());
}

Result<PartitionId> ProducerClient::Send(const NewRecord& record,
                                         std::optional<PartitionId> partition) {
  CHECK(producer_ != nullptr) << "Send before Open";
  if (!partition) partition = partitioner_->Pick(record.key, EncodedRecordSize(record));
  if (partition->value() >= partition_count_) {
    return NotFound(
        "topic \"" + topic_ + "\" has no partition " + std::to_string(partition->value()),
        Reason::kUnknownPartition);
  }
  RETURN_IF_ERROR(producer_->Send(partition->value(), record, client_.clock().Now()));
  was_full_ = was_full_ || !has_room();
  PostPump();
  return *partition;
}

void ProducerClient::Flush(MoveFunction<void()> done) {
  CHECK(!flushed_);
  flushed_ = std::move(done);
  producer_->Flush();
  PostPump();
}

void ProducerClient::OnMessage(BrokerId broker, const Bytes& message) {
  v1::ProduceResponse response;
  if (!response.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
    streams_->Close(broker);
    producer_->OnStreamClosed(broker, client_.clock().Now());
    return PostPump();
  }
  const MonotonicTime now = client_.clock().Now();
  if (response.has_init()) {
    producer_->OnStreamInit(broker, response.init().inflight_bytes_max());
  }
  for (const v1::ProduceResult& result : response.results()) {
    producer_->OnResult(broker, result, now);
  }
  Pump();
}

// Takes over what the cache says now; `status` is that of the refresh.
void ProducerClient::OnMetadata(const Status& status) {
  const MonotonicTime now = client_.clock().Now();
  const TopicDetails* topic = client_.metadata().FindTopic(topic_);
  const bool is_gone = status.code() == Code::kNotFound || topic == nullptr;
  if (!is_gone) topic_missing_since_.reset();
  if (is_gone && !topic_missing_since_) topic_missing_since_ = now;
  if (is_gone && now - *topic_missing_since_ >= options_.unknown_topic_grace) {
    producer_->FailAll(status.ok() ? NotFound("topic \"" + topic_ + "\" is gone") : status);
  } else if (!is_gone && topic->id != topic_id_) {
    producer_->FailAll(
        NotFound("topic \"" + topic_ + "\" was deleted and created again", Reason::kTopicDeleted));
  }
  for (uint32_t i = 0; i < partition_count_; ++i) {
    producer_->OnLeader(i, client_.metadata().LeaderOf({topic_id_, PartitionId(i)}));
  }
  PostPump();
}

// All that one turn of the executor brings is sent together.
void ProducerClient::PostPump() {
  if (is_pump_posted_) return;
  is_pump_posted_ = true;
  client_.executor().Post([this, alive = is_alive_] {
    if (!*alive) return;
    is_pump_posted_ = false;
    Pump();
  });
}

void ProducerClient::Pump() {
  const MonotonicTime now = client_.clock().Now();
  ProducerOutput output;
  producer_->Poll(now, &output);
  for (ProducerOutput::Message& message : output.messages) {
    streams_->Send(message.to, client_.metadata().AddressOf(message.to), std::move(message.pieces));
  }
  if (output.wants_metadata) client_.RefreshMetadata();
  client_.executor().Cancel(timer_);
  timer_ = {};
  if (output.wake_at) {
    timer_ = client_.executor().RunAfter(*output.wake_at - now, [this, alive = is_alive_] {
      if (*alive) Pump();
    });
  }
  Deliver(std::move(output.reports));
}

// Last in Pump, for the callbacks may destroy this.
void ProducerClient::Deliver(std::vector<DeliveryReport> reports) {
  const std::shared_ptr<bool> alive = is_alive_;
  for (const DeliveryReport& report : reports) {
    if (callbacks_.on_report) callbacks_.on_report(report);
    if (!*alive) return;
  }
  if (was_full_ && has_room()) {
    was_full_ = false;
    if (callbacks_.on_room) callbacks_.on_room();
    if (!*alive) return;
  }
  if (flushed_ && producer_->unanswered_records() == 0) {
    MoveFunction<void()> flushed = std::move(flushed_);
    flushed();
  }
}

}  // namespace millrace::client

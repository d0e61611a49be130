#include "broker/service/producer_service.h"

#include <optional>
#include <utility>

#include <glog/logging.h>

#include "broker/service/error_reply.h"
#include "broker/service/unknown_fields.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {
namespace {

using internal::v1::AllocateProducerIdsReply;
using internal::v1::PartitionProduceReply;
using internal::v1::PartitionProduceRequest;

constexpr size_t kClientIdBytesMax = 249;
// Results that the client does not take, past which its stream is not read.
constexpr uint64_t kPendingBytesMax = 1 << 20;
// What an unanswered batch costs beside its bytes.
constexpr uint64_t kSlotBytes = 512;

// One Produce stream. Results wait in a queue per partition, so that an error found at once does
// not overtake the answer to a batch sent before it.
class ProduceStream final : public StreamHandler {
 public:
  ProduceStream(ServiceContext& context, ProducerService& service, std::shared_ptr<Stream> stream)
      : context_(&context), service_(&service), stream_(std::move(stream)) {}
  ~ProduceStream() override {
    if (memory_waiter_.has_value()) context_->memory.incoming.CancelWait(*memory_waiter_);
  }

  void OnMessage(Bytes message) override;
  void OnHalfClose() override {
    is_half_closed_ = true;
    FinishIfDone();
  }
  void OnWritable() override { UpdateReading(); }
  void OnClosed() override { is_closed_ = true; }

 private:
  struct Slot {
    v1::ProduceResult result;
    MemoryHold memory;
    bool is_done = false;
  };
  using PartitionKey = std::pair<std::string, std::pair<uint64_t, uint32_t>>;

  void OnInit(const std::string& client_id);
  void Take(ProduceBatchView batch);
  void Complete(const PartitionKey& key, const std::shared_ptr<Slot>& slot,
                Result<ProduceOutcome> outcome);
  void PostFlush();
  void Flush();
  void UpdateReading();
  bool HasRoom();
  void FinishIfDone();
  void Refuse(const Status& status) {
    is_closed_ = true;
    stream_->Finish(status);
  }

  ServiceContext* context_;
  ProducerService* service_;
  std::shared_ptr<Stream> stream_;
  bool is_initialized_ = false;
  bool is_half_closed_ = false;
  bool is_closed_ = false;
  bool is_reading_ = true;
  bool is_flush_posted_ = false;
  uint64_t inflight_bytes_ = 0;
  uint64_t inflight_batches_ = 0;
  std::optional<MemoryBudget::WaiterId> memory_waiter_;
  // Shared with the completions of the batches in them.
  std::map<PartitionKey, std::deque<std::shared_ptr<Slot>>> queues_;
  v1::ProduceResponse ready_;
  Lifetime lifetime_;
};

void ProduceStream::OnMessage(Bytes message) {
  if (is_closed_) return;
  Result<ProduceRequestView> request = ParseProduceRequest(message);
  if (!request.ok()) return Refuse(request.status());
  if (!is_initialized_) {
    if (!request->init_client_id.has_value() || !request->batches.empty()) {
      return Refuse(InvalidArgument("the first message of a Produce stream must be `init` alone"));
    }
    return OnInit(*request->init_client_id);
  }
  if (request->init_client_id.has_value()) {
    return Refuse(InvalidArgument("`init` may only stand in a Produce stream's first message"));
  }
  if (request->batches.empty()) return Refuse(InvalidArgument("`batches` is empty"));
  for (ProduceBatchView& batch : request->batches) Take(std::move(batch));
  UpdateReading();
}

void ProduceStream::OnInit(const std::string& client_id) {
  if (client_id.size() > kClientIdBytesMax) {
    return Refuse(InvalidArgument("init.client_id is longer than 249 bytes"));
  }
  is_initialized_ = true;
  auto& init = *ready_.mutable_init();
  init.set_broker_id(context_->self.broker.value());
  init.set_inflight_bytes_max(ProducerService::kInflightBytesMax);
  PostFlush();
}

void ProduceStream::Take(ProduceBatchView batch) {
  const PartitionKey key{batch.topic, {batch.topic_id.value(), batch.partition.value()}};
  auto slot = std::make_shared<Slot>();
  slot->result.set_batch_id(batch.batch_id);
  MemoryBudget& memory = context_->memory.incoming;
  const bool has_room = memory.free() >= batch.batch.size() + kSlotBytes;
  slot->memory = MemoryHold(memory, kSlotBytes + (has_room ? batch.batch.size() : 0));
  inflight_bytes_ += slot->memory.bytes();
  ++inflight_batches_;
  queues_[key].push_back(slot);
  if (!has_room) {
    return Complete(key, slot,
                    ResourceExhausted("this broker holds as many unanswered batches as its memory "
                                      "for clients allows",
                                      Reason::kThrottled)
                        .RetryAfterMs(100));
  }
  const Result<const PartitionInfo*> partition = context_->FindPartition(
      {.topic = batch.topic, .topic_id = batch.topic_id, .partition = batch.partition});
  if (!partition.ok()) return Complete(key, slot, partition.status());
  const RaftGroupId group = (*partition)->group;
  service_->Produce(group, {.bytes = std::move(batch.batch), .is_repeated = batch.is_repeated},
                    lifetime_.Guard([this, key, slot, group](Result<ProduceOutcome> outcome) {
                      if (!outcome.ok()) outcome = context_->WithLeader(outcome.status(), group);
                      Complete(key, slot, std::move(outcome));
                    }));
}

void ProduceStream::Complete(const PartitionKey& key, const std::shared_ptr<Slot>& slot,
                             Result<ProduceOutcome> outcome) {
  slot->is_done = true;
  if (outcome.ok()) {
    slot->result.set_base_offset(outcome->base_offset.value());
    slot->result.set_append_time_ms(outcome->append_time_ms);
    slot->result.set_is_duplicate(outcome->is_duplicate);
    slot->result.set_leader_epoch(outcome->leader_epoch.value());
  } else {
    ToError(outcome.status(), slot->result.mutable_error());
  }
  auto queue = queues_.find(key);
  CHECK(queue != queues_.end());
  while (!queue->second.empty() && queue->second.front()->is_done) {
    Slot& done = *queue->second.front();
    inflight_bytes_ -= done.memory.bytes();
    done.memory.Release();
    --inflight_batches_;
    *ready_.add_results() = std::move(done.result);
    queue->second.pop_front();
  }
  if (queue->second.empty()) queues_.erase(queue);
  PostFlush();
}

void ProduceStream::PostFlush() {
  if (is_flush_posted_) return;
  is_flush_posted_ = true;
  context_->executor.Post(lifetime_.Guard([this] { Flush(); }));
}

void ProduceStream::Flush() {
  is_flush_posted_ = false;
  if (is_closed_) return;
  if (ready_.has_init() || ready_.results_size() > 0) {
    stream_->Write({Bytes::Own(ready_.SerializeAsString())});
    ready_.Clear();
  }
  UpdateReading();
  FinishIfDone();
}

void ProduceStream::UpdateReading() {
  if (is_closed_) return;
  const bool should_read = stream_->pending_bytes() < kPendingBytesMax && HasRoom();
  if (should_read == is_reading_) return;
  is_reading_ = should_read;
  stream_->SetReading(should_read);
}

// Whether more may be in flight; if not, UpdateReading comes again once it may.
bool ProduceStream::HasRoom() {
  MemoryBudget& memory = context_->memory.incoming;
  // Then this stream's own answers make room.
  if (inflight_bytes_ > 0) {
    return inflight_bytes_ < std::min(ProducerService::kInflightBytesMax, memory.Allowance());
  }
  if (memory.Allowance() > 0) return true;
  if (!memory_waiter_.has_value()) {
    memory_waiter_ = memory.Wait(memory.bytes_max() / 8, lifetime_.Guard([this] {
      memory_waiter_.reset();
      UpdateReading();
    }));
  }
  return false;
}

void ProduceStream::FinishIfDone() {
  if (!is_half_closed_ || is_closed_ || inflight_batches_ > 0 || is_flush_posted_) return;
  is_closed_ = true;
  stream_->Finish(Status::Ok());
}

}  // namespace

void ProducerService::Register(ServiceRegistry* registry) {
  registry->AddCall("/millrace.v1.ProducerService/InitProducer",
                    [this](std::shared_ptr<Call> call) { InitProducer(std::move(call)); });
  registry->AddCall("/millrace.v1.ProducerService/Publish",
                    [this](std::shared_ptr<Call> call) { publisher_.Serve(std::move(call)); });
  registry->AddStream("/millrace.v1.ProducerService/Produce",
                      [this](std::shared_ptr<Stream> stream) -> std::unique_ptr<StreamHandler> {
                        return std::make_unique<ProduceStream>(*context_, *this, std::move(stream));
                      });
  context_->forwarder.Serve(kForwardProduce, [this](Bytes body, Duration, ForwardDone done) {
    ServeForwarded(std::move(body), std::move(done));
  });
  context_->forwarder.Serve(kForwardAllocateProducerIds, [this](Bytes, Duration, ForwardDone done) {
    auto reply = std::make_shared<AllocateProducerIdsReply>();
    context_->controller.Execute(
        [reply](const Image& image) {
          reply->set_first(image.next_producer_number());
          reply->set_end(reply->first() + kProducerIdBlock);
          return DecideAllocateProducerIds(image);
        },
        [reply, done = std::move(done)](Status status) mutable {
          if (!status.ok()) return done(std::move(status));
          done(Bytes::Own(reply->SerializeAsString()));
        });
  });
}

void ProducerService::Produce(RaftGroupId group, SentBatch batch, ProduceDone done) {
  if (Partition* partition = context_->LedHere(group)) {
    return partition->Produce(std::move(batch), std::move(done));
  }
  const BrokerId leader = context_->LeaderOf(group);
  if (leader == BrokerId() || leader == context_->self.broker) {
    return done(context_->NotLeader(group));
  }
  PartitionProduceRequest request;
  request.set_group_id(group.value());
  request.set_batch(batch.bytes.data(), batch.bytes.size());
  request.set_is_repeated(batch.is_repeated);
  context_->forwarder.Forward(
      {.to = leader,
       .method = kForwardProduce,
       .body = Bytes::Own(request.SerializeAsString()),
       .timeout = kForwardTimeout},
      [done = std::move(done)](Result<Bytes> body) mutable {
        if (!body.ok()) return done(body.status());
        PartitionProduceReply reply;
        if (!reply.ParseFromArray(body->data(), static_cast<int>(body->size()))) {
          return done(Internal("a forwarded batch got an unreadable answer"));
        }
        done(ProduceOutcome{
            .base_offset = Offset(reply.base_offset()),
            .append_time_ms = reply.append_time_ms(),
            .is_duplicate = reply.is_duplicate(),
            .leader_epoch = LeaderEpoch(static_cast<uint32_t>(reply.leader_epoch()))});
      });
}

void ProducerService::ServeForwarded(Bytes body, ForwardDone done) {
  PartitionProduceRequest request;
  if (!request.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return done(InvalidArgument("a forwarded batch cannot be read"));
  }
  Partition* partition = context_->LedHere(RaftGroupId(request.group_id()));
  if (partition == nullptr) return done(context_->NotLeader(RaftGroupId(request.group_id())));
  partition->Produce({.bytes = Bytes::Own(std::move(*request.mutable_batch())),
                      .is_repeated = request.is_repeated()},
                     [done = std::move(done)](Result<ProduceOutcome> outcome) mutable {
                       if (!outcome.ok()) return done(outcome.status());
                       PartitionProduceReply reply;
                       reply.set_base_offset(outcome->base_offset.value());
                       reply.set_append_time_ms(outcome->append_time_ms);
                       reply.set_is_duplicate(outcome->is_duplicate);
                       reply.set_leader_epoch(outcome->leader_epoch.value());
                       done(Bytes::Own(reply.SerializeAsString()));
                     });
}

void ProducerService::InitProducer(std::shared_ptr<Call> call) {
  v1::InitProducerRequest request;
  if (!request.ParseFromArray(call->request().data(), static_cast<int>(call->request().size()))) {
    return call->Fail(InvalidArgument("the request is not an InitProducerRequest"));
  }
  if (Status status = CheckUnderstood(request); !status.ok()) return call->Fail(status);
  if (request.producer_id() == 0) return GiveProducerId(std::move(call));
  const Status given =
      CheckProducerId(context_->image().producer_id_key(), ProducerId(request.producer_id()));
  if (!given.ok()) return call->Fail(given);
  if (request.producer_epoch() > kProducerEpochMax) {
    return call->Fail(InvalidArgument("producer_epoch " + std::to_string(request.producer_epoch()) +
                                      " is above " + std::to_string(kProducerEpochMax) +
                                      ", the last that is given out"));
  }
  // The id is used up.
  if (request.producer_epoch() == kProducerEpochMax) return GiveProducerId(std::move(call));
  v1::InitProducerResponse response;
  response.set_producer_id(request.producer_id());
  response.set_producer_epoch(request.producer_epoch() + 1);
  response.set_inflight_batches_max(kProducerBatchesKept);
  call->Reply(Bytes::Own(response.SerializeAsString()));
}

void ProducerService::GiveProducerId(std::shared_ptr<Call> call) {
  if (next_producer_number_ == producer_numbers_end_) {
    numbers_wanted_.push_back(std::move(call));
    if (numbers_wanted_.size() == 1) Refill();
    return;
  }
  // The numbers may have come before the key, which the controller's log brings.
  const std::string& key = context_->image().producer_id_key();
  if (key.empty()) return call->Fail(CheckProducerId(key, ProducerId()));
  v1::InitProducerResponse response;
  response.set_producer_id(MarkProducer(key, next_producer_number_++).value());
  response.set_inflight_batches_max(kProducerBatchesKept);
  call->Reply(Bytes::Own(response.SerializeAsString()));
}

// Takes a block, one for all who wait: else many at once would use up many blocks.
void ProducerService::Refill() {
  const Duration time_max = context_->TimeFor(*numbers_wanted_.front(), kForwardTimeout);
  context_->AskController(
      kForwardAllocateProducerIds, Bytes(), time_max, [this](const Result<Bytes>& body) {
        const std::vector<std::shared_ptr<Call>> waiting = std::exchange(numbers_wanted_, {});
        AllocateProducerIdsReply reply;
        Status status = body.status();
        if (status.ok() && !reply.ParseFromArray(body->data(), static_cast<int>(body->size()))) {
          status = Internal("the controller's answer cannot be read");
        }
        if (status.ok()) {
          next_producer_number_ = reply.first();
          producer_numbers_end_ = reply.end();
        }
        for (const std::shared_ptr<Call>& call : waiting) {
          if (status.ok()) {
            GiveProducerId(call);
          } else {
            call->Fail(status);
          }
        }
      });
}

}  // namespace millrace::broker

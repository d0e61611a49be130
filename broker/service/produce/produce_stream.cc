#include "broker/service/produce/produce_stream.h"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "broker/api/error_reply.h"
#include "broker/api/request_limits.h"
#include "broker/service/produce/produce_wire.h"
#include "millrace/v1/producer_service.pb.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {
namespace {

// Bytes of unanswered batches on one stream past which reading from it stops.
constexpr uint64_t kInflightBytesMax = 8 << 20;
// Results that the client does not take, past which its stream is not read.
constexpr uint64_t kPendingBytesMax = 1 << 20;
// What an unanswered batch costs beside its bytes.
constexpr uint64_t kSlotBytes = 512;

// One Produce stream. Results wait in a queue per partition, so that an error found at once does
// not overtake the answer to a batch sent before it.
class ProduceStream final : public StreamHandler {
 public:
  ProduceStream(const ProduceEnvironment& environment, std::shared_ptr<Stream> stream)
      : environment_(environment), stream_(std::move(stream)) {}
  ~ProduceStream() override {
    if (memory_waiter_.has_value()) environment_.memory.CancelWait(*memory_waiter_);
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

  const ProduceEnvironment environment_;
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
  init.set_broker_id(environment_.self.value());
  init.set_inflight_bytes_max(kInflightBytesMax);
  PostFlush();
}

void ProduceStream::Take(ProduceBatchView batch) {
  const PartitionKey key{batch.topic, {batch.topic_id.value(), batch.partition.value()}};
  auto slot = std::make_shared<Slot>();
  slot->result.set_batch_id(batch.batch_id);
  MemoryBudget& memory = environment_.memory;
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
  const Result<const PartitionInfo*> partition = environment_.view.FindPartition(
      {.topic = batch.topic, .topic_id = batch.topic_id, .partition = batch.partition});
  if (!partition.ok()) return Complete(key, slot, partition.status());
  const RaftGroupId group = (*partition)->group;
  environment_.partitions.Produce(
      stream_->principal(), group,
      {.bytes = std::move(batch.batch),
       .is_repeated = batch.is_repeated,
       .expected_end = batch.expected_end},
      lifetime_.Guard([this, key, slot, group](Result<ProduceOutcome> outcome) {
        if (!outcome.ok()) outcome = environment_.view.WithLeader(outcome.status(), group);
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
  environment_.executor.Post(lifetime_.Guard([this] { Flush(); }));
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
  MemoryBudget& memory = environment_.memory;
  // Then this stream's own answers make room.
  if (inflight_bytes_ > 0) {
    return inflight_bytes_ < std::min(kInflightBytesMax, memory.Allowance());
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

std::unique_ptr<StreamHandler> MakeProduceStream(const ProduceEnvironment& environment,
                                                 std::shared_ptr<Stream> stream) {
  return std::make_unique<ProduceStream>(environment, std::move(stream));
}

}  // namespace millrace::broker

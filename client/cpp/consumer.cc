#include "client/cpp/consumer.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"

namespace millrace::client {

uint32_t Consumer::Assign(const TopicPartition& partition, const StartAt& start) {
  Partition& added = partitions_.emplace_back();
  added.name = partition;
  added.start = start;
  if (start.kind == StartAt::kOffset) added.next_offset = start.offset;
  return static_cast<uint32_t>(partitions_.size() - 1);
}

void Consumer::OnLeader(uint32_t handle, const LeaderInfo& leader) {
  Partition& partition = partitions_[handle];
  if (leader.broker == BrokerId() || leader.epoch < partition.leader.epoch) return;
  const bool has_moved = leader.broker != partition.leader.broker;
  if (has_moved && leader.epoch > partition.leader.epoch) partition.retry_at = {};
  partition.leader = leader;
  if (!has_moved || partition.mode != Mode::kReading) return;
  removals_[partition.reading_at].push_back(partition.fetch_id);
  handles_.erase(partition.fetch_id);
  partition.mode = Mode::kIdle;
}

Status Consumer::OnMessage(BrokerId broker, const Bytes& message, MonotonicTime now) {
  ASSIGN_OR_RETURN(std::vector<FetchedPartitionView> partitions, ParseFetchResponse(message));
  for (FetchedPartitionView& view : partitions) OnPartition(broker, std::move(view), now);
  return {};
}

void Consumer::OnPartition(BrokerId broker, FetchedPartitionView view, MonotonicTime now) {
  Broker& from = brokers_[broker];
  from.granted_bytes -= static_cast<int64_t>(view.credit_bytes);
  auto found = handles_.find(view.fetch_id);
  if (found == handles_.end() || partitions_[found->second].reading_at != broker) return;
  const uint32_t handle = found->second;
  Partition& partition = partitions_[handle];
  if (!view.error.ok()) return OnFailure(handle, view.error, now);
  partition.failures = 0;
  if (!partition.next_offset && view.batches.empty()) partition.next_offset = view.next_offset;
  uint64_t credit_bytes = view.credit_bytes;
  for (const FetchedBatchView& batch : view.batches) {
    FetchedChunk chunk{.partition = partition.name, .high_watermark = view.high_watermark};
    const Status taken = TakeBatch(&partition, batch, &chunk);
    if (!taken.ok()) return End(&partition, taken);
    if (chunk.batch.empty()) continue;
    // The message's bytes live as long as any of its batches: the last to go gives them back.
    const bool is_last = &batch == &view.batches.back();
    const uint64_t bytes = is_last ? credit_bytes : std::min(credit_bytes, chunk.batch.size());
    credit_bytes -= bytes;
    queue_.push_back({.chunk = std::move(chunk), .broker = broker, .credit_bytes = bytes});
    from.queued_bytes += bytes;
    queued_bytes_ += bytes;
  }
}

// Fills `chunk` from a batch that is next in order; leaves it empty if all its records were read
// before.
Status Consumer::TakeBatch(Partition* partition, const FetchedBatchView& batch,
                           FetchedChunk* chunk) {
  const Offset end = batch.base_offset + batch.record_count;
  if (!partition->next_offset) partition->next_offset = batch.base_offset;
  const Offset next = *partition->next_offset;
  if (batch.record_count == 0) return DataLoss("a fetched batch is empty");
  if (batch.base_offset > next) {
    return DataLoss("records are missing: offset " + std::to_string(next.value()) +
                    " was to come, but a batch begins at " +
                    std::to_string(batch.base_offset.value()));
  }
  if (Crc32c(batch.batch.view()) != batch.checksum) {
    return DataLoss("the batch at offset " + std::to_string(batch.base_offset.value()) +
                    " does not match its checksum");
  }
  if (end <= next) return {};
  chunk->batch = batch.batch;
  chunk->base_offset = batch.base_offset;
  chunk->first_wanted = next;
  chunk->record_count = batch.record_count;
  chunk->append_time_ms = batch.append_time_ms;
  partition->next_offset = end;
  return {};
}

bool Consumer::IsRetriable(const Partition& partition, const Status& error,
                           MonotonicTime now) const {
  switch (error.code()) {
    case Code::kUnavailable:
    case Code::kResourceExhausted:
    case Code::kDeadlineExceeded:
    case Code::kCancelled:
      return true;
    case Code::kNotFound:
      return error.reason() != Reason::kTopicDeleted &&
             now - partition.failing_since < options_.unknown_topic_grace;
    case Code::kOk:
    case Code::kUnknown:
    case Code::kInvalidArgument:
    case Code::kAlreadyExists:
    case Code::kPermissionDenied:
    case Code::kFailedPrecondition:
    case Code::kAborted:
    case Code::kOutOfRange:
    case Code::kUnimplemented:
    case Code::kInternal:
    case Code::kDataLoss:
    case Code::kUnauthenticated:
      return false;
  }
  return false;
}

void Consumer::OnFailure(uint32_t handle, const Status& error, MonotonicTime now) {
  Partition& partition = partitions_[handle];
  if (partition.failures++ == 0) partition.failing_since = now;
  if (!IsRetriable(partition, error, now)) return End(&partition, error);
  handles_.erase(partition.fetch_id);
  partition.mode = Mode::kIdle;
  partition.retry_at = now + BackoffDelay(options_.backoff, partition.failures, random_);
  if (error.retry_after_ms()) {
    partition.retry_at =
        std::max(partition.retry_at, now + std::chrono::milliseconds(*error.retry_after_ms()));
  }
  const std::optional<LeaderHint> hint = LeaderHintOf(error);
  if (hint) OnLeader(handle, {.broker = hint->broker, .epoch = hint->epoch});
}

void Consumer::OnStreamClosed(BrokerId broker, MonotonicTime now) {
  brokers_[broker].granted_bytes = 0;
  removals_.erase(broker);
  for (uint32_t handle = 0; handle < partitions_.size(); ++handle) {
    const Partition& partition = partitions_[handle];
    if (partition.mode != Mode::kReading || partition.reading_at != broker) continue;
    OnFailure(handle, Unavailable("the stream to the broker ended"), now);
  }
}

void Consumer::FailAll(const Status& status) {
  for (Partition& partition : partitions_) {
    if (partition.mode != Mode::kEnded) End(&partition, status);
  }
}

void Consumer::End(Partition* partition, const Status& error) {
  if (partition->mode == Mode::kReading) {
    handles_.erase(partition->fetch_id);
    removals_[partition->reading_at].push_back(partition->fetch_id);
  }
  partition->mode = Mode::kEnded;
  queue_.push_back({.chunk = {.partition = partition->name, .status = error}, .broker = {}});
}

std::optional<FetchedChunk> Consumer::Next() {
  if (queue_.empty()) return std::nullopt;
  Queued queued = std::move(queue_.front());
  queue_.pop_front();
  if (queued.broker != BrokerId()) brokers_[queued.broker].queued_bytes -= queued.credit_bytes;
  queued_bytes_ -= queued.credit_bytes;
  return std::move(queued.chunk);
}

// In steps of a quarter at least, so that a grant is not a message of its own for every batch.
uint64_t Consumer::CreditToGrant(const Broker& broker) const {
  const auto limit = static_cast<int64_t>(options_.credit_bytes);
  const int64_t used = broker.granted_bytes + static_cast<int64_t>(broker.queued_bytes);
  const int64_t free = limit - used;
  return free > 0 && free * 4 >= limit ? static_cast<uint64_t>(free) : 0;
}

void Consumer::AddTo(v1::FetchRequest* request, uint32_t handle) {
  Partition& partition = partitions_[handle];
  partition.fetch_id = next_fetch_id_++;
  partition.mode = Mode::kReading;
  partition.reading_at = partition.leader.broker;
  handles_[partition.fetch_id] = handle;
  v1::FetchPartition& added = *request->add_add();
  added.set_fetch_id(partition.fetch_id);
  added.set_topic_id(partition.name.topic.value());
  added.set_partition(partition.name.partition.value());
  if (partition.next_offset) {
    added.mutable_position()->set_offset(partition.next_offset->value());
  } else if (partition.start.kind == StartAt::kLatest) {
    added.mutable_position()->set_latest(true);
  } else {
    added.mutable_position()->set_earliest(true);
  }
}

void Consumer::Poll(MonotonicTime now, ConsumerOutput* output) {
  output->wake_at.reset();
  output->wants_metadata = false;
  std::map<BrokerId, v1::FetchRequest> requests;
  for (auto& [broker, fetch_ids] : removals_) {
    for (uint32_t fetch_id : fetch_ids) requests[broker].add_remove(fetch_id);
  }
  removals_.clear();
  for (uint32_t handle = 0; handle < partitions_.size(); ++handle) {
    const Partition& partition = partitions_[handle];
    if (partition.mode == Mode::kEnded) continue;
    const bool has_leader = partition.leader.broker != BrokerId();
    if (!has_leader || partition.failures > 0) output->wants_metadata = true;
    if (partition.mode != Mode::kIdle || !has_leader) continue;
    if (partition.retry_at > now) {
      const MonotonicTime at = partition.retry_at;
      output->wake_at = output->wake_at ? std::min(*output->wake_at, at) : at;
      continue;
    }
    AddTo(&requests[partition.leader.broker], handle);
    brokers_.try_emplace(partition.leader.broker);
  }
  for (auto& [broker, state] : brokers_) {
    const bool is_read = std::any_of(partitions_.begin(), partitions_.end(), [&](const auto& p) {
      return p.mode == Mode::kReading && p.reading_at == broker;
    });
    const uint64_t credit = is_read ? CreditToGrant(state) : 0;
    if (credit == 0) continue;
    requests[broker].set_credit_bytes(credit);
    state.granted_bytes += static_cast<int64_t>(credit);
  }
  for (auto& [broker, request] : requests) {
    output->messages.push_back({.to = broker, .bytes = Bytes::Own(request.SerializeAsString())});
  }
}

}  // namespace millrace::client

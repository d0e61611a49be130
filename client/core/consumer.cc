#include "client/core/consumer.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "client/core/error.h"
#include "proto/base/checksum.h"

namespace millrace::client {

uint32_t Consumer::Assign(const TopicPartition& partition, const StartAt& start,
                          std::optional<Offset> stop_at) {
  auto handle = static_cast<uint32_t>(partitions_.size());
  if (free_.empty()) {
    partitions_.emplace_back();
  } else {
    handle = free_.back();
    free_.pop_back();
  }
  partitions_[handle] = {.name = partition, .stop_at = stop_at};
  Seek(handle, start);
  return handle;
}

void Consumer::Unassign(uint32_t handle) {
  Partition& partition = partitions_[handle];
  if (partition.mode == Mode::kReading) StopReading(handle, true);
  DropQueued(handle);
  partition.mode = Mode::kEnded;
  Settle(handle);
  free_.push_back(handle);
}

void Consumer::Seek(uint32_t handle, const StartAt& start) {
  Partition& partition = partitions_[handle];
  if (partition.mode == Mode::kReading) StopReading(handle, true);
  DropQueued(handle);
  partition.mode = Mode::kIdle;
  partition.retry.Clear();
  partition.start = start;
  partition.next_offset.reset();
  if (start.kind == StartAt::kOffset) partition.next_offset = start.offset;
  // Beyond it, the broker has its say first: there may be no such offset.
  if (partition.next_offset && partition.next_offset == partition.stop_at) {
    return End(handle, {.is_end = true});
  }
  Settle(handle);
}

void Consumer::Pause(uint32_t handle) {
  Partition& partition = partitions_[handle];
  if (std::exchange(partition.is_paused, true)) return;
  if (partition.mode == Mode::kReading) StopReading(handle, true);
  const bool has_queued = std::any_of(queue_.begin(), queue_.end(), [&](const Queued& queued) {
    return queued.handle == handle && !queued.chunk.batch.empty();
  });
  if (has_queued) {
    // An end or an error behind it is met again.
    partition.next_offset = DropQueued(handle);
    partition.mode = Mode::kIdle;
  }
  Settle(handle);
}

void Consumer::Resume(uint32_t handle) {
  partitions_[handle].is_paused = false;
  Settle(handle);
}

void Consumer::ReadOn(uint32_t handle) {
  Partition& partition = partitions_[handle];
  if (partition.mode == Mode::kEnded) partition.mode = Mode::kIdle;
  Settle(handle);
}

void Consumer::OnLeader(uint32_t handle, const LeaderInfo& leader) {
  Partition& partition = partitions_[handle];
  if (leader.broker == BrokerId() || leader.epoch < partition.leader.epoch) return;
  const bool has_moved = leader.broker != partition.leader.broker;
  if (has_moved && leader.epoch > partition.leader.epoch) partition.retry.Hurry();
  if (has_moved && partition.mode == Mode::kReading) StopReading(handle, true);
  partition.leader = leader;
  Settle(handle);
}

Status Consumer::OnMessage(BrokerId broker, const Bytes& message, MonotonicTime now) {
  ASSIGN_OR_RETURN(std::vector<FetchedPartitionView> partitions, ParseFetchResponse(message));
  brokers_[broker].retry.Clear();
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
  if (MayMove(partition, view.error)) return MoveToStart(handle);
  if (!view.error.ok()) return OnFailure(handle, view.error, now);
  partition.retry.Clear();
  Settle(handle);
  uint64_t credit_bytes = view.credit_bytes;
  for (const FetchedBatchView& batch : view.batches) {
    FetchedChunk chunk{.partition = partition.name, .high_watermark = view.high_watermark};
    const Status taken = TakeBatch(&partition, batch, &chunk);
    if (!taken.ok()) return End(handle, {.status = taken});
    if (chunk.batch.empty()) continue;
    // The message's bytes live as long as any of its batches: the last to go gives them back.
    const bool is_last = &batch == &view.batches.back();
    const uint64_t bytes = is_last ? credit_bytes : std::min(credit_bytes, chunk.batch.size());
    credit_bytes -= bytes;
    queue_.push_back(
        {.chunk = std::move(chunk), .handle = handle, .broker = broker, .credit_bytes = bytes});
    from.queued_bytes += bytes;
    queued_bytes_ += bytes;
  }
  // What the batches do not cover of the way there holds nothing for this reader.
  partition.next_offset =
      std::max(partition.next_offset.value_or(view.next_offset), view.next_offset);
  // An offset past it may not exist at all: then an error follows, and that is the answer.
  const bool is_in_question = partition.start.kind == StartAt::kOffset && partition.stop_at &&
                              partition.start.offset > *partition.stop_at && view.batches.empty();
  const bool is_done = partition.stop_at && partition.next_offset && !is_in_question &&
                       *partition.next_offset >= *partition.stop_at;
  if (is_done) End(handle, {.is_end = true, .high_watermark = view.high_watermark});
}

// Fills `chunk` from a batch that is next in order; leaves it empty if none of its records is
// wanted.
Status Consumer::TakeBatch(Partition* partition, const FetchedBatchView& batch,
                           FetchedChunk* chunk) {
  const Offset end = batch.end_offset;
  if (!partition->next_offset) partition->next_offset = batch.base_offset;
  const Offset next = *partition->next_offset;
  if (batch.base_offset.value() - next.value() > static_cast<int64_t>(batch.skipped_before)) {
    return DataLoss("records are missing: offset " + std::to_string(next.value()) +
                    " was to come, but a batch begins at " +
                    std::to_string(batch.base_offset.value()));
  }
  if (Crc32c(batch.batch.view()) != batch.checksum) {
    return DataLoss("the batch at offset " + std::to_string(batch.base_offset.value()) +
                    " does not match its checksum");
  }
  partition->next_offset = std::max(next, end);
  const bool is_past_stop = partition->stop_at && next >= *partition->stop_at;
  if (end <= next || is_past_stop) return {};
  chunk->batch = batch.batch;
  chunk->base_offset = batch.base_offset;
  chunk->first_wanted = next;
  chunk->end_wanted = partition->stop_at ? std::min(end, *partition->stop_at) : end;
  chunk->end_offset = end;
  chunk->leader_epoch = batch.leader_epoch;
  chunk->append_time_ms = batch.append_time_ms;
  return {};
}

// An offset past the end is no matter of records that went.
bool Consumer::MayMove(const Partition& partition, const Status& error) const {
  if (!tuning_.below_log_start || error.reason() != Reason::kOffsetOutOfRange) return false;
  const std::optional<Offset> start = LogStartOf(error);
  return start && (!partition.next_offset || *partition.next_offset < *start);
}

void Consumer::MoveToStart(uint32_t handle) {
  Partition& partition = partitions_[handle];
  StopReading(handle, false);
  partition.start = *tuning_.below_log_start;
  partition.next_offset.reset();
  partition.retry.Clear();
  queue_.push_back(
      {.chunk = {.partition = partition.name, .has_moved = true}, .handle = handle, .broker = {}});
  Settle(handle);
}

void Consumer::OnFailure(uint32_t handle, const Status& error, MonotonicTime now) {
  Partition& partition = partitions_[handle];
  partition.retry.Fail(error, now, tuning_.backoff, random_);
  if (!MayHeal(error, now - partition.retry.failing_since(), tuning_.unknown_topic_grace)) {
    return End(handle, {.status = error});
  }
  KeepLonger(&trouble_, {.partition = partition.name,
                         .broker = partition.leader.broker,
                         .status = error,
                         .lasts = now - partition.retry.failing_since()});
  if (partition.mode == Mode::kReading) StopReading(handle, false);
  const std::optional<LeaderHint> hint = LeaderHintOf(error);
  if (hint) OnLeader(handle, {.broker = hint->broker, .epoch = hint->epoch});
  Settle(handle);
}

void Consumer::OnStreamClosed(BrokerId broker, const Status& why, MonotonicTime now) {
  Broker& closed = brokers_[broker];
  closed.granted_bytes = 0;
  closed.retry.Fail(why, now, tuning_.backoff, random_);
  removals_.erase(broker);
  for (uint32_t handle = 0; handle < partitions_.size(); ++handle) {
    const Partition& partition = partitions_[handle];
    if (partition.mode != Mode::kReading || partition.reading_at != broker) continue;
    OnFailure(handle, why, now);
  }
}

void Consumer::Fail(uint32_t handle, const Status& status) {
  CHECK(!status.ok());
  DropQueued(handle);
  End(handle, {.status = status});
}

void Consumer::FailTopic(TopicId topic, const Status& status) {
  for (uint32_t handle = 0; handle < partitions_.size(); ++handle) {
    const Partition& partition = partitions_[handle];
    const bool is_read = partition.name.topic == topic && partition.mode != Mode::kEnded;
    if (is_read) End(handle, {.status = status});
  }
}

void Consumer::End(uint32_t handle, FetchedChunk last) {
  Partition& partition = partitions_[handle];
  if (partition.mode == Mode::kReading) StopReading(handle, true);
  partition.mode = Mode::kEnded;
  partition.retry.Clear();
  last.partition = partition.name;
  queue_.push_back({.chunk = std::move(last), .handle = handle, .broker = {}});
  Settle(handle);
}

std::optional<FetchedChunk> Consumer::Next() {
  if (queue_.empty()) return std::nullopt;
  Queued queued = std::move(queue_.front());
  queue_.pop_front();
  GiveBack(queued);
  return std::move(queued.chunk);
}

void Consumer::GiveBack(const Queued& queued) {
  if (queued.broker != BrokerId()) brokers_[queued.broker].queued_bytes -= queued.credit_bytes;
  queued_bytes_ -= queued.credit_bytes;
}

// Forgets what was fetched and not taken; where it began, if there was something.
std::optional<Offset> Consumer::DropQueued(uint32_t handle) {
  std::optional<Offset> first;
  std::erase_if(queue_, [&](const Queued& queued) {
    if (queued.handle != handle) return false;
    if (!first && !queued.chunk.batch.empty()) first = queued.chunk.first_wanted;
    GiveBack(queued);
    return true;
  });
  return first;
}

void Consumer::StopReading(uint32_t handle, bool tells_broker) {
  Partition& partition = partitions_[handle];
  CHECK(partition.mode == Mode::kReading);
  handles_.erase(partition.fetch_id);
  --brokers_[partition.reading_at].reading;
  if (tells_broker) removals_[partition.reading_at].push_back(partition.fetch_id);
  partition.mode = Mode::kIdle;
}

// Brings what is kept about the partition as a whole up to date.
void Consumer::Settle(uint32_t handle) {
  const Partition& partition = partitions_[handle];
  const bool is_wanted = partition.mode != Mode::kEnded && !partition.is_paused;
  const bool has_leader = partition.leader.broker != BrokerId();
  if (is_wanted && partition.mode == Mode::kIdle) {
    idle_.insert(handle);
  } else {
    idle_.erase(handle);
  }
  if (is_wanted && (!has_leader || partition.retry.failures() > 0)) {
    troubled_.insert(handle);
  } else {
    troubled_.erase(handle);
  }
}

// In steps of a quarter at least, so that a grant is not a message of its own for every batch.
uint64_t Consumer::CreditToGrant(const Broker& broker) const {
  const auto limit = static_cast<int64_t>(tuning_.credit_bytes);
  const int64_t used = broker.granted_bytes + static_cast<int64_t>(broker.queued_bytes);
  const int64_t free = limit - used;
  return free > 0 && free * 4 >= limit ? static_cast<uint64_t>(free) : 0;
}

void Consumer::StartReading(uint32_t handle, v1::FetchRequest* request) {
  Partition& partition = partitions_[handle];
  partition.fetch_id = next_fetch_id_++;
  partition.mode = Mode::kReading;
  partition.reading_at = partition.leader.broker;
  ++brokers_[partition.reading_at].reading;
  handles_[partition.fetch_id] = handle;
  Settle(handle);
  v1::FetchPartition& added = *request->add_add();
  added.set_fetch_id(partition.fetch_id);
  added.set_topic_id(partition.name.topic.value());
  added.set_partition(partition.name.partition.value());
  v1::Position& position = *added.mutable_position();
  if (partition.next_offset) {
    position.set_offset(partition.next_offset->value());
  } else if (partition.start.kind == StartAt::kLatest) {
    position.set_latest(true);
  } else if (partition.start.kind == StartAt::kTimestamp) {
    position.set_timestamp_ms(partition.start.timestamp_ms);
  } else {
    position.set_earliest(true);
  }
}

std::vector<BrokerId> Consumer::Awaited() const {
  std::vector<BrokerId> awaited;
  for (const auto& [id, broker] : brokers_) {
    if (broker.reading > 0) awaited.push_back(id);
  }
  return awaited;
}

std::optional<TopicPartition> Consumer::Leaderless() const {
  for (const uint32_t handle : troubled_) {
    const Partition& partition = partitions_[handle];
    if (partition.leader.broker == BrokerId()) return partition.name;
  }
  return std::nullopt;
}

void Consumer::Poll(MonotonicTime now, ConsumerOutput* output) {
  output->wake_at.reset();
  output->wants_metadata = !troubled_.empty();
  output->trouble = std::exchange(trouble_, std::nullopt);
  std::map<BrokerId, v1::FetchRequest> requests;
  for (auto& [broker, fetch_ids] : removals_) {
    for (uint32_t fetch_id : fetch_ids) requests[broker].add_remove(fetch_id);
  }
  removals_.clear();
  const std::vector<uint32_t> idle(idle_.begin(), idle_.end());
  for (const uint32_t handle : idle) {
    const Partition& partition = partitions_[handle];
    if (partition.leader.broker == BrokerId()) continue;
    const Broker& broker = brokers_[partition.leader.broker];
    const MonotonicTime at = std::max(partition.retry.at(), broker.retry.at());
    if (at > now) {
      output->wake_at = output->wake_at ? std::min(*output->wake_at, at) : at;
      continue;
    }
    StartReading(handle, &requests[partition.leader.broker]);
  }
  for (auto& [broker, state] : brokers_) {
    const uint64_t credit = state.reading > 0 ? CreditToGrant(state) : 0;
    if (credit == 0) continue;
    requests[broker].set_credit_bytes(credit);
    state.granted_bytes += static_cast<int64_t>(credit);
  }
  for (auto& [broker, request] : requests) {
    output->messages.push_back({.to = broker, .bytes = Bytes::Own(request.SerializeAsString())});
  }
}

}  // namespace millrace::client

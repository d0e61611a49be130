#include "client/core/fetch_driver.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/record/compression.h"

namespace millrace::client {
namespace {

constexpr char kFetch[] = "/millrace.v1.ConsumerService/Fetch";

}  // namespace

FetchDriver::FetchDriver(Client& client, const ConsumerTuning& tuning, Callbacks callbacks)
    : StreamDriver(client),
      callbacks_(std::move(callbacks)),
      unknown_topic_grace_(tuning.unknown_topic_grace),
      consumer_(tuning, client.ForkRandom()) {
  v1::FetchRequest first;
  first.mutable_init()->set_client_id(client.options().client_id);
  first.mutable_init()->set_isolation(tuning.isolation);
  for (const BatchCompression known : kBatchCompressions) {
    first.mutable_init()->add_accepted_compressions(static_cast<v1::Compression>(known));
  }
  Start(kFetch, first);
}

std::unique_ptr<TopicWatch> FetchDriver::Watch(const std::string& topic) {
  return std::make_unique<TopicWatch>(
      client(), topic, unknown_topic_grace_,
      TopicWatch::Listener{
          .grown = [this](const TopicWatch& grown, PartitionId first) { OnGrown(grown, first); },
          .lost = [this](const TopicWatch& lost,
                         const Status& why) { consumer_.FailTopic(lost.id(), why); },
          .leaders = [this](const TopicWatch& led) { OnLeaders(led); }});
}

void FetchDriver::Find(const std::string& topic, Duration timeout,
                       MoveFunction<void(Result<TopicId>)> done) {
  TopicWatch* const sought = finding_.emplace_back(Watch(topic)).get();
  sought->Find(timeout, [this, sought, done = std::move(done)](Status status) mutable {
    const auto at = std::ranges::find(finding_, sought, &std::unique_ptr<TopicWatch>::get);
    std::unique_ptr<TopicWatch> found = std::move(*at);
    finding_.erase(at);
    if (!status.ok()) return done(std::move(status));
    const TopicId id = found->id();
    if (topics_.emplace(id, std::move(found)).second) topics_.at(id)->Follow();
    done(id);
  });
}

void FetchDriver::Follow(TopicId id, const std::string& topic) {
  if (IsFollowed(id)) return;
  std::unique_ptr<TopicWatch>& added = topics_[id] = Watch(topic);
  added->Know(id);
  added->Follow();
}

void FetchDriver::Forget(TopicId id) {
  CHECK(!IsAnyAssigned(id)) << "topic " << id << " is read";
  topics_.erase(id);
}

bool FetchDriver::IsAnyAssigned(TopicId topic) const {
  const auto first = handles_.lower_bound({.topic = topic, .partition = PartitionId(0)});
  return first != handles_.end() && first->first.topic == topic;
}

const TopicWatch& FetchDriver::topic(TopicId id) const {
  const auto found = topics_.find(id);
  CHECK(found != topics_.end()) << "topic " << id << " is not followed";
  return *found->second;
}

const std::string& FetchDriver::NameOf(TopicId id) const {
  static const std::string kForgotten;
  const auto found = topics_.find(id);
  return found == topics_.end() ? kForgotten : found->second->name();
}

void FetchDriver::Assign(const TopicPartition& partition, const StartAt& start,
                         std::optional<Offset> stop_at) {
  CHECK(!IsAssigned(partition)) << partition.topic << " partition " << partition.partition;
  const uint32_t handle = consumer_.Assign(partition, start, stop_at);
  handles_[partition] = handle;
  consumer_.OnLeader(handle, topic(partition.topic).LeaderOf(partition.partition));
  PostPump();
}

uint32_t FetchDriver::HandleOf(const TopicPartition& partition) const {
  const auto found = handles_.find(partition);
  CHECK(found != handles_.end()) << "partition " << partition.partition << " is not assigned";
  return found->second;
}

void FetchDriver::Unassign(const TopicPartition& partition) {
  consumer_.Unassign(HandleOf(partition));
  handles_.erase(partition);
  PostPump();
}

void FetchDriver::Seek(const TopicPartition& partition, const StartAt& start) {
  consumer_.Seek(HandleOf(partition), start);
  PostPump();
}

void FetchDriver::Pause(const TopicPartition& partition) {
  consumer_.Pause(HandleOf(partition));
  PostPump();
}

void FetchDriver::Resume(const TopicPartition& partition) {
  consumer_.Resume(HandleOf(partition));
  PostPump();
}

void FetchDriver::ReadOn(const TopicPartition& partition) {
  consumer_.ReadOn(HandleOf(partition));
  PostPump();
}

void FetchDriver::Fail(const TopicPartition& partition, const Status& status) {
  consumer_.Fail(HandleOf(partition), status);
  PostPump();
}

std::optional<FetchedChunk> FetchDriver::Next() {
  std::optional<FetchedChunk> chunk = consumer_.Next();
  if (chunk) {
    PostPump();
  } else {
    is_drained_ = true;
  }
  return chunk;
}

Status FetchDriver::OnMessage(BrokerId broker, const Bytes& message, MonotonicTime now) {
  return consumer_.OnMessage(broker, message, now);
}

void FetchDriver::OnStreamClosed(BrokerId broker, const Status& why, MonotonicTime now) {
  consumer_.OnStreamClosed(broker, why, now);
}

void FetchDriver::OnGrown(const TopicWatch& topic, PartitionId first) {
  if (callbacks_.grown) callbacks_.grown({.topic = topic.id(), .partition = first});
}

void FetchDriver::OnLeaders(const TopicWatch& topic) {
  auto one = handles_.lower_bound({.topic = topic.id(), .partition = PartitionId(0)});
  for (; one != handles_.end() && one->first.topic == topic.id(); ++one) {
    consumer_.OnLeader(one->second, topic.LeaderOf(one->first.partition));
  }
  OnMetadata();
}

void FetchDriver::Pump(MonotonicTime now) {
  ConsumerOutput output;
  consumer_.Poll(now, &output);
  for (ConsumerOutput::Message& message : output.messages) {
    StreamDriver::Send(message.to, {std::move(message.bytes)});
  }
  PlanNext(now, output.wants_metadata, output.wake_at);
  Tell(output.trouble);
  if (is_drained_ && consumer_.has_queued()) {
    is_drained_ = false;
    if (callbacks_.ready) callbacks_.ready();  // last, for it may destroy this
  }
}

}  // namespace millrace::client

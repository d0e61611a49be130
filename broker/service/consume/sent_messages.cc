#include "broker/service/consume/sent_messages.h"

#include <algorithm>
#include <string>

#include <glog/logging.h>

namespace millrace::broker {
namespace {

bool Passes(const v1::Error& error) {
  const auto code = static_cast<Code>(error.code());
  return code == Code::kUnavailable || code == Code::kDeadlineExceeded ||
         code == Code::kResourceExhausted;
}

std::set<TopicPartition> ToTryAgain(const v1::CommitResult& result) {
  std::set<TopicPartition> partitions;
  for (const v1::RefusedOffset& refused : result.refused()) {
    if (!Passes(refused.error())) continue;
    partitions.insert(
        {.topic = TopicId(refused.topic_id()), .partition = PartitionId(refused.partition())});
  }
  return partitions;
}

}  // namespace

void SentMessages::Begin(uint64_t reading, const TopicPartition& partition) {
  const bool is_new = readings_.emplace(reading, Reading{.partition = partition}).second;
  CHECK(is_new) << "reading " << reading << " has begun before";
}

void SentMessages::End(uint64_t reading) {
  readings_.erase(reading);
  to_commit_.erase(reading);
}

void SentMessages::Add(uint64_t bytes, const std::vector<ReadTo>& read) {
  const uint64_t counted = std::max(bytes, kMessageBytesMin);
  bytes_ += counted;
  ++last_;
  Entry entry{.number = last_, .bytes = counted};
  if (read.empty()) entries_.push_back(entry);
  for (const ReadTo& to : read) {
    CHECK(readings_.contains(to.reading));
    entry.read = to;
    entries_.push_back(entry);
    entry.bytes = 0;
  }
}

Status SentMessages::Done(uint64_t up_to) {
  if (up_to > last_) {
    return InvalidArgument("up_to is " + std::to_string(up_to) +
                           ", and the last message that was sent is " + std::to_string(last_));
  }
  done_ = std::max(done_, up_to);
  while (!entries_.empty() && entries_.front().number <= done_) {
    const Entry& entry = entries_.front();
    bytes_ -= entry.bytes;
    if (entry.read.has_value()) SetDone(*entry.read);
    entries_.pop_front();
  }
  return {};
}

void SentMessages::SetDone(const ReadTo& read) {
  const auto found = readings_.find(read.reading);
  if (found == readings_.end()) return;  // it is the member's no more
  found->second.done = read;
  to_commit_.insert(read.reading);
}

v1::OffsetCommit SentMessages::TakeCommit(uint64_t commit_id) {
  v1::OffsetCommit commit;
  commit.set_commit_id(commit_id);
  std::vector<ReadTo>& taken = taken_.emplace_back();
  std::map<TopicId, v1::TopicCommit*> topics;
  while (!to_commit_.empty() && taken.size() < kCommitPartitionsMax) {
    Reading& reading = readings_.at(*to_commit_.begin());
    to_commit_.erase(to_commit_.begin());
    taken.push_back(*std::exchange(reading.done, std::nullopt));
    v1::TopicCommit*& topic = topics[reading.partition.topic];
    if (topic == nullptr) topic = commit.add_topics();
    topic->set_topic_id(reading.partition.topic.value());
    auto& offset = *topic->add_partitions();
    offset.set_partition(reading.partition.partition.value());
    offset.set_offset(taken.back().end.value());
    offset.set_leader_epoch(taken.back().leader_epoch.value());
  }
  return commit;
}

void SentMessages::OnResult(const v1::CommitResult& result) {
  CHECK(!taken_.empty());
  const std::vector<ReadTo> taken = std::move(taken_.front());
  taken_.pop_front();
  const std::set<TopicPartition> not_taken = ToTryAgain(result);
  for (const ReadTo& read : taken) {
    const auto found = readings_.find(read.reading);
    if (found == readings_.end()) continue;
    const bool is_tried_again = result.has_error() || not_taken.contains(found->second.partition);
    // What the client is done with since goes further.
    if (is_tried_again && !found->second.done.has_value()) SetDone(read);
  }
}

}  // namespace millrace::broker

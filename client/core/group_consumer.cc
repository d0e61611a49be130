#include "client/core/group_consumer.h"

#include <algorithm>
#include <set>
#include <utility>

#include "client/core/error.h"
#include "proto/base/mutants.h"

namespace millrace::client {
namespace {

// How long one question takes where partitions begin, and how soon it is asked again.
constexpr Duration kStartsTimeout = std::chrono::seconds(10);
constexpr Duration kStartsRetry = std::chrono::seconds(1);
// When a topic that a broker did not know is looked for again, as long as the group says that it is
// there.
constexpr Duration kLookAgain = std::chrono::seconds(5);

bool IsFixed(const StartAt& start) {
  return start.kind == StartAt::kEarliest || start.kind == StartAt::kOffset;
}

// A topic once, with all of its partitions.
GroupSession::Commits CommitsOf(const std::vector<ReadUpTo>& read) {
  std::map<TopicId, v1::TopicCommit> topics;
  for (const ReadUpTo& one : read) {
    const TopicPartition& place = one.partition.partition;
    v1::TopicCommit& topic = topics[place.topic];
    topic.set_topic_id(place.topic.value());
    v1::PartitionCommit& added = *topic.add_partitions();
    added.set_partition(place.partition.value());
    added.set_offset(one.next.value());
    added.set_leader_epoch(one.leader_epoch.value());
    added.set_metadata(one.metadata);
  }
  GroupSession::Commits commits;
  for (auto& [id, topic] : topics) *commits.Add() = std::move(topic);
  return commits;
}

std::vector<RefusedCommit> RefusedOf(const GroupSession::Refused& answer) {
  std::vector<RefusedCommit> refused;
  for (const v1::RefusedOffset& one : answer) {
    refused.push_back(
        {.partition = {.topic = TopicId(one.topic_id()), .partition = PartitionId(one.partition())},
         .why = FromError(one.error())});
  }
  return refused;
}

}  // namespace

GroupConsumer::GroupConsumer(Client& client, GroupConsumerOptions options, Listener listener)
    : client_(client),
      options_(std::move(options)),
      listener_(std::move(listener)),
      fetcher_(client, options_.tuning, {.ready = [this] { listener_.ready(); }}),
      session_(
          client, options_.session,
          {.assigned = [this](const auto& partitions) { OnAssigned(partitions); },
           .revoked = [this](const auto& partitions) { OnRevoked(partitions); },
           .lost = [this](const auto& partitions, const Status& why) { OnLost(partitions, why); },
           .failed = [this](const Status& why) { listener_.failed(why); }}) {}

void GroupConsumer::Start() {
  session_.Start();
  PlanCommit();
}

void GroupConsumer::OnAssigned(const std::vector<GroupPartition>& partitions) {
  std::map<TopicId, std::vector<PartitionId>> undecided;
  for (const GroupPartition& one : partitions) {
    const TopicPartition& place = one.partition;
    parts_[place] = {
        .topic = one.topic, .fencing_token = one.fencing_token, .committed = one.committed};
    if (one.committed) {
      Read(place, StartAt::At(*one.committed));
    } else if (one.is_later) {
      Read(place, StartAt::Earliest());
    } else if (IsFixed(options_.start)) {
      Read(place, options_.start);
    } else {
      undecided[place.topic].push_back(place.partition);
    }
  }
  for (auto& [topic, these] : undecided) FindStarts(topic, std::move(these));
  listener_.assigned(partitions);
}

void GroupConsumer::OnRevoked(const std::vector<TopicPartition>& partitions) {
  for (const TopicPartition& partition : partitions) {
    StopReading(partition);
    parts_.at(partition).is_revoked = true;
  }
  listener_.revoked(partitions);
}

void GroupConsumer::OnLost(const std::vector<TopicPartition>& partitions, const Status& why) {
  for (const TopicPartition& partition : partitions) {
    StopReading(partition);
    parts_.erase(partition);
  }
  listener_.lost(partitions, why);
}

GroupConsumer::Part* GroupConsumer::Find(const OwnedPartition& partition) {
  const auto found = parts_.find(partition.partition);
  const bool is_its_own =
      found != parts_.end() && found->second.fencing_token == partition.fencing_token;
  return is_its_own ? &found->second : nullptr;
}

GroupConsumer::Part* GroupConsumer::FindRead(const OwnedPartition& partition) {
  Part* const part = Find(partition);
  return part == nullptr || part->is_revoked ? nullptr : part;
}

void GroupConsumer::Read(const TopicPartition& partition, const StartAt& start) {
  const Part& part = parts_.at(partition);
  fetcher_.Follow(partition.topic, part.topic);
  fetcher_.Assign(partition, start);
  if (part.is_paused) fetcher_.Pause(partition);
}

void GroupConsumer::StopReading(const TopicPartition& partition) {
  if (!fetcher_.IsAssigned(partition)) return;
  fetcher_.Unassign(partition);
  if (!fetcher_.IsAnyAssigned(partition.topic)) fetcher_.Forget(partition.topic);
}

void GroupConsumer::FindStarts(TopicId topic, std::vector<PartitionId> partitions) {
  v1::ListOffsetsRequest request;
  request.set_topic_id(topic.value());
  request.set_isolation(options_.tuning.isolation);
  for (const PartitionId partition : partitions) request.add_partitions(partition.value());
  if (options_.start.kind == StartAt::kTimestamp) {
    request.set_timestamp_ms(options_.start.timestamp_ms);
  }
  client_.ListAllOffsets(request, kStartsTimeout,
                         lifetime_.Guard([this, topic, asked = std::move(partitions)](
                                             const Result<v1::ListOffsetsResponse>& response) {
                           OnStarts(topic, asked, response);
                         }));
}

void GroupConsumer::OnStarts(TopicId topic, const std::vector<PartitionId>& asked,
                             const Result<v1::ListOffsetsResponse>& response) {
  // What was given up meanwhile, or was got again with an offset, needs no start.
  std::set<PartitionId> open;
  for (const PartitionId partition : asked) {
    const auto part = parts_.find({.topic = topic, .partition = partition});
    const bool is_open = part != parts_.end() && !part->second.is_revoked;
    if (is_open && !fetcher_.IsAssigned(part->first)) open.insert(partition);
  }
  for (int i = 0; response.ok() && i < response->partitions_size(); ++i) {
    const v1::PartitionOffsets& offsets = response->partitions(i);
    const TopicPartition place{.topic = topic, .partition = PartitionId(offsets.partition())};
    if (offsets.has_error() || open.erase(place.partition) == 0) continue;
    const bool is_at_time = options_.start.kind == StartAt::kTimestamp;
    const Offset start(is_at_time ? offsets.timestamp_offset() : offsets.end_offset());
    Read(place, StartAt::At(start));
    Part& part = parts_.at(place);
    part.done = {.partition = {.partition = place, .fencing_token = part.fencing_token},
                 .next = start};
  }
  CommitMarked(nullptr);
  if (open.empty()) return;
  const std::vector<PartitionId> again(open.begin(), open.end());
  client_.RunAfter(kStartsRetry,
                   lifetime_.Guard([this, topic, again] { FindStarts(topic, again); }));
}

std::optional<FetchedChunk> GroupConsumer::Next() {
  while (std::optional<FetchedChunk> chunk = fetcher_.Next()) {
    if (chunk->status.code() == Code::kNotFound) {
      LookAgain(chunk->partition);
      continue;
    }
    const auto part = parts_.find(chunk->partition);
    if (MILLRACE_MUTANT(kCommitsWhatIsFetched) && part != parts_.end()) {
      part->second.done = {
          .partition = {.partition = chunk->partition, .fencing_token = part->second.fencing_token},
          .next = chunk->end_offset};
    }
    return chunk;
  }
  return std::nullopt;
}

// The broker that did not know it may only have been behind.
void GroupConsumer::LookAgain(const TopicPartition& partition) {
  client_.RunAfter(kLookAgain, lifetime_.Guard([this, partition] {
    if (fetcher_.IsAssigned(partition)) fetcher_.ReadOn(partition);
  }));
}

void GroupConsumer::MarkDone(const ReadUpTo& read) {
  if (Part* const part = Find(read.partition)) part->done = read;
}

void GroupConsumer::Commit(const std::vector<ReadUpTo>& read, CommitDone done) {
  std::vector<ReadUpTo> asked;
  std::vector<RefusedCommit> stale;
  for (const ReadUpTo& one : read) {
    if (Find(one.partition) != nullptr) {
      asked.push_back(one);
    } else {
      const Status why =
          Aborted("the partition is not the member's any more", Reason::kMemberFenced);
      stale.push_back({.partition = one.partition.partition, .why = why});
    }
  }
  if (asked.empty()) {
    return client_.executor().Post(
        lifetime_.Guard([stale, done = std::move(done)]() mutable { done(std::move(stale)); }));
  }
  session_.Commit(CommitsOf(asked),
                  lifetime_.Guard([this, asked, stale, done = std::move(done)](
                                      const Result<GroupSession::Refused>& answer) mutable {
                    if (!answer.ok()) return done(answer.status());
                    std::vector<RefusedCommit> refused = RefusedOf(*answer);
                    OnCommitted(asked, refused);
                    refused.insert(refused.end(), stale.begin(), stale.end());
                    done(std::move(refused));
                  }));
}

Result<v1::CommitOffsetsRequest> GroupConsumer::RequestOf(const std::vector<ReadUpTo>& read,
                                                          const v1::MemberProducer& producer) {
  for (const ReadUpTo& one : read) {
    if (Has(one.partition)) continue;
    return Aborted("partition " + std::to_string(one.partition.partition.partition.value()) +
                       " is not the member's any more",
                   Reason::kMemberFenced);
  }
  session_.SetProducer(producer);
  return session_.RequestOf(CommitsOf(read));
}

void GroupConsumer::OnCommitted(const std::vector<ReadUpTo>& asked,
                                const std::vector<RefusedCommit>& refused) {
  for (const ReadUpTo& one : asked) {
    const bool is_refused = std::ranges::find(refused, one.partition.partition,
                                              &RefusedCommit::partition) != refused.end();
    Part* const part = Find(one.partition);
    if (!is_refused && part != nullptr) part->committed = one.next;
  }
}

void GroupConsumer::PlanCommit() {
  client_.RunAfter(options_.commit_interval, lifetime_.Guard([this] {
    if (!is_committing_) CommitMarked(nullptr);
    PlanCommit();
  }));
}

// What is refused is asked for again the next time, as long as it is marked.
void GroupConsumer::CommitMarked(const std::vector<TopicPartition>* of) {
  std::vector<ReadUpTo> marked;
  const auto add = [&](const Part& part) {
    if (part.done && part.done->next != part.committed) marked.push_back(*part.done);
  };
  if (of == nullptr) {
    for (const auto& [partition, part] : parts_) add(part);
  } else {
    for (const TopicPartition& partition : *of) {
      const auto part = parts_.find(partition);
      if (part != parts_.end()) add(part->second);
    }
  }
  if (marked.empty()) return;
  is_committing_ = true;
  Commit(marked, [this](const auto&) { is_committing_ = false; });
}

void GroupConsumer::GaveUp(const std::vector<TopicPartition>& partitions) {
  CommitMarked(&partitions);
  std::vector<TopicPartition> given_up;
  for (const TopicPartition& partition : partitions) {
    const auto part = parts_.find(partition);
    if (part == parts_.end() || !part->second.is_revoked) continue;
    given_up.push_back(partition);
    parts_.erase(part);
  }
  session_.GaveUp(given_up);
}

void GroupConsumer::Leave(bool will_be_back, Task done) {
  for (const auto& [partition, part] : parts_) StopReading(partition);
  CommitMarked(nullptr);
  session_.Leave(will_be_back, std::move(done));
}

void GroupConsumer::Seek(const OwnedPartition& partition, const StartAt& start) {
  if (FindRead(partition) == nullptr) return;
  if (fetcher_.IsAssigned(partition.partition)) {
    fetcher_.Seek(partition.partition, start);
  } else {
    Read(partition.partition, start);
  }
}

void GroupConsumer::Pause(const OwnedPartition& partition) {
  Part* const part = FindRead(partition);
  if (part == nullptr) return;
  part->is_paused = true;
  if (fetcher_.IsAssigned(partition.partition)) fetcher_.Pause(partition.partition);
}

void GroupConsumer::Resume(const OwnedPartition& partition) {
  Part* const part = FindRead(partition);
  if (part == nullptr) return;
  part->is_paused = false;
  if (fetcher_.IsAssigned(partition.partition)) fetcher_.Resume(partition.partition);
}

void GroupConsumer::Fail(const OwnedPartition& partition, const Status& status) {
  const bool is_read = FindRead(partition) != nullptr;
  if (is_read && fetcher_.IsAssigned(partition.partition)) {
    fetcher_.Fail(partition.partition, status);
  }
}

}  // namespace millrace::client

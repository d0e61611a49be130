#include "broker/coordinator/producer_fencer.h"

#include "proto/base/coverage.h"

namespace millrace::broker {

using internal::v1::CoordinatorRecords;
using internal::v1::InitTransactionsRequest;

namespace {

// The same for one that is asked again, by whichever leader; no other's of the same epoch.
uint64_t RequestIdOf(const ToBeFenced& fenced) {
  return (fenced.producer.value() ^ (uint64_t{fenced.epoch} << 32U)) | 1U;
}

}  // namespace

CoordinatorShard* ProducerFencer::FindLed(RaftGroupId shard) const {
  CoordinatorShard* found = environment_.find_shard(shard);
  return found != nullptr && found->is_ready() ? found : nullptr;
}

void ProducerFencer::OnLeadership(RaftGroupId shard, const raft::Leadership& leadership) {
  const CoordinatorShard* found = environment_.find_shard(shard);
  if (!leadership.is_ready || found == nullptr) return;
  ShardState::FencingGroups::Cursor at;
  while (found->state().fencing().Next(&at) != nullptr) {
    MILLRACE_SOMETIMES("a coordinator began to lead a group with a producer to be fenced");
    FenceAll(shard, at.name);
  }
}

void ProducerFencer::OnChanged(RaftGroupId shard, const std::set<std::string>& groups) {
  if (FindLed(shard) == nullptr) return;
  for (const std::string& group : groups) FenceAll(shard, group);
}

void ProducerFencer::FenceAll(RaftGroupId shard, const std::string& name) {
  const CoordinatorShard* found = environment_.find_shard(shard);
  const Group* group = found == nullptr ? nullptr : found->state().Find(name);
  if (group == nullptr) return;
  // A copy: an answer may come at once, and change the group.
  const std::set<ToBeFenced> to_be_fenced = group->to_be_fenced;
  for (const ToBeFenced& one : to_be_fenced) {
    const Key key{.shard = shard, .group = name, .producer = one};
    if (asking_.insert(key).second) Fence(key);
  }
}

void ProducerFencer::Fence(const Key& key) {
  InitTransactionsRequest request;
  request.set_transactional_id(key.producer.transactional_id);
  request.set_request_id(RequestIdOf(key.producer));
  request.mutable_expected()->set_producer_id(key.producer.producer.value());
  request.mutable_expected()->set_epoch(key.producer.epoch);
  environment_.init(std::move(request),
                    lifetime_.Guard([this, key](const Status& answer) { OnAnswer(key, answer); }));
}

void ProducerFencer::OnAnswer(const Key& key, const Status& answer) {
  asking_.erase(key);
  CoordinatorShard* shard = FindLed(key.shard);
  // Whoever leads it now has begun anew.
  if (shard == nullptr) return;
  // Somebody else has the id by now, or nobody has.
  const bool is_settled =
      answer.ok() || answer.code() == Code::kAborted || answer.code() == Code::kNotFound;
  if (is_settled) return Note(*shard, key);
  environment_.executor.RunAfter(kRetryInterval, lifetime_.Guard([this, key] {
    if (FindLed(key.shard) != nullptr) FenceAll(key.shard, key.group);
  }));
}

void ProducerFencer::Note(CoordinatorShard& shard, const Key& key) {
  MILLRACE_SOMETIMES("the producer of a member that was taken out was fenced");
  shard.Execute({.key = key.group,
                 .is_alone = false,
                 .bytes = key.group.size(),
                 .decide = [key](const ShardState& state) -> Result<CoordinatorRecords> {
                   CoordinatorRecords records;
                   const Group* group = state.Find(key.group);
                   if (group == nullptr || !group->to_be_fenced.contains(key.producer)) {
                     return records;
                   }
                   auto& fenced = *records.add_records()->mutable_producer_fenced();
                   fenced.set_group(key.group);
                   Fill(key.producer, fenced.mutable_producer());
                   return records;
                 },
                 .done = [](const Status&) {}});
}

}  // namespace millrace::broker

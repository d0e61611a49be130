#include "broker/coordinator/shard_state.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "broker/controller/image.h"

namespace millrace::broker {

using internal::v1::CoordinatorState;
using internal::v1::GroupChanged;
using internal::v1::GroupRemoved;
using internal::v1::MemberAssigned;
using internal::v1::MemberChanged;
using internal::v1::OffsetsCommitted;
using internal::v1::OffsetsRemoved;
using internal::v1::SavedGroup;
using internal::v1::SavedTopicOffsets;
using internal::v1::TopicOffsetsCommitted;

namespace {

// The versions of CoordinatorState: with groups alone, and with anything of transactions.
constexpr uint32_t kFirstStateVersion = 1;
constexpr uint32_t kStateVersion = 2;

Status DoesNotFollow(const std::string& what) {
  return DataLoss("a coordinator's record does not follow from those before it: " + what);
}

Status CheckKnown(internal::v1::GroupKind kind, const std::string& group) {
  if (kind == internal::v1::GROUP_KIND_LOG) return {};
  return Unimplemented("group \"" + group + "\" is of kind " +
                       std::to_string(static_cast<int>(kind)) +
                       ", which this version does not know");
}

// Not ok: the group's epoch would go back.
Status CheckEpoch(uint32_t epoch, const Group& group, const std::string& name) {
  if (epoch >= group.epoch) return {};
  return DoesNotFollow("epoch " + std::to_string(epoch) + " of group \"" + name + "\" after " +
                       std::to_string(group.epoch));
}

void SetEpoch(uint32_t epoch, const ShardState::Place& place, Group* group) {
  group->changed_index = place.index;
  if (epoch == group->epoch) return;
  group->epoch = epoch;
  group->changed_ms = place.time_ms;
}

Status ApplyTo(const internal::v1::MemberRemoved& removed, uint32_t, const ShardState::Place& place,
               Membership* membership) {
  return membership->Apply(removed, place);
}

Status ApplyTo(const internal::v1::TargetComputed& target, uint32_t epoch,
               const ShardState::Place& place, Membership* membership) {
  return membership->Apply(target, epoch, place);
}

// Whether the columns are as long as each other.
Status CheckColumns(const TopicOffsetsCommitted& topic, const std::string& group) {
  bool is_right =
      topic.offsets_size() == topic.partitions_size() &&
      (topic.leader_epochs().empty() || topic.leader_epochs_size() == topic.partitions_size());
  for (const auto& metadata : topic.metadata()) {
    is_right = is_right && metadata.place() < static_cast<uint32_t>(topic.partitions_size());
  }
  if (is_right) return {};
  return DoesNotFollow("the columns of group \"" + group + "\" and topic " +
                       std::to_string(topic.topic_id()));
}

using PlacedMetadata = google::protobuf::RepeatedPtrField<internal::v1::PlacedMetadata>;
// Of the row at the place: rows are asked for in order.
std::string TakeMetadata(int place, const PlacedMetadata& all,
                         PlacedMetadata::const_iterator* next) {
  const bool is_its = *next != all.end() && (*next)->place() == static_cast<uint32_t>(place);
  return is_its ? ((*next)++)->metadata() : "";
}

void CommitTo(const OffsetsCommitted& committed, const ShardState::Place& place,
              OffsetsByTopic* out) {
  for (const TopicOffsetsCommitted& topic : committed.topics()) {
    if (topic.partitions().empty()) continue;
    TopicOffsets& offsets = (*out)[TopicId(topic.topic_id())];
    if (offsets.all().empty()) offsets.Reserve(static_cast<size_t>(topic.partitions_size()));
    auto metadata = topic.metadata().begin();
    for (int i = 0; i < topic.partitions_size(); ++i) {
      offsets.Commit(
          {.offset = Offset(topic.offsets(i)),
           .index = place.index,
           .time_ms = place.time_ms,
           .partition = PartitionId(topic.partitions(i)),
           .leader_epoch = LeaderEpoch(topic.leader_epochs().empty() ? 0 : topic.leader_epochs(i))},
          TakeMetadata(i, topic.metadata(), &metadata));
    }
  }
}

// The member's producer: it may not write any more.
std::optional<ToBeFenced> FencedWith(const Group* group, const std::string& member_id) {
  const Member* member = group == nullptr ? nullptr : group->membership->Find(member_id);
  if (member == nullptr || !member->info.has_producer()) return std::nullopt;
  return FencedFrom(member->info.producer());
}

// Whoever goes by itself ends what it began.
std::optional<ToBeFenced> FencedBy(const Group* group, const internal::v1::MemberRemoved& removed) {
  if (removed.reason() == v1::GROUP_EVENT_KIND_LEFT) return std::nullopt;
  return FencedWith(group, removed.member_id());
}

std::optional<ToBeFenced> FencedBy(const Group*, const internal::v1::TargetComputed&) {
  return std::nullopt;
}

bool HasAnyOfTransactions(const Group& group) {
  const auto has_producer = [](const auto& member) { return member.second->info.has_producer(); };
  return !group.staged.empty() || !group.to_be_fenced.empty() ||
         std::ranges::any_of(group.membership->members(), has_producer);
}

void SaveTopic(TopicId topic, const TopicOffsets& offsets, SavedTopicOffsets* saved) {
  saved->set_topic_id(topic.value());
  CommittedOffset before;
  uint32_t place = 0;
  for (const CommittedOffset& one : offsets.all()) {
    saved->add_partition_steps(one.partition.value() - before.partition.value());
    saved->add_offsets(one.offset.value());
    saved->add_leader_epochs(one.leader_epoch.value());
    saved->add_index_steps(static_cast<int64_t>(one.index.value() - before.index.value()));
    saved->add_time_steps_ms(one.time_ms - before.time_ms);
    if (const std::string& metadata = offsets.MetadataOf(one.partition); !metadata.empty()) {
      auto& placed = *saved->add_metadata();
      placed.set_place(place);
      placed.set_metadata(metadata);
    }
    before = one;
    ++place;
  }
}

Result<TopicOffsets> LoadTopic(const SavedTopicOffsets& saved) {
  const int count = saved.partition_steps_size();
  if (saved.offsets_size() != count || saved.leader_epochs_size() != count ||
      saved.index_steps_size() != count || saved.time_steps_ms_size() != count) {
    return DataLoss("a coordinator's state has columns of different lengths for topic " +
                    std::to_string(saved.topic_id()));
  }
  TopicOffsets offsets;
  offsets.Reserve(static_cast<size_t>(count));
  CommittedOffset one;
  auto metadata = saved.metadata().begin();
  for (int i = 0; i < count; ++i) {
    one.partition = PartitionId(one.partition.value() + saved.partition_steps(i));
    one.offset = Offset(saved.offsets(i));
    one.leader_epoch = LeaderEpoch(saved.leader_epochs(i));
    one.index = LogIndex(one.index.value() + static_cast<uint64_t>(saved.index_steps(i)));
    one.time_ms += saved.time_steps_ms(i);
    offsets.Commit(one, TakeMetadata(i, saved.metadata(), &metadata));
  }
  return offsets;
}

Result<OffsetsByTopic> LoadTopics(
    const google::protobuf::RepeatedPtrField<SavedTopicOffsets>& saved) {
  OffsetsByTopic offsets;
  for (const SavedTopicOffsets& topic : saved) {
    ASSIGN_OR_RETURN(offsets[TopicId(topic.topic_id())], LoadTopic(topic));
  }
  return offsets;
}

void SaveTopics(const OffsetsByTopic& offsets,
                google::protobuf::RepeatedPtrField<SavedTopicOffsets>* saved) {
  for (const auto& [topic, its] : offsets) SaveTopic(topic, its, saved->Add());
}

}  // namespace

uint8_t LevelOf(const internal::v1::CoordinatorRecord& record) {
  const bool is_of_transactions =
      TransactionalIdIn(record) != nullptr || record.has_staged_offsets_ended() ||
      record.has_producer_fenced() || record.offsets_committed().has_transaction() ||
      record.member_changed().member().has_producer();
  return is_of_transactions ? kTransactionLevel : kCoordinatorLevel;
}

const std::string* TransactionalIdIn(const internal::v1::CoordinatorRecord& record) {
  if (record.has_transactional_id_changed()) {
    return &record.transactional_id_changed().transactional_id();
  }
  if (record.has_transactional_id_removed()) {
    return &record.transactional_id_removed().transactional_id();
  }
  if (record.has_transaction_changed()) return &record.transaction_changed().transactional_id();
  if (record.has_participants_ended()) return &record.participants_ended().transactional_id();
  return nullptr;
}

const std::string* MemberOutOf(const internal::v1::CoordinatorRecord& record) {
  if (record.has_member_removed()) return &record.member_removed().group();
  const bool is_replaced = !record.member_changed().replaced_member_id().empty();
  return is_replaced ? &record.member_changed().group() : nullptr;
}

Status ShardState::Apply(const internal::v1::CoordinatorRecord& record, const Place& place) {
  using Record = internal::v1::CoordinatorRecord;
  switch (record.record_case()) {
    case Record::kOffsetsCommitted:
      return ApplyCommitted(record.offsets_committed(), place);
    case Record::kOffsetsRemoved:
      return ApplyRemoved(record.offsets_removed(), place);
    case Record::kGroupChanged:
      return ApplyGroup(record.group_changed(), place);
    case Record::kGroupRemoved:
      return ApplyGroupRemoved(record.group_removed());
    case Record::kMemberChanged:
      return ApplyMember(record.member_changed(), place);
    case Record::kMemberRemoved:
      return ApplyMembers(record.member_removed(), place);
    case Record::kTargetComputed:
      return ApplyMembers(record.target_computed(), place);
    case Record::kMemberAssigned:
      return ApplyMember(record.member_assigned(), place);
    case Record::kTransactionalIdChanged:
      return transactions_.Apply(record.transactional_id_changed(), place);
    case Record::kTransactionalIdRemoved:
      return transactions_.Apply(record.transactional_id_removed());
    case Record::kTransactionChanged:
      return transactions_.Apply(record.transaction_changed(), place);
    case Record::kParticipantsEnded:
      return transactions_.Apply(record.participants_ended(), place);
    case Record::kStagedOffsetsEnded:
      return ApplyEnded(record.staged_offsets_ended(), place);
    case Record::kProducerFenced:
      return ApplyFenced(record.producer_fenced(), place);
    case Record::RECORD_NOT_SET:
      break;
  }
  return Unimplemented("a coordinator's log holds a record that this version does not know");
}

const Group* ShardState::Find(std::string_view group) const {
  const CopyOnWrite<Group>* found = groups_.Find(group);
  return found == nullptr ? nullptr : &**found;
}

const Group* ShardState::Next(Cursor* cursor) const {
  const CopyOnWrite<Group>* next = groups_.Next(cursor);
  return next == nullptr ? nullptr : &**next;
}

Group& ShardState::Mutable(const std::string& name, const Place& place) {
  const auto [found, is_new] = groups_.Make(name);
  Group& group = found.Mutable();
  if (!is_new) return group;
  group.epoch = epoch_floor_;
  group.changed_index = place.index;
  group.changed_ms = place.time_ms;
  bytes_ += group.bytes() + name.size();
  return group;
}

std::vector<std::string> ShardState::GroupsStagedBy(const TransactionName& name) const {
  std::vector<std::string> groups;
  const auto* of_producer = staged_.Find(name.producer);
  if (of_producer == nullptr) return groups;
  for (auto at = of_producer->lower_bound({name, ""});
       at != of_producer->end() && at->first == name; ++at) {
    groups.push_back(at->second);
  }
  return groups;
}

void ShardState::Index(const std::string& name, const Group& group) {
  for (const auto& [transaction, offsets] : group.staged) {
    staged_.Make(transaction.producer).first.emplace(transaction, name);
  }
  if (!group.to_be_fenced.empty()) fencing_.Make(name).first = group.to_be_fenced.size();
}

void ShardState::Unindex(const std::string& name, const Group& group) {
  for (const auto& [transaction, offsets] : group.staged) {
    auto& of_producer = staged_.Make(transaction.producer).first;
    of_producer.erase({transaction, name});
    if (of_producer.empty()) staged_.Erase(transaction.producer);
  }
  fencing_.Erase(name);
}

void ShardState::Erase(const std::string& name) {
  const Group& group = *Find(name);
  Unindex(name, group);
  bytes_ -= group.bytes() + name.size();
  epoch_floor_ = std::max(epoch_floor_, group.epoch);
  groups_.Erase(name);
}

template <typename Change>
void ShardState::ChangeGroup(const std::string& name, const Place& place, Change change) {
  Group& group = Mutable(name, place);
  bytes_ -= group.bytes();
  change(group);
  bytes_ += group.bytes();
}

template <typename Change>
void ShardState::ChangeIndexed(const std::string& name, const Place& place, Change change) {
  ChangeGroup(name, place, [&](Group& group) {
    Unindex(name, group);
    change(group);
    Index(name, group);
  });
}

Status ShardState::ApplyCommitted(const OffsetsCommitted& committed, const Place& place) {
  for (const TopicOffsetsCommitted& topic : committed.topics()) {
    RETURN_IF_ERROR(CheckColumns(topic, committed.group()));
  }
  if (committed.has_transaction()) {
    const TransactionName name = NameFrom(committed.transaction());
    if (name.number == 0) return DoesNotFollow("offsets that no transaction stages");
    ChangeIndexed(committed.group(), place,
                  [&](Group& group) { CommitTo(committed, place, &group.staged[name]); });
    return {};
  }
  ChangeGroup(committed.group(), place,
              [&](Group& group) { CommitTo(committed, place, &group.offsets); });
  return {};
}

Status ShardState::ApplyEnded(const internal::v1::StagedOffsetsEnded& ended, const Place& place) {
  if (!internal::v1::TransactionOutcome_IsValid(ended.outcome())) {
    return Unimplemented("staged offsets have an outcome that this version does not know");
  }
  const TransactionName name = NameFrom(ended.transaction());
  const bool is_committed = ended.outcome() == internal::v1::TRANSACTION_OUTCOME_COMMITTED;
  for (const std::string& group_name : GroupsStagedBy(name)) {
    ChangeIndexed(group_name, place, [&](Group& group) {
      const auto staged = group.staged.extract(name);
      if (!is_committed) return;
      for (const auto& [topic, offsets] : staged.mapped()) group.offsets[topic].Merge(offsets);
    });
  }
  return {};
}

Status ShardState::ApplyFenced(const internal::v1::ProducerFenced& fenced, const Place& place) {
  // It may have gone meanwhile.
  if (Find(fenced.group()) == nullptr) return {};
  ChangeIndexed(fenced.group(), place,
                [&](Group& group) { group.to_be_fenced.erase(FencedFrom(fenced.producer())); });
  return {};
}

Status ShardState::ApplyRemoved(const OffsetsRemoved& removed, const Place& place) {
  // It may have gone meanwhile.
  if (Find(removed.group()) == nullptr) return {};
  const LogIndex up_to(removed.up_to_index());
  ChangeGroup(removed.group(), place, [&](Group& group) {
    const auto topic = group.offsets.find(TopicId(removed.topic_id()));
    if (topic == group.offsets.end()) return;
    if (removed.partitions().empty()) topic->second.RemoveAll(up_to);
    for (const uint32_t partition : removed.partitions()) {
      topic->second.Remove(PartitionId(partition), up_to);
    }
    if (topic->second.all().empty()) group.offsets.erase(topic);
  });
  return {};
}

Status ShardState::ApplyGroup(const GroupChanged& changed, const Place& place) {
  RETURN_IF_ERROR(CheckKnown(changed.kind(), changed.group()));
  const Group* known = Find(changed.group());
  if (known != nullptr) RETURN_IF_ERROR(CheckEpoch(changed.epoch(), *known, changed.group()));
  ChangeGroup(changed.group(), place,
              [&](Group& group) { SetEpoch(changed.epoch(), place, &group); });
  return {};
}

Status ShardState::ApplyMember(const MemberChanged& changed, const Place& place) {
  if (const Group* known = Find(changed.group())) {
    RETURN_IF_ERROR(CheckEpoch(changed.epoch(), *known, changed.group()));
  } else {
    // So that there is no group if it cannot have its first member.
    RETURN_IF_ERROR(Membership().Apply(changed, place));
  }
  Status applied;
  const auto fenced = FencedWith(Find(changed.group()), changed.replaced_member_id());
  ChangeIndexed(changed.group(), place, [&](Group& group) {
    applied = group.membership.Mutable().Apply(changed, place);
    if (!applied.ok()) return;
    SetEpoch(changed.epoch(), place, &group);
    if (fenced.has_value()) group.to_be_fenced.insert(*fenced);
  });
  return applied;
}

template <typename Record>
Status ShardState::ApplyMembers(const Record& record, const Place& place) {
  const Group* known = Find(record.group());
  if (known == nullptr) return DoesNotFollow("members of group \"" + record.group() + "\"");
  RETURN_IF_ERROR(CheckEpoch(record.epoch(), *known, record.group()));
  Status applied;
  const auto fenced = FencedBy(known, record);
  ChangeIndexed(record.group(), place, [&](Group& group) {
    applied = ApplyTo(record, group.epoch, place, &group.membership.Mutable());
    if (!applied.ok()) return;
    SetEpoch(record.epoch(), place, &group);
    if (fenced.has_value()) group.to_be_fenced.insert(*fenced);
  });
  return applied;
}

Status ShardState::ApplyMember(const MemberAssigned& assigned, const Place& place) {
  if (Find(assigned.group()) == nullptr) {
    return DoesNotFollow("members of group \"" + assigned.group() + "\"");
  }
  Status applied;
  ChangeGroup(assigned.group(), place, [&](Group& group) {
    applied = group.membership.Mutable().Apply(assigned, place);
    if (applied.ok()) group.changed_index = place.index;
  });
  return applied;
}

Status ShardState::ApplyGroupRemoved(const GroupRemoved& removed) {
  const Group* group = Find(removed.group());
  if (group == nullptr) return {};
  const LogIndex up_to(removed.up_to_index());
  const bool is_newer = up_to != LogIndex() && group->newest_index() > up_to;
  if (!is_newer) Erase(removed.group());
  return {};
}

void ShardState::SaveTo(CoordinatorState* saved) const {
  bool has_transactions = transactions_.size() != 0;
  saved->set_epoch_floor(epoch_floor_);
  groups_.ForEach([&](const std::string& name, const CopyOnWrite<Group>& group) {
    SavedGroup& out = *saved->add_groups();
    out.set_group(name);
    out.set_kind(internal::v1::GROUP_KIND_LOG);
    out.set_epoch(group->epoch);
    out.set_changed_index(group->changed_index.value());
    out.set_changed_ms(group->changed_ms);
    SaveTopics(group->offsets, out.mutable_topics());
    for (const auto& [transaction, offsets] : group->staged) {
      auto& staged = *out.add_staged();
      Fill(transaction, staged.mutable_transaction());
      SaveTopics(offsets, staged.mutable_topics());
    }
    for (const ToBeFenced& one : group->to_be_fenced) Fill(one, out.add_to_be_fenced());
    if (!group->membership->is_trivial()) group->membership->SaveTo(out.mutable_membership());
    has_transactions = has_transactions || HasAnyOfTransactions(*group);
  });
  transactions_.SaveTo(saved);
  saved->set_version(has_transactions ? kStateVersion : kFirstStateVersion);
}

Result<ShardState> ShardState::LoadFrom(const CoordinatorState& saved) {
  if (saved.version() == 0) return DataLoss("a coordinator's state has no version");
  if (saved.version() > kStateVersion) {
    return Unimplemented("a coordinator's state is of version " + std::to_string(saved.version()) +
                         ", and this build knows " + std::to_string(kStateVersion));
  }
  ShardState state;
  state.epoch_floor_ = saved.epoch_floor();
  ASSIGN_OR_RETURN(state.transactions_, TransactionTable::LoadFrom(saved));
  for (const SavedGroup& one : saved.groups()) {
    RETURN_IF_ERROR(CheckKnown(one.kind(), one.group()));
    if (state.Find(one.group()) != nullptr) {
      return DataLoss("a coordinator's state has group \"" + one.group() + "\" twice");
    }
    const Place changed{.index = LogIndex(one.changed_index()), .time_ms = one.changed_ms()};
    ASSIGN_OR_RETURN(OffsetsByTopic offsets, LoadTopics(one.topics()));
    std::map<TransactionName, OffsetsByTopic> staged;
    for (const internal::v1::SavedStagedOffsets& of_one : one.staged()) {
      ASSIGN_OR_RETURN(staged[NameFrom(of_one.transaction())], LoadTopics(of_one.topics()));
    }
    ASSIGN_OR_RETURN(Membership membership, Membership::LoadFrom(one.membership()));
    state.ChangeIndexed(one.group(), changed, [&](Group& group) {
      group.epoch = one.epoch();
      group.offsets = std::move(offsets);
      group.staged = std::move(staged);
      for (const auto& producer : one.to_be_fenced()) {
        group.to_be_fenced.insert(FencedFrom(producer));
      }
      if (one.has_membership()) group.membership.Mutable() = std::move(membership);
    });
  }
  return state;
}

}  // namespace millrace::broker

#include "broker/coordinator/requests.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "broker/api/error_reply.h"
#include "broker/api/request_limits.h"
#include "broker/controller/decide.h"
#include "broker/coordinator/description.h"
#include "broker/coordinator/transaction_errors.h"
#include "proto/base/mutants.h"

namespace millrace::broker {

using internal::v1::CoordinatorRecords;
using internal::v1::OffsetsCommitted;

namespace {

constexpr size_t kListedBytesMax = kGroupIdBytesMax + 32;
// Metadata that is taken where the memory is full, too: what a reader writes each time has not
// always the same length.
constexpr size_t kMetadataBytesAlways = 64;

// U+0000 to U+001F, U+007F to U+009F; the text is UTF-8, as protobuf has seen to.
bool HasControlCharacter(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7F) return true;
    const bool is_second_row = byte == 0xC2 && i + 1 < text.size();
    if (is_second_row && static_cast<unsigned char>(text[i + 1]) < 0xA0) return true;
  }
  return false;
}

// Of a v1::TopicCommit or v1::TopicPartitions.
template <typename Topic>
std::string NameOf(const Topic& topic, uint32_t partition) {
  const std::string name = topic.topic().empty() ? "topic_id " + std::to_string(topic.topic_id())
                                                 : "topic \"" + topic.topic() + "\"";
  return "partition " + std::to_string(partition) + " of " + name;
}

Status IsFull(const std::string& what) {
  return ResourceExhausted(
      what + ", and the coordinator's memory is full (--coordinator-memory-bytes-max)");
}

Status HasMembers(const std::string& group) {
  return FailedPrecondition("group \"" + group + "\" has members", Reason::kGroupNotEmpty);
}

// Whether it can be an offset. Names are made for errors alone: there are many of these.
Status CheckValues(const v1::TopicCommit& topic, const v1::PartitionCommit& commit) {
  if (commit.offset() < 0) {
    return InvalidArgument(NameOf(topic, commit.partition()) + ": offset " +
                           std::to_string(commit.offset()) + " is negative");
  }
  if (commit.metadata().size() > kOffsetMetadataBytesMax) {
    return InvalidArgument(NameOf(topic, commit.partition()) + ": metadata of " +
                           std::to_string(commit.metadata().size()) + " bytes is longer than " +
                           std::to_string(kOffsetMetadataBytesMax));
  }
  return {};
}

// The partition's row of the record that commits it.
void AddCommit(const v1::PartitionCommit& commit, internal::v1::TopicOffsetsCommitted* out) {
  const auto place = static_cast<uint32_t>(out->partitions_size());
  out->add_partitions(commit.partition());
  out->add_offsets(commit.offset());
  out->add_leader_epochs(LeaderEpochFrom(commit.leader_epoch()).value());
  if (commit.metadata().empty()) return;
  auto& metadata = *out->add_metadata();
  metadata.set_place(place);
  metadata.set_metadata(commit.metadata());
}

// GROUP_NOT_EMPTY while a member has the partition.
template <typename Topic>
Status CheckIsNobodys(const std::string& name, const Group* group, const Topic& topic,
                      uint32_t partition) {
  if (group == nullptr) return {};
  const TopicPartition place{.topic = TopicId(topic.topic_id()),
                             .partition = PartitionId(partition)};
  if (!Contains(group->membership->held(), place)) return {};
  return FailedPrecondition(
      NameOf(topic, partition) + ": a member of group \"" + name + "\" has it",
      Reason::kGroupNotEmpty);
}

// Not ok: what is forgotten now could come back by a transaction that is open.
Status CheckIsNotStaged(const std::string& what, bool is_staged) {
  if (!is_staged) return {};
  return FailedPrecondition(what +
                            ": a transaction that is open has staged an offset; end it or abort it "
                            "first");
}

// Who commits. No member: somebody else, for a group without members.
struct Committer {
  const Member* member = nullptr;
  uint32_t epoch = 0;
};

// MEMBER_UNKNOWN, MEMBER_FENCED, GROUP_NOT_EMPTY.
Result<Committer> CommitterOf(const Group* group, const v1::CommitOffsetsRequest& request) {
  if (request.has_transaction() && MILLRACE_MUTANT(kStageIgnoresMemberEpoch)) return Committer();
  const bool is_member = !request.member_id().empty();
  if (!is_member) {
    if (group != nullptr && !group->membership->empty()) return HasMembers(request.group());
    return Committer();
  }
  const std::string name =
      "member \"" + request.member_id() + "\" of group \"" + request.group() + "\"";
  const Member* member = group == nullptr ? nullptr : group->membership->Find(request.member_id());
  if (member == nullptr) {
    return FailedPrecondition(name + " is not there", Reason::kMemberUnknown);
  }
  // What its older stream sent may come behind what its newer one has committed.
  const bool is_late =
      request.member_session() != 0 && request.member_session() < member->info.session();
  if (is_late && !MILLRACE_MUTANT(kTwoSessions)) {
    return Aborted(name + " has a newer stream, session " + std::to_string(member->info.session()),
                   Reason::kMemberFenced);
  }
  const auto epoch = static_cast<uint32_t>(std::max(request.member_epoch(), 0));
  if (epoch > member->epoch) {
    return Aborted(
        name + " is of epoch " + std::to_string(member->epoch) + ", not " + std::to_string(epoch),
        Reason::kMemberFenced);
  }
  return Committer{.member = member, .epoch = epoch};
}

// Whether the member had the partition in that epoch already, and has it or gives it up
// (KIP-1251).
bool MayCommit(const Committer& committer, const TopicPartition& partition) {
  std::optional<uint32_t> since = EpochIn(committer.member->assigned, partition);
  if (!since.has_value()) since = EpochIn(committer.member->revoking, partition);
  if (MILLRACE_MUTANT(kCommitIgnoresAssignedEpoch)) return true;
  return since.has_value() && *since <= committer.epoch;
}

// Not ok: the partition's offset is not taken.
Status CheckTaken(const Group* group, const Committer& committer,
                  const CoordinatorCircumstances& now, const v1::TopicCommit& topic,
                  const v1::PartitionCommit& commit) {
  const TopicId id(topic.topic_id());
  const TopicPartition partition{.topic = id, .partition = PartitionId(commit.partition())};
  const auto name = [&] { return NameOf(topic, commit.partition()); };
  if (now.image.IsDeleted(id)) {
    return NotFound(name() + ": the topic was deleted", Reason::kTopicDeleted);
  }
  if (committer.member != nullptr && !MayCommit(committer, partition)) {
    return FailedPrecondition(
        name() + " is not the member's, or not since epoch " + std::to_string(committer.epoch),
        Reason::kMemberStale);
  }
  if (!now.is_memory_full) return {};
  const bool is_new = group == nullptr || group->FindOffset(partition) == nullptr;
  if (is_new) return IsFull(name() + " is new");
  const size_t held = group->offsets.at(id).MetadataOf(partition.partition).size();
  const bool is_longer = commit.metadata().size() > std::max(held, kMetadataBytesAlways);
  if (is_longer) return IsFull(name() + " has longer metadata than before");
  return {};
}

// Calls `refuse` with each that is not taken, and why.
template <typename Refuse>
OffsetsCommitted CommitOf(const Group* group, const Committer& committer,
                          const CoordinatorCircumstances& now,
                          const v1::CommitOffsetsRequest& request, Refuse refuse) {
  OffsetsCommitted committed;
  committed.set_group(request.group());
  if (request.has_transaction()) {
    Fill(NameFrom(request.transaction()), committed.mutable_transaction());
  }
  for (const v1::TopicCommit& topic : request.topics()) {
    auto& out = *committed.add_topics();
    out.set_topic_id(topic.topic_id());
    for (const v1::PartitionCommit& commit : topic.partitions()) {
      Status taken = CheckTaken(group, committer, now, topic, commit);
      if (taken.ok()) {
        AddCommit(commit, &out);
      } else {
        refuse(topic, commit.partition(), std::move(taken));
      }
    }
    if (out.partitions().empty()) committed.mutable_topics()->RemoveLast();
  }
  return committed;
}

void FillOffset(const TopicOffsets* offsets, PartitionId partition, bool is_staged,
                v1::GroupOffset* out) {
  out->set_partition(partition.value());
  out->set_is_in_transaction(is_staged);
  const CommittedOffset* committed = offsets == nullptr ? nullptr : offsets->Find(partition);
  if (committed == nullptr) return;
  out->set_offset(committed->offset.value());
  out->set_leader_epoch(committed->leader_epoch.value());
  out->set_commit_time_ms(committed->time_ms);
  out->set_metadata(offsets->MetadataOf(partition));
}

std::optional<uint64_t> NumberBefore(std::string_view* text, char end) {
  uint64_t number = 0;
  const auto [at, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error != std::errc() || at == text->data() + text->size() || *at != end) return std::nullopt;
  text->remove_prefix(static_cast<size_t>(at - text->data()) + 1);
  return number;
}

// Partitions in the order of topics' ids and their own, those behind a place, until a page is full.
class OffsetsPage {
 public:
  OffsetsPage(const Group* group, std::optional<TopicPartition> after,
              v1::FetchOffsetsResponse* response)
      : group_(group), after_(after), response_(response) {}

  // `partitions` by number; empty: all that are committed.
  void AddTopic(TopicId topic, const std::vector<uint32_t>& partitions) {
    const TopicOffsets* offsets = OffsetsOf(topic);
    for (const uint32_t partition : partitions) Add(topic, PartitionId(partition), offsets);
    if (!partitions.empty() || offsets == nullptr) return;
    for (const CommittedOffset& one : offsets->all()) Add(topic, one.partition, offsets);
  }

 private:
  static constexpr size_t kRowBytes = 8;
  // With the name that it gets later.
  static constexpr size_t kTopicBytesMax = kTopicNameBytesMax + 24;

  const TopicOffsets* OffsetsOf(TopicId topic) const {
    if (group_ == nullptr) return nullptr;
    const auto found = group_->offsets.find(topic);
    return found == group_->offsets.end() ? nullptr : &found->second;
  }

  void Add(TopicId topic, PartitionId partition, const TopicOffsets* offsets) {
    const TopicPartition place{.topic = topic, .partition = partition};
    if (is_full_ || (after_.has_value() && place <= *after_)) return;
    if (bytes_ >= kPageBytesMax) {
      is_full_ = true;
      response_->set_next_page_token(ToPageToken(last_));
      return;
    }
    const bool is_next_topic =
        response_->topics().empty() || response_->topics().rbegin()->topic_id() != topic.value();
    if (is_next_topic) {
      response_->add_topics()->set_topic_id(topic.value());
      bytes_ += kTopicBytesMax;
    }
    auto& row = *response_->mutable_topics()->rbegin()->add_partitions();
    FillOffset(offsets, partition, group_ != nullptr && group_->IsStaged(place), &row);
    bytes_ += row.ByteSizeLong() + kRowBytes;
    last_ = place;
  }

  const Group* group_;
  const std::optional<TopicPartition> after_;
  v1::FetchOffsetsResponse* response_;
  TopicPartition last_;
  size_t bytes_ = 0;
  bool is_full_ = false;
};

}  // namespace

void AddRefused(const v1::TopicCommit& topic, uint32_t partition, const Status& why,
                v1::CommitOffsetsResponse* response) {
  auto& refused = *response->add_refused();
  refused.set_topic(topic.topic());
  refused.set_topic_id(topic.topic_id());
  refused.set_partition(partition);
  ToError(why, refused.mutable_error());
}

Status UnknownGroup(const std::string& group) {
  return NotFound("group \"" + group + "\" does not exist", Reason::kUnknownGroup);
}

Status CheckId(std::string_view id, std::string_view what) {
  const std::string name(what);
  if (id.empty()) return InvalidArgument(name + " is empty");
  if (id.size() > kGroupIdBytesMax) {
    return InvalidArgument(name + " of " + std::to_string(id.size()) + " bytes is longer than " +
                           std::to_string(kGroupIdBytesMax));
  }
  if (HasControlCharacter(id)) return InvalidArgument(name + " has a control character");
  return {};
}

Status CheckCommit(const v1::CommitOffsetsRequest& request) {
  RETURN_IF_ERROR(CheckId(request.group(), "group"));
  if (request.has_transaction())
    RETURN_IF_ERROR(CheckTransactionName(NameFrom(request.transaction())));
  if (const size_t bytes = request.ByteSizeLong(); bytes > kCommitBytesMax) {
    return InvalidArgument("a commit of " + std::to_string(bytes) + " bytes is larger than " +
                           std::to_string(kCommitBytesMax));
  }
  std::set<uint64_t> topics;
  std::vector<uint32_t> partitions;
  for (const v1::TopicCommit& topic : request.topics()) {
    partitions.clear();
    for (const v1::PartitionCommit& commit : topic.partitions()) {
      RETURN_IF_ERROR(CheckValues(topic, commit));
      partitions.push_back(commit.partition());
    }
    std::sort(partitions.begin(), partitions.end());
    const auto twice = std::adjacent_find(partitions.begin(), partitions.end());
    if (twice != partitions.end())
      return InvalidArgument(NameOf(topic, *twice) + " is named twice");
    if (!topics.insert(topic.topic_id()).second) {
      return InvalidArgument("topic \"" + topic.topic() + "\" (topic_id " +
                             std::to_string(topic.topic_id()) + ") is named twice");
    }
  }
  return {};
}

CoordinatorDecision DecideCommit(const ShardState& state, const CoordinatorCircumstances& now,
                                 const v1::CommitOffsetsRequest& request,
                                 v1::CommitOffsetsResponse* response) {
  const Group* group = state.Find(request.group());
  ASSIGN_OR_RETURN(const Committer committer, CommitterOf(group, request));
  OffsetsCommitted committed =
      CommitOf(group, committer, now, request,
               [response](const v1::TopicCommit& topic, uint32_t partition, const Status& why) {
                 AddRefused(topic, partition, why, response);
               });
  CoordinatorRecords records;
  if (committed.topics().empty()) return records;
  *records.add_records()->mutable_offsets_committed() = std::move(committed);
  return records;
}

CoordinatorDecision DecideMove(const ShardState& state, const CoordinatorCircumstances& now,
                               const v1::CommitOffsetsRequest& request) {
  const Group* group = state.Find(request.group());
  for (const v1::TopicCommit& topic : request.topics()) {
    for (const v1::PartitionCommit& partition : topic.partitions()) {
      RETURN_IF_ERROR(CheckIsNobodys(request.group(), group, topic, partition.partition()));
    }
  }
  Status refused;
  OffsetsCommitted committed = CommitOf(group, Committer(), now, request,
                                        [&refused](const v1::TopicCommit&, uint32_t, Status why) {
                                          if (refused.ok()) refused = std::move(why);
                                        });
  RETURN_IF_ERROR(refused);
  CoordinatorRecords records;
  if (committed.topics().empty()) return records;
  *records.add_records()->mutable_offsets_committed() = std::move(committed);
  auto& changed = *records.add_records()->mutable_group_changed();
  changed.set_group(request.group());
  changed.set_kind(internal::v1::GROUP_KIND_LOG);
  changed.set_epoch((group == nullptr ? state.epoch_floor() : group->epoch) + 1);
  return records;
}

CoordinatorDecision DecideDeleteOffsets(const ShardState& state,
                                        const v1::DeleteOffsetsRequest& request,
                                        v1::DeleteOffsetsResponse* response) {
  const Group* group = state.Find(request.group());
  if (group == nullptr) return UnknownGroup(request.group());
  CoordinatorRecords records;
  uint32_t count = 0;
  for (const v1::TopicPartitions& topic : request.topics()) {
    const auto found = group->offsets.find(TopicId(topic.topic_id()));
    if (found == group->offsets.end()) continue;
    const auto check = [&](uint32_t partition) -> Status {
      RETURN_IF_ERROR(CheckIsNobodys(request.group(), group, topic, partition));
      return CheckIsNotStaged(NameOf(topic, partition),
                              group->IsStaged({.topic = TopicId(topic.topic_id()),
                                               .partition = PartitionId(partition)}));
    };
    for (const uint32_t partition : topic.partitions()) RETURN_IF_ERROR(check(partition));
    if (topic.partitions().empty()) {
      for (const CommittedOffset& one : found->second.all()) {
        RETURN_IF_ERROR(check(one.partition.value()));
      }
    }
    internal::v1::OffsetsRemoved removed;
    for (const uint32_t partition : topic.partitions()) {
      if (found->second.Find(PartitionId(partition)) != nullptr) removed.add_partitions(partition);
    }
    const bool is_all = topic.partitions().empty();
    if (!is_all && removed.partitions().empty()) continue;
    count += static_cast<uint32_t>(is_all ? found->second.all().size()
                                          : static_cast<size_t>(removed.partitions_size()));
    removed.set_group(request.group());
    removed.set_topic_id(topic.topic_id());
    // Whatever is committed before it in the log.
    removed.set_up_to_index(UINT64_MAX);
    *records.add_records()->mutable_offsets_removed() = std::move(removed);
  }
  response->set_deleted_count(count);
  return records;
}

CoordinatorDecision DecideDeleteGroup(const ShardState& state,
                                      const v1::DeleteGroupRequest& request) {
  const Group* group = state.Find(request.group());
  if (group == nullptr) return UnknownGroup(request.group());
  if (!group->membership->empty()) return HasMembers(request.group());
  RETURN_IF_ERROR(CheckIsNotStaged("group \"" + request.group() + "\"", !group->staged.empty()));
  CoordinatorRecords records;
  records.add_records()->mutable_group_removed()->set_group(request.group());
  return records;
}

std::string ToPageToken(const TopicPartition& after) {
  return std::to_string(after.topic.value()) + "/" + std::to_string(after.partition.value()) + "/";
}

Result<std::optional<TopicPartition>> ParsePartitionToken(std::string_view page_token) {
  if (page_token.empty()) return std::optional<TopicPartition>();
  const std::optional<uint64_t> topic = NumberBefore(&page_token, '/');
  const std::optional<uint64_t> partition =
      topic.has_value() ? NumberBefore(&page_token, '/') : std::nullopt;
  if (!partition.has_value() || *partition > UINT32_MAX || !page_token.empty()) {
    return InvalidArgument("page_token is none of these");
  }
  return std::optional<TopicPartition>(
      {.topic = TopicId(*topic), .partition = PartitionId(static_cast<uint32_t>(*partition))});
}

Status AnswerFetch(const ShardState& state, const v1::FetchOffsetsRequest& request,
                   v1::FetchOffsetsResponse* response) {
  ASSIGN_OR_RETURN(const std::optional<TopicPartition> after,
                   ParsePartitionToken(request.page_token()));
  const Group* group = state.Find(request.group());
  std::map<TopicId, std::vector<uint32_t>> named;
  for (const v1::TopicPartitions& topic : request.topics()) {
    std::vector<uint32_t>& partitions = named[TopicId(topic.topic_id())];
    partitions.assign(topic.partitions().begin(), topic.partitions().end());
    std::sort(partitions.begin(), partitions.end());
  }
  if (named.empty() && group != nullptr) {
    for (const auto& [topic, offsets] : group->offsets) named[topic];
  }
  OffsetsPage page(group, after, response);
  for (const auto& [topic, partitions] : named) page.AddTopic(topic, partitions);
  return {};
}

std::string ToPageToken(const GroupsToken& token) {
  return std::to_string(token.shard) + "/" + std::to_string(token.after.slot) + "/" +
         token.after.name;
}

Result<GroupsToken> ParseGroupsToken(std::string_view page_token) {
  if (page_token.empty()) return GroupsToken();
  const std::optional<uint64_t> shard = NumberBefore(&page_token, '/');
  const std::optional<uint64_t> slot =
      shard.has_value() ? NumberBefore(&page_token, '/') : std::nullopt;
  if (!slot.has_value() || *shard > UINT32_MAX || *slot >= kCoordinatorSlots) {
    return InvalidArgument("page_token is none of these");
  }
  return GroupsToken{
      .shard = static_cast<uint32_t>(*shard),
      .after = {.slot = static_cast<uint32_t>(*slot), .name = std::string(page_token)}};
}

Status AnswerList(const ShardState& state, const v1::ListGroupsRequest& request,
                  v1::ListGroupsResponse* response) {
  ASSIGN_OR_RETURN(GroupsToken token, ParseGroupsToken(request.page_token()));
  const size_t fitting = kPageBytesMax / kListedBytesMax;
  const size_t count_max =
      request.page_size() == 0 ? fitting : std::min<size_t>(fitting, request.page_size());
  while (const Group* group = state.Next(&token.after)) {
    if (!token.after.name.starts_with(request.prefix())) continue;
    FillListed(token.after.name, *group, response->add_groups());
    if (static_cast<size_t>(response->groups_size()) < count_max) continue;
    ShardState::Cursor rest = token.after;
    if (state.Next(&rest) != nullptr) response->set_next_page_token(ToPageToken(token));
    return {};
  }
  return {};
}

}  // namespace millrace::broker

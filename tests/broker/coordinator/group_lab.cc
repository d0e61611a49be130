#include "tests/broker/coordinator/group_lab.h"

#include <set>
#include <utility>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "broker/coordinator/reconcile.h"
#include "tests/broker/coordinator/member_rig.h"

namespace millrace::broker {

using internal::v1::MemberRequest;
using raft::core::Command;

namespace {

constexpr TransactionName kStager{.producer = ProducerId(7), .epoch = 1, .number = 1};

}  // namespace

std::string OwnerCheck::Look(const Group& group, const std::string& is_anew) {
  const Membership& membership = *group.membership;
  const Staged staged = group.StagedPartitions();
  std::map<PartitionId, Owner> now;
  for (const auto& [id, member] : membership.members()) {
    if (NextStep(membership, staged, *member, {}).has_value()) {
      return id + " is not as far as it can be";
    }
    for (const bool is_revoking : {false, true}) {
      for (const auto& [token, assignment] : is_revoking ? member->revoking : member->assigned) {
        for (const PartitionId partition : assignment.at(kReadTopic)) {
          const bool is_new =
              now.emplace(partition,
                          Owner{.member = id, .token = token, .is_revoking = is_revoking})
                  .second;
          if (!is_new) return "a partition has two owners";
        }
      }
    }
  }
  for (const auto& [partition, owner] : now) {
    const auto found = last_.find(partition);
    if (found == last_.end()) continue;
    const Owner& before = found->second;
    const std::string what = "partition " + std::to_string(partition.value());
    if (before.member != owner.member) {
      if (owner.token <= before.token) return what + " has another owner and no larger token";
      continue;
    }
    if (owner.token < before.token) return what + " has a smaller token";
    const bool is_kept = !before.is_revoking && owner.member != is_anew;
    if (is_kept && owner.token != before.token) return what + " is kept with another token";
  }
  for (const auto& [partition, owner] : now) last_[partition] = owner;
  for (auto& [partition, owner] : last_) {
    // Whoever gets it next has not kept it.
    if (!now.contains(partition)) owner.is_revoking = true;
  }
  return "";
}

std::string GroupLab::Run(const Command& command) {
  const std::string id = command.Text("member");
  const std::string& name = command.name();
  if (name == "join") return Join(command, id);
  if (name == "ping") return Ask(command, RequestOf(id, clients_[id].epoch));
  if (name == "gives") {
    return Say(command, id, Intersection(clients_[id].owned, clients_[id].assigned));
  }
  if (name == "says") {
    const std::string owned = command.Text("owned");
    return Say(command, id, Partitions(owned == "none" ? "" : owned));
  }
  if (name == "back") {
    Client& client = clients_[id];
    ++client.session;
    if (command.Has("epoch")) client.owned.clear();
    MemberRequest request = RequestOf(
        id, command.Has("epoch") ? static_cast<int32_t>(command.Number("epoch")) : client.epoch);
    *request.mutable_info() = InfoOf(id, client.instance, client.topic);
    return Ask(command, std::move(request));
  }
  if (name == "repeat") {
    const auto& sent = clients_[id].sent;
    const MemberRequest request = sent.at(sent.size() - 1 - command.Number("back"));
    return Ask(command, request);
  }
  if (name == "leave") return Ask(command, RequestOf(id, kMemberGoes));
  if (name == "away") return Ask(command, RequestOf(id, kMemberGoesAway));
  if (name == "silent" || name == "stuck") {
    const auto reason =
        name == "silent" ? v1::GROUP_EVENT_KIND_SESSION_ENDED : v1::GROUP_EVENT_KIND_REVOKE_ENDED;
    return Apply(DecideRemoval(state_, "g", id, reason), "");
  }
  if (name == "target") return SetTarget(command);
  if (name == "stage") return Stage(command, id);
  if (name == "ends") return End(command);
  CHECK_EQ(name, "state");
  std::string out = "group of epoch " + std::to_string(state_.Find("g")->epoch) + "\n";
  for (const auto& [member, line] : Lines()) out += line;
  return out;
}

MemberRequest GroupLab::RequestOf(const std::string& id, int32_t epoch) {
  const Client& client = clients_[id];
  MemberRequest request;
  request.set_group("g");
  request.set_member_id(id);
  request.set_session(client.session);
  request.set_member_epoch(epoch);
  request.set_known_version(client.version);
  return request;
}

std::string GroupLab::Join(const Command& command, const std::string& id) {
  Client& client = clients_[id];
  client.instance = command.Text("instance");
  client.topic = command.Text("topic", "t");
  MemberRequest request = RequestOf(id, kMemberComes);
  *request.mutable_info() = InfoOf(id, client.instance, client.topic);
  return Ask(command, std::move(request));
}

std::string GroupLab::Say(const Command& command, const std::string& id, Assignment owned) {
  Client& client = clients_[id];
  client.owned = owned;
  MemberRequest request = RequestOf(id, client.epoch);
  if (command.Has("epoch")) request.set_member_epoch(static_cast<int32_t>(command.Number("epoch")));
  if (command.Has("version")) request.set_known_version(command.Number("version"));
  request.mutable_owned();
  for (const auto& [topic, partitions] : owned) {
    auto& out = *request.mutable_owned()->add_topics();
    out.set_topic_id(topic.value());
    for (const PartitionId partition : partitions) out.add_partitions(partition.value());
  }
  return Ask(command, std::move(request));
}

std::string GroupLab::Ask(const Command& command, MemberRequest request) {
  const std::string id = request.member_id();
  clients_[id].sent.push_back(request);
  const bool pings = command.Number("pings", 1) == 1;
  const CoordinatorDecision decision = DecideMember(state_, {.image = image_}, request,
                                                    [pings](const std::string&) { return pings; });
  std::string out = Apply(decision, request.member_epoch() == kMemberComes ? id : "");
  if (!decision.ok() || command.Has("lost")) return out;
  internal::v1::MemberReply reply;
  const Status answered = AnswerMember(state_, image_, request, &reply);
  if (!answered.ok()) return out + "answer: " + std::string(answered.message()) + "\n";
  Hear(id, reply.assignment());
  return out;
}

void GroupLab::Hear(const std::string& id, const v1::Assignment& told) {
  Client& client = clients_[id];
  client.epoch = told.member_epoch();
  client.version = told.version();
  client.assigned.clear();
  for (const v1::AssignedTopic& topic : told.topics()) {
    for (const auto& one : topic.partitions()) {
      client.assigned[TopicId(topic.topic_id())].Add(PartitionId(one.partition()));
    }
  }
  client.owned = Union(client.owned, client.assigned);
}

std::string GroupLab::SetTarget(const Command& command) {
  const Group& group = *state_.Find("g");
  std::vector<std::pair<std::string, std::string>> members;
  for (const auto& [id, member] : group.membership->members()) {
    members.emplace_back(id, command.Text(id));
  }
  const auto epoch = static_cast<uint32_t>(command.Number("for", group.epoch));
  return Apply(DecideTarget(state_, "g", epoch, TargetOf(epoch, members)), "");
}

std::string GroupLab::Stage(const Command& command, const std::string& id) {
  v1::CommitOffsetsRequest request;
  request.set_group("g");
  request.set_member_id(id);
  request.set_member_epoch(static_cast<int32_t>(command.Number("epoch", clients_[id].epoch)));
  request.mutable_transaction()->set_producer_id(kStager.producer.value());
  request.mutable_transaction()->set_producer_epoch(kStager.epoch);
  request.mutable_transaction()->set_number(command.Number("number", 1));
  for (const auto& [topic, partitions] : Partitions(command.Text("partitions"))) {
    auto& out = *request.add_topics();
    out.set_topic("t");
    out.set_topic_id(topic.value());
    for (const PartitionId partition : partitions) {
      auto& commit = *out.add_partitions();
      commit.set_partition(partition.value());
      commit.set_offset(partition.value());
    }
  }
  v1::CommitOffsetsResponse response;
  std::string out = Apply(DecideCommit(state_, {.image = image_}, request, &response), "");
  for (const auto& refused : response.refused()) {
    out += "refused: " + refused.error().info().reason() + ", " + refused.error().message() + "\n";
  }
  return out;
}

std::string GroupLab::End(const Command& command) {
  CoordinatorDecision decision = internal::v1::CoordinatorRecords();
  auto& ended = *decision->add_records()->mutable_staged_offsets_ended();
  TransactionName name = kStager;
  name.number = command.Number("number", 1);
  Fill(name, ended.mutable_transaction());
  ended.set_outcome(command.Has("aborted") ? internal::v1::TRANSACTION_OUTCOME_ABORTED
                                           : internal::v1::TRANSACTION_OUTCOME_COMMITTED);
  last_ = last_ + 1;
  EXPECT_TRUE(state_.Apply(decision->records(0), {.index = last_, .time_ms = 5}).ok());
  return Apply(DecideAdvance(state_, "g"), "");
}

std::string GroupLab::Apply(const CoordinatorDecision& decision, const std::string& is_anew) {
  if (!decision.ok()) {
    return "refused: " + std::string(ReasonName(decision.status().reason())) + ", " +
           std::string(decision.status().message()) + "\n";
  }
  if (decision->records().empty()) return "";
  const std::map<std::string, std::string> before = Lines();
  last_ = last_ + 1;
  for (const auto& record : decision->records()) {
    const Status applied = state_.Apply(record, {.index = last_, .time_ms = 5});
    EXPECT_TRUE(applied.ok()) << applied;
  }
  EXPECT_EQ(check_.Look(*state_.Find("g"), is_anew), "");
  std::string out;
  const std::map<std::string, std::string> after = Lines();
  for (const auto& [id, line] : before) {
    if (!after.contains(id)) out += id + ": is gone\n";
  }
  for (const auto& [id, line] : after) {
    if (!before.contains(id) || before.at(id) != line) out += line;
  }
  return out;
}

std::map<std::string, std::string> GroupLab::Lines() const {
  std::map<std::string, std::string> lines;
  const Group* group = state_.Find("g");
  if (group == nullptr) return lines;
  for (const auto& [id, member] : group->membership->members()) {
    lines[id] = id + ": epoch " + std::to_string(member->epoch) + ", has " +
                ToText(member->assigned) +
                (member->revoking.empty() ? "" : ", gives up " + ToText(member->revoking)) +
                (member->info.is_away() ? ", is away" : "") + "\n";
  }
  return lines;
}

}  // namespace millrace::broker

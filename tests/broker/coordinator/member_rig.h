// Members of groups in few words: sets of partitions as text, what members say of themselves, and
// the records that a group's members are made of.
//
//   Holdings has = {{3, Partitions("0-2,7")}};
//   ASSERT_TRUE(membership.Apply(Has("a", 3, has), place).ok());
#pragma once

#include <cstdint>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "broker/coordinator/holdings.h"
#include "broker/coordinator/membership.h"
#include "millrace/internal/v1/coordinator.pb.h"

namespace millrace::broker {

inline constexpr TopicId kReadTopic{1};

// "0-3,7"; "": none.
inline Assignment Partitions(const std::string& text, TopicId topic = kReadTopic) {
  PartitionRuns runs;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) {
    const size_t dash = part.find('-');
    const auto first = static_cast<uint32_t>(std::stoul(part));
    const auto last = dash == std::string::npos
                          ? first
                          : static_cast<uint32_t>(std::stoul(part.substr(dash + 1)));
    runs.Add({.first = PartitionId(first), .end = PartitionId(last + 1)});
  }
  Assignment partitions;
  if (!runs.empty()) partitions.emplace(topic, std::move(runs));
  return partitions;
}

// The other way round, of kReadTopic.
inline std::string ToText(const Assignment& partitions) {
  const auto found = partitions.find(kReadTopic);
  if (found == partitions.end()) return "none";
  std::ostringstream out;
  out << found->second;
  std::string text = out.str();
  for (char& c : text) c = c == ' ' ? ',' : c;
  return text;
}

// "0-3@1 4@2".
inline std::string ToText(const Holdings& holdings) {
  std::string text;
  for (const auto& [epoch, partitions] : holdings) {
    text += (text.empty() ? "" : " ") + ToText(partitions) + "@" + std::to_string(epoch);
  }
  return text.empty() ? "none" : text;
}

// A member that subscribes to the topic.
inline internal::v1::MemberInfo InfoOf(const std::string& id, const std::string& instance = "",
                                       const std::string& topic = "t") {
  internal::v1::MemberInfo info;
  info.set_member_id(id);
  info.set_instance_id(instance);
  info.set_session(1);
  info.mutable_subscription()->add_topics(topic);
  info.set_session_timeout_ms(30'000);
  info.set_revoke_timeout_ms(60'000);
  info.mutable_native();
  return info;
}

inline internal::v1::MemberChanged Comes(const std::string& id, uint32_t epoch,
                                         const std::string& instance = "",
                                         const std::string& replaced = "") {
  internal::v1::MemberChanged changed;
  changed.set_group("g");
  changed.set_epoch(epoch);
  *changed.mutable_member() = InfoOf(id, instance);
  changed.set_replaced_member_id(replaced);
  return changed;
}

inline internal::v1::MemberRemoved Goes(const std::string& id, uint32_t epoch) {
  internal::v1::MemberRemoved removed;
  removed.set_group("g");
  removed.set_epoch(epoch);
  removed.set_member_id(id);
  removed.set_reason(v1::GROUP_EVENT_KIND_LEFT);
  return removed;
}

inline internal::v1::MemberAssigned Has(const std::string& id, uint32_t epoch,
                                        const Holdings& assigned, const Holdings& revoking = {}) {
  internal::v1::MemberAssigned has;
  has.set_group("g");
  has.set_member_id(id);
  has.set_member_epoch(epoch);
  Save(assigned, has.mutable_assigned());
  Save(revoking, has.mutable_revoking());
  return has;
}

// A target for an epoch: of each member that is named what it is to have of kReadTopic.
inline internal::v1::TargetComputed TargetOf(
    uint32_t epoch, const std::vector<std::pair<std::string, std::string>>& members,
    uint32_t partition_count = 8) {
  internal::v1::TargetComputed target;
  target.set_group("g");
  target.set_epoch(epoch);
  target.set_assignor("uniform");
  auto& topic = *target.add_topics();
  topic.set_topic_id(kReadTopic.value());
  topic.set_partition_count(partition_count);
  for (const auto& [id, partitions] : members) {
    auto& member = *target.add_members();
    member.set_member_id(id);
    Save(Partitions(partitions), member.mutable_topics());
  }
  return target;
}

}  // namespace millrace::broker

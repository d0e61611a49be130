#include "broker/coordinator/target.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "broker/coordinator/assignor.h"
#include "broker/coordinator/topic_pattern.h"

namespace millrace::broker {

using internal::v1::TargetComputed;

namespace {

constexpr std::string_view kDefaultAssignor = "uniform";

// What patterns mean, each looked up once.
class PatternMatches {
 public:
  explicit PatternMatches(const Image& image) : image_(&image) {}

  const std::vector<TopicId>& Of(const std::string& pattern) {
    const auto [place, is_new] = matches_.try_emplace(pattern);
    if (!is_new) return place->second;
    const Result<TopicPattern> parsed = TopicPattern::Parse(pattern);
    // Another version's RE2 may take what this one's does not.
    if (!parsed.ok()) return place->second;
    for (const auto& [id, topic] : image_->topics()) {
      if (parsed->Matches(topic->name)) place->second.push_back(id);
    }
    return place->second;
  }

 private:
  const Image* image_;
  std::map<std::string, std::vector<TopicId>> matches_;
};

// Null where no topic has the name that members may read.
const TopicInfo* FindReadable(const Image& image, const std::string& name) {
  const TopicInfo* topic = image.FindTopic(name);
  return topic == nullptr || topic->is_internal() ? nullptr : topic;
}

AssignorMember ToAssignor(const Member& member, const Image& image, PatternMatches* patterns) {
  const v1::Subscription& subscription = member.info.subscription();
  std::set<TopicId> topics;
  const auto add = [&](const std::string& name) {
    const TopicInfo* topic = FindReadable(image, name);
    if (topic != nullptr) topics.insert(topic->id);
    return topic;
  };
  AssignorMember out{.id = member.info.member_id(),
                     .instance_id = member.info.instance_id(),
                     .rack = member.info.rack(),
                     .current = member.target};
  for (const std::string& name : subscription.topics()) add(name);
  for (const v1::TopicSet& set : subscription.topic_sets()) {
    std::vector<TopicId>& together = out.topic_sets.emplace_back();
    for (const std::string& name : set.topics()) {
      if (const TopicInfo* topic = add(name)) together.push_back(topic->id);
    }
  }
  if (!subscription.pattern().empty()) {
    const std::vector<TopicId>& matches = patterns->Of(subscription.pattern());
    topics.insert(matches.begin(), matches.end());
  }
  out.topics.assign(topics.begin(), topics.end());
  return out;
}

AssignorTopic ToAssignor(const TopicInfo& topic, const Image& image) {
  AssignorTopic out{.id = topic.id,
                    .partition_count = static_cast<uint32_t>(topic.partitions.size()),
                    .replica_racks = {}};
  for (const PartitionInfo& partition : topic.partitions) {
    std::vector<std::string>& racks = out.replica_racks.emplace_back();
    for (const Voter& replica : partition.replicas) {
      const BrokerInfo* broker = image.FindBroker(replica.broker);
      if (broker == nullptr || broker->registration.rack().empty()) continue;
      racks.push_back(broker->registration.rack());
    }
  }
  return out;
}

// That most members ask for; of several the first by name. What another version knows alone does
// not count.
std::string AssignorOf(const Membership& membership) {
  std::map<std::string, size_t> votes;
  for (const auto& [id, member] : membership.members()) {
    if (FindAssignor(member->info.assignor()).ok()) ++votes[member->info.assignor()];
  }
  const auto most = std::max_element(
      votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == votes.end() ? std::string(kDefaultAssignor) : most->first;
}

// Whether the members' topics are others than when the target was computed last, or have more
// partitions.
bool AreTopicsNew(const Membership& membership, const std::vector<AssignorTopic>& topics) {
  if (topics.size() != membership.topics().size()) return true;
  return !std::equal(topics.begin(), topics.end(), membership.topics().begin(),
                     [](const AssignorTopic& topic, const auto& known) {
                       return topic.id == known.first &&
                              topic.partition_count == known.second.partition_count;
                     });
}

}  // namespace

Status CheckSubscription(const v1::Subscription& subscription) {
  int count = subscription.topics_size();
  for (const v1::TopicSet& set : subscription.topic_sets()) count += set.topics_size();
  if (count > kSubscribedTopicsMax) {
    return InvalidArgument("a subscription to " + std::to_string(count) +
                           " topics names more than " + std::to_string(kSubscribedTopicsMax));
  }
  if (count == 0 && subscription.pattern().empty()) {
    return InvalidArgument("a subscription names no topic and no pattern");
  }
  if (subscription.pattern().empty()) return {};
  return TopicPattern::Parse(subscription.pattern()).status();
}

TargetComputed ComputeTarget(uint32_t group_epoch, const Membership& membership,
                             const Image& image) {
  AssignorInput input;
  PatternMatches patterns(image);
  std::set<TopicId> subscribed;
  for (const auto& [id, member] : membership.members()) {
    input.members.push_back(ToAssignor(*member, image, &patterns));
    const std::vector<TopicId>& topics = input.members.back().topics;
    subscribed.insert(topics.begin(), topics.end());
  }
  for (const TopicId id : subscribed) {
    input.topics.push_back(ToAssignor(*image.FindTopic(id), image));
  }
  TargetComputed target;
  const bool is_due = group_epoch > membership.target_epoch();
  if (!is_due && !AreTopicsNew(membership, input.topics)) return target;
  target.set_epoch(is_due ? group_epoch : group_epoch + 1);
  target.set_assignor(AssignorOf(membership));
  for (const AssignorTopic& topic : input.topics) {
    auto& out = *target.add_topics();
    out.set_topic_id(topic.id.value());
    out.set_partition_count(topic.partition_count);
  }
  const Result<Assignor> assign = FindAssignor(target.assignor());
  CHECK(assign.ok()) << assign.status();
  for (const auto& [member_id, assignment] : (*assign)(input)) {
    if (assignment == membership.Find(member_id)->target) continue;
    auto& changed = *target.add_members();
    changed.set_member_id(member_id);
    Save(assignment, changed.mutable_topics());
  }
  return target;
}

}  // namespace millrace::broker

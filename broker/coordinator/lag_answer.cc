#include "broker/coordinator/lag_answer.h"

#include <map>
#include <set>
#include <string>
#include <utility>

#include "broker/api/request_limits.h"
#include "broker/coordinator/description.h"
#include "broker/coordinator/lag_verdict.h"
#include "broker/coordinator/requests.h"

namespace millrace::broker {
namespace {

// Partitions may be between two owners for so long after the group changed.
constexpr int64_t kChangesHandsMs = 60'000;

std::set<TopicId> TopicsOf(const Group& group) {
  std::set<TopicId> topics;
  for (const auto& [id, offsets] : group.offsets) topics.insert(id);
  if (group.membership->empty()) return topics;
  for (const auto& [id, topic] : group.membership->topics()) topics.insert(id);
  return topics;
}

// Who has which partitions of a topic, by number; null: nobody.
using TopicOwners = std::vector<const Member*>;

std::map<TopicId, TopicOwners> OwnersOf(const Membership& membership) {
  std::map<TopicId, TopicOwners> owners;
  for (const auto& [id, member] : membership.members()) {
    for (const auto& [topic, partitions] : PartitionsOf(member->held())) {
      TopicOwners& of_topic = owners[topic];
      for (const PartitionId partition : partitions) {
        if (partition.value() >= of_topic.size()) of_topic.resize(partition.value() + 1);
        of_topic[partition.value()] = &*member;
      }
    }
  }
  return owners;
}

bool ChangesHands(const Group& group, int64_t wall_ms) {
  v1::ListedGroup listed;
  FillListed("", group, &listed);
  return listed.state() == v1::GROUP_STATE_REBALANCING &&
         wall_ms - group.changed_ms < kChangesHandsMs;
}

void FillRow(const LagRow& row, v1::PartitionLag* out) {
  out->set_partition(row.partition.value());
  out->set_verdict(ToWire(row.verdict));
  out->set_grounds(GroundsOf(row));
  out->set_member_id(std::string(row.reader.member_id));
  if (!row.look.has_value()) return;
  const LagLook& look = *row.look;
  if (look.is_committed) out->set_lag(look.lag);
  out->set_lost(look.lost);
  out->set_lag_ms_min(look.waited_ms_min);
  out->set_lag_ms_max(look.waited_ms_max);
  out->set_measured_ms(look.measured_ms);
  out->set_came_in(look.came_in);
  out->set_read(look.read);
  out->set_unmoved_ms(look.unmoved_ms);
}

// Rows behind a place, until they are as many as fit.
class Page {
 public:
  Page(const v1::DescribeLagRequest& request, std::optional<TopicPartition> after,
       v1::DescribeLagResponse* response)
      : request_(request), after_(after), response_(response) {}

  void Add(const TopicInfo& topic, const LagRow& row) {
    const TopicPartition place{.topic = topic.id, .partition = row.partition};
    const bool is_left_out = request_.only_behind() && row.verdict == LagVerdict::kKeepingUp;
    if (is_full_ || is_left_out || (after_.has_value() && place <= *after_)) return;
    v1::PartitionLag filled;
    FillRow(row, &filled);
    const size_t bytes = filled.ByteSizeLong() + kRowBytes;
    if (bytes_ + bytes > kPageBytesMax - kRestBytesMax) {
      is_full_ = true;
      response_->set_next_page_token(ToPageToken(last_));
      return;
    }
    auto& topics = *response_->mutable_topics();
    if (topics.empty() || topics.rbegin()->topic_id() != topic.id.value()) {
      v1::TopicLag& added = *topics.Add();
      added.set_topic_id(topic.id.value());
      added.set_topic(topic.name);
      bytes_ += added.ByteSizeLong() + kRowBytes;
    }
    *topics.rbegin()->add_partitions() = std::move(filled);
    bytes_ += bytes;
    last_ = place;
  }

 private:
  static constexpr size_t kRowBytes = 8;
  // Of the total, the token and a topic's name.
  static constexpr size_t kRestBytesMax = 16 << 10;

  const v1::DescribeLagRequest& request_;
  const std::optional<TopicPartition> after_;
  v1::DescribeLagResponse* response_;
  TopicPartition last_;
  size_t bytes_ = 0;
  bool is_full_ = false;
};

// The rows of one topic after the other.
class Rows {
 public:
  Rows(const Group& group, const MeasuredLag& measured, const LagCircumstances& now)
      : membership_(*group.membership),
        measured_(measured),
        owners_(OwnersOf(membership_)),
        changes_hands_(ChangesHands(group, now.wall_ms)) {}

  // Judged; without those that were not measured.
  std::vector<LagRow> Of(const TopicInfo& topic) const {
    static const std::vector<LagHistory> kNone;
    const auto found = measured_.topics.find(topic.id);
    const auto& histories = found == measured_.topics.end() ? kNone : found->second;
    const auto owners = owners_.find(topic.id);
    LagReader reader{.has_group_members = !membership_.empty(),
                     .is_subscribed = membership_.topics().contains(topic.id),
                     .changes_hands = changes_hands_};
    std::vector<LagRow> rows;
    rows.reserve(topic.partitions.size());
    for (size_t number = 0; number < topic.partitions.size(); ++number) {
      LagRow row{.partition = PartitionId(static_cast<uint32_t>(number)), .reader = reader};
      row.why_unknown = WhyUnknown({.topic = topic.id, .partition = row.partition});
      const bool is_measured = number < histories.size() && !histories[number].is_empty();
      if (row.why_unknown == nullptr && !is_measured) continue;
      if (row.why_unknown == nullptr) row.look = histories[number].Look();
      if (owners != owners_.end() && number < owners->second.size()) {
        SetOwner(owners->second[number], &row.reader);
      }
      rows.push_back(row);
    }
    JudgeTopic(&rows);
    return rows;
  }

 private:
  static void SetOwner(const Member* owner, LagReader* reader) {
    if (owner == nullptr) return;
    reader->member_id = owner->info.member_id();
    reader->is_away = owner->info.is_away();
  }
  const Status* WhyUnknown(const TopicPartition& place) const {
    if (measured_.unanswered.empty()) return nullptr;
    const auto found = measured_.unanswered.find(place);
    return found == measured_.unanswered.end() ? nullptr : &found->second;
  }

  const Membership& membership_;
  const MeasuredLag& measured_;
  const std::map<TopicId, TopicOwners> owners_;
  const bool changes_hands_;
};

}  // namespace

std::vector<LagTarget> LagTargetsOf(const Group& group, const Image& image) {
  std::vector<LagTarget> targets;
  for (const TopicId id : TopicsOf(group)) {
    const TopicInfo* topic = image.FindTopic(id);
    if (topic == nullptr) continue;
    static const TopicOffsets kNone;
    const auto offsets = group.offsets.find(id);
    const auto& committed = (offsets == group.offsets.end() ? kNone : offsets->second).all();
    auto next = committed.begin();
    // Both are by number.
    for (const PartitionInfo& partition : topic->partitions) {
      while (next != committed.end() && next->partition < partition.partition) ++next;
      const bool is_committed = next != committed.end() && next->partition == partition.partition;
      targets.push_back({.place = {.topic = id, .partition = partition.partition},
                         .group = partition.group,
                         .committed = is_committed ? &*next : nullptr});
    }
  }
  return targets;
}

Status AnswerLag(const Group& group, const MeasuredLag& measured, const LagCircumstances& now,
                 const v1::DescribeLagRequest& request, v1::DescribeLagResponse* response) {
  ASSIGN_OR_RETURN(const std::optional<TopicPartition> after,
                   ParsePartitionToken(request.page_token()));
  const Rows rows(group, measured, now);
  Page page(request, after, response);
  LagTotal total;
  for (const TopicId id : TopicsOf(group)) {
    const TopicInfo* topic = now.image.FindTopic(id);
    if (topic == nullptr) continue;
    for (const LagRow& row : rows.Of(*topic)) {
      total.Add(topic->name, row);
      page.Add(*topic, row);
    }
  }
  *response->mutable_total() = total.Take();
  return {};
}

}  // namespace millrace::broker

#include "broker/service/group/offsets_reset.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "broker/api/error_reply.h"
#include "broker/api/request_limits.h"
#include "broker/coordinator/requests.h"
#include "broker/service/group/topic_names.h"

namespace millrace::broker {
namespace {

using To = v1::ResetOffsetsRequest::ToCase;

class OffsetsReset : public std::enable_shared_from_this<OffsetsReset> {
 public:
  OffsetsReset(const OffsetsResetEnvironment& environment, std::shared_ptr<Call> call,
               v1::ResetOffsetsRequest request)
      : environment_(environment),
        call_(std::move(call)),
        request_(std::move(request)),
        deadline_(environment_.clock.Now() + TimeFor(environment_.clock, *call_, kForwardTimeout)) {
    committed_.set_group(request_.group());
  }

  void Start() {
    if (Status status = Prepare(); !status.ok()) return call_->Fail(status);
    Fetch();
  }

 private:
  CoordinatorClient::Asker asker() const {
    return {.principal = call_->principal(), .timeout = TimeLeft(environment_.clock, deadline_)};
  }

  Status Prepare() {
    if (request_.to_case() == To::TO_NOT_SET) {
      return InvalidArgument("to: it is not said where the group is to go");
    }
    if (request_.to_case() == To::kOffsets) RETURN_IF_ERROR(TakeExplicit());
    RETURN_IF_ERROR(ResolveTopics(environment_.view, request_.mutable_topics()));
    size_t count = 0;
    for (v1::TopicPartitions& topic : *request_.mutable_topics()) {
      if (topic.partitions().empty()) AddAll(&topic);
      count += static_cast<size_t>(topic.partitions_size());
    }
    RETURN_IF_ERROR(CheckCount(count, "partitions"));
    *committed_.mutable_topics() = request_.topics();
    return {};
  }

  void AddAll(v1::TopicPartitions* topic) const {
    const TopicInfo& info = *environment_.view.image().FindTopic(TopicId(topic->topic_id()));
    for (const PartitionInfo& partition : info.partitions) {
      topic->add_partitions(partition.partition.value());
    }
  }

  // Each partition its own offset.
  Status TakeExplicit() {
    if (!request_.topics().empty()) {
      return InvalidArgument("topics: offsets names the topics already");
    }
    for (const v1::TopicCommit& topic : request_.offsets().topics()) {
      ASSIGN_OR_RETURN(const TopicInfo* info,
                       environment_.view.FindLog(topic.topic(), TopicId(topic.topic_id())));
      auto& named = *request_.add_topics();
      named.set_topic_id(info->id.value());
      for (const v1::PartitionCommit& commit : topic.partitions()) {
        named.add_partitions(commit.partition());
        explicit_[{.topic = info->id, .partition = PartitionId(commit.partition())}] = commit;
      }
      if (named.partitions().empty()) request_.mutable_topics()->RemoveLast();
    }
    if (request_.topics().empty()) return InvalidArgument("offsets: no partition is named");
    return {};
  }

  // What is committed now, a page at a time.
  void Fetch() {
    environment_.coordinators.FetchOffsets(
        asker(), committed_, [self = shared_from_this()](Result<v1::FetchOffsetsResponse> fetched) {
          if (!fetched.ok()) return self->call_->Fail(fetched.status());
          self->OnFetched(&*fetched);
        });
  }

  void OnFetched(v1::FetchOffsetsResponse* fetched) {
    NameTopics(environment_.view, fetched);
    for (const v1::TopicOffsets& topic : fetched->topics()) {
      for (const v1::GroupOffset& committed : topic.partitions()) {
        auto& reset = *response_.add_offsets();
        reset.set_topic(topic.topic());
        reset.set_topic_id(topic.topic_id());
        reset.set_partition(committed.partition());
        if (committed.has_offset()) reset.set_before(committed.offset());
      }
    }
    const Status counted = CheckCount(static_cast<size_t>(response_.offsets_size()), "partitions");
    if (!counted.ok()) return call_->Fail(counted);
    committed_.set_page_token(fetched->next_page_token());
    if (!committed_.page_token().empty()) return Fetch();
    AskLeaders();
  }

  void AskLeaders() {
    missing_ = 1;
    OffsetsQuery query;
    if (request_.to_case() == To::kTimestampMs) query.timestamp_ms = request_.timestamp_ms();
    const Principal principal = call_->principal();
    for (int place = 0; place < response_.offsets_size(); ++place) {
      const v1::ResetOffset& reset = response_.offsets(place);
      const auto partition =
          environment_.view.FindPartition({.topic = "",
                                           .topic_id = TopicId(reset.topic_id()),
                                           .partition = PartitionId(reset.partition())});
      if (!partition.ok()) {
        Refuse(place, partition.status());
        continue;
      }
      ++missing_;
      const RaftGroupId group = (*partition)->group;
      environment_.partitions.Offsets(
          principal, group, query, TimeLeft(environment_.clock, deadline_),
          [self = shared_from_this(), place, group](const Result<PartitionOffsets>& offsets) {
            self->OnOffsets(place, group, offsets);
          });
    }
    OnOne();
  }

  void Refuse(int place, const Status& why) {
    has_error_ = true;
    ToError(why, response_.mutable_offsets(place)->mutable_error());
  }

  void OnOffsets(int place, RaftGroupId group, const Result<PartitionOffsets>& offsets) {
    if (!offsets.ok()) {
      Refuse(place, environment_.view.WithLeader(offsets.status(), group));
    } else if (const Result<Offset> after = Target(response_.offsets(place), *offsets);
               after.ok()) {
      response_.mutable_offsets(place)->set_after(after->value());
    } else {
      Refuse(place, after.status());
    }
    OnOne();
  }

  Result<Offset> Target(const v1::ResetOffset& reset, const PartitionOffsets& offsets) const {
    switch (request_.to_case()) {
      case To::kEarliest:
        return offsets.log_start;
      case To::kTimestampMs:
        return offsets.timestamp_offset.value_or(offsets.high_watermark);
      case To::kShiftBy:
        return Shifted(reset, offsets);
      case To::kOffset:
        return Exact(reset, offsets, Offset(request_.offset()));
      case To::kOffsets:
        return Exact(reset, offsets, Offset(ExplicitOf(reset).offset()));
      case To::kLatest:
      case To::TO_NOT_SET:
        break;
    }
    // Behind it there may be records that readers of what is committed have not seen.
    return offsets.last_stable;
  }

  Result<Offset> Shifted(const v1::ResetOffset& reset, const PartitionOffsets& offsets) const {
    if (!reset.has_before()) {
      return NotFound(NameOf(reset) + ": the group has committed nothing there to go on from");
    }
    const int64_t start = offsets.log_start.value();
    const int64_t end = offsets.high_watermark.value();
    int64_t shifted = 0;
    // Past the end of the numbers is past the end of the partition.
    if (__builtin_add_overflow(reset.before(), request_.shift_by(), &shifted)) shifted = end;
    return Offset(std::clamp(shifted, start, end));
  }

  static Result<Offset> Exact(const v1::ResetOffset& reset, const PartitionOffsets& offsets,
                              Offset wanted) {
    if (wanted >= offsets.log_start && wanted <= offsets.high_watermark) return wanted;
    const std::string start = std::to_string(offsets.log_start.value());
    const std::string end = std::to_string(offsets.high_watermark.value());
    return OutOfRange("offset " + std::to_string(wanted.value()) + " of " + NameOf(reset) +
                          " is not from " + start + " to " + end,
                      Reason::kOffsetOutOfRange)
        .AddMetadata("log_start_offset", start)
        .AddMetadata("end_offset", end);
  }

  const v1::PartitionCommit& ExplicitOf(const v1::ResetOffset& reset) const {
    return explicit_.at(
        {.topic = TopicId(reset.topic_id()), .partition = PartitionId(reset.partition())});
  }

  static std::string NameOf(const v1::ResetOffset& reset) {
    return "partition " + std::to_string(reset.partition()) + " of topic \"" + reset.topic() + "\"";
  }

  void OnOne() {
    if (--missing_ > 0) return;
    if (has_error_ || request_.is_dry_run() || response_.offsets().empty()) return Answer();
    Move();
  }

  void Move() {
    v1::CommitOffsetsRequest move;
    move.set_group(request_.group());
    for (const v1::ResetOffset& reset : response_.offsets()) {
      const bool is_next =
          move.topics().empty() || move.topics().rbegin()->topic_id() != reset.topic_id();
      if (is_next) {
        move.add_topics()->set_topic_id(reset.topic_id());
        move.mutable_topics()->rbegin()->set_topic(reset.topic());
      }
      auto& commit = *move.mutable_topics()->rbegin()->add_partitions();
      if (request_.to_case() == To::kOffsets) commit = ExplicitOf(reset);
      commit.set_partition(reset.partition());
      commit.set_offset(reset.after());
    }
    environment_.coordinators.MoveOffsets(
        asker(), std::move(move),
        [self = shared_from_this()](const Result<v1::CommitOffsetsResponse>& moved) {
          if (!moved.ok()) return self->call_->Fail(moved.status());
          self->Answer();
        });
  }

  void Answer() { call_->Reply(Bytes::Own(response_.SerializeAsString())); }

  const OffsetsResetEnvironment environment_;
  const std::shared_ptr<Call> call_;
  v1::ResetOffsetsRequest request_;
  const MonotonicTime deadline_;
  v1::FetchOffsetsRequest committed_;
  std::map<TopicPartition, v1::PartitionCommit> explicit_;
  v1::ResetOffsetsResponse response_;
  size_t missing_ = 0;
  bool has_error_ = false;
};

}  // namespace

void StartOffsetsReset(const OffsetsResetEnvironment& environment, std::shared_ptr<Call> call,
                       v1::ResetOffsetsRequest request) {
  std::make_shared<OffsetsReset>(environment, std::move(call), std::move(request))->Start();
}

}  // namespace millrace::broker

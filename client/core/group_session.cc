#include "client/core/group_session.h"

#include <algorithm>
#include <utility>

#include "client/core/error.h"

namespace millrace::client {
namespace {

constexpr char kJoin[] = "/millrace.v1.GroupService/Join";
// A broker that does not answer for a third of the session's time is left, within these bounds.
constexpr Duration kPatienceMin = std::chrono::seconds(1);
constexpr Duration kPatienceMax = std::chrono::seconds(6);
constexpr Duration kWatchInterval = std::chrono::milliseconds(500);
// Drawn ids of members have so many hexadecimal digits.
constexpr int kIdDigits = 32;

std::string DrawId(Random& random) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string id;
  for (int i = 0; i < kIdDigits; ++i) id += kDigits[random.Below(kDigits.size())];
  return id;
}

// Whether another try may succeed. Whoever has the instance id may go, or be taken out.
bool MayJoinLater(const Status& why) {
  constexpr Code kFinal[] = {Code::kInvalidArgument, Code::kUnimplemented, Code::kPermissionDenied,
                             Code::kUnauthenticated};
  if (why.code() == Code::kFailedPrecondition) return why.reason() == Reason::kInstanceIdInUse;
  return std::ranges::find(kFinal, why.code()) == std::end(kFinal);
}

Status IsNoMember() { return Aborted("it is no member of its group", Reason::kMemberFenced); }

}  // namespace

// One Join stream.
class GroupSession::Stream final : public RpcStreamHandler {
 public:
  Stream(GroupSession& session, Connector& connector, const std::string& address)
      : session_(&session), stream_(connector.OpenStream(address, kJoin, this)) {}

  void Write(const v1::JoinRequest& request) {
    stream_->Write({Bytes::Own(request.SerializeAsString())});
  }
  // It says nothing more, though it is destroyed later: it may be what is running.
  void Leave() { session_ = nullptr; }
  void OnMessage(Bytes message) override {
    if (session_ != nullptr) session_->OnMessage(message);
  }
  void OnClosed(const Status& status) override {
    if (session_ != nullptr) session_->OnClosed(status);
  }

 private:
  GroupSession* session_;
  std::unique_ptr<RpcStream> stream_;
};

GroupSession::GroupSession(Client& client, GroupSessionOptions options, Listener listener)
    : client_(client),
      options_(std::move(options)),
      listener_(std::move(listener)),
      random_(client.ForkRandom()) {
  if (options_.member_id.empty()) options_.member_id = DrawId(random_);
}

GroupSession::~GroupSession() = default;

template <typename Call>
void GroupSession::Post(Call call) {
  client_.executor().Post(lifetime_.Guard(std::move(call)));
}

template <typename Call>
void GroupSession::Tell(Call call) {
  Post([this, call = std::move(call)]() mutable {
    if (!has_left_) call();
  });
}

void GroupSession::Start() {
  heard_ = client_.clock().Now();
  Connect();
  Watch();
}

void GroupSession::Connect() {
  const std::vector<std::string> addresses = client_.Addresses();
  if (number_ == 0) next_address_ = random_.Below(addresses.size());
  const std::string& address = addresses[next_address_++ % addresses.size()];
  ++number_;
  is_joined_ = false;
  pings_.clear();
  for (Waiting& commit : commits_) commit.is_sent = false;
  stream_ = std::make_unique<Stream>(*this, client_.connector(), address);
  v1::JoinRequest request;
  v1::JoinInit& init = *request.mutable_init();
  init.set_group(options_.group);
  init.set_member_id(options_.member_id);
  init.set_session(number_);
  init.set_member_epoch(epoch_);
  if (epoch_ > 0) Owned(init.mutable_owned());
  init.set_instance_id(options_.instance_id);
  *init.mutable_subscription() = options_.subscription;
  init.set_rack(options_.rack);
  init.set_assignor(options_.assignor);
  const auto ms = [](Duration time) {
    return static_cast<uint32_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(time).count());
  };
  init.set_session_timeout_ms(ms(options_.session_timeout));
  init.set_revoke_timeout_ms(ms(options_.revoke_timeout));
  init.set_client_id(client_.options().client_id);
  if (options_.producer.has_value()) *init.mutable_producer() = *options_.producer;
  pings_.push_back(client_.clock().Now());
  Say(request);
}

void GroupSession::Say(const v1::JoinRequest& request) {
  if (stream_ != nullptr) stream_->Write(request);
}

void GroupSession::Owned(google::protobuf::RepeatedPtrField<v1::OwnedPartitions>* out) const {
  TopicId topic;
  for (const TopicPartition& partition : owned_) {
    if (out->empty() || partition.topic != topic) {
      topic = partition.topic;
      out->Add()->set_topic_id(topic.value());
    }
    out->rbegin()->add_partitions(partition.partition.value());
  }
}

void GroupSession::SayWhatIsOwned() {
  if (!is_joined_) return;
  v1::JoinRequest request;
  request.mutable_done()->set_version(version_);
  Owned(request.mutable_done()->mutable_owned());
  Say(request);
}

void GroupSession::SayCommits() {
  if (!is_joined_) return;
  for (Waiting& commit : commits_) {
    if (std::exchange(commit.is_sent, true)) continue;
    v1::JoinRequest request;
    request.mutable_commit()->set_commit_id(commit.id);
    *request.mutable_commit()->mutable_topics() = commit.topics;
    Say(request);
  }
  if (commits_.empty() && leaves_.has_value()) SayLeave();
}

void GroupSession::SayLeave() {
  v1::JoinRequest request;
  request.mutable_leave()->set_will_be_back(*leaves_);
  Say(request);
}

void GroupSession::SetSubscription(const v1::Subscription& subscription) {
  options_.subscription = subscription;
  if (!is_joined_) return;
  v1::JoinRequest request;
  *request.mutable_subscription() = subscription;
  Say(request);
}

void GroupSession::SetProducer(const v1::MemberProducer& producer) {
  const bool is_known = options_.producer.has_value() &&
                        options_.producer->SerializeAsString() == producer.SerializeAsString();
  if (is_known) return;
  options_.producer = producer;
  if (stream_ == nullptr || is_over_) return;
  stream_->Leave();
  client_.executor().Post([gone = std::shared_ptr<Stream>(std::move(stream_))] {});
  Connect();
}

Result<v1::CommitOffsetsRequest> GroupSession::RequestOf(const Commits& topics) const {
  if (is_over_ || epoch_ == 0) return IsNoMember();
  v1::CommitOffsetsRequest request;
  request.set_group(options_.group);
  request.set_member_id(options_.member_id);
  request.set_member_epoch(epoch_);
  *request.mutable_topics() = topics;
  return request;
}

void GroupSession::GaveUp(const std::vector<TopicPartition>& partitions) {
  bool has_changed = false;
  for (const TopicPartition& partition : partitions) {
    giving_up_.erase(partition);
    has_changed = owned_.erase(partition) > 0 || has_changed;
  }
  if (has_changed) SayWhatIsOwned();
}

void GroupSession::Commit(const Commits& topics, MoveFunction<void(Result<Refused>)> done) {
  if (is_over_ || epoch_ == 0) {
    return Post([done = std::move(done)]() mutable { done(IsNoMember()); });
  }
  commits_.push_back({.id = next_commit_++, .topics = topics, .done = std::move(done)});
  SayCommits();
}

void GroupSession::Leave(bool will_be_back, Task done) {
  left_ = std::move(done);
  leaves_ = will_be_back;
  if (epoch_ == 0) return Post([this] { FinishLeave(); });
  client_.executor().RunAfter(options_.session_timeout, lifetime_.Guard([this] { FinishLeave(); }));
  SayCommits();
}

void GroupSession::FinishLeave() {
  if (std::exchange(is_over_, true)) return;
  has_left_ = true;
  stream_.reset();
  FailCommits(Aborted("the member has left its group", Reason::kMemberFenced));
  std::exchange(left_, {})();
}

void GroupSession::Ping() {
  client_.executor().RunAfter(interval_, lifetime_.Guard([this, number = number_] {
    if (is_over_ || number != number_) return;
    pings_.push_back(client_.clock().Now());
    v1::JoinRequest request;
    request.mutable_ping();
    Say(request);
    Ping();
  }));
}

void GroupSession::OnMessage(const Bytes& message) {
  v1::JoinResponse response;
  if (!response.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
    return OnClosed(Internal("what a broker said to a member of a group cannot be read"));
  }
  switch (response.message_case()) {
    case v1::JoinResponse::kJoined:
      return OnJoined(response.joined());
    case v1::JoinResponse::kAssignment:
      return OnAssignment(response.assignment());
    case v1::JoinResponse::kCommit:
      return OnCommitted(response.commit());
    case v1::JoinResponse::kPong:
      return OnHeard();
    case v1::JoinResponse::MESSAGE_NOT_SET:
      return;  // of a later version
  }
}

// Whatever was answered was heard no sooner than it was sent.
void GroupSession::OnHeard() {
  if (pings_.empty()) return;
  heard_ = std::max(heard_, pings_.front());
  pings_.pop_front();
}

void GroupSession::OnJoined(const v1::Joined& joined) {
  retry_.Clear();
  is_joined_ = true;
  epoch_ = joined.member_epoch();
  interval_ = std::chrono::milliseconds(joined.interval_ms());
  OnHeard();
  Ping();
  SayCommits();
}

void GroupSession::OnAssignment(const v1::Assignment& assignment) {
  epoch_ = assignment.member_epoch();
  version_ = assignment.version();
  std::vector<GroupPartition> fresh;
  for (const v1::AssignedTopic& topic : assignment.topics()) {
    for (const v1::AssignedPartition& one : topic.partitions()) {
      const TopicPartition place{.topic = TopicId(topic.topic_id()),
                                 .partition = PartitionId(one.partition())};
      if (!owned_.insert(place).second) continue;
      GroupPartition& added = fresh.emplace_back();
      added.partition = place;
      added.topic = topic.topic();
      added.fencing_token = one.fencing_token();
      if (one.has_offset()) added.committed = Offset(one.offset());
      added.leader_epoch = one.leader_epoch();
      added.is_later = one.is_later();
    }
  }
  std::vector<TopicPartition> revoked;
  for (const v1::OwnedPartitions& topic : assignment.revoked()) {
    for (const uint32_t partition : topic.partitions()) {
      const TopicPartition place{.topic = TopicId(topic.topic_id()),
                                 .partition = PartitionId(partition)};
      if (owned_.contains(place) && giving_up_.insert(place).second) revoked.push_back(place);
    }
  }
  // What it is to give up it has given up before: that was not heard.
  if (!assignment.revoked().empty() && giving_up_.empty()) SayWhatIsOwned();
  if (!fresh.empty()) Tell([this, fresh = std::move(fresh)] { listener_.assigned(fresh); });
  if (!revoked.empty()) Tell([this, revoked = std::move(revoked)] { listener_.revoked(revoked); });
}

void GroupSession::OnCommitted(const v1::CommitResult& result) {
  const bool is_first = !commits_.empty() && commits_.front().id == result.commit_id();
  if (!is_first) return;
  Waiting commit = std::move(commits_.front());
  commits_.pop_front();
  Result<Refused> told = result.refused();
  if (result.has_error()) told = FromError(result.error());
  Tell(
      [done = std::move(commit.done), told = std::move(told)]() mutable { done(std::move(told)); });
  SayCommits();
}

// Sooner than the session ends, so that it can go on elsewhere.
Duration GroupSession::patience() const {
  return std::clamp<Duration>(options_.session_timeout / 3, kPatienceMin, kPatienceMax);
}

void GroupSession::Watch() {
  client_.executor().RunAfter(kWatchInterval, lifetime_.Guard([this] {
    if (is_over_) return;
    const MonotonicTime now = client_.clock().Now();
    if (epoch_ > 0 && now - heard_ >= options_.session_timeout) {
      OnClosed(
          Aborted("the member was not heard of for its session's time", Reason::kMemberFenced));
    } else if (stream_ != nullptr && !pings_.empty() && now - pings_.front() >= patience()) {
      OnClosed(Unavailable("the broker says nothing to a member of a group"));
    }
    Watch();
  }));
}

void GroupSession::OnClosed(const Status& why) {
  if (is_over_) return;
  if (stream_ != nullptr) stream_->Leave();
  client_.executor().Post([gone = std::shared_ptr<Stream>(std::move(stream_))] {});
  is_joined_ = false;
  if (why.ok() && leaves_.has_value()) return FinishLeave();
  if (!why.ok() && !MayJoinLater(why)) return Fail(why);
  const MonotonicTime now = client_.clock().Now();
  const bool is_silent = now - heard_ >= options_.session_timeout;
  if (epoch_ > 0 && (why.code() == Code::kAborted || is_silent)) Lose(why);
  if (leaves_.has_value() && epoch_ == 0) return FinishLeave();
  const Status error = why.ok() ? Unavailable("the broker ended the member's stream") : why;
  retry_.Fail(error, now, client_.options().backoff, random_);
  client_.TellOutage({.status = error, .lasts = now - retry_.failing_since()});
  client_.executor().RunAfter(TimeLeft(client_.clock(), retry_.at()), lifetime_.Guard([this] {
    if (!is_over_ && stream_ == nullptr) Connect();
  }));
}

void GroupSession::Lose(const Status& why) {
  epoch_ = 0;
  version_ = 0;
  heard_ = client_.clock().Now();
  giving_up_.clear();
  std::vector<TopicPartition> lost(owned_.begin(), owned_.end());
  owned_.clear();
  FailCommits(why);
  if (lost.empty()) return;
  Tell([this, lost = std::move(lost), why] { listener_.lost(lost, why); });
}

void GroupSession::Fail(const Status& why) {
  if (epoch_ > 0) Lose(why);
  is_over_ = true;
  FailCommits(why);
  Tell([this, why] { listener_.failed(why); });
}

void GroupSession::FailCommits(const Status& why) {
  for (Waiting& commit : std::exchange(commits_, {})) {
    Post([done = std::move(commit.done), why]() mutable { done(why); });
  }
}

}  // namespace millrace::client

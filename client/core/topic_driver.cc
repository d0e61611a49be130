#include "client/core/topic_driver.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

namespace millrace::client {
namespace {

// More than an election takes, so that the answer is likely to be news.
constexpr Duration kSilenceMin = std::chrono::seconds(1);
constexpr Duration kSilenceMax = std::chrono::seconds(30);

// Why a stream is to be opened again, whatever ended it.
Status Broken(const Status& end) {
  if (end.code() == Code::kUnavailable) return end;
  Status broken = Unavailable("the stream ended" + (end.ok() ? "" : ": " + end.ToString()));
  const std::optional<int64_t> after = end.retry_after_ms();
  return after ? std::move(broken).RetryAfterMs(*after) : broken;
}

}  // namespace

TopicDriver::TopicDriver(Client& client, std::string topic, Duration unknown_topic_grace)
    : client_(client), topic_(std::move(topic)), unknown_topic_grace_(unknown_topic_grace) {}

TopicDriver::~TopicDriver() {
  client_.executor().Cancel(timer_);
  client_.Unwatch(watch_);
}

void TopicDriver::FindTopic(Duration timeout, MoveFunction<void(Status)> done) {
  client_.OpenTopic(topic_, timeout,
                    lifetime_.Guard([this, done = std::move(done)](Status status) mutable {
                      if (!status.ok()) return done(std::move(status));
                      const TopicDetails* found = client_.metadata().FindTopic(topic_);
                      CHECK(found != nullptr) << topic_;
                      topic_id_ = found->id;
                      partition_count_ = found->partition_count;
                      done(Status::Ok());
                    }));
}

void TopicDriver::Start(const std::string& method,
                        const google::protobuf::MessageLite& first_message) {
  CHECK(topic_id_ != TopicId()) << "Start before FindTopic";
  CHECK(!is_started());
  streams_ = std::make_unique<StreamPool>(
      client_.connector(), method, Bytes::Own(first_message.SerializeAsString()),
      [this](BrokerId broker, const Bytes& message) {
        const MonotonicTime now = client_.clock().Now();
        silences_.erase(broker);
        const Status read = OnMessage(broker, message, now);
        if (!read.ok()) {
          streams_->Close(broker);
          OnStreamClosed(broker, Broken(read), now);
        }
        PostPump();
      },
      [this](BrokerId broker, const Status& end) {
        OnStreamClosed(broker, Broken(end), client_.clock().Now());
        PostPump();
      });
  watch_ = client_.Watch(topic_, [this](const Status& status) { OnMetadata(status); });
}

// Takes over what the cache says now; `status` is that of the refresh.
void TopicDriver::OnMetadata(const Status& status) {
  const MonotonicTime now = client_.clock().Now();
  const TopicDetails* found = client_.metadata().FindTopic(topic_);
  const bool is_gone = status.code() == Code::kNotFound || found == nullptr;
  if (!is_gone) topic_missing_since_.reset();
  if (is_gone && !topic_missing_since_) topic_missing_since_ = now;
  if (is_gone && now - *topic_missing_since_ >= unknown_topic_grace_) {
    OnTopicLost(status.ok() ? NotFound("topic \"" + topic_ + "\" is gone") : status);
  } else if (!is_gone && found->id > topic_id_) {  // a lower one: that broker lags behind
    OnTopicLost(
        NotFound("topic \"" + topic_ + "\" was deleted and created again", Reason::kTopicDeleted));
  } else if (!is_gone && found->id == topic_id_ && found->partition_count > partition_count_) {
    OnGrown(PartitionId(std::exchange(partition_count_, found->partition_count)));
  }
  OnLeaders();
  TellLeaderless(now);
  PostPump();
}

// Nobody refuses anything while there is nobody to ask. The other failures are the machine's to
// tell.
void TopicDriver::TellLeaderless(MonotonicTime now) {
  const std::optional<TopicPartition> partition = Leaderless();
  if (!partition) return leaderless_since_.reset();
  if (!leaderless_since_) leaderless_since_ = now;
  const std::string number = std::to_string(partition->partition.value());
  client_.TellOutage(
      {.status = Unavailable("topic \"" + topic_ + "\" partition " + number + " has no leader"),
       .topic = topic_,
       .partition = partition->partition,
       .lasts = now - *leaderless_since_});
}

void TopicDriver::PostPump() {
  if (is_pump_posted_) return;
  is_pump_posted_ = true;
  client_.executor().Post(lifetime_.Guard([this] {
    is_pump_posted_ = false;
    Pump(client_.clock().Now());
  }));
}

void TopicDriver::Send(BrokerId broker, std::vector<Bytes> pieces) {
  streams_->Send(broker, client_.metadata().AddressOf(broker), std::move(pieces));
}

void TopicDriver::PlanNext(MonotonicTime now, bool wants_metadata,
                           std::optional<MonotonicTime> wake_at) {
  if (wants_metadata) client_.RefreshMetadata();
  const std::optional<MonotonicTime> listen_until = WatchSilence(now);
  if (listen_until) wake_at = std::min(*listen_until, wake_at.value_or(*listen_until));
  client_.executor().Cancel(timer_);
  timer_ = {};
  if (!wake_at) return;
  timer_ = client_.executor().RunAfter(*wake_at - now,
                                       lifetime_.Guard([this] { Pump(client_.clock().Now()); }));
}

void TopicDriver::Tell(const std::optional<Trouble>& trouble) {
  if (!trouble) return;
  client_.TellOutage(
      {.address = client_.metadata().AddressOf(trouble->broker),
       .status = trouble->status.With("topic \"" + topic_ + "\" partition " +
                                      std::to_string(trouble->partition.partition.value()) +
                                      " at broker " + std::to_string(trouble->broker.value())),
       .topic = topic_,
       .partition = trouble->partition.partition,
       .lasts = trouble->lasts});
}

// When to look again, if anybody is awaited.
std::optional<MonotonicTime> TopicDriver::WatchSilence(MonotonicTime now) {
  std::map<BrokerId, Silence> awaited;
  std::optional<MonotonicTime> look_at;
  for (const BrokerId broker : Awaited()) {
    const auto known = silences_.find(broker);
    Silence silence{.since = now, .patience = kSilenceMin};
    if (known != silences_.end()) silence = known->second;
    if (now - silence.since >= silence.patience) {
      client_.RefreshMetadata();
      silence.patience = std::min(silence.patience * 2, kSilenceMax);
      silence.since = now;
    }
    awaited[broker] = silence;
    const MonotonicTime ends_at = silence.since + silence.patience;
    look_at = std::min(ends_at, look_at.value_or(ends_at));
  }
  silences_ = std::move(awaited);
  return look_at;
}

LeaderInfo TopicDriver::LeaderOf(PartitionId partition) const {
  return client_.metadata().LeaderOf({topic_id_, partition});
}

Status TopicDriver::NoSuchPartition(PartitionId partition) const {
  return NotFound("topic \"" + topic_ + "\" has no partition " + std::to_string(partition.value()),
                  Reason::kUnknownPartition);
}

}  // namespace millrace::client

#include "client/core/stream_driver.h"

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

StreamDriver::~StreamDriver() { client_.executor().Cancel(timer_); }

void StreamDriver::Start(const std::string& method,
                         const google::protobuf::MessageLite& first_message) {
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
}

void StreamDriver::OnMetadata() {
  TellLeaderless(client_.clock().Now());
  PostPump();
}

// Nobody refuses anything while there is nobody to ask. The other failures are the machine's to
// tell.
void StreamDriver::TellLeaderless(MonotonicTime now) {
  const std::optional<TopicPartition> partition = Leaderless();
  if (!partition) return leaderless_since_.reset();
  if (!leaderless_since_) leaderless_since_ = now;
  const std::string number = std::to_string(partition->partition.value());
  const std::string& topic = NameOf(partition->topic);
  client_.TellOutage(
      {.status = Unavailable("topic \"" + topic + "\" partition " + number + " has no leader"),
       .topic = topic,
       .partition = partition->partition,
       .lasts = now - *leaderless_since_});
}

void StreamDriver::PostPump() {
  if (is_pump_posted_) return;
  is_pump_posted_ = true;
  client_.executor().Post(lifetime_.Guard([this] {
    is_pump_posted_ = false;
    Pump(client_.clock().Now());
  }));
}

void StreamDriver::Send(BrokerId broker, std::vector<Bytes> pieces) {
  streams_->Send(broker, client_.metadata().AddressOf(broker), std::move(pieces));
}

void StreamDriver::PlanNext(MonotonicTime now, bool wants_metadata,
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

void StreamDriver::Tell(const std::optional<Trouble>& trouble) {
  if (!trouble) return;
  const std::string& topic = NameOf(trouble->partition.topic);
  client_.TellOutage(
      {.address = client_.metadata().AddressOf(trouble->broker),
       .status = trouble->status.With("topic \"" + topic + "\" partition " +
                                      std::to_string(trouble->partition.partition.value()) +
                                      " at broker " + std::to_string(trouble->broker.value())),
       .topic = topic,
       .partition = trouble->partition.partition,
       .lasts = trouble->lasts});
}

// When to look again, if anybody is awaited.
std::optional<MonotonicTime> StreamDriver::WatchSilence(MonotonicTime now) {
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

}  // namespace millrace::client

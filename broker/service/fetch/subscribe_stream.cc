#include "broker/service/fetch/subscribe_stream.h"

#include <algorithm>
#include <deque>
#include <set>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "broker/api/parse_request.h"
#include "broker/api/request_limits.h"
#include "broker/service/fetch/accepted_read.h"
#include "broker/service/fetch/position.h"
#include "broker/service/fetch/stream_memory.h"
#include "broker/service/fetch/subscribe_wire.h"
#include "millrace/v1/consumer_service.pb.h"
#include "proto/base/coverage.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {
namespace {

// Bytes read of one partition at a time.
constexpr uint64_t kReadBytesMax = 256 << 10;
// How long a read waits at the end of a partition; then it is asked again.
constexpr Duration kReadWait = std::chrono::seconds(5);
// Between two looks for a partition's leader.
constexpr Duration kRetryDelay = std::chrono::milliseconds(100);
// Between two looks for memory to read partitions that the topic got.
constexpr Duration kMemoryDelay = std::chrono::seconds(1);

// Whether the same request may succeed later: no leader, or none that answers.
bool Passes(const Status& status) {
  return status.code() == Code::kUnavailable || status.code() == Code::kDeadlineExceeded ||
         status.code() == Code::kResourceExhausted;
}

class SubscribeStream final : public StreamHandler {
 public:
  SubscribeStream(const FetchEnvironment& environment, std::shared_ptr<Stream> stream)
      : environment_(environment),
        stream_(std::move(stream)),
        memory_(environment.memory.outgoing, stream_, [this] { Pump(); }) {
    earliest_.set_earliest(true);
  }
  ~SubscribeStream() override { environment_.view.UnwatchImage(watch_); }

  void OnMessage(Bytes message) override;
  void OnHalfClose() override {
    if (sessions_.empty()) Finish(InvalidArgument("the call has no SubscribeRequest"));
  }
  void OnWritable() override {
    memory_.OnWritable();
    Pump();
  }
  void OnClosed() override { is_over_ = true; }

 private:
  // A partition. It is in ready_, or one operation is under way for it, or it is done.
  struct Session {
    PartitionId partition;
    RaftGroupId group;
    bool has_come = false;  // while the call was under way: it is read from its start
    bool is_located = false;
    // `next` is where the log started, and nothing was read from there.
    bool is_at_earliest = false;
    Offset next;
    Offset end;  // stop_at_end: where it is done
    // As of the last answer: what lies below is read from disk or from a leader, and takes memory.
    Offset high_watermark;
  };

  Status Begin(const v1::SubscribeRequest& request);
  Status AddPartitions(const v1::SubscribeRequest& request, const TopicInfo& topic);
  // The topic may have more partitions now.
  void OnImageChanged();
  Status TakeMemory(size_t partitions);
  const v1::Position& PositionOf(const Session& session) const {
    return session.has_come ? earliest_ : position_;
  }
  void Pump();
  void PostPump();
  void Locate(size_t number);
  void OnLocated(size_t number, const Result<PartitionOffsets>& offsets);
  void LocateAgain(size_t number);
  void Read(size_t number);
  void OnRead(size_t number, bool is_reserved, const Result<FetchedBatches>& read);
  Status Deliver(Session& session, const FetchedBatches& read);
  void OnError(size_t number, const Status& status);
  // The session's next operation may begin, unless it has come to its end.
  void Continue(size_t number);
  void Finish(const Status& status) {
    if (!std::exchange(is_over_, true)) stream_->Finish(status);
  }

  const FetchEnvironment environment_;
  std::shared_ptr<Stream> stream_;
  TopicId topic_id_;
  v1::Position position_;
  v1::Position earliest_;
  uint64_t watch_ = 0;  // of the image, where all partitions are read without an end
  bool stops_at_end_ = false;
  bool is_over_ = false;
  bool is_pump_posted_ = false;
  bool is_short_of_memory_ = false;  // to read partitions that came; it is tried again
  std::vector<Session> sessions_;
  std::deque<size_t> ready_;
  size_t done_count_ = 0;
  std::vector<MemoryHold> sessions_memory_;
  StreamMemory memory_;
  Lifetime lifetime_;
};

void SubscribeStream::OnMessage(Bytes message) {
  if (is_over_) return;
  if (!sessions_.empty()) return Finish(InvalidArgument("a Subscribe call has one request"));
  const auto request = ParseRequest<v1::SubscribeRequest>(message);
  if (!request.ok()) return Finish(request.status());
  if (const Status begun = Begin(*request); !begun.ok()) return Finish(begun);
  Pump();
}

Status SubscribeStream::Begin(const v1::SubscribeRequest& request) {
  ASSIGN_OR_RETURN(const TopicInfo* topic,
                   environment_.view.FindLog(request.topic(), TopicId(request.topic_id())));
  topic_id_ = topic->id;
  position_ = request.position();
  if (position_.at_case() == v1::Position::AT_NOT_SET) position_.set_latest(true);
  stops_at_end_ = request.stop_at_end();
  // Where there is no end, those that are not known yet follow.
  if (request.partitions().empty() && stops_at_end_) {
    RETURN_IF_ERROR(environment_.view.CheckKnowsTopics());
  }
  RETURN_IF_ERROR(AddPartitions(request, *topic));
  if (position_.has_offset() && sessions_.size() != 1) {
    sessions_.clear();
    return InvalidArgument("position.offset needs exactly one partition");
  }
  for (size_t i = 0; i < sessions_.size(); ++i) ready_.push_back(i);
  if (request.partitions().empty() && !stops_at_end_) {
    watch_ = environment_.view.WatchImage([this] { OnImageChanged(); });
  }
  return {};
}

Status SubscribeStream::AddPartitions(const v1::SubscribeRequest& request, const TopicInfo& topic) {
  RETURN_IF_ERROR(CheckCount(static_cast<size_t>(request.partitions_size()), "partitions"));
  std::set<uint32_t> wanted(request.partitions().begin(), request.partitions().end());
  if (wanted.size() != static_cast<size_t>(request.partitions_size())) {
    return InvalidArgument("`partitions` names one twice");
  }
  if (!wanted.empty() && *wanted.rbegin() >= topic.partitions.size()) {
    return environment_.view
        .FindPartition(
            {.topic = "", .topic_id = topic.id, .partition = PartitionId(*wanted.rbegin())})
        .status();
  }
  RETURN_IF_ERROR(TakeMemory(wanted.empty() ? topic.partitions.size() : wanted.size()));
  for (const PartitionInfo& info : topic.partitions) {
    if (!wanted.empty() && !wanted.contains(info.partition.value())) continue;
    Session& session = sessions_.emplace_back();
    session.partition = info.partition;
    session.group = info.group;
  }
  return {};
}

Status SubscribeStream::TakeMemory(size_t partitions) {
  MemoryBudget& memory = environment_.memory.sessions;
  const uint64_t bytes = partitions * kReadSessionBytes;
  if (bytes > memory.Allowance()) {
    return ResourceExhausted("as many partitions of this broker are read as its memory allows",
                             Reason::kThrottled)
        .RetryAfterMs(1000);
  }
  sessions_memory_.emplace_back(memory, bytes);
  return {};
}

// Whoever reads all of a topic misses nothing of what it gets: that is read from its start, also
// where the call began elsewhere, for all of it is newer.
void SubscribeStream::OnImageChanged() {
  if (is_over_) return;
  const TopicInfo* topic = environment_.view.image().FindTopic(topic_id_);
  // Who reads a partition of a topic that is gone is told of it.
  if (topic == nullptr || topic->partitions.size() <= sessions_.size()) return;
  if (!TakeMemory(topic->partitions.size() - sessions_.size()).ok()) {
    if (std::exchange(is_short_of_memory_, true)) return;
    environment_.executor.RunAfter(kMemoryDelay, lifetime_.Guard([this] {
      is_short_of_memory_ = false;
      OnImageChanged();
    }));
    return;
  }
  for (size_t number = sessions_.size(); number < topic->partitions.size(); ++number) {
    const PartitionInfo& info = topic->partitions[number];
    sessions_.push_back({.partition = info.partition, .group = info.group, .has_come = true});
    ready_.push_back(number);
  }
  Pump();
}

// Begins what is ready, in turn, as long as there is memory and the transport keeps up.
void SubscribeStream::Pump() {
  while (!is_over_ && !ready_.empty()) {
    const size_t number = ready_.front();
    const bool is_located = sessions_[number].is_located;
    if (is_located && !memory_.MayHoldMore()) return;
    ready_.pop_front();
    is_located ? Read(number) : Locate(number);
  }
}

void SubscribeStream::PostPump() {
  if (std::exchange(is_pump_posted_, true)) return;
  environment_.executor.Post(lifetime_.Guard([this] {
    is_pump_posted_ = false;
    Pump();
  }));
}

void SubscribeStream::Locate(size_t number) {
  environment_.partitions.Offsets(
      stream_->principal(), sessions_[number].group,
      {.timestamp_ms = TimestampOf(PositionOf(sessions_[number]))}, kForwardTimeout,
      lifetime_.Guard([this, number](const Result<PartitionOffsets>& offsets) {
        if (!is_over_) OnLocated(number, offsets);
      }));
}

void SubscribeStream::OnLocated(size_t number, const Result<PartitionOffsets>& offsets) {
  if (!offsets.ok()) return OnError(number, offsets.status());
  Session& session = sessions_[number];
  session.is_located = true;
  session.next = StartOf(PositionOf(session), *offsets);
  session.high_watermark = offsets->high_watermark;
  // Located again, it ends where it was to end.
  const bool is_again = std::exchange(session.is_at_earliest, PositionOf(session).earliest());
  if (!is_again) session.end = offsets->high_watermark;
  if (session.next <= session.end || is_again) return Continue(number);
  // Reading there says that it is out of range.
  ready_.push_back(number);
  PostPump();
}

// Its start moved before anything was read: the earliest record is another one.
void SubscribeStream::LocateAgain(size_t number) {
  MILLRACE_SOMETIMES("a subscription's start moved before its first read");
  sessions_[number].is_located = false;
  ready_.push_back(number);
  PostPump();
}

void SubscribeStream::Read(size_t number) {
  Session& session = sessions_[number];
  MemoryHold reserved = memory_.BeginRead(session.next < session.high_watermark);
  ReadAccepted(environment_, stream_->principal(),
               {.group = session.group,
                .request = {.offset = session.next, .bytes_max = kReadBytesMax},
                .accepted = AcceptedForms::Uncompressed(),
                .wait = kReadWait},
               lifetime_.Guard([this, number, reserved = std::move(reserved)](
                                   const Result<FetchedBatches>& read) {
                 memory_.EndRead(reserved);
                 if (!is_over_) OnRead(number, reserved.bytes() > 0, read);
               }));
}

void SubscribeStream::OnRead(size_t number, bool is_reserved, const Result<FetchedBatches>& read) {
  Session& session = sessions_[number];
  const bool is_gone = read.status().reason() == Reason::kOffsetOutOfRange;
  if (is_gone && session.is_at_earliest) return LocateAgain(number);
  if (!read.ok()) return OnError(number, read.status());
  const Offset from = session.next;
  session.high_watermark = read->offsets.high_watermark;
  // What others were faster to take memory for is read again.
  if (!read->batches.empty() && (is_reserved || memory_.MayHoldMore())) {
    const Status delivered = Deliver(session, *read);
    if (!delivered.ok()) return Finish(delivered);
  } else if (read->batches.empty()) {
    session.next = std::max(session.next, read->next_offset);
  }
  if (session.next > from) session.is_at_earliest = false;
  Continue(number);
}

// Sends records until there is no room: unpacked, a batch may be many times what was read.
Status SubscribeStream::Deliver(Session& session, const FetchedBatches& read) {
  const Offset to = stops_at_end_ ? session.end : Offset(INT64_MAX);
  RecordMessages messages(session.partition, [this](Bytes message) {
    stream_->Write({std::move(message)});
    memory_.OnSent();
    return memory_.HasRoom();
  });
  for (const FetchedBatch& batch : read.batches) {
    const Result<Offset> added = messages.Add(batch, session.next, to);
    if (!added.ok()) {
      messages.Flush();
      return added.status();
    }
    session.next = std::max(session.next, *added);
    if (!messages.has_room()) return {};
    if (&batch == &read.batches.back()) session.next = std::max(session.next, read.next_offset);
  }
  messages.Flush();
  return {};
}

void SubscribeStream::OnError(size_t number, const Status& status) {
  if (!Passes(status)) return Finish(environment_.view.WithLeader(status, sessions_[number].group));
  const Status topic = environment_.view.FindTopic("", topic_id_).status();
  if (topic.code() == Code::kNotFound) return Finish(topic);
  environment_.executor.RunAfter(kRetryDelay, lifetime_.Guard([this, number] {
    ready_.push_back(number);
    Pump();
  }));
}

void SubscribeStream::Continue(size_t number) {
  if (!stops_at_end_ || sessions_[number].next < sessions_[number].end) {
    ready_.push_back(number);
    return PostPump();
  }
  if (++done_count_ == sessions_.size()) Finish(Status::Ok());
}

}  // namespace

std::unique_ptr<StreamHandler> MakeSubscribeStream(const FetchEnvironment& environment,
                                                   std::shared_ptr<Stream> stream) {
  return std::make_unique<SubscribeStream>(environment, std::move(stream));
}

}  // namespace millrace::broker

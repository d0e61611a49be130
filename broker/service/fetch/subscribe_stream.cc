#include "broker/service/fetch/subscribe_stream.h"

#include <set>
#include <utility>
#include <vector>

#include "broker/api/parse_request.h"
#include "broker/api/request_limits.h"
#include "broker/service/fetch/partition_reader.h"
#include "broker/service/fetch/position.h"
#include "millrace/v1/consumer_service.pb.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {
namespace {

// Between two looks for memory to read partitions that the topic got.
constexpr Duration kMemoryDelay = std::chrono::seconds(1);

class SubscribeStream final : public StreamHandler {
 public:
  SubscribeStream(const FetchEnvironment& environment, std::shared_ptr<Stream> stream)
      : environment_(environment),
        stream_(std::move(stream)),
        reader_(
            environment, stream_,
            {.located = [](PartitionReader::Id, Offset) {},
             .send =
                 [this](PartitionReader::Sent sent) { stream_->Write({std::move(sent.message)}); },
             .done =
                 [this](PartitionReader::Id) {
                   if (++done_count_ == partition_count_) Finish(Status::Ok());
                 },
             .failed = [this](PartitionReader::Id, const Status& why) { Finish(why); }}) {}
  ~SubscribeStream() override { environment_.view.UnwatchImage(watch_); }

  void OnMessage(Bytes message) override;
  void OnHalfClose() override {
    if (partition_count_ == 0) Finish(InvalidArgument("the call has no SubscribeRequest"));
  }
  void OnWritable() override { reader_.OnWritable(); }
  void OnClosed() override {
    is_over_ = true;
    reader_.Stop();
  }

 private:
  Status Begin(const v1::SubscribeRequest& request);
  Status AddPartitions(const v1::SubscribeRequest& request, const TopicInfo& topic);
  // The topic may have more partitions now.
  void OnImageChanged();
  void Finish(const Status& status) {
    if (std::exchange(is_over_, true)) return;
    reader_.Stop();
    stream_->Finish(status);
  }

  const FetchEnvironment environment_;
  std::shared_ptr<Stream> stream_;
  TopicId topic_id_;
  uint64_t watch_ = 0;  // of the image, where all partitions are read without an end
  bool is_over_ = false;
  bool is_short_of_memory_ = false;  // to read partitions that came; it is tried again
  size_t partition_count_ = 0;       // that are read; each by its number
  size_t done_count_ = 0;
  PartitionReader reader_;
  Lifetime lifetime_;
};

void SubscribeStream::OnMessage(Bytes message) {
  if (is_over_) return;
  if (partition_count_ > 0) return Finish(InvalidArgument("a Subscribe call has one request"));
  const auto request = ParseRequest<v1::SubscribeRequest>(message);
  if (!request.ok()) return Finish(request.status());
  if (const Status begun = Begin(*request); !begun.ok()) return Finish(begun);
  reader_.Pump();
}

Status SubscribeStream::Begin(const v1::SubscribeRequest& request) {
  ASSIGN_OR_RETURN(const TopicInfo* topic,
                   environment_.view.FindLog(request.topic(), TopicId(request.topic_id())));
  topic_id_ = topic->id;
  const bool is_endless = request.partitions().empty() && !request.stop_at_end();
  // Where there is no end, those that are not known yet follow.
  if (request.partitions().empty() && !is_endless) {
    RETURN_IF_ERROR(environment_.view.CheckKnowsTopics());
  }
  RETURN_IF_ERROR(AddPartitions(request, *topic));
  if (is_endless) watch_ = environment_.view.WatchImage([this] { OnImageChanged(); });
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
  v1::Position position = request.position();
  if (position.at_case() == v1::Position::AT_NOT_SET) position.set_latest(true);
  std::vector<PartitionReader::Reading> readings;
  for (const PartitionInfo& info : topic.partitions) {
    if (!wanted.empty() && !wanted.contains(info.partition.value())) continue;
    readings.push_back({.id = info.partition.value(),
                        .topic = topic.id,
                        .partition = info.partition,
                        .group = info.group,
                        .position = position,
                        .stops_at_end = request.stop_at_end(),
                        .isolation = IsolationOf(request.isolation())});
  }
  if (position.has_offset() && readings.size() != 1) {
    return InvalidArgument("position.offset needs exactly one partition");
  }
  RETURN_IF_ERROR(reader_.Add(readings));
  partition_count_ = readings.size();
  return {};
}

// Whoever reads all of a topic misses nothing of what it gets: that is read from its start, also
// where the call began elsewhere, for all of it is newer.
void SubscribeStream::OnImageChanged() {
  if (is_over_) return;
  const TopicInfo* topic = environment_.view.image().FindTopic(topic_id_);
  // Who reads a partition of a topic that is gone is told of it.
  if (topic == nullptr || topic->partitions.size() <= partition_count_) return;
  std::vector<PartitionReader::Reading> readings;
  for (size_t number = partition_count_; number < topic->partitions.size(); ++number) {
    const PartitionInfo& info = topic->partitions[number];
    readings.push_back(
        {.id = number, .topic = topic->id, .partition = info.partition, .group = info.group});
    readings.back().position.set_earliest(true);
  }
  if (!reader_.Add(readings).ok()) {
    if (std::exchange(is_short_of_memory_, true)) return;
    environment_.executor.RunAfter(kMemoryDelay, lifetime_.Guard([this] {
      is_short_of_memory_ = false;
      OnImageChanged();
    }));
    return;
  }
  partition_count_ = topic->partitions.size();
  reader_.Pump();
}

}  // namespace

std::unique_ptr<StreamHandler> MakeSubscribeStream(const FetchEnvironment& environment,
                                                   std::shared_ptr<Stream> stream) {
  return std::make_unique<SubscribeStream>(environment, std::move(stream));
}

}  // namespace millrace::broker

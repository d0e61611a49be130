#include "broker/service/fetch_stream.h"

#include <algorithm>
#include <map>
#include <utility>

#include <glog/logging.h>

#include "broker/service/consumer_service.h"
#include "broker/service/error_reply.h"
#include "broker/service/fetch_wire.h"
#include "broker/service/request_limits.h"
#include "millrace/v1/consumer_service.pb.h"

namespace millrace::broker {
namespace {

constexpr size_t kClientIdBytesMax = 249;
// Partitions that one stream may read at once.
constexpr size_t kPartitionsMax = 10000;
// Of one partition in one message; leaves room for headers under the client's 4 MiB.
constexpr uint64_t kReadBytesMax = 1 << 20;
// Written to the stream and not yet taken by the transport, past which no reads begin.
constexpr uint64_t kPendingBytesMax = 2 << 20;
// How long a read waits at the end of a partition; then it is asked again. Nobody's thread waits.
constexpr Duration kReadWait = std::chrono::seconds(5);

class FetchStream final : public StreamHandler {
 public:
  FetchStream(ServiceContext& context, ConsumerService& service, std::shared_ptr<Stream> stream)
      : context_(&context), service_(&service), stream_(std::move(stream)) {}
  ~FetchStream() override { *is_alive_ = false; }

  void OnMessage(Bytes message) override;
  void OnHalfClose() override {
    is_closed_ = true;
    stream_->Finish(Status::Ok());
  }
  void OnWritable() override { Pump(); }
  void OnClosed() override { is_closed_ = true; }

 private:
  struct Session {
    RaftGroupId group;
    Offset next_offset;
    bool is_positioned = false;
    bool is_busy = false;  // a read is under way, or waits at the leader
    // Tells an answer to this session from one to an earlier session of the same fetch_id.
    uint64_t generation = 0;
  };

  void Refuse(const Status& status) {
    is_closed_ = true;
    stream_->Finish(status);
  }
  bool Initialize(const v1::FetchRequest& request);
  void Add(const v1::FetchPartition& partition);
  void FindPosition(uint32_t fetch_id, const v1::Position& position);
  void OnOffsets(uint32_t fetch_id, const v1::Position& position,
                 const Result<PartitionOffsets>& offsets);
  void Pump();
  void StartRead(uint32_t fetch_id, Session& session);
  void OnRead(uint32_t fetch_id, Result<RemoteRead> read);
  void Send(uint32_t fetch_id, const PartitionOffsets& offsets, Offset next,
            std::vector<Bytes> batches);
  void Fail(uint32_t fetch_id, const Status& status);
  // The session if the answer of `generation` is still wanted.
  Session* Current(uint32_t fetch_id, uint64_t generation);

  ServiceContext* context_;
  ConsumerService* service_;
  std::shared_ptr<Stream> stream_;
  bool is_initialized_ = false;
  bool is_closed_ = false;
  int64_t credit_bytes_ = 0;
  std::map<uint32_t, Session> sessions_;
  uint32_t last_served_ = 0;
  uint64_t next_generation_ = 1;
  // Guards completions that outlive the stream; shared with those alone.
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);
};

void FetchStream::OnMessage(Bytes message) {
  if (is_closed_) return;
  const Status count =
      CheckCount(message, {.number = v1::FetchRequest::kAddFieldNumber, .name = "add"});
  if (!count.ok()) return Refuse(count);
  v1::FetchRequest request;
  if (!request.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
    return Refuse(InvalidArgument("the message is not a FetchRequest"));
  }
  if (is_initialized_ && request.has_init()) {
    return Refuse(InvalidArgument("`init` may only stand in a Fetch stream's first message"));
  }
  if (!is_initialized_ && !Initialize(request)) return;
  const int64_t room = INT64_MAX / 2 - std::max<int64_t>(credit_bytes_, 0);
  credit_bytes_ += std::min(
      static_cast<int64_t>(std::min<uint64_t>(request.credit_bytes(), INT64_MAX / 2)), room);
  for (const uint32_t fetch_id : request.remove()) sessions_.erase(fetch_id);
  for (const v1::FetchPartition& partition : request.add()) Add(partition);
  Pump();
}

bool FetchStream::Initialize(const v1::FetchRequest& request) {
  if (!request.has_init()) {
    Refuse(InvalidArgument("the first message of a Fetch stream must have `init`"));
    return false;
  }
  if (request.init().client_id().size() > kClientIdBytesMax) {
    Refuse(InvalidArgument("init.client_id is longer than 249 bytes"));
    return false;
  }
  is_initialized_ = true;
  v1::FetchResponse response;
  response.mutable_init()->set_broker_id(context_->self.broker.value());
  stream_->Write({Bytes::Own(response.SerializeAsString())});
  return true;
}

void FetchStream::Add(const v1::FetchPartition& partition) {
  const uint32_t fetch_id = partition.fetch_id();
  sessions_.erase(fetch_id);
  if (sessions_.size() >= kPartitionsMax) {
    return Fail(fetch_id, ResourceExhausted("a Fetch stream reads at most 10000 partitions"));
  }
  const Result<const PartitionInfo*> info =
      context_->FindPartition({.topic = partition.topic(),
                               .topic_id = TopicId(partition.topic_id()),
                               .partition = PartitionId(partition.partition())});
  if (!info.ok()) return Fail(fetch_id, info.status());
  if (partition.position().at_case() == v1::Position::AT_NOT_SET) {
    return Fail(fetch_id, InvalidArgument("FetchPartition.position is not set"));
  }
  Session& session = sessions_[fetch_id];
  session.group = (*info)->group;
  session.generation = next_generation_++;
  FindPosition(fetch_id, partition.position());
}

void FetchStream::FindPosition(uint32_t fetch_id, const v1::Position& position) {
  const Session& session = sessions_[fetch_id];
  service_->Offsets(session.group, TimestampOf(position),
                    [this, fetch_id, position, generation = session.generation,
                     alive = is_alive_](Result<PartitionOffsets> offsets) {
                      if (!*alive || Current(fetch_id, generation) == nullptr) return;
                      OnOffsets(fetch_id, position, offsets);
                      Pump();
                    });
}

void FetchStream::OnOffsets(uint32_t fetch_id, const v1::Position& position,
                            const Result<PartitionOffsets>& offsets) {
  if (!offsets.ok()) return Fail(fetch_id, offsets.status());
  Session& session = sessions_[fetch_id];
  session.next_offset = StartOf(position, *offsets);
  session.is_positioned = true;
  Send(fetch_id, *offsets, session.next_offset, {});
}

FetchStream::Session* FetchStream::Current(uint32_t fetch_id, uint64_t generation) {
  if (is_closed_) return nullptr;
  auto found = sessions_.find(fetch_id);
  if (found == sessions_.end() || found->second.generation != generation) return nullptr;
  return &found->second;
}

// Begins reads while there is credit, each time with the partition after the one served last.
void FetchStream::Pump() {
  if (is_closed_ || sessions_.empty()) return;
  auto at = sessions_.upper_bound(last_served_);
  for (size_t seen = sessions_.size(); seen > 0; --seen) {
    if (credit_bytes_ <= 0 || stream_->pending_bytes() >= kPendingBytesMax) return;
    if (at == sessions_.end()) at = sessions_.begin();
    const uint32_t fetch_id = at->first;
    Session& session = at->second;
    ++at;
    if (!session.is_positioned || session.is_busy) continue;
    last_served_ = fetch_id;
    StartRead(fetch_id, session);
    // A read may have failed at once and removed its session.
    at = sessions_.upper_bound(fetch_id);
    if (is_closed_ || sessions_.empty()) return;
  }
}

void FetchStream::StartRead(uint32_t fetch_id, Session& session) {
  session.is_busy = true;
  const ReadRequest request{
      .offset = session.next_offset,
      .bytes_max = std::min<uint64_t>(static_cast<uint64_t>(credit_bytes_), kReadBytesMax)};
  service_->Read(session.group, request, kReadWait,
                 [this, fetch_id, generation = session.generation,
                  alive = is_alive_](Result<RemoteRead> read) {
                   if (!*alive) return;
                   Session* current = Current(fetch_id, generation);
                   if (current == nullptr) return;
                   current->is_busy = false;
                   OnRead(fetch_id, std::move(read));
                   // Not from within this read: a partition in memory would recurse.
                   context_->executor.Post([this, alive] {
                     if (*alive) Pump();
                   });
                 });
}

void FetchStream::OnRead(uint32_t fetch_id, Result<RemoteRead> read) {
  if (!read.ok()) return Fail(fetch_id, read.status());
  sessions_[fetch_id].next_offset = read->next_offset;
  if (!read->batches.empty()) {
    Send(fetch_id, read->offsets, read->next_offset, std::move(read->batches));
  }
}

void FetchStream::Send(uint32_t fetch_id, const PartitionOffsets& offsets, Offset next,
                       std::vector<Bytes> batches) {
  v1::FetchedPartition head;
  head.set_fetch_id(fetch_id);
  head.set_high_watermark(offsets.high_watermark.value());
  head.set_log_start_offset(offsets.log_start.value());
  head.set_leader_epoch(offsets.leader_epoch.value());
  head.set_next_offset(next.value());
  credit_bytes_ -= static_cast<int64_t>(TotalSize(batches));
  stream_->Write(EncodeFetchResponse(head, std::move(batches)));
}

void FetchStream::Fail(uint32_t fetch_id, const Status& status) {
  Status error = status;
  auto found = sessions_.find(fetch_id);
  if (found != sessions_.end()) {
    error = context_->WithLeader(status, found->second.group);
    sessions_.erase(found);
  }
  v1::FetchedPartition head;
  head.set_fetch_id(fetch_id);
  ToError(error, head.mutable_error());
  stream_->Write(EncodeFetchResponse(head, {}));
}

}  // namespace

std::unique_ptr<StreamHandler> MakeFetchStream(ServiceContext& context, ConsumerService& service,
                                               std::shared_ptr<Stream> stream) {
  return std::make_unique<FetchStream>(context, service, std::move(stream));
}

}  // namespace millrace::broker

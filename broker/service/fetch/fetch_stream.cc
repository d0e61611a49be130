#include "broker/service/fetch/fetch_stream.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <glog/logging.h>

#include "broker/api/error_reply.h"
#include "broker/api/parse_request.h"
#include "broker/api/request_limits.h"
#include "broker/service/fetch/accepted_read.h"
#include "broker/service/fetch/fetch_wire.h"
#include "broker/service/fetch/position.h"
#include "broker/service/fetch/stream_memory.h"
#include "millrace/v1/consumer_service.pb.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {
namespace {

// Partitions that one stream may read at once.
constexpr size_t kPartitionsMax = 10000;
// Bytes of one partition in one message; leaves room for headers under the client's 4 MiB.
constexpr uint64_t kReadBytesMax = StreamMemory::kReadBytesMax;
// A read asks for no less, however little memory is free: a batch passes whole, anyway.
constexpr uint64_t kReadBytesMin = 64 << 10;
// How long a read waits at the end of a partition; then it is asked again. Nobody's thread waits.
constexpr Duration kReadWait = std::chrono::seconds(5);

class FetchStream final : public StreamHandler {
 public:
  FetchStream(const FetchEnvironment& environment, std::shared_ptr<Stream> stream)
      : environment_(environment),
        stream_(std::move(stream)),
        memory_(environment.memory.outgoing, stream_, [this] { Pump(); }) {}

  void OnMessage(Bytes message) override;
  void OnHalfClose() override {
    is_closed_ = true;
    stream_->Finish(Status::Ok());
  }
  void OnWritable() override {
    memory_.OnWritable();
    stream_->SetReading(true);
    Pump();
  }
  void OnClosed() override { is_closed_ = true; }

 private:
  struct Session {
    RaftGroupId group;
    Offset next_offset;
    bool is_positioned = false;
    // Added at earliest, and nothing was sent yet: where that is may move before the first read.
    bool is_at_earliest = false;
    // As of the last answer: what lies below is read from disk or from a leader, and takes memory.
    Offset reader_end;
    // Tells an answer to this session from one to an earlier session of the same fetch_id.
    uint64_t generation = 0;
    MemoryHold memory;
  };

  void Refuse(const Status& status) {
    is_closed_ = true;
    stream_->Finish(status);
  }
  bool Initialize(const v1::FetchRequest& request);
  void Add(const v1::FetchPartition& partition);
  void Remove(uint32_t fetch_id);
  bool HasRoomForSession() const;
  void FindPosition(uint32_t fetch_id, const v1::Position& position);
  void OnOffsets(uint32_t fetch_id, const v1::Position& position,
                 const Result<PartitionOffsets>& offsets);
  void Pump();
  void StartRead(uint32_t fetch_id, Session& session);
  void OnRead(uint32_t fetch_id, bool is_reserved, Result<FetchedBatches> read);
  void Send(uint32_t fetch_id, const PartitionOffsets& offsets, Offset next,
            std::vector<Bytes> batches = {});
  void Fail(uint32_t fetch_id, const Status& status);
  // The session if the answer of `generation` is still wanted.
  Session* Current(uint32_t fetch_id, uint64_t generation);

  const FetchEnvironment environment_;
  std::shared_ptr<Stream> stream_;
  AcceptedForms accepted_ = AcceptedForms::TypedOnly();
  Isolation isolation_ = Isolation::kCommitted;
  bool is_initialized_ = false;
  bool is_closed_ = false;
  int64_t credit_bytes_ = 0;
  std::map<uint32_t, Session> sessions_;
  // Those that are positioned and of which no read is under way or waits at the leader.
  std::set<uint32_t> ready_;
  StreamMemory memory_;
  uint32_t last_served_ = 0;
  uint64_t next_generation_ = 1;
  Lifetime lifetime_;
};

void FetchStream::OnMessage(Bytes message) {
  if (is_closed_) return;
  const Status count =
      CheckCount(message, {.number = v1::FetchRequest::kAddFieldNumber, .name = "add"});
  if (!count.ok()) return Refuse(count);
  const auto parsed = ParseRequest<v1::FetchRequest>(message);
  if (!parsed.ok()) return Refuse(parsed.status());
  const v1::FetchRequest& request = *parsed;
  if (is_initialized_ && request.has_init()) {
    return Refuse(InvalidArgument("`init` may only stand in a Fetch stream's first message"));
  }
  if (!is_initialized_ && !Initialize(request)) return;
  const int64_t room = INT64_MAX / 2 - std::max<int64_t>(credit_bytes_, 0);
  credit_bytes_ += std::min(
      static_cast<int64_t>(std::min<uint64_t>(request.credit_bytes(), INT64_MAX / 2)), room);
  for (const uint32_t fetch_id : request.remove()) Remove(fetch_id);
  for (const v1::FetchPartition& partition : request.add()) Add(partition);
  // Answers to `add` pile up, too, at a client that does not read them.
  if (stream_->pending_bytes() >= StreamMemory::kBytesMax) stream_->SetReading(false);
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
  isolation_ = IsolationOf(request.init().isolation());
  for (const int number : request.init().accepted_compressions()) {
    if (v1::Compression_IsValid(number)) accepted_.Add(static_cast<BatchCompression>(number));
  }
  v1::FetchResponse response;
  response.mutable_init()->set_broker_id(environment_.self.value());
  stream_->Write({Bytes::Own(response.SerializeAsString())});
  return true;
}

void FetchStream::Add(const v1::FetchPartition& partition) {
  const uint32_t fetch_id = partition.fetch_id();
  Remove(fetch_id);
  if (sessions_.size() >= kPartitionsMax) {
    return Fail(fetch_id, ResourceExhausted("a Fetch stream reads at most 10000 partitions"));
  }
  if (!HasRoomForSession()) {
    return Fail(fetch_id, ResourceExhausted("Fetch streams read as many partitions of this broker "
                                            "as its memory allows",
                                            Reason::kThrottled)
                              .RetryAfterMs(1000));
  }
  const Result<const PartitionInfo*> info =
      environment_.view.FindPartition({.topic = partition.topic(),
                                       .topic_id = TopicId(partition.topic_id()),
                                       .partition = PartitionId(partition.partition())});
  if (!info.ok()) return Fail(fetch_id, info.status());
  if (partition.position().at_case() == v1::Position::AT_NOT_SET) {
    return Fail(fetch_id, InvalidArgument("FetchPartition.position is not set"));
  }
  Session& session = sessions_[fetch_id];
  session.memory = MemoryHold(environment_.memory.sessions, kReadSessionBytes);
  session.group = (*info)->group;
  session.generation = next_generation_++;
  FindPosition(fetch_id, partition.position());
}

void FetchStream::Remove(uint32_t fetch_id) {
  sessions_.erase(fetch_id);
  ready_.erase(fetch_id);
}

bool FetchStream::HasRoomForSession() const {
  const MemoryBudget& memory = environment_.memory.sessions;
  const uint64_t held = sessions_.size() * kReadSessionBytes;
  return held == 0 ? memory.free() >= kReadSessionBytes : held < memory.Allowance();
}

void FetchStream::FindPosition(uint32_t fetch_id, const v1::Position& position) {
  const Session& session = sessions_[fetch_id];
  environment_.partitions.Offsets(
      stream_->principal(), session.group, {.timestamp_ms = TimestampOf(position)}, kForwardTimeout,
      lifetime_.Guard([this, fetch_id, position,
                       generation = session.generation](const Result<PartitionOffsets>& offsets) {
        if (Current(fetch_id, generation) == nullptr) return;
        OnOffsets(fetch_id, position, offsets);
        Pump();
      }));
}

void FetchStream::OnOffsets(uint32_t fetch_id, const v1::Position& position,
                            const Result<PartitionOffsets>& offsets) {
  if (!offsets.ok()) return Fail(fetch_id, offsets.status());
  Session& session = sessions_[fetch_id];
  session.next_offset = StartOf(position, *offsets, isolation_);
  session.is_at_earliest = position.earliest();
  session.reader_end = offsets->end_of(isolation_);
  ready_.insert(fetch_id);
  Send(fetch_id, *offsets, session.next_offset);
}

FetchStream::Session* FetchStream::Current(uint32_t fetch_id, uint64_t generation) {
  if (is_closed_) return nullptr;
  auto found = sessions_.find(fetch_id);
  if (found == sessions_.end() || found->second.generation != generation) return nullptr;
  return &found->second;
}

// Begins reads while there is credit and memory, each time with the partition after the one served
// last.
void FetchStream::Pump() {
  // No more than are ready now: what is in memory is ready again at once.
  for (size_t left = ready_.size(); left > 0; --left) {
    if (is_closed_ || ready_.empty() || credit_bytes_ <= 0) return;
    if (!memory_.MayHoldMore()) return;
    auto at = ready_.upper_bound(last_served_);
    if (at == ready_.end()) at = ready_.begin();
    last_served_ = *at;
    ready_.erase(at);
    StartRead(last_served_, sessions_.at(last_served_));
  }
}

void FetchStream::StartRead(uint32_t fetch_id, Session& session) {
  MemoryBudget& memory = environment_.memory.outgoing;
  const ReadRequest request{
      .offset = session.next_offset,
      .bytes_max = std::min({static_cast<uint64_t>(credit_bytes_), kReadBytesMax,
                             std::max(memory.Allowance(), kReadBytesMin)}),
      .isolation = isolation_};
  MemoryHold reserved = memory_.BeginRead(session.next_offset < session.reader_end);
  ReadAccepted(
      environment_, stream_->principal(),
      {.group = session.group, .request = request, .accepted = accepted_, .wait = kReadWait},
      lifetime_.Guard([this, fetch_id, generation = session.generation,
                       reserved = std::move(reserved)](Result<FetchedBatches> read) mutable {
        memory_.EndRead(reserved);
        if (Current(fetch_id, generation) != nullptr) {
          OnRead(fetch_id, reserved.bytes() > 0, std::move(read));
        }
        reserved.Release();
        // Not from within this read: a partition in memory would recurse.
        environment_.executor.Post(lifetime_.Guard([this] { Pump(); }));
      }));
}

void FetchStream::OnRead(uint32_t fetch_id, bool is_reserved, Result<FetchedBatches> read) {
  Session& session = sessions_.at(fetch_id);
  if (read.status().reason() == Reason::kOffsetOutOfRange && session.is_at_earliest) {
    v1::Position position;
    position.set_earliest(true);
    return FindPosition(fetch_id, position);
  }
  if (!read.ok()) return Fail(fetch_id, read.status());
  session.reader_end = read->offsets.end_of(isolation_);
  ready_.insert(fetch_id);
  // Others, who waited for records at the same time, were first, in this stream or in others: this
  // is read again when its turn comes.
  if (credit_bytes_ <= 0 || stream_->pending_bytes() >= StreamMemory::kBytesMax) return;
  if (!is_reserved && !read->batches.empty() && !memory_.MayHoldMore()) return;
  // An answer that only moved is one: without it a client that stops at an end would wait for ever.
  const bool has_moved = read->next_offset > session.next_offset;
  const Offset from = std::exchange(session.next_offset, read->next_offset);
  if (!has_moved && read->batches.empty()) return;
  session.is_at_earliest = false;
  Send(fetch_id, read->offsets, read->next_offset,
       EncodeBatches(std::move(read->batches), from, read->leader_epoch_base));
}

void FetchStream::Send(uint32_t fetch_id, const PartitionOffsets& offsets, Offset next,
                       std::vector<Bytes> batches) {
  v1::FetchedPartition head;
  head.set_fetch_id(fetch_id);
  head.set_high_watermark(offsets.high_watermark.value());
  head.set_log_start_offset(offsets.log_start.value());
  head.set_leader_epoch(offsets.leader_epoch.value());
  head.set_next_offset(next.value());
  head.set_end_offset(offsets.end_of(isolation_).value());
  credit_bytes_ -= static_cast<int64_t>(TotalSize(batches));
  if (!batches.empty()) memory_.OnSent();
  stream_->Write(EncodeFetchResponse(head, std::move(batches)));
}

void FetchStream::Fail(uint32_t fetch_id, const Status& status) {
  Status error = status;
  auto found = sessions_.find(fetch_id);
  if (found != sessions_.end()) {
    error = environment_.view.WithLeader(status, found->second.group);
    Remove(fetch_id);
  }
  v1::FetchedPartition head;
  head.set_fetch_id(fetch_id);
  ToError(error, head.mutable_error());
  stream_->Write(EncodeFetchResponse(head, {}));
}

}  // namespace

std::unique_ptr<StreamHandler> MakeFetchStream(const FetchEnvironment& environment,
                                               std::shared_ptr<Stream> stream) {
  return std::make_unique<FetchStream>(environment, std::move(stream));
}

}  // namespace millrace::broker

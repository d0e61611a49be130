#include "broker/service/consumer_service.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "broker/service/error_reply.h"
#include "broker/service/fetch_stream.h"
#include "broker/service/fetch_wire.h"
#include "broker/service/request_limits.h"
#include "broker/service/subscribe_stream.h"

namespace millrace::broker {
namespace {

using internal::v1::PartitionOffsetsReply;
using internal::v1::PartitionOffsetsRequest;
using internal::v1::PartitionReadReply;
using internal::v1::PartitionReadRequest;

using RemoteReadDone = MoveFunction<void(Result<RemoteRead>)>;

// A read at a partition led here that waits for data: one try, then a waiter with a deadline.
class LongPoll : public std::enable_shared_from_this<LongPoll> {
 public:
  LongPoll(ServiceContext& context, RaftGroupId group, const ReadRequest& request,
           AcceptedForms accepted, RemoteReadDone done)
      : context_(&context),
        group_(group),
        request_(request),
        accepted_(accepted),
        done_(std::move(done)) {}

  void Start(Duration wait) {
    wait_ = wait;
    Try();
  }

 private:
  void Try() {
    Partition* partition = context_->LedHere(group_);
    if (partition == nullptr) return done_(context_->NotLeader(group_));
    partition->Read(request_, [self = shared_from_this()](Result<ReadOutcome> outcome) {
      self->OnRead(std::move(outcome));
    });
  }

  void OnRead(Result<ReadOutcome> outcome) {
    if (!outcome.ok()) return done_(outcome.status());
    Partition* partition = context_->LedHere(group_);
    const bool must_wait = outcome->entries.empty() && wait_ > Duration::zero() &&
                           partition != nullptr && request_.offset >= partition->high_watermark();
    if (must_wait) return WaitAtEnd(*partition);
    if (!accepted_.TakesAllOf(outcome->entries)) return Rewrite(std::move(*outcome));
    done_(RemoteRead{
        .offsets = outcome->offsets,
        .next_offset = outcome->next_offset,
        .batches = EncodeBatches(outcome->entries, request_.offset, outcome->leader_epoch_base)});
  }

  void Rewrite(ReadOutcome outcome) {
    context_->batches.Run<Result<RewrittenBatches>>(
        {.kind = BatchWorker::Kind::kFetched},
        [entries = std::move(outcome.entries),
         reader = BatchReader{.offset = request_.offset,
                              .accepted = accepted_,
                              .bytes_max = request_.bytes_max,
                              .leader_epoch_base = outcome.leader_epoch_base}] {
          return RewriteBatches(entries, reader);
        },
        [self = shared_from_this(), offsets = outcome.offsets](Result<RewrittenBatches> rewritten) {
          if (!rewritten.ok()) return self->done_(rewritten.status());
          self->done_(RemoteRead{.offsets = offsets,
                                 .next_offset = rewritten->next_offset,
                                 .batches = std::move(rewritten->pieces)});
        });
  }

  void WaitAtEnd(Partition& partition) {
    const uint64_t waiter = partition.Wait(request_.offset, [self = shared_from_this()] {
      self->context_->executor.Cancel(self->timer_);
      self->wait_ = Duration::zero();
      self->Try();
    });
    timer_ = context_->executor.RunAfter(wait_, [self = shared_from_this(), waiter] {
      Partition* waited = self->context_->partitions.Find(self->group_);
      if (waited != nullptr) waited->CancelWait(waiter);
      self->wait_ = Duration::zero();
      self->Try();
    });
  }

  ServiceContext* context_;
  const RaftGroupId group_;
  const ReadRequest request_;
  const AcceptedForms accepted_;
  RemoteReadDone done_;
  Duration wait_{};
  TimerId timer_;
};

// What a lookup by time found, in an answer of either kind.
template <typename Answer>
void SetTimestampOffset(const PartitionOffsets& offsets, Answer* answer) {
  if (!offsets.timestamp_offset.has_value()) return;
  answer->set_timestamp_offset(offsets.timestamp_offset->value());
  if (!offsets.found.has_value()) return;
  answer->set_found_timestamp_ms(offsets.found->timestamp_ms);
  answer->set_found_leader_epoch(offsets.found->leader_epoch.value());
}

Result<PartitionOffsets> ParseOffsets(const Bytes& body, bool has_timestamp) {
  PartitionOffsetsReply reply;
  if (!reply.ParseFromArray(body.data(), static_cast<int>(body.size())) ||
      reply.has_timestamp_offset() != has_timestamp ||
      reply.has_found_timestamp_ms() != reply.has_found_leader_epoch()) {
    return Internal("the leader's answer cannot be read");
  }
  PartitionOffsets offsets{.log_start = Offset(reply.log_start_offset()),
                           .high_watermark = Offset(reply.high_watermark()),
                           .leader_epoch = LeaderEpoch(static_cast<uint32_t>(reply.leader_epoch())),
                           .timestamp_offset = std::nullopt,
                           .found = std::nullopt};
  if (!reply.has_timestamp_offset()) return offsets;
  offsets.timestamp_offset = Offset(reply.timestamp_offset());
  if (reply.has_found_timestamp_ms()) {
    offsets.found =
        FoundTime{.offset = *offsets.timestamp_offset,
                  .timestamp_ms = reply.found_timestamp_ms(),
                  .leader_epoch = LeaderEpoch(static_cast<uint32_t>(reply.found_leader_epoch()))};
  }
  return offsets;
}

Result<RemoteRead> ParseRead(const Bytes& body) {
  PartitionReadReply reply;
  if (!reply.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return Internal("the leader's answer cannot be read");
  }
  RemoteRead read{
      .offsets = {.log_start = Offset(reply.log_start_offset()),
                  .high_watermark = Offset(reply.high_watermark()),
                  .leader_epoch = LeaderEpoch(static_cast<uint32_t>(reply.leader_epoch())),
                  .timestamp_offset = std::nullopt,
                  .found = std::nullopt},
      .next_offset = Offset(reply.next_offset()),
      .batches = {}};
  if (!reply.batches().empty()) {
    read.batches.push_back(Bytes::Own(std::move(*reply.mutable_batches())));
  }
  return read;
}

}  // namespace

std::optional<int64_t> TimestampOf(const v1::Position& position) {
  if (!position.has_timestamp_ms()) return std::nullopt;
  return position.timestamp_ms();
}

Offset StartOf(const v1::Position& position, const PartitionOffsets& offsets) {
  switch (position.at_case()) {
    case v1::Position::kOffset:
      return Offset(position.offset());
    case v1::Position::kLatest:
      return offsets.high_watermark;
    case v1::Position::kTimestampMs:
      CHECK(offsets.timestamp_offset.has_value());
      return *offsets.timestamp_offset;
    case v1::Position::kEarliest:
    case v1::Position::AT_NOT_SET:
      break;
  }
  return offsets.log_start;
}

void ConsumerService::Register(ServiceRegistry* registry) {
  registry->AddCall("/millrace.v1.ConsumerService/ListOffsets",
                    [this](std::shared_ptr<Call> call) { ListOffsets(std::move(call)); });
  registry->AddStream("/millrace.v1.ConsumerService/Fetch",
                      [this](std::shared_ptr<Stream> stream) -> std::unique_ptr<StreamHandler> {
                        return MakeFetchStream(*context_, *this, std::move(stream));
                      });
  registry->AddStream("/millrace.v1.ConsumerService/Subscribe",
                      [this](std::shared_ptr<Stream> stream) -> std::unique_ptr<StreamHandler> {
                        return MakeSubscribeStream(*context_, *this, std::move(stream));
                      });
  context_->forwarder.Serve(kForwardRead, [this](Bytes body, Duration, ForwardDone done) {
    ServeRead(std::move(body), std::move(done));
  });
  context_->forwarder.Serve(kForwardOffsets, [this](Bytes body, Duration, ForwardDone done) {
    ServeOffsets(std::move(body), std::move(done));
  });
}

void ConsumerService::Read(RaftGroupId group, const ReadRequest& request, AcceptedForms accepted,
                           Duration wait, RemoteReadDone done) {
  if (context_->LedHere(group) != nullptr) {
    std::make_shared<LongPoll>(*context_, group, request, accepted, std::move(done))->Start(wait);
    return;
  }
  const BrokerId leader = context_->LeaderOf(group);
  if (leader == BrokerId() || leader == context_->self.broker) {
    return done(context_->NotLeader(group));
  }
  PartitionReadRequest wire;
  wire.set_group_id(group.value());
  wire.set_offset(request.offset.value());
  wire.set_bytes_max(static_cast<uint32_t>(request.bytes_max));
  wire.set_accepted_mask(accepted.mask());
  wire.set_wait_ms(
      static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::milliseconds>(wait).count()));
  context_->forwarder.Forward({.to = leader,
                               .method = kForwardRead,
                               .body = Bytes::Own(wire.SerializeAsString()),
                               .timeout = wait + kForwardTimeout},
                              [done = std::move(done)](Result<Bytes> body) mutable {
                                if (!body.ok()) return done(body.status());
                                done(ParseRead(*body));
                              });
}

void ConsumerService::ServeRead(Bytes body, ForwardDone done) {
  PartitionReadRequest wire;
  if (!wire.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return done(InvalidArgument("a forwarded read cannot be read"));
  }
  const RaftGroupId group(wire.group_id());
  if (context_->LedHere(group) == nullptr) return done(context_->NotLeader(group));
  const ReadRequest request{.offset = Offset(wire.offset()), .bytes_max = wire.bytes_max()};
  Read(group, request, AcceptedForms::FromMask(wire.accepted_mask()),
       std::chrono::milliseconds(wire.wait_ms()),
       [done = std::move(done)](Result<RemoteRead> read) mutable {
         if (!read.ok()) return done(read.status());
         PartitionReadReply reply;
         reply.set_high_watermark(read->offsets.high_watermark.value());
         reply.set_log_start_offset(read->offsets.log_start.value());
         reply.set_leader_epoch(read->offsets.leader_epoch.value());
         reply.set_next_offset(read->next_offset.value());
         for (const Bytes& piece : read->batches) {
           reply.mutable_batches()->append(piece.data(), piece.size());
         }
         done(Bytes::Own(reply.SerializeAsString()));
       });
}

void ConsumerService::Offsets(RaftGroupId group, std::optional<int64_t> timestamp_ms,
                              Duration time_max, OffsetsDone done) {
  if (Partition* partition = context_->LedHere(group)) {
    return partition->Offsets(timestamp_ms, std::move(done));
  }
  const BrokerId leader = context_->LeaderOf(group);
  if (leader == BrokerId() || leader == context_->self.broker) {
    return done(context_->NotLeader(group));
  }
  PartitionOffsetsRequest wire;
  wire.set_group_id(group.value());
  if (timestamp_ms.has_value()) wire.set_timestamp_ms(*timestamp_ms);
  context_->forwarder.Forward({.to = leader,
                               .method = kForwardOffsets,
                               .body = Bytes::Own(wire.SerializeAsString()),
                               .timeout = time_max},
                              [has_timestamp = timestamp_ms.has_value(),
                               done = std::move(done)](Result<Bytes> body) mutable {
                                if (!body.ok()) return done(body.status());
                                done(ParseOffsets(*body, has_timestamp));
                              });
}

void ConsumerService::ServeOffsets(Bytes body, ForwardDone done) {
  PartitionOffsetsRequest wire;
  if (!wire.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return done(InvalidArgument("a forwarded request for offsets cannot be read"));
  }
  Partition* partition = context_->LedHere(RaftGroupId(wire.group_id()));
  if (partition == nullptr) return done(context_->NotLeader(RaftGroupId(wire.group_id())));
  std::optional<int64_t> timestamp_ms;
  if (wire.has_timestamp_ms()) timestamp_ms = wire.timestamp_ms();
  partition->Offsets(timestamp_ms,
                     [done = std::move(done)](Result<PartitionOffsets> offsets) mutable {
                       if (!offsets.ok()) return done(offsets.status());
                       PartitionOffsetsReply reply;
                       reply.set_high_watermark(offsets->high_watermark.value());
                       reply.set_log_start_offset(offsets->log_start.value());
                       reply.set_leader_epoch(offsets->leader_epoch.value());
                       SetTimestampOffset(*offsets, &reply);
                       done(Bytes::Own(reply.SerializeAsString()));
                     });
}

void ConsumerService::ListOffsets(std::shared_ptr<Call> call) {
  v1::ListOffsetsRequest request;
  if (!request.ParseFromArray(call->request().data(), static_cast<int>(call->request().size()))) {
    return call->Fail(InvalidArgument("the request is not a ListOffsetsRequest"));
  }
  const Status count = CheckCount(static_cast<size_t>(request.partitions_size()), "partitions");
  if (!count.ok()) return call->Fail(count);
  const Result<const TopicInfo*> topic =
      context_->FindTopic(request.topic(), TopicId(request.topic_id()));
  if (!topic.ok()) return call->Fail(topic.status());
  std::vector<std::pair<uint32_t, RaftGroupId>> wanted;
  if (request.partitions().empty()) {
    for (const PartitionInfo& info : (*topic)->partitions) {
      wanted.emplace_back(info.partition.value(), info.group);
    }
  }
  for (const uint32_t number : request.partitions()) {
    const Result<const PartitionInfo*> partition = context_->FindPartition(
        {.topic = "", .topic_id = (*topic)->id, .partition = PartitionId(number)});
    if (!partition.ok()) return call->Fail(partition.status());
    wanted.emplace_back(number, (*partition)->group);
  }
  std::optional<int64_t> timestamp_ms;
  if (request.has_timestamp_ms()) timestamp_ms = request.timestamp_ms();
  const Duration time_max = context_->TimeFor(*call, kForwardTimeout);
  auto response = std::make_shared<v1::ListOffsetsResponse>();
  auto missing = std::make_shared<size_t>(wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) response->add_partitions();
  for (size_t i = 0; i < wanted.size(); ++i) {
    const auto& [number, group] = wanted[i];
    auto* out = response->mutable_partitions(static_cast<int>(i));
    out->set_partition(number);
    Offsets(group, timestamp_ms, time_max,
            [this, call, response, missing, out, group](Result<PartitionOffsets> offsets) {
              if (offsets.ok()) {
                out->set_log_start_offset(offsets->log_start.value());
                out->set_high_watermark(offsets->high_watermark.value());
                out->set_end_offset(offsets->high_watermark.value());
                out->set_leader_epoch(offsets->leader_epoch.value());
                SetTimestampOffset(*offsets, out);
              } else {
                ToError(context_->WithLeader(offsets.status(), group), out->mutable_error());
              }
              if (--*missing == 0) call->Reply(Bytes::Own(response->SerializeAsString()));
            });
  }
}

}  // namespace millrace::broker

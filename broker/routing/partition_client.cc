#include "broker/routing/partition_client.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "broker/routing/partition_messages.h"

namespace millrace::broker {
namespace {

// So often a read that finds nothing goes on before its reader is told so.
constexpr int kReadsInVainMax = 15;

}  // namespace

// A read at a partition led here that waits for data: tries until there is something or the end is
// reached, then a waiter with a deadline.
class PartitionClient::LongPoll : public std::enable_shared_from_this<LongPoll> {
 public:
  LongPoll(const PartitionClient& client, RaftGroupId group, const ReadRequest& request,
           ReadDone done)
      : client_(&client), group_(group), request_(request), done_(std::move(done)) {}

  void Start(Duration wait) {
    wait_ = wait;
    Try();
  }

 private:
  void Try() {
    Partition* partition = client_->LedHere(group_);
    if (partition == nullptr) return done_(client_->environment_.view.NotLeader(group_));
    partition->Read(request_, [self = shared_from_this()](Result<ReadOutcome> outcome) {
      self->OnRead(std::move(outcome));
    });
  }

  void OnRead(Result<ReadOutcome> outcome) {
    if (!outcome.ok()) return done_(outcome.status());
    if (MustReadOn(*outcome)) {
      ++reads_in_vain_;
      request_.offset = outcome->next_offset;
      return Try();
    }
    Partition* partition = client_->LedHere(group_);
    const bool must_wait = outcome->entries.empty() && wait_ > Duration::zero() &&
                           partition != nullptr &&
                           request_.offset >= partition->end_of(request_.isolation);
    if (must_wait) return WaitAtEnd(*partition);
    done_(std::move(outcome));
  }

  // A stretch that holds nothing for readers is no answer while more lies behind it.
  bool MustReadOn(const ReadOutcome& outcome) const {
    const bool has_moved = outcome.next_offset > request_.offset;
    const bool is_at_end = outcome.next_offset >= outcome.offsets.end_of(request_.isolation);
    return outcome.entries.empty() && has_moved && !is_at_end && reads_in_vain_ < kReadsInVainMax;
  }

  void WaitAtEnd(Partition& partition) {
    const uint64_t waiter =
        partition.Wait({.offset = request_.offset, .isolation = request_.isolation},
                       client_->lifetime_.Guard([self = shared_from_this()] {
                         self->client_->environment_.executor.Cancel(self->timer_);
                         self->TryForTheLastTime();
                       }));
    timer_ = client_->environment_.executor.RunAfter(
        wait_, client_->lifetime_.Guard([self = shared_from_this(), waiter] {
          Partition* waited = self->client_->environment_.find_replica(self->group_);
          if (waited != nullptr) waited->CancelWait(waiter);
          self->TryForTheLastTime();
        }));
  }

  void TryForTheLastTime() {
    wait_ = Duration::zero();
    Try();
  }

  const PartitionClient* client_;
  const RaftGroupId group_;
  ReadRequest request_;
  ReadDone done_;
  int reads_in_vain_ = 0;
  Duration wait_{};
  TimerId timer_;
};

PartitionClient::PartitionClient(Environment environment) : environment_(std::move(environment)) {
  for (const ForwardMethod& method : {kForwardProduce, kForwardProduceAt}) {
    environment_.forwarder.Serve(method,
                                 [this](const ForwardedRequest& forwarded, ForwardReplied done) {
                                   ServeProduce(forwarded, std::move(done));
                                 });
  }
  environment_.forwarder.Serve(kForwardRead,
                               [this](const ForwardedRequest& forwarded, ForwardReplied done) {
                                 ServeRead(forwarded, std::move(done));
                               });
  environment_.forwarder.Serve(kForwardOffsets,
                               [this](const ForwardedRequest& forwarded, ForwardReplied done) {
                                 ServeOffsets(forwarded, std::move(done));
                               });
  environment_.forwarder.Serve(kForwardDelete,
                               [this](const ForwardedRequest& forwarded, ForwardReplied done) {
                                 ServeDelete(forwarded, std::move(done));
                               });
}

Partition* PartitionClient::LedHere(RaftGroupId group) const {
  Partition* partition = environment_.find_replica(group);
  return partition != nullptr && partition->leadership().is_leader ? partition : nullptr;
}

Result<Partition*> PartitionClient::FindLed(RaftGroupId group, LeaderEpoch expected) const {
  Partition* partition = LedHere(group);
  if (partition == nullptr) return environment_.view.NotLeader(group);
  const std::optional<LeaderEpoch> epoch = partition->leader_epoch();
  if (epoch.has_value() && *epoch < expected) return environment_.view.NotLeader(group);
  return partition;
}

void PartitionClient::Forward(RaftGroupId group, Forwarder::Request request, ForwardDone done) {
  const LeaderHint leader = environment_.view.LeaderOf(group);
  if (leader.leader == BrokerId() || leader.leader == environment_.self) {
    return done(environment_.view.NotLeader(group));
  }
  request.to = leader.leader;
  request.expected_leader_epoch =
      environment_.view.EpochOf(group, leader.term).value_or(LeaderEpoch());
  environment_.forwarder.Forward(std::move(request), std::move(done));
}

void PartitionClient::Produce(const Principal& principal, RaftGroupId group, SentBatch batch,
                              ProduceDone done) {
  if (Partition* partition = LedHere(group)) {
    return partition->Produce(std::move(batch), std::move(done));
  }
  // A broker of an earlier build refuses what it does not know by name; a field it would not see.
  const ForwardMethod method = batch.expected_end ? kForwardProduceAt : kForwardProduce;
  Forward(group,
          {.method = method,
           .body = EncodeProduce(group, std::move(batch)),
           .timeout = kForwardTimeout,
           .principal = principal},
          [done = std::move(done)](const Result<Bytes>& body) mutable {
            done(body.ok() ? DecodeProduceReply(*body) : body.status());
          });
}

void PartitionClient::Read(const Principal& principal, RaftGroupId group,
                           const ReadRequest& request, Duration wait, ReadDone done) {
  if (LedHere(group) != nullptr) return ReadHere(group, request, wait, std::move(done));
  Forward(group,
          {.method = kForwardRead,
           .body = EncodeRead(group, request, wait),
           .timeout = wait + kForwardTimeout,
           .principal = principal},
          [done = std::move(done)](const Result<Bytes>& body) mutable {
            done(body.ok() ? DecodeReadReply(*body) : body.status());
          });
}

void PartitionClient::ReadHere(RaftGroupId group, const ReadRequest& request, Duration wait,
                               ReadDone done) {
  std::make_shared<LongPoll>(*this, group, request, std::move(done))->Start(wait);
}

void PartitionClient::Offsets(const Principal& principal, RaftGroupId group,
                              const OffsetsQuery& query, Duration time_max, OffsetsDone done) {
  if (Partition* partition = LedHere(group)) return partition->Offsets(query, std::move(done));
  Forward(group,
          {.method = kForwardOffsets,
           .body = EncodeOffsets(group, query),
           .timeout = time_max,
           .principal = principal},
          [done = std::move(done),
           has_record = query != OffsetsQuery{}](const Result<Bytes>& body) mutable {
            done(body.ok() ? DecodeOffsetsReply(*body, has_record) : body.status());
          });
}

void PartitionClient::DeleteRecords(const Principal& principal, RaftGroupId group, Offset before,
                                    Duration time_max, OffsetsDone done) {
  if (Partition* partition = LedHere(group)) {
    return partition->DeleteRecords(before, std::move(done));
  }
  Forward(group,
          {.method = kForwardDelete,
           .body = EncodeDelete(group, before),
           .timeout = time_max,
           .principal = principal},
          [done = std::move(done)](const Result<Bytes>& body) mutable {
            done(body.ok() ? DecodeOffsetsReply(*body, /*has_timestamp=*/false) : body.status());
          });
}

void PartitionClient::ServeProduce(const ForwardedRequest& forwarded, ForwardReplied done) {
  Result<ForwardedProduce> produce = DecodeProduce(forwarded.body);
  if (!produce.ok()) return done(produce.status());
  const Result<Partition*> led = FindLed(produce->group, forwarded.expected_leader_epoch);
  if (!led.ok()) return done(led.status());
  (*led)->Produce(std::move(produce->batch),
                  [done = std::move(done)](const Result<ProduceOutcome>& outcome) mutable {
                    if (!outcome.ok()) return done(outcome.status());
                    done(EncodeProduceReply(*outcome));
                  });
}

void PartitionClient::ServeRead(const ForwardedRequest& forwarded, ForwardReplied done) {
  const Result<ForwardedRead> read = DecodeRead(forwarded.body);
  if (!read.ok()) return done(read.status());
  const Result<Partition*> led = FindLed(read->group, forwarded.expected_leader_epoch);
  if (!led.ok()) return done(led.status());
  ReadHere(read->group, read->request, std::min(read->wait, forwarded.timeout),
           [done = std::move(done)](const Result<ReadOutcome>& outcome) mutable {
             if (!outcome.ok()) return done(outcome.status());
             done(EncodeReadReply(*outcome));
           });
}

void PartitionClient::ServeOffsets(const ForwardedRequest& forwarded, ForwardReplied done) {
  const Result<ForwardedOffsets> offsets = DecodeOffsets(forwarded.body);
  if (!offsets.ok()) return done(offsets.status());
  const Result<Partition*> led = FindLed(offsets->group, forwarded.expected_leader_epoch);
  if (!led.ok()) return done(led.status());
  (*led)->Offsets(offsets->query,
                  [done = std::move(done)](const Result<PartitionOffsets>& outcome) mutable {
                    if (!outcome.ok()) return done(outcome.status());
                    done(EncodeOffsetsReply(*outcome));
                  });
}

void PartitionClient::ServeDelete(const ForwardedRequest& forwarded, ForwardReplied done) {
  const Result<ForwardedDelete> wanted = DecodeDelete(forwarded.body);
  if (!wanted.ok()) return done(wanted.status());
  const Result<Partition*> led = FindLed(wanted->group, forwarded.expected_leader_epoch);
  if (!led.ok()) return done(led.status());
  (*led)->DeleteRecords(wanted->before,
                        [done = std::move(done)](const Result<PartitionOffsets>& outcome) mutable {
                          if (!outcome.ok()) return done(outcome.status());
                          done(EncodeOffsetsReply(*outcome));
                        });
}

}  // namespace millrace::broker

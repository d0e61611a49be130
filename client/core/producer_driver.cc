#include "client/core/producer_driver.h"

#include <utility>

#include <glog/logging.h>

#include "client/core/error.h"
#include "client/core/groups.h"

namespace millrace::client {
namespace {

constexpr char kProduce[] = "/millrace.v1.ProducerService/Produce";
constexpr Duration kEpochTimeout = std::chrono::seconds(10);
// After a call that failed though it was tried again for all of that time, or cancelled.
constexpr Duration kEpochRetry = std::chrono::seconds(1);

bool AreOfOneEpoch(const v1::CommitOffsetsRequest& one, const v1::CommitOffsetsRequest& other) {
  return one.group() == other.group() && one.member_id() == other.member_id() &&
         one.member_epoch() == other.member_epoch();
}

// Adds `later`, in the place of what there is for the same partitions.
void Merge(const v1::CommitOffsetsRequest& later, v1::CommitOffsetsRequest* all) {
  std::map<uint64_t, std::map<uint32_t, v1::PartitionCommit>> by_topic;
  all->MergeFrom(later);
  for (const v1::TopicCommit& topic : all->topics()) {
    for (const auto& one : topic.partitions()) by_topic[topic.topic_id()][one.partition()] = one;
  }
  all->clear_topics();
  for (const auto& [id, partitions] : by_topic) {
    v1::TopicCommit& topic = *all->add_topics();
    topic.set_topic_id(id);
    for (const auto& [number, one] : partitions) *topic.add_partitions() = one;
  }
}

}  // namespace

ProducerDriver::ProducerDriver(Client& client, std::string topic, const ProducerTuning& tuning,
                               Callbacks callbacks)
    : StreamDriver(client),
      tuning_(tuning),
      callbacks_(std::move(callbacks)),
      topic_(client, std::move(topic), tuning.unknown_topic_grace,
             {.grown = [this](const TopicWatch&, PartitionId first) { OnGrown(first); },
              .lost = [this](const TopicWatch&, const Status& why) { producer_->FailAll(why); },
              .leaders =
                  [this](const TopicWatch&) {
                    OnLeaders();
                    OnMetadata();
                  }}) {}

void ProducerDriver::Open(Duration timeout, MoveFunction<void(Status)> done) {
  const MonotonicTime deadline = client().clock().Now() + timeout;
  topic_.Find(timeout, [this, deadline, done = std::move(done)](Status status) mutable {
    if (status.ok()) status = CheckPartitioning();
    if (!status.ok()) return done(std::move(status));
    client().InitProducer(
        InitRequest(), TimeLeft(client().clock(), deadline),
        lifetime().Guard([this, done = std::move(done)](
                             const Result<v1::InitProducerResponse>& response) mutable {
          if (response.ok()) OnOpened(*response);
          done(response.status());
        }));
  });
}

Status ProducerDriver::CheckPartitioning() {
  const TopicDetails* details = client().metadata().FindTopic(topic_.name());
  if (details == nullptr || details->partitioning == v1::PARTITIONING_UNSPECIFIED) return {};
  return Unimplemented("topic \"" + topic_.name() + "\" chooses partitions in a way (" +
                       std::to_string(details->partitioning) +
                       ") that this version of the library does not know");
}

void ProducerDriver::OnOpened(const v1::InitProducerResponse& response) {
  CHECK_GT(partition_count(), 0u) << topic_.name();
  init_request_id_ = 0;
  producer_id_ = ProducerId(response.producer_id());
  producer_ = std::make_unique<Producer>(
      tuning_,
      ProducerIdentity{.id = producer_id_,
                       .epoch = response.producer_epoch(),
                       .inflight_batches_max = response.inflight_batches_max()},
      client().ForkRandom());
  partitioner_.emplace(partition_count(), client().ForkRandom());
  AddPartitions();
  v1::ProduceRequest first;
  first.mutable_init()->set_client_id(client().options().client_id);
  Start(kProduce, first);
  topic_.Follow();
  OnLeaders();
  TellRecordLimit();
}

// Those that the topic has and the producer has not.
void ProducerDriver::AddPartitions() {
  for (auto i = static_cast<uint32_t>(counts_.size()); i < partition_count(); ++i) {
    CHECK_EQ(producer_->AddPartition({topic_id(), PartitionId(i)}), i);
  }
  counts_.resize(partition_count());
}

void ProducerDriver::OnGrown(PartitionId first) {
  CHECK_EQ(first.value(), counts_.size());
  AddPartitions();
  partitioner_->Grow(partition_count());
  if (callbacks_.on_grown) callbacks_.on_grown();
}

void ProducerDriver::LearnLimits() {
  const TopicDetails* details = client().metadata().FindTopic(topic_.name());
  if (details == nullptr || details->id != topic_id() || details->batch_bytes_max == 0) return;
  producer_->SetBatchLimit(details->batch_bytes_max);
}

void ProducerDriver::TellRecordLimit() {
  const size_t limit = producer_->record_bytes_max();
  if (std::exchange(told_record_bytes_max_, limit) == limit) return;
  if (callbacks_.on_record_bytes_max) callbacks_.on_record_bytes_max(limit);
}

Result<PartitionId> ProducerDriver::Send(const NewRecord& record, MonotonicTime now,
                                         std::optional<PartitionId> partition,
                                         std::optional<Offset> expected_end) {
  CHECK(producer_ != nullptr) << "Send before Open";
  if (!partition) partition = Pick(record.key, EncodedRecordSize(record));
  RETURN_IF_ERROR(topic_.CheckPartition(*partition));
  RETURN_IF_ERROR(producer_->Send(partition->value(), record, now, expected_end));
  ++counts_[partition->value()].sent;
  was_full_ = was_full_ || !has_room();
  PostPump();
  return *partition;
}

void ProducerDriver::Flush(MoveFunction<void()> done) {
  PendingFlush flush{.done = std::move(done)};
  flush.sent.reserve(counts_.size());
  for (const Counts& counts : counts_) flush.sent.push_back(counts.sent);
  flushes_.push_back(std::move(flush));
  producer_->Flush(client().clock().Now());
  PostPump();
}

void ProducerDriver::Report() { Pump(client().clock().Now()); }

void ProducerDriver::Abandon(const Status& status) {
  if (producer_ == nullptr) return;
  producer_->FailAll(status);
  Report();
}

Status ProducerDriver::OnMessage(BrokerId broker, const Bytes& message, MonotonicTime now) {
  v1::ProduceResponse response;
  if (!response.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
    return Internal("the broker's message is not a ProduceResponse");
  }
  if (response.has_init()) {
    producer_->OnStreamInit(broker, response.init().inflight_bytes_max());
  }
  for (const v1::ProduceResult& result : response.results()) {
    producer_->OnResult(broker, result, now);
  }
  return {};
}

void ProducerDriver::OnStreamClosed(BrokerId broker, const Status& why, MonotonicTime now) {
  producer_->OnStreamClosed(broker, why, now);
}

// Whenever metadata is there.
void ProducerDriver::OnLeaders() {
  LearnLimits();
  for (uint32_t i = 0; i < partition_count(); ++i) {
    producer_->OnLeader(i, topic_.LeaderOf(PartitionId(i)));
  }
}

void ProducerDriver::AskEpoch(uint32_t current) {
  if (std::exchange(is_asking_epoch_, true)) return;
  v1::InitProducerRequest request;
  request.set_producer_id(producer_id_.value());
  request.set_producer_epoch(current);
  client().InitProducer(
      request, kEpochTimeout,
      lifetime().Guard([this](const Result<v1::InitProducerResponse>& response) {
        if (!response.ok() && MayHeal(response.status(), Duration(0), Duration(0))) {
          client().executor().RunAfter(kEpochRetry, lifetime().Guard([this] { OnEpochAsked(); }));
          return;
        }
        if (response.status().reason() == Reason::kUnknownProducer) {
          // Another cluster stands in the place of the one that gave the id.
          producer_id_ = ProducerId();
        } else if (response.ok()) {
          producer_id_ = ProducerId(response->producer_id());
          producer_->OnEpoch(producer_id_, response->producer_epoch());
        } else {
          producer_->FailAll(response.status());
        }
        OnEpochAsked();
      }));
}

// Asks again if an epoch is still wanted.
void ProducerDriver::OnEpochAsked() {
  is_asking_epoch_ = false;
  PostPump();
}

void ProducerDriver::EndTransaction(bool is_commit, MoveFunction<void(const Status&)> done) {
  Status refusal = producer_->EndTransaction(is_commit, client().clock().Now());
  ends_.push_back({.refusal = std::move(refusal), .done = std::move(done)});
  PostPump();
}

// Of a new producer id, or of the transactional id's next epoch.
v1::InitProducerRequest ProducerDriver::InitRequest() {
  v1::InitProducerRequest request;
  if (tuning_.transactional_id.empty()) return request;
  while (init_request_id_ == 0) init_request_id_ = client().ForkRandom().Next();
  request.set_transactional_id(tuning_.transactional_id);
  request.set_request_id(init_request_id_);
  // It takes the id from nobody but itself, unless it begins, or nobody has it any more.
  if (producer_ != nullptr && !is_id_forgotten_) {
    request.set_producer_id(producer_->identity().id.value());
    request.set_producer_epoch(producer_->identity().epoch);
  }
  request.set_transaction_timeout_ms(static_cast<uint32_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(tuning_.transaction_timeout).count()));
  return request;
}

void ProducerDriver::Ask(const TransactionAsk& ask) {
  if (std::exchange(is_asking_of_transactions_, true)) return;
  switch (ask.kind) {
    case TransactionAsk::Kind::kStageOffsets:
      return AskStage(ask);
    case TransactionAsk::Kind::kEnd:
      return AskEnd(ask);
    case TransactionAsk::Kind::kInitialize:
      return AskInitialize();
  }
}

Status ProducerDriver::AddOffsets(v1::CommitOffsetsRequest offsets) {
  RETURN_IF_ERROR(producer_->HasOffsets());
  auto& of_transaction = offsets_[producer_->current_transaction()];
  if (!of_transaction.empty() && AreOfOneEpoch(of_transaction.back(), offsets)) {
    Merge(offsets, &of_transaction.back());
  } else {
    of_transaction.push_back(std::move(offsets));
  }
  return {};
}

v1::MemberProducer ProducerDriver::member_producer() const {
  v1::MemberProducer producer;
  producer.set_transactional_id(tuning_.transactional_id);
  producer.set_producer_id(producer_->identity().id.value());
  producer.set_producer_epoch(producer_->identity().epoch);
  return producer;
}

void ProducerDriver::AskStage(const TransactionAsk& ask) {
  v1::CommitOffsetsRequest request = offsets_.at(ask.transaction).front();
  v1::TransactionName& name = *request.mutable_transaction();
  name.set_producer_id(producer_->identity().id.value());
  name.set_producer_epoch(producer_->identity().epoch);
  name.set_number(ask.number);
  CommitOffsets(client(), request, tuning_.delivery_timeout,
                lifetime().Guard([this, ask](const Result<v1::CommitOffsetsResponse>& response) {
                  Status staged = response.status();
                  if (staged.ok() && !response->refused().empty()) {
                    staged = FromError(response->refused(0).error());
                  }
                  OnStaged(ask, staged);
                }));
}

void ProducerDriver::OnStaged(const TransactionAsk& ask, const Status& staged) {
  auto& of_transaction = offsets_.at(ask.transaction);
  if (staged.ok()) of_transaction.pop_front();
  if (staged.ok() && !of_transaction.empty()) return AskStage(ask);
  producer_->OnOffsetsStaged(ask, staged);
  OnTransactionAsked(staged);
}

void ProducerDriver::AskEnd(const TransactionAsk& ask) {
  v1::EndTransactionRequest request;
  request.set_transactional_id(tuning_.transactional_id);
  request.set_producer_id(producer_->identity().id.value());
  request.set_producer_epoch(producer_->identity().epoch);
  request.set_transaction_number(ask.number);
  request.set_result(ask.is_commit ? v1::TRANSACTION_RESULT_COMMIT : v1::TRANSACTION_RESULT_ABORT);
  client().EndTransaction(
      request, tuning_.delivery_timeout,
      lifetime().Guard([this, ask](const Result<v1::EndTransactionResponse>& response) {
        offsets_.erase(offsets_.begin(), offsets_.upper_bound(ask.transaction));
        producer_->OnTransactionEnded(ask, response.status());
        OnTransactionAsked(response.status());
      }));
}

void ProducerDriver::AskInitialize() {
  client().InitProducer(
      InitRequest(), kEpochTimeout,
      lifetime().Guard([this](const Result<v1::InitProducerResponse>& response) {
        is_id_forgotten_ = response.status().reason() == Reason::kUnknownTransactionalId;
        if (is_id_forgotten_) return OnTransactionAsked({});
        if (response.ok()) {
          init_request_id_ = 0;
          producer_id_ = ProducerId(response->producer_id());
          producer_->OnTransactionsInitialized(producer_id_, response->producer_epoch());
        } else if (!MayHeal(response.status(), Duration(0), Duration(0))) {
          producer_->FailAll(response.status());
        }
        OnTransactionAsked(response.status());
      }));
}

// What was in vain is asked again, but not at once.
void ProducerDriver::OnTransactionAsked(const Status& status) {
  if (!status.ok() && MayHeal(status, Duration(0), Duration(0))) {
    client().executor().RunAfter(kEpochRetry, lifetime().Guard([this] {
      is_asking_of_transactions_ = false;
      PostPump();
    }));
  } else {
    is_asking_of_transactions_ = false;
  }
  PostPump();
}

void ProducerDriver::Pump(MonotonicTime now) {
  ProducerOutput output;
  producer_->Poll(now, &output);
  // Before records, which would hold it up: those of the next transaction wait for its end.
  if (output.wants_of_transactions) Ask(*output.wants_of_transactions);
  for (ProducerOutput::Message& message : output.messages) {
    StreamDriver::Send(message.to, std::move(message.pieces));
  }
  if (output.wants_epoch_after) AskEpoch(*output.wants_epoch_after);
  PlanNext(now, output.wants_metadata, output.wake_at);
  Tell(output.trouble);
  TellRecordLimit();
  Deliver(output.reports, std::move(output.outcomes));
}

// Last in Pump, for the callbacks may destroy this.
void ProducerDriver::Deliver(const std::vector<DeliveryReport>& reports,
                             std::vector<Status> outcomes) {
  const LifeWatch life = lifetime().watch();
  for (const DeliveryReport& report : reports) {
    Counts& counts = counts_[report.partition.partition.value()];
    counts.answered += report.record_count;
    CHECK_LE(counts.answered, counts.sent);
    if (callbacks_.on_report) callbacks_.on_report(report);
    if (!life) return;
  }
  TellOutcomes(std::move(outcomes));
  if (!life) return;
  if (was_full_ && has_room()) {
    was_full_ = false;
    if (callbacks_.on_room) callbacks_.on_room();
    if (!life) return;
  }
  EndFlushes();
}

void ProducerDriver::TellOutcomes(std::vector<Status> outcomes) {
  const LifeWatch life = lifetime().watch();
  auto outcome = outcomes.begin();
  while (life && !ends_.empty()) {
    const bool is_refused = !ends_.front().refusal.ok();
    if (!is_refused && outcome == outcomes.end()) return;
    PendingEnd end = std::move(ends_.front());
    ends_.pop_front();
    end.done(is_refused ? end.refusal : *outcome++);
  }
}

bool ProducerDriver::HasAnswered(const std::vector<uint64_t>& sent) const {
  CHECK_LE(sent.size(), counts_.size());
  for (size_t i = 0; i < sent.size(); ++i) {
    if (counts_[i].answered < sent[i]) return false;
  }
  return true;
}

void ProducerDriver::EndFlushes() {
  const LifeWatch life = lifetime().watch();
  while (life && !flushes_.empty() && HasAnswered(flushes_.front().sent)) {
    MoveFunction<void()> done = std::move(flushes_.front().done);
    flushes_.pop_front();
    done();
  }
}

}  // namespace millrace::client

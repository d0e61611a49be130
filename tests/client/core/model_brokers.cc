#include "tests/client/core/model_brokers.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/record/record_batch.h"

namespace millrace::client {
namespace {

constexpr size_t kBatchesKept = 16;

void SetError(const Status& status, v1::ProduceResult* result) {
  v1::Error& error = *result->mutable_error();
  error.set_code(static_cast<int>(status.code()));
  error.set_message(std::string(status.message()));
  error.mutable_info()->set_reason(std::string(ReasonName(status.reason())));
  for (const auto& [key, value] : status.metadata()) {
    (*error.mutable_info()->mutable_metadata())[key] = value;
  }
}

}  // namespace

ModelBrokers::ModelBrokers(uint32_t broker_count, uint32_t partition_count)
    : partitions_(partition_count) {
  for (uint32_t id = 1; id <= broker_count; ++id) {
    inbox_[BrokerId(id)];
    answers_[BrokerId(id)];
  }
  for (uint32_t i = 0; i < partition_count; ++i) SetLeader(i, BrokerId(i % broker_count + 1));
}

void ModelBrokers::Receive(const ProducerOutput::Message& message) {
  std::string bytes;
  for (const Bytes& piece : message.pieces) bytes += piece.view();
  v1::ProduceRequest request;
  CHECK(request.ParseFromString(bytes));
  CHECK_GT(request.batches_size(), 0);
  for (v1::ProduceBatch& batch : *request.mutable_batches()) {
    inbox_.at(message.to).push_back(std::move(batch));
  }
}

void ModelBrokers::HandleOne(BrokerId broker, const Status& error) {
  std::deque<v1::ProduceBatch>& inbox = inbox_.at(broker);
  v1::ProduceResult result;
  if (error.ok()) {
    result = Append(broker, inbox.front());
  } else {
    SetError(error, &result);
  }
  result.set_batch_id(inbox.front().batch_id());
  inbox.pop_front();
  answers_.at(broker).push_back(std::move(result));
}

v1::ProduceResult ModelBrokers::Append(BrokerId broker, const v1::ProduceBatch& batch) {
  v1::ProduceResult result;
  Partition& partition = partitions_[batch.partition()];
  if (partition.leader.broker != broker) {
    SetError(Unavailable("not the leader", Reason::kNotLeader)
                 .AddMetadata("leader_id", std::to_string(partition.leader.broker.value()))
                 .AddMetadata("leader_epoch", std::to_string(partition.leader.epoch.value())),
             &result);
    return result;
  }
  const std::string bytes = batch.batch().SerializeAsString();
  const Result<RecordBatchView> view =
      ParseRecordBatch(bytes, {TopicId(batch.topic_id()), PartitionId(batch.partition())});
  CHECK(view.ok()) << view.status();
  if (std::max<size_t>(bytes.size(), view->uncompressed_size) > batch_limit_) {
    ++too_large_seen_;
    SetError(InvalidArgument("too large", Reason::kBatchTooLarge)
                 .AddMetadata("batch_bytes_max", std::to_string(batch_limit_)),
             &result);
    return result;
  }
  Sequences producer = partition.producer;
  const Status of_transaction = CheckTransaction(*view);
  if (!of_transaction.ok()) {
    SetError(of_transaction, &result);
    return result;
  }
  Status refused = CheckSequence(*view, batch.is_repeated(), &producer, &result);
  if (refused.ok() && !result.is_duplicate()) refused = CheckEnd(batch, partition);
  if (!refused.ok()) SetError(refused, &result);
  if (!refused.ok() || result.is_duplicate()) return result;
  result.set_base_offset(static_cast<int64_t>(partition.log.size()));
  producer.batches.push_back(
      {.first_sequence = view->first_sequence, .base_offset = result.base_offset()});
  if (producer.batches.size() > kBatchesKept) producer.batches.pop_front();
  producer.next_sequence = (producer.next_sequence + view->record_count) % kRecordSequenceModulus;
  partition.producer = std::move(producer);
  if (view->transaction_number != 0) open_transaction_ = view->transaction_number;
  compressed_seen_ += IsCompressed(view->compression) ? 1 : 0;
  const Result<OpenedBatch> opened = OpenRecordBatch(*view);
  CHECK(opened.ok()) << opened.status();
  RecordIterator records(opened->view);
  RecordView record;
  while (records.Next(&record)) partition.log.emplace_back(record.value.value());
  partition.transactions.resize(partition.log.size(),
                                {view->producer_epoch, view->transaction_number});
  return result;
}

Status ModelBrokers::CheckEnd(const v1::ProduceBatch& batch, const Partition& partition) {
  const auto end = static_cast<int64_t>(partition.log.size());
  if (!batch.has_expected_end_offset() || batch.expected_end_offset() == end) return {};
  return FailedPrecondition("it moved", Reason::kOffsetMoved)
      .AddMetadata("end_offset", std::to_string(end));
}

Status ModelBrokers::TransactionEnded(const TransactionName& name) const {
  const auto outcome = outcomes_.find(name);
  const bool is_committed = outcome != outcomes_.end() && outcome->second;
  return Aborted("it has ended", Reason::kTransactionEnded)
      .AddMetadata("outcome", is_committed ? "committed" : "aborted");
}

Status ModelBrokers::CheckTransaction(const RecordBatchView& batch) const {
  const uint64_t number = batch.transaction_number;
  if (transactions_epoch_ == 0 && number == 0) return {};
  CHECK_GT(number, 0u) << "a batch of a transactional id's producer is of a transaction";
  if (batch.producer_epoch < transactions_epoch_) {
    return Aborted("an older epoch", Reason::kTransactionFenced);
  }
  if (number <= last_ended_) return TransactionEnded({batch.producer_epoch, number});
  if (open_transaction_ != 0 && number > open_transaction_) {
    return Unavailable("another transaction is open");
  }
  CHECK(open_transaction_ == 0 || number == open_transaction_)
      << "records of " << number << " came after those of " << open_transaction_;
  return {};
}

uint32_t ModelBrokers::InitTransactions() {
  if (open_transaction_ != 0) outcomes_[{transactions_epoch_, open_transaction_}] = false;
  open_transaction_ = 0;
  last_ended_ = 0;
  return ++transactions_epoch_;
}

Status ModelBrokers::EndTransaction(uint32_t epoch, uint64_t number, bool is_commit) {
  if (epoch < transactions_epoch_) return Aborted("an older epoch", Reason::kTransactionFenced);
  const auto [outcome, is_new] = outcomes_.try_emplace({epoch, number}, is_commit);
  if (!is_new) return outcome->second == is_commit ? Status() : TransactionEnded({epoch, number});
  if (number < last_ended_) return {};  // it had no records, and a later one has ended
  CHECK(open_transaction_ == 0 || open_transaction_ >= number);
  last_ended_ = number;
  if (open_transaction_ == number) open_transaction_ = 0;
  return {};
}

std::vector<std::string> ModelBrokers::Committed(uint32_t partition) const {
  const Partition& found = partitions_[partition];
  std::vector<std::string> values;
  for (size_t i = 0; i < found.log.size(); ++i) {
    const auto outcome = outcomes_.find(found.transactions[i]);
    if (outcome != outcomes_.end() && outcome->second) values.push_back(found.log[i]);
  }
  return values;
}

Status ModelBrokers::CheckSequence(const RecordBatchView& batch, bool is_repeated,
                                   Sequences* producer, v1::ProduceResult* result) {
  if (producer->is_known && batch.producer_epoch < producer->epoch) {
    return Aborted("an older epoch", Reason::kProducerFenced);
  }
  if (!producer->is_known || batch.producer_epoch > producer->epoch) {
    const bool may_be_stored = is_repeated && !producer->is_known && producer->has_forgotten;
    if (batch.first_sequence != 0 || may_be_stored) {
      return FailedPrecondition("no state", Reason::kUnknownProducer);
    }
    producer->is_known = true;
    producer->epoch = batch.producer_epoch;
    producer->next_sequence = 0;
    producer->batches.clear();
  }
  for (const Stored& stored : producer->batches) {
    if (stored.first_sequence != batch.first_sequence) continue;
    ++duplicates_seen_;
    result->set_is_duplicate(true);
    result->set_base_offset(stored.base_offset);
    return {};
  }
  if (batch.first_sequence == producer->next_sequence) return {};
  if (batch.first_sequence < producer->next_sequence) {  // too old to know where, or a part of one
    ++duplicates_seen_;
    result->set_is_duplicate(true);
    result->set_base_offset(-1);
    return {};
  }
  return OutOfRange("sequence gap", Reason::kSequenceGap);
}

std::optional<v1::ProduceResult> ModelBrokers::TakeAnswer(BrokerId broker) {
  std::deque<v1::ProduceResult>& answers = answers_.at(broker);
  if (answers.empty()) return std::nullopt;
  v1::ProduceResult result = std::move(answers.front());
  answers.pop_front();
  return result;
}

void ModelBrokers::BreakStream(BrokerId broker) {
  inbox_.at(broker).clear();
  answers_.at(broker).clear();
}

void ModelBrokers::ForgetProducer(uint32_t partition) {
  for (const auto& [broker, inbox] : inbox_) {
    for (const v1::ProduceBatch& batch : inbox) {
      if (batch.partition() == partition) return;
    }
  }
  Sequences& producer = partitions_[partition].producer;
  producer.has_forgotten |= std::exchange(producer.is_known, false);
}

void ModelBrokers::SetLeader(uint32_t partition, BrokerId leader) {
  partitions_[partition].leader = {.broker = leader,
                                   .epoch = partitions_[partition].leader.epoch + 1};
}

}  // namespace millrace::client

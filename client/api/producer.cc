#include "millrace/producer.h"

#include <utility>

#include "client/api/producer_handle.h"
#include "millrace/group_consumer.h"

namespace millrace {

Producer::Producer(std::unique_ptr<internal::ProducerHandle> handle) : handle_(std::move(handle)) {}
Producer::~Producer() = default;

Status Producer::Send(const Record& record, DeliveryCallback on_delivery) {
  return handle_->Send(record, true, std::move(on_delivery));
}

Status Producer::TrySend(const Record& record, DeliveryCallback on_delivery) {
  return handle_->Send(record, false, std::move(on_delivery));
}

Status Producer::Flush(std::chrono::milliseconds timeout) { return handle_->Flush(timeout); }

Status Producer::BeginTransaction() { return handle_->BeginTransaction(); }

Status Producer::SendOffsets(GroupConsumer& reader) {
  return handle_->SendOffsets(*reader.handle_);
}

Status Producer::CommitTransaction(TransactionCallback on_ended) {
  return handle_->EndTransaction(true, std::move(on_ended));
}

Status Producer::AbortTransaction(TransactionCallback on_ended) {
  return handle_->EndTransaction(false, std::move(on_ended));
}

Status Producer::CommitTransaction(std::chrono::milliseconds timeout) {
  return handle_->EndTransaction(true, timeout);
}

Status Producer::AbortTransaction(std::chrono::milliseconds timeout) {
  return handle_->EndTransaction(false, timeout);
}

uint32_t Producer::partition_count() const { return handle_->partition_count(); }

uint64_t Producer::unanswered_records() const { return handle_->unanswered_records(); }

}  // namespace millrace

#include "millrace/producer.h"

#include <utility>

#include "client/api/producer_handle.h"

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

uint32_t Producer::partition_count() const { return handle_->partition_count(); }

uint64_t Producer::unanswered_records() const { return handle_->unanswered_records(); }

}  // namespace millrace

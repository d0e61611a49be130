#include "millrace/producer.h"

#include <utility>

#include "client/api/producer_core.h"

namespace millrace {

Producer::Producer(std::unique_ptr<internal::ProducerCore> core) : core_(std::move(core)) {}
Producer::~Producer() = default;

Status Producer::Send(const Record& record, DeliveryCallback on_delivery) {
  return core_->Send(record, true, std::move(on_delivery));
}

Status Producer::TrySend(const Record& record, DeliveryCallback on_delivery) {
  return core_->Send(record, false, std::move(on_delivery));
}

Status Producer::Flush(std::chrono::milliseconds timeout) { return core_->Flush(timeout); }

uint32_t Producer::partition_count() const { return core_->partition_count(); }

uint64_t Producer::unanswered_records() const { return core_->unanswered_records(); }

}  // namespace millrace

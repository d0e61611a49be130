#include "client/api/open_transaction.h"

#include <string>

#include <glog/logging.h>

namespace millrace::internal {

Status OpenTransaction::Check() const {
  if (has_transactions_) return end_of_all_;
  return FailedPrecondition("the producer has no transactional_id");
}

Status OpenTransaction::Begin() {
  RETURN_IF_ERROR(Check());
  if (is_open_) return FailedPrecondition("a transaction is open; end it first");
  if (unended_ >= kUnendedMax) {
    return ResourceExhausted(std::to_string(unended_) + " transactions have not ended yet");
  }
  ++unended_;
  is_open_ = true;
  has_offsets_ = false;
  turns_.push_back({.records_before = records_, .kind = Turn::Kind::kBegin});
  return {};
}

Status OpenTransaction::End(bool is_commit, TransactionCallback on_ended) {
  RETURN_IF_ERROR(Check());
  if (!is_open_) return FailedPrecondition("no transaction is open");
  is_open_ = false;
  turns_.push_back({.records_before = records_,
                    .kind = Turn::Kind::kEnd,
                    .is_commit = is_commit,
                    .on_ended = std::move(on_ended)});
  return {};
}

void OpenTransaction::Ended() {
  CHECK_GT(unended_, 0u);
  --unended_;
}

Status OpenTransaction::CheckSend() const {
  if (!has_transactions_) return {};
  RETURN_IF_ERROR(end_of_all_);
  if (is_open_) return {};
  return FailedPrecondition("no transaction is open, and the producer has a transactional_id");
}

Status OpenTransaction::CheckOffsets() const {
  RETURN_IF_ERROR(Check());
  RETURN_IF_ERROR(CheckSend());
  if (unended_ == 1) return {};
  return FailedPrecondition(
      "the transaction before has not ended: what a group has read can be part of one only once it "
      "is known whether what it read before counts");
}

void OpenTransaction::Offsets(v1::CommitOffsetsRequest offsets) {
  has_offsets_ = true;
  turns_.push_back(
      {.records_before = records_, .kind = Turn::Kind::kOffsets, .offsets = std::move(offsets)});
}

}  // namespace millrace::internal

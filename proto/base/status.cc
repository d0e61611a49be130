#include "proto/base/status.h"

namespace millrace {

std::string_view CodeName(Code code) {
  switch (code) {
    case Code::kOk:
      return "OK";
    case Code::kCancelled:
      return "CANCELLED";
    case Code::kUnknown:
      return "UNKNOWN";
    case Code::kInvalidArgument:
      return "INVALID_ARGUMENT";
    case Code::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case Code::kNotFound:
      return "NOT_FOUND";
    case Code::kAlreadyExists:
      return "ALREADY_EXISTS";
    case Code::kPermissionDenied:
      return "PERMISSION_DENIED";
    case Code::kResourceExhausted:
      return "RESOURCE_EXHAUSTED";
    case Code::kFailedPrecondition:
      return "FAILED_PRECONDITION";
    case Code::kAborted:
      return "ABORTED";
    case Code::kOutOfRange:
      return "OUT_OF_RANGE";
    case Code::kUnimplemented:
      return "UNIMPLEMENTED";
    case Code::kInternal:
      return "INTERNAL";
    case Code::kUnavailable:
      return "UNAVAILABLE";
    case Code::kDataLoss:
      return "DATA_LOSS";
    case Code::kUnauthenticated:
      return "UNAUTHENTICATED";
  }
  return "UNKNOWN";
}

std::string_view ReasonName(Reason reason) {
  switch (reason) {
    case Reason::kNone:
      return "";
    case Reason::kNotLeader:
      return "NOT_LEADER";
    case Reason::kOffsetOutOfRange:
      return "OFFSET_OUT_OF_RANGE";
    case Reason::kUnknownTopic:
      return "UNKNOWN_TOPIC";
    case Reason::kUnknownPartition:
      return "UNKNOWN_PARTITION";
    case Reason::kTopicDeleted:
      return "TOPIC_DELETED";
    case Reason::kSequenceGap:
      return "SEQUENCE_GAP";
    case Reason::kDuplicateSequence:
      return "DUPLICATE_SEQUENCE";
    case Reason::kUnknownProducer:
      return "UNKNOWN_PRODUCER";
    case Reason::kProducerFenced:
      return "PRODUCER_FENCED";
    case Reason::kCorruptBatch:
      return "CORRUPT_BATCH";
    case Reason::kBatchTooLarge:
      return "BATCH_TOO_LARGE";
    case Reason::kThrottled:
      return "THROTTLED";
    case Reason::kDiskFull:
      return "DISK_FULL";
    case Reason::kReplicaSilent:
      return "REPLICA_SILENT";
    case Reason::kClusterMismatch:
      return "CLUSTER_MISMATCH";
    case Reason::kNotInitialized:
      return "NOT_INITIALIZED";
    case Reason::kOffsetMoved:
      return "OFFSET_MOVED";
    case Reason::kUnknownGroup:
      return "UNKNOWN_GROUP";
    case Reason::kMemberUnknown:
      return "MEMBER_UNKNOWN";
    case Reason::kGroupNotEmpty:
      return "GROUP_NOT_EMPTY";
    case Reason::kMemberFenced:
      return "MEMBER_FENCED";
    case Reason::kMemberStale:
      return "MEMBER_STALE";
    case Reason::kInstanceIdInUse:
      return "INSTANCE_ID_IN_USE";
    case Reason::kTransactionEnded:
      return "TRANSACTION_ENDED";
    case Reason::kTransactionFenced:
      return "TRANSACTION_FENCED";
    case Reason::kUnknownTransactionalId:
      return "UNKNOWN_TRANSACTIONAL_ID";
  }
  return "";
}

Status::Status(Code code, std::string message, Reason reason) {
  if (code == Code::kOk) return;
  rep_ = std::make_unique<Rep>(Rep{code, reason, std::move(message), {}, {}});
}

Status::Status(const Status& other)
    : rep_(other.rep_ ? std::make_unique<Rep>(*other.rep_) : nullptr) {}

Status& Status::operator=(const Status& other) {
  if (this != &other) rep_ = other.rep_ ? std::make_unique<Rep>(*other.rep_) : nullptr;
  return *this;
}

const Status::Metadata& Status::metadata() const {
  static const Metadata kNone;
  return rep_ ? rep_->metadata : kNone;
}

Status& Status::AddMetadata(std::string key, std::string value) & {
  CHECK(rep_) << "an ok Status carries no metadata";
  rep_->metadata.emplace_back(std::move(key), std::move(value));
  return *this;
}

Status Status::AddMetadata(std::string key, std::string value) && {
  AddMetadata(std::move(key), std::move(value));
  return std::move(*this);
}

std::optional<int64_t> Status::retry_after_ms() const {
  return rep_ ? rep_->retry_after_ms : std::nullopt;
}

Status Status::RetryAfterMs(int64_t ms) && {
  CHECK(rep_) << "an ok Status is not retried";
  rep_->retry_after_ms = ms;
  return std::move(*this);
}

Status Status::With(std::string_view context) const {
  if (ok()) return *this;
  Status wrapped = *this;
  wrapped.rep_->message = std::string(context) + ": " + rep_->message;
  return wrapped;
}

std::string Status::ToString() const {
  if (ok()) return "OK";
  return std::string(CodeName(rep_->code)) + ": " + rep_->message;
}

std::ostream& operator<<(std::ostream& out, const Status& status) {
  return out << status.ToString();
}

Status InvalidArgument(std::string message, Reason reason) {
  return {Code::kInvalidArgument, std::move(message), reason};
}
Status NotFound(std::string message, Reason reason) {
  return {Code::kNotFound, std::move(message), reason};
}
Status AlreadyExists(std::string message) { return {Code::kAlreadyExists, std::move(message)}; }
Status FailedPrecondition(std::string message, Reason reason) {
  return {Code::kFailedPrecondition, std::move(message), reason};
}
Status Unavailable(std::string message, Reason reason) {
  return {Code::kUnavailable, std::move(message), reason};
}
Status ResourceExhausted(std::string message, Reason reason) {
  return {Code::kResourceExhausted, std::move(message), reason};
}
Status OutOfRange(std::string message, Reason reason) {
  return {Code::kOutOfRange, std::move(message), reason};
}
Status Aborted(std::string message, Reason reason) {
  return {Code::kAborted, std::move(message), reason};
}
Status DeadlineExceeded(std::string message) {
  return {Code::kDeadlineExceeded, std::move(message)};
}
Status Internal(std::string message) { return {Code::kInternal, std::move(message)}; }
Status DataLoss(std::string message, Reason reason) {
  return {Code::kDataLoss, std::move(message), reason};
}
Status Unimplemented(std::string message) { return {Code::kUnimplemented, std::move(message)}; }

void internal::DieOfMisuse(std::string_view what) { LOG(FATAL) << what; }

}  // namespace millrace

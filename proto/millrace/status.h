// Errors as values, the library's and the brokers'. A Status is ok or a canonical code with a
// reason and a message that names the thing; a Result<T> is a T or such a Status. Nothing here
// throws.
//
// ok is one null pointer, so passing it costs nothing. Values; any thread. Public: part of the
// client library (client/include/millrace).
//
//   millrace::Result<uint64_t> deleted = (*client)->admin().DeleteTopic("flights");
//   if (!deleted.ok()) std::cerr << deleted.status() << "\n";
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace {

// The canonical codes, with the numbers of google.rpc.Code.
enum class Code : int {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// "INVALID_ARGUMENT" and so on.
std::string_view CodeName(Code code);

// What a program can act on, finer than the code; travels as ErrorInfo.reason, e.g. "NOT_LEADER".
// Between brokers the number travels: it stays what it is, and new ones are added at the end.
enum class Reason : int {
  kNone = 0,
  kNotLeader = 1,         // ask `leader` (metadata leader_id, leader_address, leader_epoch)
  kOffsetOutOfRange = 2,  // metadata log_start_offset, end_offset
  kUnknownTopic = 3,
  kUnknownPartition = 4,
  kTopicDeleted = 5,
  kSequenceGap = 6,        // the batch's first sequence is past the next expected one
  kDuplicateSequence = 7,  // an old duplicate whose offset is no longer known; it is stored
  kUnknownProducer = 8,    // a sequence other than 0 of a producer without state: take a new epoch
  kProducerFenced = 9,     // a newer epoch of the producer id exists
  kCorruptBatch = 10,
  kBatchTooLarge = 11,
  kThrottled = 12,  // over budget; retry after RetryInfo
  kDiskFull = 13,
  kReplicaSilent = 14,  // the replica's state is in doubt; it neither votes nor serves
  kClusterMismatch = 15,
  kNotInitialized = 16,
  kOffsetMoved = 17,  // the log does not end where a batch was to be stored; metadata end_offset
  kUnknownGroup = 18,
  kMemberUnknown = 19,
  kGroupNotEmpty = 20,  // what is asked for takes a group, or partitions, that no member has
  kMemberFenced = 21,   // the member was taken out, or is there in a newer stream or epoch
  kMemberStale = 22,    // a partition is not the member's, or not since that epoch
  kInstanceIdInUse = 23,
  kTransactionEnded = 24,   // it ended; metadata outcome and why, where they are known
  kTransactionFenced = 25,  // its transactional id was initialized anew
  kUnknownTransactionalId = 26,
};

std::string_view ReasonName(Reason reason);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message, Reason reason = Reason::kNone);
  Status(const Status& other);
  Status& operator=(const Status& other);
  Status(Status&&) = default;
  Status& operator=(Status&&) = default;

  static Status Ok() { return {}; }

  bool ok() const { return rep_ == nullptr; }
  Code code() const { return rep_ ? rep_->code : Code::kOk; }
  Reason reason() const { return rep_ ? rep_->reason : Reason::kNone; }
  std::string_view message() const { return rep_ ? std::string_view(rep_->message) : ""; }

  // Details for programs, as ordered key and value pairs; empty on ok.
  using Metadata = std::vector<std::pair<std::string, std::string>>;
  const Metadata& metadata() const;
  Status& AddMetadata(std::string key, std::string value) &;
  Status AddMetadata(std::string key, std::string value) &&;

  // Milliseconds after which a retry makes sense; absent where no retry helps or any time will do.
  std::optional<int64_t> retry_after_ms() const;
  Status RetryAfterMs(int64_t ms) &&;

  // The same error with "context: " before its message. Ok stays ok.
  Status With(std::string_view context) const;

  // "NOT_FOUND: topic \"x\" does not exist"; "OK".
  std::string ToString() const;

  bool operator==(const Status& other) const {
    return code() == other.code() && reason() == other.reason() && message() == other.message();
  }

 private:
  struct Rep {
    Code code;
    Reason reason;
    std::string message;
    Metadata metadata;
    std::optional<int64_t> retry_after_ms;
  };
  std::unique_ptr<Rep> rep_;
};

std::ostream& operator<<(std::ostream& out, const Status& status);

namespace internal {
// Ends the process with `what`: the caller's program is wrong.
[[noreturn]] void DieOfMisuse(std::string_view what);
}  // namespace internal

// A T, or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {  // NOLINT(google-explicit-constructor)
    if (status_.ok()) internal::DieOfMisuse("a Result made from an ok Status has no value");
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }

  // Pre: ok().
  T& value() & {
    if (!ok()) internal::DieOfMisuse(status_.ToString());
    return *value_;
  }
  const T& value() const& {
    if (!ok()) internal::DieOfMisuse(status_.ToString());
    return *value_;
  }
  T value() && {
    if (!ok()) internal::DieOfMisuse(status_.ToString());
    return std::move(*value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace millrace
